/**
 * The judge: a process of its own that keeps the acknowledgements, outside the service and outside those
 * who write. Reads one JSON message a line from stdin, and answers the questions among them on stdout.
 */
import { type JudgeMessage, readLines } from './judge_messages.ts'
import { createLedger } from './ledger.ts'

const ledger = createLedger()

for await (const line of readLines(Bun.stdin.stream())) {
  const answer = take(JSON.parse(line) as JudgeMessage)
  if (answer !== undefined) process.stdout.write(`${JSON.stringify(answer)}\n`)
}

function take(message: JudgeMessage): unknown {
  switch (message.op) {
    case 'intend':
      ledger.intend(message.write, message.place, message.items)
      return undefined
    case 'conclude':
      ledger.conclude(message.write, message.outcome)
      return undefined
    case 'check':
      return ledger.check(message.rows, { complete: message.complete })
    case 'items':
      return ledger.itemsOf(message.place)
    case 'figures':
      return ledger.figures()
  }
}
