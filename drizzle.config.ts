import { defineConfig } from 'drizzle-kit'

/** For `drizzle-kit generate`: drafts a migration from the typed tables, to be finished by hand. */
export default defineConfig({
  dialect: 'mysql',
  schema: 'src/backends/mysql/tables.ts',
  out: 'sql/mysql',
})
