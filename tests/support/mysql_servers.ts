/** MySQL and MariaDB for the test runner: how to know them, and how to start one. */
import { chown, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createConnection, type RowDataPacket } from 'mysql2/promise'
import { startContainer } from './docker.ts'
import { endProcess, findProgram, freePort, lastWords, run } from './processes.ts'
import type { ServerKind, StartedServer } from './server_kind.ts'

const INSTALL_TIMEOUT_MS = 120_000
const CONNECT_TIMEOUT_MS = 3_000
/** Throw-away servers on loopback; the account may create databases, and accounts. */
const ACCOUNT =
  "CREATE USER 'test'@'127.0.0.1' IDENTIFIED BY 'test';\nGRANT ALL ON *.* TO 'test'@'127.0.0.1' WITH GRANT OPTION;\n"

/** Who speaks MySQL's protocol. */
export type Family = 'mysql' | 'mariadb'

/** A server of the table, of one of the two families. */
export function mysqlServer(name: Family, options: { image: string; program: string }): ServerKind {
  const variable = `TEST_${name.toUpperCase()}_URL`
  return {
    name,
    variables: [variable],
    identify: (variables) => identify(variables[variable]!, name),
    ways: [
      {
        title: `container ${options.image}`,
        start: () =>
          startContainer({
            image: options.image,
            env: { [`${name.toUpperCase()}_ROOT_PASSWORD`]: 'test' },
            port: 3306,
            dataFolder: '/var/lib/mysql',
            variables: (address) => ({ [variable]: `mysql://root:test@${address}` }),
          }),
      },
      { title: `installed ${options.program}`, start: () => startInstalled(name, options.program, variable) },
    ],
  }
}

async function identify(url: string, family: Family): Promise<string> {
  const connection = await createConnection({ uri: url, connectTimeout: CONNECT_TIMEOUT_MS })
  try {
    const [rows] = await connection.query<RowDataPacket[]>('SELECT VERSION() AS version')
    const version = String(rows[0]?.version)
    if (/mariadb/i.test(version) !== (family === 'mariadb'))
      throw new Error(`it is no ${family} but ${version}`)
    return `${family === 'mariadb' ? 'MariaDB' : 'MySQL'} ${version.replace(/-MariaDB.*/i, '')}`
  } finally {
    connection.destroy()
  }
}

async function startInstalled(family: Family, name: string, variable: string): Promise<StartedServer> {
  const program = findProgram(name)
  if (!program) throw new Error(`no ${name} installed`)
  const isMariadb = /mariadb/i.test(await run([program, '--no-defaults', '--version'], CONNECT_TIMEOUT_MS))
  if (isMariadb !== (family === 'mariadb')) throw new Error(`the ${name} installed is no ${family}`)

  const folder = await mkdtemp(join(tmpdir(), `persistence-${family}-`))
  const clear = () => rm(folder, { recursive: true, force: true })
  try {
    const account = await runAs(folder)
    const data = [...account, `--datadir=${join(folder, 'data')}`]
    await run(initialise(family, program, data), INSTALL_TIMEOUT_MS)
    const accountFile = join(folder, 'account.sql')
    await writeFile(accountFile, ACCOUNT)
    const port = await freePort()
    const log = join(folder, 'log')
    const child = Bun.spawn(
      // biome-ignore format: one option after the other
      [program, '--no-defaults', ...data, `--port=${port}`, '--bind-address=127.0.0.1', `--init-file=${accountFile}`,
       `--socket=${join(folder, 's')}`, `--pid-file=${join(folder, 'pid')}`, ...(isMariadb ? [] : ['--mysqlx=OFF', '--secure-file-priv=NULL'])],
      { stdin: 'ignore', stdout: 'ignore', stderr: Bun.file(log) },
    )
    return {
      variables: { [variable]: `mysql://test:test@127.0.0.1:${port}` },
      ended: async () => (child.exitCode === null ? undefined : lastWords(await readFile(log, 'utf8'))),
      async stop() {
        await endProcess(child)
        await clear()
      },
    }
  } catch (error) {
    await clear()
    throw error
  }
}

/** These servers refuse to run as root, so they get an account that owns their folder: the option that says so. */
export async function runAs(folder: string): Promise<string[]> {
  if (userInfo().uid !== 0) return []
  const [uid, gid] = await Promise.all([run(['id', '-u', 'mysql'], 1_000), run(['id', '-g', 'mysql'], 1_000)])
  await chown(folder, Number(uid), Number(gid))
  return ['--user=mysql']
}

/** The command that makes an empty data folder, with these options. */
export function initialise(family: Family, program: string, data: string[]): string[] {
  if (family === 'mysql') return [program, '--no-defaults', '--initialize-insecure', ...data]
  const installer = findProgram('mariadb-install-db')
  if (!installer) throw new Error('no mariadb-install-db installed')
  return [installer, '--no-defaults', '--auth-root-authentication-method=normal', '--skip-test-db', ...data]
}
