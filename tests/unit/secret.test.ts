import { describe, expect, test } from 'bun:test'
import { format, inspect } from 'node:util'
import { AppError, messageOf } from '../../src/lib/errors.ts'
import { createLogger } from '../../src/lib/log.ts'
import { isSecret, secret } from '../../src/lib/secret.ts'

const TEXT = 'hunter2-planted'
const hidden = secret(TEXT)

test('a secret gives its text to who asks for it by name', () => {
  expect(hidden.reveal()).toBe(TEXT)
  expect(secret('').reveal()).toBe('')
})

describe('a secret does not show', () => {
  /** Where it may stand. */
  const places = {
    password: hidden,
    deep: { list: [hidden], map: new Map([[hidden, hidden]]), set: new Set([hidden]) },
  }
  const ways: Record<string, () => unknown> = {
    String: () => String(hidden),
    'a template': () => `${hidden}`,
    join: () => [hidden, [hidden]].join(),
    'a key': () => Object.keys({ [hidden as never]: 1 }),
    toLocaleString: () => hidden.toLocaleString(),
    JSON: () => JSON.stringify(places),
    'JSON with a replacer': () => JSON.stringify(places, (_, value) => value),
    'JSON as a key': () => JSON.stringify({ [String(hidden)]: 1 }),
    inspect: () => inspect(places, { depth: 9, showHidden: true, getters: true }),
    'inspect past its own say': () => inspect(places, { depth: 9, showHidden: true, customInspect: false }),
    'Bun.inspect': () => Bun.inspect(places, { depth: 9 }),
    ...Object.fromEntries(
      ['%s', '%o', '%O', '%j', '%d', '%i', '%f', '%c', '%s %o'].map((form) => [
        form,
        () => format(form, hidden, places),
      ]),
    ),
    'Object.entries': () => Object.entries(hidden).map(([name, value]) => `${name} ${value}`),
    'all its properties': () =>
      Reflect.ownKeys(hidden).map((name) => [String(name), Object.getOwnPropertyDescriptor(hidden, name)]),
    'a spread': () => ({ ...hidden }),
    'a copy': () => Object.assign({}, hidden),
    'a message of an error': () => new Error(`wrong: ${hidden}`).message,
    'a cause of an error': () => inspect(new Error('wrong', { cause: hidden }), { showHidden: true }),
    'an error that holds it': () => Bun.inspect(Object.assign(new Error('wrong'), { hidden })),
    'an answer': () => inspect(new AppError('NOT_FOUND', { detail: `${hidden}`, members: { hidden } })),
    'URL and query': () => [
      new URL(`http://h/${hidden}?${hidden}`).href,
      new URLSearchParams({ q: `${hidden}` }),
    ],
  }
  test.each(Object.keys(ways))('by %s', (way) => {
    const shown = ways[way]!()
    for (const text of [
      String(shown),
      JSON.stringify(shown),
      inspect(shown, { depth: 9 }),
      Bun.inspect(shown),
    ])
      expect(text).not.toContain('hunter2')
  })

  test('in a number, or where it is compared', () => {
    expect(Number(hidden)).toBeNaN()
    expect(hidden === secret(TEXT)).toBe(false)
  })

  test('in a clone, nor in the error that there is none', () => {
    let shown: unknown
    try {
      shown = structuredClone(hidden)
    } catch (error) {
      shown = error
    }
    expect(`${inspect(shown)} ${Bun.inspect(shown)}`).not.toContain('hunter2')
  })

  test('in a line of the log', () => {
    const lines: string[] = []
    const log = createLogger({ level: 'debug', instance: 'i', write: (line) => lines.push(line) })
    log.info(`connected with ${hidden}`, { user_id: `${hidden}`, meta: { hidden, places } })
    expect(lines[0]).toContain('connected with ***')
    expect(lines[0]).not.toContain('hunter2')
  })

  test('on the console', async () => {
    const program = `
      import { secret } from './src/lib/secret.ts'
      const hidden = secret(process.argv[1])
      console.log(hidden, { hidden }, [hidden], '%o', hidden)
      console.log('%s %o %O %j', hidden, { hidden }, [hidden], hidden)
      console.dir({ deep: { deep: { deep: { hidden } } } }, { depth: 9, showHidden: true })
      console.table([{ hidden }])
      console.error(new Error('wrong', { cause: { hidden } }))
      throw Object.assign(new Error(\`wrong \${hidden}\`), { hidden })
    `
    const child = Bun.spawn([process.execPath, '-e', program, TEXT], {
      cwd: new URL('../..', import.meta.url).pathname,
      stdout: 'pipe',
      stderr: 'pipe',
    })
    const [out, err] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ])
    expect(out).toContain('***')
    expect(err).toContain('wrong ***')
    expect(`${out}${err}`).not.toContain('hunter2')
  })
})

test('the message of what could not be parsed does not quote it', () => {
  let thrown: unknown
  try {
    JSON.parse(TEXT)
  } catch (error) {
    thrown = error
  }
  expect(String(thrown)).toContain('hunter2')
  expect(messageOf(thrown)).toBe('SyntaxError')
  expect(messageOf(new TypeError('wrong'))).toBe('wrong')
})

test('a secret is known as one, and nothing else is, not even what looks like one', () => {
  expect(isSecret(hidden)).toBe(true)
  for (const other of [null, undefined, TEXT, '***', { ...hidden }, { reveal: () => TEXT }, () => TEXT])
    expect(isSecret(other)).toBe(false)
})

test('a secret can not be changed into one that shows', () => {
  expect(() => Object.assign(hidden, { toString: () => TEXT })).toThrow(TypeError)
  expect(() => Object.defineProperty(hidden, 'toJSON', { value: () => TEXT })).toThrow(TypeError)
})
