import { beforeEach, expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Coordination, DeadLetter, LetterFilter, StoredLetter } from '../../src/backends/coordination.ts'
import type { Collection, Value } from '../../src/collections/definition.ts'
import { merge, newestStamp, packStamps, type Row, stampAt } from '../../src/collections/row.ts'
import { makeStamp, stampHex } from '../../src/collections/stamp.ts'
import { countStatements, onEachBackend, recordCollections } from '../support/contract_backends.ts'
import { fullRow, keyOf, plain, rowWith, stampOf, T0 } from '../support/contract_rows.ts'

const [sessions, tasks] = [recordCollections[0]!, recordCollections[1]!]
const letter = (row: Row, more: Partial<DeadLetter> = {}): DeadLetter => ({
  collection: tasks.name,
  row,
  code: '1406',
  reason: 'Data too long',
  ...more,
})
const EVERYTHING = { limit: 10_000 }

onEachBackend('dead letters', 'coordination', (store, kind) => {
  const coordination = (): Coordination => store().backend.coordination!
  const count = (filter: LetterFilter) => coordination().countDeadLetters(filter)
  const inGroup = (group: string) => count({ collection: tasks.name, group })
  const list = (filter: LetterFilter, page = EVERYTHING) => coordination().listDeadLetters(filter, page)
  const stored = () => store().execute('SELECT * FROM dead_letters ORDER BY record_key, stamp')
  beforeEach(() => store().execute('DELETE FROM dead_letters'))

  test('are counted by collection and group, and deleted by group up to a stamp', async () => {
    const rows = [1, 2, 3].map((n) => fullRow(tasks, keyOf(tasks, 'g', n), { n }))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    await coordination().putDeadLetters([
      letter(fullRow(tasks, keyOf(tasks, 'h', 1))),
      letter(fullRow(sessions, ['g']), { collection: sessions.name }),
    ])
    expect(await inGroup('g')).toBe(3)
    expect(await inGroup('h')).toBe(1)
    expect(await inGroup('G')).toBe(0)
    expect(await count({ collection: sessions.name, group: 'g' })).toBe(1)
    expect(await count({ group: 'g' })).toBe(4)
    expect(await count({})).toBe(5)
    const [oldest, newest] = [newestStamp(rows[0]!), newestStamp(rows[2]!)]
    await coordination().deleteDeadLetters(tasks.name, 'g', oldest - 1n)
    expect(await inGroup('g')).toBe(3)
    await coordination().deleteDeadLetters(tasks.name, 'g', newest)
    expect(await inGroup('g')).toBe(0)
    expect(await count({ collection: sessions.name, group: 'g' })).toBe(1)
    expect(await inGroup('h')).toBe(1)
  })

  test('are one a key and stamp, however often they are put; the last reason stands', async () => {
    const row = fullRow(tasks, keyOf(tasks, 'g', 1), { stamp: stampOf(1) })
    await coordination().putDeadLetters([letter(row)])
    const [before] = await list({})
    await coordination().putDeadLetters([
      letter(row, { code: '1264', reason: 'again' }),
      letter(row, { code: '1264', reason: 'and again' }),
    ])
    expect(await inGroup('g')).toBe(1)
    const [after] = await list({})
    expect(after).toMatchObject({ id: before!.id, code: '1264', reason: 'and again', attempts: 3 })
    expect(after!.failedAtMs).toBeGreaterThanOrEqual(before!.failedAtMs)
    await coordination().putDeadLetters([letter(fullRow(tasks, row.key, { stamp: stampOf(2) }))])
    expect(await inGroup('g')).toBe(2)
  })

  test('that come at once are put in few statements, each once', async () => {
    const rows = Array.from({ length: 1000 }, (_, n) => fullRow(tasks, keyOf(tasks, 'many', n), { n }))
    const put = () => coordination().putDeadLetters(rows.map((row) => letter(row)))
    // SQLite's are counted by their transactions, of which these have none.
    const statements = await countStatements(kind, put)
    if (kind.dialect === 'mysql') expect(statements).toBeLessThanOrEqual(10)
    expect(await inGroup('many')).toBe(1000)
    await put()
    const found = await list({})
    expect(found.length).toBe(1000)
    expect(new Set(found.map(({ attempts }) => attempts))).toEqual(new Set([2]))
    expect(new Set(found.map(({ id }) => id)).size).toBe(1000)
  })

  test('keep every field with its stamp, and tell absent from null', async () => {
    const key = keyOf(tasks, 'g', 1)
    const older = rowWith(tasks, key, { source_text: 'a', context: null }, stampOf(1))
    const row = merge(older, rowWith(tasks, key, { status: 'x', row_index: 7 }, stampOf(5)))
    await coordination().putDeadLetters([letter(row)])
    const [found] = await store().execute(
      'SELECT record_key, HEX(stamp) AS stamp, HEX(stamps) AS stamps, record, accepted_at, group_key FROM dead_letters',
    )
    expect(JSON.parse(String(found!.record_key))).toEqual(key)
    expect(found!.group_key).toBe('g')
    expect(String(found!.stamp).toLowerCase()).toBe(stampHex(stampOf(5)))
    expect(String(found!.stamps).toLowerCase()).toBe(packStamps(row))
    expect(Number(found!.accepted_at)).toBe(row.createdAtMs)
    const [read] = await list({})
    expect(read!.row.values[tasks.slotOf('context')]).toBeNull()
    expect(read!.row.values[tasks.slotOf('target_text')]).toBeUndefined()
    expect(plain(tasks, read!.row)).toEqual(plain(tasks, row))
  })

  test('come back as the rows that they were, whatever is in them', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(arbitraryLetter, { minLength: 1, maxLength: 8 }), async (given) => {
        await store().execute('DELETE FROM dead_letters')
        const letters = [...new Map(given.map((one) => [identityOf(one), one])).values()]
        await coordination().putDeadLetters(letters)
        const found = await list({})
        expect(found.length).toBe(letters.length)
        const byIdentity = new Map(found.map((one) => [identityOf(one), one]))
        for (const one of letters) {
          const back = byIdentity.get(identityOf(one))
          expect(back).toBeDefined()
          expect(wholeOf(back!)).toEqual(wholeOf(one))
        }
      }),
      { numRuns: 60 },
    )
  })

  test('take what the database itself would not: any text, however long, in row and reason', async () => {
    const texts = ['\0\x1a\\\'"', '\ud800 alone', '😀'.repeat(50_000), '\u202eשלום', 'x'.repeat(500_000)]
    const rows = texts.map((text, n) =>
      fullRow(tasks, keyOf(tasks, 'any', n), { n, fields: { source_text: text, target_text: text } }),
    )
    await coordination().putDeadLetters(rows.map((row, n) => letter(row, { reason: texts[n]! })))
    expect(await inGroup('any')).toBe(texts.length)
    // In ASCII alone: it needs no character set that the row was refused for.
    for (const { record, reason } of await stored()) expect(`${record}${reason}`).toMatch(/^[\x20-\x7e]*$/)
    const found = (await list({})).toSorted((a, b) => (a.row.key[1]! < b.row.key[1]! ? -1 : 1))
    expect(found.map(({ row }) => row.values[tasks.slotOf('source_text')])).toEqual(texts)
  })

  test('that no statement can carry are answered, and hold up no other', async () => {
    const [{ packet }] = (
      kind.offers.includes('pool')
        ? await store().execute('SELECT @@max_allowed_packet AS packet')
        : [{ packet: 2 ** 20 }]
    ) as [{ packet: number }]
    // Escaped twice, by JSON and by the driver, the second one is too large as well.
    const texts = ['a', 'x'.repeat(packet), 'b', '"'.repeat(packet / 3), 'c']
    const letters = texts.map((text, n) =>
      letter(fullRow(tasks, keyOf(tasks, 'large', n), { n, fields: { source_text: text } })),
    )
    const unfit = await coordination().putDeadLetters(letters)
    const tooLarge = kind.offers.includes('pool') ? [letters[1]!, letters[3]!] : []
    expect(new Set(unfit)).toEqual(new Set(tooLarge))
    expect(await inGroup('large')).toBe(letters.length - tooLarge.length)
    // Nor does one that the table itself refuses, for whatever reason.
    const bad = letter(fullRow(tasks, keyOf(tasks, 'large', 9)), { code: 'longer than the column'.repeat(9) })
    const strict = kind.offers.includes('pool')
    expect(await coordination().putDeadLetters([letters[0]!, bad])).toEqual(strict ? [bad] : [])
  })

  test('take the longest keys there are', async () => {
    for (const char of ['"', '\\', '🗝', '/']) {
      const row = fullRow(tasks, [char.repeat(36), char.repeat(64)])
      await coordination().putDeadLetters([letter(row)])
      const found = await list({ group: char.repeat(36) })
      expect(found.map((one) => one.row.key)).toEqual([row.key])
    }
  })

  test('of keys that differ in case alone are two', async () => {
    const rows = ['A', 'a'].map((key) => fullRow(tasks, ['g', key]))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    expect(await inGroup('g')).toBe(2)
  })

  test('are none where none are put', async () => {
    await coordination().putDeadLetters([])
    expect(await stored()).toEqual([])
    expect(await coordination().removeDeadLetters([])).toBe(0)
  })

  test('are found by all filters together, and by each alone', async () => {
    const of = (n: number, reason: string) =>
      letter(fullRow(tasks, keyOf(tasks, `g-${n % 2}`, n)), { reason })
    await coordination().putDeadLetters([
      of(0, "Data too long for column 'source_text'"),
      of(1, '100 % of \\d _ "quoted"'),
      of(2, '列太长 für 😀'),
      of(3, 'tab\tand line\nfeed'),
      letter(fullRow(sessions, ['g-0']), { collection: sessions.name, reason: 'nothing of note' }),
    ])
    const reasons = async (filter: LetterFilter) =>
      (await list(filter)).map(({ row, collection }) => (collection === tasks.name ? row.key[1]! : 'session'))
    const all = await list({})
    const found = async (filter: LetterFilter) => {
      const names = (await reasons(filter)).toSorted()
      expect(await count(filter)).toBe(names.length)
      return names
    }
    expect(await found({ reason: 'SOURCE_text' })).toEqual(['g-0_0'])
    expect(await found({ reason: '%' })).toEqual(['g-1_1'])
    expect(await found({ reason: '\\d _ "' })).toEqual(['g-1_1'])
    expect(await found({ reason: '太长' })).toEqual(['g-0_2'])
    expect(await found({ reason: 'für 😀' })).toEqual(['g-0_2'])
    expect(await found({ reason: '\t' })).toEqual(['g-1_3'])
    expect(await found({ reason: 'feed', group: 'g-0' })).toEqual([])
    expect(await found({ group: 'g-0' })).toEqual(['g-0_0', 'g-0_2', 'session'])
    expect(await found({ group: 'g-0', collection: sessions.name })).toEqual(['session'])
    expect(await found({ collection: 'no_such_collection' })).toEqual([])
    expect(await found({ ids: [] })).toEqual([])
    expect(await found({ ids: ['none', all[0]!.id, all[3]!.id] })).toHaveLength(2)
    expect(await found({ ids: all.map(({ id }) => id), reason: 'note' })).toEqual(['session'])
    const newest = Math.max(...all.map(({ failedAtMs }) => failedAtMs))
    expect(await found({ failedUntilMs: newest })).toHaveLength(5)
    expect(await found({ failedUntilMs: newest - 60_000 })).toEqual([])
  })

  test('are listed the newest id first, by number or from an id on, and found in ascending order', async () => {
    const rows = Array.from({ length: 7 }, (_, n) => fullRow(tasks, keyOf(tasks, 'g', n)))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    const ids = (await list({})).map(({ id }) => id)
    expect(ids).toEqual(ids.toSorted().toReversed())
    expect((await coordination().listDeadLetters({}, { limit: 3, offset: 3 })).map(({ id }) => id)).toEqual(
      ids.slice(3, 6),
    )
    expect(
      (await coordination().listDeadLetters({}, { limit: 3, before: ids[1]! })).map(({ id }) => id),
    ).toEqual(ids.slice(2, 5))
    const first = await coordination().findDeadLetters({}, { limit: 4, after: '' })
    const rest = await coordination().findDeadLetters({}, { limit: 4, after: first.at(-1)!.id })
    expect([...first, ...rest].map(({ id }) => id)).toEqual(ids.toReversed())
    const [raw] = await stored()
    expect(first[0]!.bytes).toBe(String(raw!.record).length)
  })

  test('are removed by their ids, but not when they were refused again meanwhile', async () => {
    const rows = [1, 2, 3].map((n) => fullRow(tasks, keyOf(tasks, 'g', n)))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    await coordination().putDeadLetters([letter(rows[2]!)])
    const found = await coordination().findDeadLetters({}, { limit: 10, after: '' })
    await coordination().putDeadLetters([letter(rows[0]!, { reason: 'again' })])
    expect(await coordination().removeDeadLetters([...found, { id: 'unknown', attempts: 1 }])).toBe(2)
    expect(await list({})).toMatchObject([{ row: { key: rows[0]!.key }, reason: 'again', attempts: 2 }])
    expect(await coordination().removeDeadLetters(found)).toBe(0)
  })

  test('keep their id and move their time on when they are refused again', async () => {
    const row = fullRow(tasks, keyOf(tasks, 'g', 1))
    await coordination().putDeadLetters([letter(row)])
    const before = (await list({}))[0]!
    while ((await coordination().now()) <= before.failedAtMs);
    await coordination().putDeadLetters([letter(row)])
    expect(await list({ failedUntilMs: before.failedAtMs })).toEqual([])
    expect((await list({}))[0]).toMatchObject({ id: before.id, attempts: 2 })
  })
})

