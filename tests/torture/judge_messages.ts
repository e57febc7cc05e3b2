/** What is said to the judge, one JSON message a line; questions are answered in their order. */
import { fileURLToPath } from 'node:url'
import type { Fault, Ledger, Outcome } from './ledger.ts'
import type { ReadRow, WrittenItem } from './records.ts'

export type JudgeMessage =
  | { op: 'intend'; write: number; place: string; items: readonly WrittenItem[] }
  | { op: 'conclude'; write: number; outcome: Outcome }
  | { op: 'check'; rows: readonly ReadRow[]; complete: boolean }
  | { op: 'items'; place: string }
  | { op: 'figures' }

/** The judge as those who write and read see it. */
export interface Judge extends AsyncDisposable {
  intend(write: number, place: string, items: readonly WrittenItem[]): void
  conclude(write: number, outcome: Outcome): void
  check(rows: readonly ReadRow[], options: { complete: boolean }): Promise<Fault[]>
  itemsOf(place: string): Promise<ReturnType<Ledger['itemsOf']>>
  figures(): Promise<ReturnType<Ledger['figures']>>
}

/** Starts a judge who knows of nothing; ends with this process at the latest. */
export function startJudge(): Judge {
  const child = Bun.spawn(
    [process.execPath, '--no-orphans', fileURLToPath(new URL('judge.ts', import.meta.url))],
    { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' },
  )
  const waiting: ((answer: unknown) => void)[] = []
  const answers = (async () => {
    for await (const line of readLines(child.stdout)) waiting.shift()?.(JSON.parse(line))
  })()

  function say(message: JudgeMessage): void {
    child.stdin.write(`${JSON.stringify(message)}\n`)
    child.stdin.flush()
  }
  function ask<T>(message: JudgeMessage): Promise<T> {
    const answered = new Promise<T>((resolve) => waiting.push(resolve as (answer: unknown) => void))
    say(message)
    return Promise.race([
      answered,
      answers.then((): never => {
        throw new Error('the judge has ended')
      }),
    ])
  }
  return {
    intend: (write, place, items) => say({ op: 'intend', write, place, items }),
    conclude: (write, outcome) => say({ op: 'conclude', write, outcome }),
    check: (rows, { complete }) => ask({ op: 'check', rows, complete }),
    itemsOf: (place) => ask({ op: 'items', place }),
    figures: () => ask({ op: 'figures' }),
    async [Symbol.asyncDispose]() {
      child.stdin.end()
      await child.exited
    },
  }
}

/** The lines of a stream of UTF-8. */
export async function* readLines(stream: ReadableStream<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}
