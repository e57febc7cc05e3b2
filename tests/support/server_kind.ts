/** What the test runner has to know of a kind of server. */

/** A server that the runner started. */
export interface StartedServer {
  /** What the tests are told, by the names of `ServerKind.variables`. */
  variables: Record<string, string>
  /** Its last words when it ended by itself, else undefined. */
  ended(): Promise<string | undefined> | undefined
  stop(): Promise<void>
}

/** One line of the table. */
export interface ServerKind {
  /** Its word in REQUIRE_BACKENDS. */
  name: string
  /** Environment variables by which the tests reach it; all set = it is there already. */
  variables: readonly string[]
  /** Asks the server what it is ("MySQL 9.7.0"). Throws when it doesn't answer or is another. */
  identify(variables: Record<string, string>): Promise<string>
  /** Tried in this order; each throws the reason when it is not to be had here. */
  ways: readonly { title: string; start(): Promise<StartedServer> }[]
}
