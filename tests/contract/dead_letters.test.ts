import { beforeEach, expect, test } from 'bun:test'
import type { Coordination, DeadLetter } from '../../src/backends/backend.ts'
import { merge, newestStamp, packStamps, type Row } from '../../src/collections/row.ts'
import { stampHex } from '../../src/collections/stamp.ts'
import { onEachBackend, recordCollections } from '../support/contract_backends.ts'
import { fullRow, keyOf, rowWith, stampOf } from '../support/contract_rows.ts'

const [sessions, tasks] = [recordCollections[0]!, recordCollections[1]!]
const letter = (row: Row, more: Partial<DeadLetter> = {}): DeadLetter => ({
  collection: tasks.name,
  row,
  code: '1406',
  reason: 'Data too long',
  ...more,
})

onEachBackend('dead letters', 'coordination', (store) => {
  const coordination = (): Coordination => store().backend.coordination!
  const stored = () => store().execute('SELECT * FROM dead_letters ORDER BY record_key, stamp')
  beforeEach(() => store().execute('DELETE FROM dead_letters'))

  test('are counted by collection and group, and deleted by group up to a stamp', async () => {
    const rows = [1, 2, 3].map((n) => fullRow(tasks, keyOf(tasks, 'g', n), { n }))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    await coordination().putDeadLetters([
      letter(fullRow(tasks, keyOf(tasks, 'h', 1))),
      letter(fullRow(sessions, ['g']), { collection: sessions.name }),
    ])
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(3)
    expect(await coordination().countDeadLetters(tasks.name, 'h')).toBe(1)
    expect(await coordination().countDeadLetters(tasks.name, 'G')).toBe(0)
    expect(await coordination().countDeadLetters(sessions.name, 'g')).toBe(1)
    const [oldest, newest] = [newestStamp(rows[0]!), newestStamp(rows[2]!)]
    await coordination().deleteDeadLetters(tasks.name, 'g', oldest - 1n)
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(3)
    await coordination().deleteDeadLetters(tasks.name, 'g', newest)
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(0)
    expect(await coordination().countDeadLetters(sessions.name, 'g')).toBe(1)
    expect(await coordination().countDeadLetters(tasks.name, 'h')).toBe(1)
  })

  test('are one a key and stamp, however often they are put; the last reason stands', async () => {
    const row = fullRow(tasks, keyOf(tasks, 'g', 1), { stamp: stampOf(1) })
    await coordination().putDeadLetters([letter(row)])
    const [before] = await stored()
    await coordination().putDeadLetters([
      letter(row, { code: '1264', reason: 'again' }),
      letter(row, { code: '1264' }),
    ])
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(1)
    const [after] = await stored()
    expect(after).toMatchObject({ id: before!.id, error_code: '1264', attempts: 3 })
    await coordination().putDeadLetters([letter(fullRow(tasks, row.key, { stamp: stampOf(2) }))])
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(2)
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
    const values = (JSON.parse(String(found!.record)) as unknown[][]).map((value) => value[0])
    expect(values).toEqual(row.values as never)
    const present = (JSON.parse(String(found!.record)) as unknown[][]).map((value) => value.length)
    expect(present[tasks.slotOf('context')]).toBe(1)
    expect(present[tasks.slotOf('target_text')]).toBe(0)
  })

  test('take what the database itself would not: any text, however long, in row and reason', async () => {
    const texts = ['\0\x1a\\\'"', '\ud800 alone', '😀'.repeat(50_000), '\u202eשלום', 'x'.repeat(500_000)]
    const rows = texts.map((text, n) =>
      fullRow(tasks, keyOf(tasks, 'any', n), { n, fields: { source_text: text, target_text: text } }),
    )
    await coordination().putDeadLetters(rows.map((row, n) => letter(row, { reason: texts[n]! })))
    expect(await coordination().countDeadLetters(tasks.name, 'any')).toBe(texts.length)
    const found = await stored()
    // In ASCII alone: it needs no character set that the row was refused for.
    for (const { record, reason } of found) expect(`${record}${reason}`).toMatch(/^[\x20-\x7e]*$/)
    expect(
      found.map(({ record }) => (JSON.parse(String(record)) as string[][])[tasks.slotOf('source_text')]),
    ).toEqual(texts.map((text) => [text]))
  })

  test('take the longest keys there are', async () => {
    for (const char of ['"', '\\', '🗝', '/']) {
      const row = fullRow(tasks, [char.repeat(36), char.repeat(64)])
      await coordination().putDeadLetters([letter(row)])
      expect(await coordination().countDeadLetters(tasks.name, char.repeat(36))).toBe(1)
    }
  })

  test('of keys that differ in case alone are two', async () => {
    const rows = ['A', 'a'].map((key) => fullRow(tasks, ['g', key]))
    await coordination().putDeadLetters(rows.map((row) => letter(row)))
    expect(await coordination().countDeadLetters(tasks.name, 'g')).toBe(2)
  })

  test('are none where none are put', async () => {
    await coordination().putDeadLetters([])
    expect(await stored()).toEqual([])
  })
})
