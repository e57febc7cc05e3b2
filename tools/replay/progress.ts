/** Shows how far a long run is. */

interface ProgressOptions {
  write: (text: string) => void
  /** A terminal gets a bar that is drawn over; anything else gets a line now and then. */
  isTerminal: boolean
  nowMs: () => number
}

/** One phase after the other; `begin` ends the one before. */
export interface Progress {
  begin(label: string, total: number): void
  add(done: number): void
  /** A line of its own. */
  note(text: string): void
  end(): void
}

const BAR_INTERVAL_MS = 100
const LINE_INTERVAL_MS = 5000
const BAR_CELLS = 30

export function createProgress({ write, isTerminal, nowMs }: ProgressOptions): Progress {
  const intervalMs = isTerminal ? BAR_INTERVAL_MS : LINE_INTERVAL_MS
  let phase: { label: string; total: number; done: number; begunMs: number } | null = null
  let shownMs = 0

  function show(): void {
    if (!phase) return
    shownMs = nowMs()
    const line = progressLine({ ...phase, elapsedMs: shownMs - phase.begunMs })
    write(isTerminal ? `\r\u001b[K${line}` : `${line}\n`)
  }

  function end(): void {
    if (!phase) return
    show()
    if (isTerminal) write('\n')
    phase = null
  }

  return {
    begin(label, total) {
      end()
      phase = { label, total, done: 0, begunMs: nowMs() }
      shownMs = phase.begunMs
      if (isTerminal) show()
    },
    add(done) {
      if (!phase) return
      phase.done += done
      if (nowMs() - shownMs >= intervalMs) show()
    },
    note(text) {
      write(isTerminal && phase ? `\r\u001b[K${text}\n` : `${text}\n`)
      if (isTerminal) show()
    },
    end,
  }
}

interface ProgressState {
  label: string
  total: number
  done: number
  elapsedMs: number
}

/** `sending    ████░░ 40 % 400/1000 812/s 1 s left` */
export function progressLine({ label, total, done, elapsedMs }: ProgressState): string {
  const share = total === 0 ? 1 : Math.min(1, done / total)
  const filled = Math.floor(share * BAR_CELLS)
  const bar = '█'.repeat(filled) + '░'.repeat(BAR_CELLS - filled)
  const perSecond = elapsedMs > 0 ? Math.round((done / elapsedMs) * 1000) : 0
  const isUnderWay = done > 0 && done < total
  const left = isUnderWay ? ` ${Math.ceil(((total - done) / done) * (elapsedMs / 1000))} s left` : ''
  return `${label.padEnd(10)} ${bar} ${Math.floor(share * 100)} % ${done}/${total} ${perSecond}/s${left}`
}
