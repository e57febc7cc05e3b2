/**
 * `bun run test`: finds or starts the real servers, runs `bun test` with the arguments it is given, and
 * says which backends were tested and which were not. The last line is `N passed, N failed`.
 *
 * REQUIRE_BACKENDS=mysql,mariadb,galera  a server that can't be had is a failure
 * COVERAGE_MIN=90                        measures coverage, and less of src's lines is a failure
 * --coverage                             measures coverage
 */
import { coveredPercent, type FileCoverage, readCoverage } from './support/coverage.ts'
import { endProcess } from './support/processes.ts'
import { type FoundServer, findServer, requiredServers, SERVERS } from './support/servers.ts'
import { closingLine, coverageText, readCounts, table } from './support/test_report.ts'

const TEST_TIMEOUT_MS = 60_000
const COVERAGE_FOLDER = 'coverage'

process.exitCode = await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<number> {
  let coverageMin: number | undefined
  let required: string[]
  try {
    coverageMin = readCoverageMin(process.env.COVERAGE_MIN)
    required = requiredServers(process.env.REQUIRE_BACKENDS ?? '')
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    return 1
  }
  const servers = await Promise.all(SERVERS.map((kind) => findServer(kind, process.env)))
  try {
    const missing = servers.filter(({ name, tested }) => required.includes(name) && !tested)
    if (missing.length > 0) {
      console.log(backendsText(servers))
      console.error(`REQUIRE_BACKENDS: ${missing.map(({ name }) => name).join(', ')} can't be tested here`)
      return 1
    }
    const measured = coverageMin !== undefined || args.includes('--coverage')
    const { output, exitCode } = await bunTest(args, servers, measured)
    console.log(backendsText(servers))
    const coverage = measured ? await readCoverage(`${COVERAGE_FOLDER}/lcov.info`) : undefined
    if (coverage) console.log(coverageText(coverage))
    const covered = coverage === undefined || isCovered(coverage, coverageMin)
    console.log(`\n${closingLine(readCounts(output, exitCode))}`)
    return covered ? exitCode : exitCode || 1
  } finally {
    await Promise.all(servers.map((server) => server.tested && server.stop()))
  }
}

/** Passes on what `bun test` prints; its figures, and the names of tests, come on stderr. */
async function bunTest(
  args: readonly string[],
  servers: readonly FoundServer[],
  measured: boolean,
): Promise<{ output: string; exitCode: number }> {
  const coverage = ['--coverage', '--coverage-reporter=lcov', `--coverage-dir=${COVERAGE_FOLDER}`]
  const rest = measured ? [...coverage, ...args.filter((arg) => arg !== '--coverage')] : args
  const child = Bun.spawn(
    [process.execPath, 'test', '--no-orphans', `--timeout=${TEST_TIMEOUT_MS}`, ...rest],
    { env: testEnv(servers), stdin: 'inherit', stdout: 'inherit', stderr: 'pipe' },
  )
  const end = () => void endProcess(child)
  process.once('SIGINT', end).once('SIGTERM', end)
  const decoder = new TextDecoder()
  let output = ''
  for await (const chunk of child.stderr) {
    process.stderr.write(chunk)
    output += decoder.decode(chunk, { stream: true })
  }
  return { output, exitCode: await child.exited }
}

/** A server that was left out must not be tried by a test. */
function testEnv(servers: readonly FoundServer[]): Record<string, string | undefined> {
  const variables = SERVERS.flatMap((kind) => kind.variables).map((name) => [name, undefined] as const)
  const found = servers.map((server) => (server.tested ? server.variables : {}))
  const color = process.stderr.isTTY ? { FORCE_COLOR: '1' } : {}
  return Object.assign({ ...process.env, ...color, ...Object.fromEntries(variables) }, ...found)
}

function backendsText(servers: readonly FoundServer[]): string {
  const rows = servers.map(({ name, tested, detail }) => [name, tested ? 'tested' : 'left out', detail])
  return `\nBackends\n${table([['sqlite', 'tested', 'embedded'], ...rows])}`
}

function isCovered(files: readonly FileCoverage[], minPercent: number | undefined): boolean {
  if (minPercent === undefined || coveredPercent(files) >= minPercent) return true
  console.error(`COVERAGE_MIN: less than ${minPercent} % of src's lines were run`)
  return false
}

function readCoverageMin(text: string | undefined): number | undefined {
  if (!text) return undefined
  const percent = Number(text)
  if (percent >= 0 && percent <= 100) return percent
  throw new Error(`COVERAGE_MIN: expected a number from 0 to 100, got ${text}`)
}