/** What a letter says, all of it; equal for two that say the same. */
function wholeOf({ collection, row, code, reason }: DeadLetter) {
  const slots = row.values.map((value, slot) => ({
    there: value !== undefined,
    value,
    stamp: stampHex(stampAt(row, slot)),
  }))
  return { collection, key: row.key, createdAtMs: row.createdAtMs, code, reason, slots }
}

const identityOf = ({ collection, row }: DeadLetter | StoredLetter) =>
  JSON.stringify([collection, row.key, stampHex(newestStamp(row))])

const text = fc.string({ unit: 'binary', maxLength: 30 })
const anyText = fc.oneof(
  text,
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 8 })
    .map((units) => String.fromCharCode(...units)),
  fc.constantFrom('', ' ', '\0', '\\', '"', "'", '\ud83d', '😀', '\r\n\t', '\u2028', '%?', '$1 $&'),
)
const value: fc.Arbitrary<Value | undefined> = fc.oneof(
  fc.constantFrom(undefined, null, 0, -1, 2_147_483_647, 0.1234, 1e21, Number.MIN_VALUE),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (number === 0 ? 0 : number)),
  anyText,
)
const stamp = fc
  .record({ ms: fc.nat(1e9), counter: fc.nat(4095), instance: fc.nat(1023) })
  .map(({ ms, counter, instance }) => makeStamp(T0 + ms, counter, instance))
