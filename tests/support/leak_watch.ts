/** Looks through everything that a service answers and prints for texts that were planted. */
import type { RouteRequest } from './every_route.ts'
import { type Answer, api } from './http.ts'
import { findPlanted, type Planted } from './planted.ts'

interface LeakWatchOptions {
  url: string
  /** What nothing may show. */
  secrets: readonly Planted[]
  /** What only the answers of these operations may show, where they are no errors. */
  texts: readonly Planted[]
  shownBy: ReadonlySet<string>
  /** Of every request that has no other. */
  credential: Record<string, string>
}

export interface LeakWatch {
  /** Sends a request and looks through its answer. */
  send(request: RouteRequest, credential?: Record<string, string>): Promise<Answer<unknown>>
  /** Looks through anything else. */
  look(where: string, shown: string): void
  /** One more secret. */
  hide(planted: Planted): void
  /** Where something was found, and what. */
  leaks(): string[]
  /** What each operation has answered so far. */
  statuses: ReadonlyMap<string, ReadonlySet<number>>
}

export function watchLeaks({ url, secrets, texts, shownBy, credential }: LeakWatchOptions): LeakWatch {
  const http = api(url)
  const hidden = [...secrets]
  const leaks = new Set<string>()
  const statuses = new Map<string, Set<number>>()
  const look = (where: string, shown: string, planted: readonly Planted[] = [...hidden, ...texts]) => {
    for (const found of findPlanted(shown, planted)) leaks.add(`${where}: ${found}`)
  }
  return {
    statuses,
    look: (where, shown) => look(where, shown),
    hide: (planted) => void hidden.push(planted),
    leaks: () => [...leaks],
    async send({ operationId, what, method, path, headers, body }, own = credential) {
      const answer = await http.request(method, path, body, { ...own, ...headers })
      const { status } = answer
      const where = `${operationId} (${what}): ${status}`
      statuses.set(operationId, (statuses.get(operationId) ?? new Set()).add(status))
      look(`${where}, headers`, JSON.stringify([...answer.headers]))
      look(where, answer.text, status < 300 && shownBy.has(operationId) ? hidden : undefined)
      return answer
    },
  }
}
