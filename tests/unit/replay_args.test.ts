import { describe, expect, test } from 'bun:test'
import { parseReplayArgs } from '../../tools/replay/args.ts'

test('a file alone is replayed at full speed, a session a sheet, against the default address', () => {
  expect(parseReplayArgs(['game.jsonl'])).toEqual({
    file: 'game.jsonl',
    url: 'http://127.0.0.1:8001',
    tasksPerSecond: 0,
    sessions: null,
    batchSize: 100,
    connections: 4,
    json: false,
  })
})

test('every option is taken, wherever it stands', () => {
  const args =
    '--url=https://host:1/base/ --rate 2.5 --sessions 7 game.jsonl --batch 1000 --connections 1 --json'
  expect(parseReplayArgs(args.split(' '))).toEqual({
    file: 'game.jsonl',
    url: 'https://host:1/base',
    tasksPerSecond: 2.5,
    sessions: 7,
    batchSize: 1000,
    connections: 1,
    json: true,
  })
})

test('help is given without a file', () => {
  expect(parseReplayArgs(['--help'])).toBe('help')
  expect(parseReplayArgs(['-h', '--batch', 'x'])).toBe('help')
})

describe('a wrong command line is refused by name', () => {
  const wrong: [args: string, message: string][] = [
    ['', 'expected one FILE.jsonl, got 0'],
    ['a.jsonl b.jsonl', 'expected one FILE.jsonl, got 2'],
    ['a.jsonl --url localhost:8001', '--url: expected'],
    ['a.jsonl --url http://h/?q=1', '--url: expected'],
    ['a.jsonl --rate fast', '--rate: expected'],
    ['a.jsonl --rate=-1', '--rate: expected'],
    ['a.jsonl --sessions 0', '--sessions: expected a whole number from 1'],
    ['a.jsonl --batch 1001', '--batch: expected a whole number from 1 to 1000'],
    ['a.jsonl --connections 1.5', '--connections: expected a whole number from 1 to 256'],
    ['a.jsonl --speed 3', "Unknown option '--speed'"],
  ]
  test.each(wrong)('%s', (args, message) => {
    expect(() => parseReplayArgs(args.split(' ').filter(Boolean))).toThrow(message)
  })
})
