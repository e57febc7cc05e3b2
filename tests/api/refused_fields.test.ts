/** What each field of a session and of a task refuses, as 422 with the field's position, whatever the batch. */
import { describe, expect, test } from 'bun:test'
import { onEachBackend } from '../support/in_process.ts'
import { BASE, type Item, type Problem, sessionItem, taskItem } from '../support/translation_data.ts'

/** JSON texts by what they are. */
type Cases = Readonly<Record<string, string>>

const text = (value: string) => JSON.stringify(value)

const NO_TEXT: Cases = { 'a number': '5', true: 'true', 'a list': '["a"]', 'an object': '{"a":1}' }
const BROKEN_TEXT: Cases = {
  'a lone high surrogate': '"a\\ud800b"',
  'a lone low surrogate': '"\\udc00"',
  'swapped surrogates': '"\\udc00\\ud800"',
}
const longerThan = (characters: number): Cases => ({
  [`${characters + 1} letters`]: text('x'.repeat(characters + 1)),
  [`${characters + 1} emoji`]: text('🐉'.repeat(characters + 1)),
  'a megabyte': text('x'.repeat(1_000_000)),
})
const shortText = (characters: number): Cases => ({ ...NO_TEXT, ...BROKEN_TEXT, ...longerThan(characters) })

const LONG_TEXT: Cases = {
  ...NO_TEXT,
  ...BROKEN_TEXT,
  '65,536 bytes of ASCII': text('x'.repeat(65_536)),
  '65,536 bytes of two-byte letters': text('é'.repeat(32_768)),
  '65,538 bytes of Chinese': text('龙'.repeat(21_846)),
  '65,536 bytes of emoji': text('🐉'.repeat(16_384)),
  'a megabyte': text('x'.repeat(1_000_000)),
}

const identifier = (characters: number): Cases => ({
  ...shortText(characters),
  'an empty text': '""',
  'white space alone': '" "',
  'a space before': '" a"',
  'a space behind': '"a "',
  'a no-break space behind': text('a\u00a0'),
  'an ideographic space before': text('\u3000a'),
  'a line separator behind': text('a\u2028'),
  'a line end': text('a\nb'),
  'a tab': text('a\tb'),
  'a NUL': text('a\u0000b'),
  'an escape': text('a\u001bb'),
  'a delete': text('a\u007fb'),
  'a C1 control': text('a\u0085b'),
  'one dot': '"."',
  'two dots': '".."',
  'a word of the paths, batch': '"batch"',
  'a word of the paths, cleanup': '"cleanup"',
})

const COUNT: Cases = {
  'a text': '"5"',
  true: 'true',
  'a list': '[5]',
  'an object': '{}',
  negative: '-1',
  'one and a half': '1.5',
  'a tiny fraction': '1e-7',
  'more than 32 bits hold': '2147483648',
  'more than a double counts': '9007199254740993',
  'out of range of a double': '1e400',
}

const TIME: Cases = {
  'a number': '1759226400000',
  true: 'true',
  'a list': '["2025-09-30"]',
  'an object': '{}',
  'an empty text': '""',
  'a text': '"yesterday"',
  'a number as text': '"1759226400"',
  'month 13': '"2025-13-01T00:00:00Z"',
  'month 0': '"2025-00-01T00:00:00Z"',
  'the 30th of February': '"2025-02-30T00:00:00Z"',
  'the 29th of February in a year without': '"2025-02-29"',
  'day 0': '"2025-01-00"',
  'hour 24': '"2025-09-30T24:00:00Z"',
  'minute 60': '"2025-09-30T10:60:00Z"',
  'second 61': '"2025-09-30T10:00:61Z"',
  'an offset of 24 hours': '"2025-09-30T10:00:00+24:00"',
  'an offset of 60 minutes': '"2025-09-30T10:00:00+00:60"',
  'year 10000': '"10000-01-01T00:00:00Z"',
  'year 10000 with a sign': '"+010000-01-01T00:00:00Z"',
  'a year below 0': '"-000001-01-01T00:00:00Z"',
  'past year 9999 by its offset': '"9999-12-31T23:59:59-01:00"',
  'year 0, of which calendars differ': '"0000-12-31T23:59:59Z"',
  'before year 1 by its offset': '"0001-01-01T00:00:00+01:00"',
  'a time without a date': '"10:00:00Z"',
  'something behind': '"2025-09-30T10:00:00Z!"',
  'something before': '" 2025-09-30T10:00:00Z"',
  'a lone surrogate': '"\\ud800"',
}

