/** Requests to every route of the spec: one that is right for each, and many that are wrong in all kinds of ways. */
import { BASE } from './translation_data.ts'
import { type Item, sessionItem, taskItem } from './translation_items.ts'

/** One request; `what` says which, for a test's message. */
export interface RouteRequest {
  operationId: string
  what: string
  method: string
  path: string
  headers?: Record<string, string>
  body?: unknown
}

/** A route of the spec. */
export interface Operation {
  operationId: string
  method: string
  path: string
  /** Of its query. */
  parameters: string[]
  takesBody: boolean
}

interface SpecOperation {
  operationId: string
  parameters?: { in: string; name: string }[]
  requestBody?: object
}

export function operationsOf(spec: { paths: Record<string, Record<string, SpecOperation>> }): Operation[] {
  return Object.entries(spec.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, parameters = [], requestBody }]) => ({
      operationId,
      method: method.toUpperCase(),
      path,
      parameters: parameters.filter((one) => one.in === 'query').map(({ name }) => name),
      takesBody: requestBody !== undefined,
    })),
  )
}

/** Texts of a game, and of whose files they are. */
export interface GameTexts {
  filename: string
  game: string
  metadata: string
  sheet: string
  source: string
  target: string
  context: string
  error: string
}

/** Two sessions, `kept` and `gone`, with a task each, every text in its place. */
export function gameItems(texts: GameTexts): Record<'kept' | 'gone', { session: Item; task: Item }> {
  const of = (id: string) => ({
    session: sessionItem(id, {
      filename: texts.filename,
      file_path: `/uploads/${texts.filename}`,
      game_info: { game_name: texts.game, [texts.game]: [texts.game] },
      metadata: { note: texts.metadata, [texts.metadata]: { deep: texts.metadata } },
    }),
    task: taskItem(id, 'task', {
      sheet_name: texts.sheet,
      column_name: texts.sheet,
      source_text: texts.source,
      target_text: texts.target,
      context: texts.context,
      error_message: texts.error,
    }),
  })
  return { kept: of('kept'), gone: of('gone') }
}

/** A right request for each route, in an order in which each succeeds where deletes are soft; but no instance is dead. */
export function rightRequests(texts: GameTexts): RouteRequest[] {
  const { kept, gone } = gameItems(texts)
  const query = (fields: Record<string, string>) => `?${new URLSearchParams(fields)}`
  const system = '/api/v1/system'
  const old = '/api/v1/persistence'
  const rows: [operationId: string, method: string, path: string, body?: unknown][] = [
    ['writeSessions', 'POST', `${BASE}/sessions/batch`, { sessions: [kept.session] }],
    ['patchSessions', 'PATCH', `${BASE}/sessions/batch?partial=true`, { sessions: [kept.session] }],
    ['v1WriteSessions', 'POST', `${old}/sessions/batch`, { sessions: [gone.session] }],
    ['writeTasks', 'POST', `${BASE}/tasks/batch?wait=true`, { tasks: [kept.task] }],
    ['patchTasks', 'PATCH', `${BASE}/tasks/batch`, { tasks: [kept.task] }],
    ['v1WriteTasks', 'POST', `${old}/tasks/batch`, { tasks: [gone.task] }],
    ['flush', 'POST', `${BASE}/flush`],
    ['v1Flush', 'POST', `${old}/flush`],
    ['listSessions', 'GET', `${BASE}/sessions${query({ q: texts.filename })}`],
    ['getSession', 'GET', `${BASE}/sessions/kept`],
    [
      'listSessionTasks',
      'GET',
      `${BASE}/sessions/kept/tasks${query({ q: texts.source, sheet_name: texts.sheet })}`,
    ],
    ['listTasks', 'GET', `${BASE}/tasks${query({ session_id: 'kept', q: texts.target })}`],
    ['getTask', 'GET', `${BASE}/tasks/task?session_id=kept`],
    ['setSessionStatus', 'PATCH', `${BASE}/sessions/kept/status`, { status: 'processing' }],
    ['listIncompleteSessions', 'GET', `${BASE}/recovery/incomplete-sessions`],
    ['restoreSession', 'POST', `${BASE}/recovery/restore/kept`],
    ['getRecoveryStatus', 'GET', `${BASE}/recovery/status`],
    ['getStats', 'GET', `${BASE}/stats`],
    ['deleteSession', 'DELETE', `${BASE}/sessions/gone`],
    ['undeleteSession', 'POST', `${BASE}/sessions/gone/undelete`],
    ['cleanup', 'POST', `${BASE}/sessions/cleanup`, { dry_run: true }],
    ['v1Cleanup', 'DELETE', `${BASE}/sessions/cleanup`, { dry_run: true }],
    ['v1BufferStats', 'GET', `${old}/stats`],
    ['getHealth', 'GET', '/health'],
    ['getSystemHealth', 'GET', `${system}/health`],
    ['getLiveness', 'GET', '/health/live'],
    ['getReadiness', 'GET', '/health/ready'],
    ['getMetrics', 'GET', `${system}/metrics`],
    ['getConfig', 'GET', `${system}/config`],
    ['getBuffer', 'GET', `${system}/buffer`],
    ['listDeadLetters', 'GET', `${system}/dead-letters${query({ reason: texts.source.slice(0, 99) })}`],
    ['replayDeadLetters', 'POST', `${system}/dead-letters/replay`, { dry_run: true }],
    ['purgeDeadLetters', 'POST', `${system}/dead-letters/purge`, { dry_run: true, reason: texts.source }],
    ['listInstances', 'GET', `${system}/instances`],
    ['forgetInstance', 'DELETE', `${system}/instances/nobody`],
    ['getSpec', 'GET', '/openapi.json'],
  ]
  return rows.map(([operationId, method, path, body]) => ({ operationId, what: 'right', method, path, body }))
}

