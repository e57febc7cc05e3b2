/** A reason to stop that is told to the user as it stands, without a stack. */
export class ReplayError extends Error {
  override name = 'ReplayError'
}