const nested = (levels: number) => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`
const nestedLists = (levels: number) => `{"a":${'['.repeat(levels - 1)}${']'.repeat(levels - 1)}}`

const OBJECT: Cases = {
  'a text': '"{}"',
  'a number': '5',
  true: 'true',
  'a list': '[]',
  'a lone surrogate in a value': '{"a":["\\ud800"]}',
  'a lone surrogate in a name': '{"\\ud800":1}',
  'a number out of range': '{"a":{"b":[1e400]}}',
  'a number out of range below': '{"a":-1e400}',
  '31 levels of objects': nested(31),
  '31 levels of lists': nestedLists(31),
  '1000 levels': nested(1000),
  'a name longer than the 65,535 bytes that MySQL holds': JSON.stringify({ ['n'.repeat(65_536)]: 1 }),
  'more than a megabyte': JSON.stringify({ a: 'x'.repeat(1_048_576) }),
  'more than a megabyte of Chinese': JSON.stringify({ a: '龙'.repeat(350_000) }),
}

const sessionStatus: Cases = {
  ...NO_TEXT,
  'another word': '"done"',
  'in capitals': '"PENDING"',
  padded: '" pending"',
  empty: '""',
}
const CONFIDENCE: Cases = {
  'a text': '"0.5"',
  true: 'true',
  'a list': '[0.5]',
  negative: '-0.1',
  'just below 0': '-1e-9',
  'more than 1': '1.0001',
  'just more than 1': '1.0000000001',
  'out of range': '1e400',
}

interface Kind {
  kind: 'sessions' | 'tasks'
  item: Item
  required: readonly string[]
  fields: Readonly<Record<string, Cases>>
}

const KINDS: Kind[] = [
  {
    kind: 'sessions',
    item: sessionItem('refused'),
    required: ['session_id', 'filename', 'file_path', 'status', 'llm_provider'],
    fields: {
      session_id: identifier(36),
      filename: shortText(255),
      file_path: shortText(512),
      status: sessionStatus,
      game_info: OBJECT,
      llm_provider: shortText(50),
      metadata: OBJECT,
      total_tasks: COUNT,
      completed_tasks: COUNT,
      failed_tasks: COUNT,
      processing_tasks: COUNT,
    },
  },
  {
    kind: 'tasks',
    item: taskItem('refused', 'refused'),
    required: [
      'task_id',
      'session_id',
      'batch_id',
      'sheet_name',
      'row_index',
      'column_name',
      'source_text',
      'status',
    ],
    fields: {
      task_id: identifier(64),
      session_id: identifier(36),
      batch_id: identifier(64),
      sheet_name: shortText(255),
      row_index: COUNT,
      column_name: shortText(255),
      source_text: LONG_TEXT,
      target_text: LONG_TEXT,
      context: LONG_TEXT,
      status: { ...sessionStatus, 'a status of sessions alone': '"cancelled"' },
      confidence: CONFIDENCE,
      error_message: LONG_TEXT,
      retry_count: COUNT,
      start_time: TIME,
      end_time: TIME,
      duration_ms: COUNT,
    },
  },
]

onEachBackend('refused fields', {}, (on) => {
  for (const { kind, item, required, fields } of KINDS) {
    /** Sends one item with this JSON text as the field; answers what is wrong with the answer. */
    async function wrongAnswer(
      method: 'POST' | 'PATCH',
      field: string,
      json: string,
    ): Promise<string | null> {
      const body = JSON.stringify({ [kind]: [{ ...item, [field]: '@' }] }).replace('"@"', () => json)
      const answer = await on.http.request<Problem>(method, `${BASE}/${kind}/batch`, body)
      if (answer.status !== 422) return `${answer.status} ${answer.text.slice(0, 200)}`
      const { errors = [], request_id, title, type, detail } = answer.body
      const isProblem =
        answer.headers.get('content-type') === 'application/problem+json' &&
        [request_id, title, type, detail].every((member) => typeof member === 'string')
      const named = errors.every((fault) => fault.field === `${kind}[0].${field}` && fault.message !== '')
      return isProblem && named && errors.length > 0 ? null : JSON.stringify(answer.body).slice(0, 300)
    }

    describe(kind, () => {
      for (const [field, cases] of Object.entries(fields)) {
        test(`${field} refuses ${Object.keys(cases).length} bad values, each alone and by position`, async () => {
          const wrong: Record<string, string> = {}
          for (const [name, json] of Object.entries(cases)) {
            for (const method of ['POST', 'PATCH'] as const) {
              const answer = await wrongAnswer(method, field, json)
              if (answer) wrong[`${method}: ${name}`] = answer
            }
          }
          expect(wrong).toEqual({})
        })
      }

      for (const field of required) {
        test(`${field} is required`, async () => {
          const { [field]: _, ...rest } = item
          const answer = await on.http.post<Problem>(`${BASE}/${kind}/batch`, { [kind]: [item, rest] })
          expect(answer.status).toBe(422)
          expect(answer.body.errors).toEqual([
            { field: `${kind}[1].${field}`, message: `${field} is required` },
          ])
          expect(await wrongAnswer('POST', field, 'null')).toBeNull()
        })
      }

      for (const word of ['NaN', 'Infinity', '-Infinity', 'undefined', "'x'", '0x10', '01', '.5', '+1']) {
        test(`${word} is no JSON: 400`, async () => {
          const field = kind === 'tasks' ? 'row_index' : 'total_tasks'
          const body = JSON.stringify({ [kind]: [{ ...item, [field]: '@' }] }).replace('"@"', word)
          const answer = await on.http.post<Problem>(`${BASE}/${kind}/batch`, body)
          expect(answer.status).toBe(400)
          expect(answer.body).toMatchObject({ error_code: 'MALFORMED_REQUEST', status: 400 })
        })
      }

      for (const item of ['null', '5', '"a"', 'true', '[]']) {
        test(`${item} as an item is 422 on its position`, async () => {
          const answer = await on.http.post<Problem>(`${BASE}/${kind}/batch`, `{"${kind}":[${item}]}`)
          expect(answer.status).toBe(422)
          expect(answer.body.errors!.every(({ field }) => field.startsWith(`${kind}[0]`))).toBe(true)
        })
      }
    })
  }

  /** A parser may give up on it, or the door refuse it; nothing else may happen. */
  const DEEP = 100_000
  const deep = { objects: nested(DEEP), lists: nestedLists(DEEP) }
  for (const [name, json] of Object.entries(deep)) {
    for (const query of ['', '?partial=true']) {
      test(`metadata nested ${DEEP} ${name} deep is refused${query && ' with partial=true'}`, async () => {
        const body = JSON.stringify({ sessions: [{ ...sessionItem('deep'), metadata: '@' }] }).replace(
          '"@"',
          json,
        )
        expect([400, 422]).toContain((await on.http.post(`${BASE}/sessions/batch${query}`, body)).status)
      })

      test(`an unknown field nested ${DEEP} ${name} deep fails nothing${query && ' with partial=true'}`, async () => {
        const body = JSON.stringify({ sessions: [{ ...sessionItem('deep'), zzz: '@' }] }).replace('"@"', json)
        expect([202, 400, 422]).toContain((await on.http.post(`${BASE}/sessions/batch${query}`, body)).status)
      })
    }
  }
})