const keyPart = fc.oneof(fc.string({ minLength: 1, maxLength: 30 }), fc.constantFrom('s', 'S', '🗝', 'a\\"b'))

const arbitraryLetter: fc.Arbitrary<DeadLetter> = fc
  .constantFrom<Collection>(sessions, tasks)
  .chain((collection) => {
    const key = fc.tuple(...collection.key.map(() => keyPart)).filter((parts) => parts.every(isKeyPart))
    const slots = collection.slots.length
    const values = fc.array(value, { minLength: slots, maxLength: slots })
    const row = fc.oneof(
      fc
        .record({ key, values, stamps: stamp, createdAtMs: fc.nat(2e9).map((ms) => T0 + ms) })
        .filter((one) => one.values.some((there) => there !== undefined)),
      fc
        .record({
          key,
          values,
          each: fc.array(stamp, { minLength: slots, maxLength: slots }),
          createdAtMs: fc.integer({ min: -1e12, max: 1e13 }),
        })
        .map(({ each, ...one }) => ({
          ...one,
          stamps: each.map((given, slot) => (one.values[slot] === undefined ? 0n : given)),
        })),
    )
    return fc.record({
      collection: fc.constant(collection.name),
      row: row as fc.Arbitrary<Row>,
      code: fc.constantFrom('1406', 'SQLITE_CONSTRAINT'),
      reason: fc.string({ maxLength: 100 }),
    })
  })

/** As the door takes them. */
function isKeyPart(part: string): boolean {
  return part.trim() === part && part !== ''
}