/** Wrong requests to a route, each with `text` in the place of something else; `right` is its right one. */
export function wrongRequests(operation: Operation, right: RouteRequest, text: string): RouteRequest[] {
  const { operationId, method, path, parameters, takesBody } = operation
  const plain = path.replaceAll(/\{\w+\}/g, 'kept')
  const encoded = encodeURIComponent(text)
  const of = (what: string, more: Partial<RouteRequest>): RouteRequest => ({
    operationId,
    what,
    method,
    path: plain,
    ...(takesBody && { body: right.body ?? {} }),
    ...more,
  })
  return [
    ...(path.includes('{') ? [of('text as id', { path: path.replaceAll(/\{\w+\}/g, encoded) })] : []),
    ...parameters.map((name) => of(`text as ${name}`, { path: `${plain}?${name}=${encoded}` })),
    ...parameters.map((name) =>
      of(`text as ${name}, twice`, { path: `${plain}?${name}=${encoded}&${name}=${encoded}` }),
    ),
    of('text as parameter', { path: `${plain}?${encoded}=${encoded}` }),
    of('text below it', { path: `${plain}/${encoded}` }),
    of('another method', { method: 'PUT', body: { text } }),
    ...(takesBody ? wrongBodies(right.body ?? {}, text).map(([what, more]) => of(what, more)) : []),
    ...(takesBody
      ? wrongBodies(right.body ?? {}, text).map(([what, more]) =>
          of(`${what}, partial`, { path: `${plain}?partial=true`, ...more }),
        )
      : []),
  ]
}

function wrongBodies(right: unknown, text: string): [what: string, more: Partial<RouteRequest>][] {
  const json = { 'content-type': 'application/json' }
  const bytes = new TextEncoder().encode(JSON.stringify({ text }))
  return [
    ['text alone', { body: text, headers: json }],
    [
      'JSON that breaks off',
      { body: JSON.stringify({ tasks: [{ source_text: text }] }).slice(0, -3), headers: json },
    ],
    ['a text in JSON', { body: JSON.stringify(text), headers: json }],
    ['a list', { body: [text] }],
    ['text as key', { body: { [text]: text, ...(right as object) } }],
    ['plain text', { body: text, headers: { 'content-type': 'text/plain' } }],
    ['no UTF-8', { body: new Uint8Array([...bytes, 0xff]), headers: json }],
    ['no gzip', { body: bytes, headers: { ...json, 'content-encoding': 'gzip' } }],
    ...[...leaves(right)].flatMap((path) =>
      wrongValues(text).map(([kind, value]): [string, Partial<RouteRequest>] => [
        `${kind} as ${path.join('.')}`,
        { body: replaced(right, path, value) },
      ]),
    ),
  ]
}

function wrongValues(text: string): [kind: string, value: unknown][] {
  return [
    ['text', text],
    ['a list of text', [text]],
    ['a map of text', { [text]: text }],
    ['long text', `${text}${'x'.repeat(70_000)}`],
    ['half a character', `${text}\ud800`],
    ['NUL', `${text}\u0000`],
    ['text and a space', `${text} `],
  ]
}

type Path = (string | number)[]

/** Where values stand, whole items among them. */
function* leaves(value: unknown, path: Path = []): Generator<Path> {
  if (path.length > 0) yield path
  if (typeof value !== 'object' || value === null || path.length > 2) return
  for (const [key, inner] of Object.entries(value))
    yield* leaves(inner, [...path, Array.isArray(value) ? Number(key) : key])
}

function replaced(value: unknown, [key, ...rest]: Path, by: unknown): unknown {
  if (key === undefined) return by
  const copy: Record<string | number, unknown> = Array.isArray(value)
    ? ([...value] as never)
    : { ...(value as Item) }
  copy[key] = replaced(copy[key], rest, by)
  return copy
}
