/** The statuses of sysexits, where they have one. */
export const EXIT = { failed: 1, usage: 64, config: 78 } as const

/** A reason to stop that is told to the user as it stands, without a stack. */
export class KeysError extends Error {
  override name = 'KeysError'
  readonly exitCode: number

  constructor(message: string, exitCode: number = EXIT.failed) {
    super(message)
    this.exitCode = exitCode
  }
}
