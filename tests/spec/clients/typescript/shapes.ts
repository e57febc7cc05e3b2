/** The types that a front end gets: enums by name, what may be null, what must be sent. Only compiled. */
import type { components, operations } from './openapi.d.ts'

type Schemas = components['schemas']
type Query<Id extends keyof operations> = NonNullable<operations[Id]['parameters']['query']>
type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : { is: A; wanted: B }
type Needed<T> = { [Name in keyof T]-?: object extends Pick<T, Name> ? never : Name }[keyof T]
/** Where it does not, the compiler says what it is instead. */
type Holds<T extends true> = T
type PageQuery = 'page' | 'page_size' | 'cursor' | 'count' | 'order' | 'sort_by' | 'consistency'
type TaskFilter = 'status' | 'sheet_name' | 'batch_id' | 'from_date' | 'to_date' | 'q'
type SentOfTask = 'batch_id' | 'sheet_name' | 'row_index' | 'column_name' | 'source_text' | 'status'
type JsonObject = { [key: string]: unknown }

export type Shapes = [
  Holds<Same<Schemas['SessionStatus'], 'pending' | 'processing' | 'completed' | 'failed' | 'cancelled'>>,
  Holds<Same<Schemas['TaskStatus'], 'pending' | 'processing' | 'completed' | 'failed'>>,
  Holds<Same<Query<'listSessions'>['status'], Schemas['SessionStatus'] | undefined>>,
  Holds<Same<keyof Query<'listTasks'>, 'session_id' | TaskFilter | PageQuery>>,
  Holds<Same<keyof Query<'listSessionTasks'>, TaskFilter | PageQuery>>,
  Holds<Same<Query<'listTasks'>['order'], 'asc' | 'desc' | undefined>>,
  Holds<Same<Query<'writeTasks'>['partial'], boolean | undefined>>,
  Holds<
    Same<Needed<Schemas['SessionInput']>, 'session_id' | 'filename' | 'file_path' | 'status' | 'llm_provider'>
  >,
  Holds<Same<Needed<Schemas['SessionPatch']>, 'session_id'>>,
  Holds<Same<Needed<Schemas['TaskInput']>, 'session_id' | 'task_id' | SentOfTask>>,
  Holds<Same<Needed<Schemas['TaskPatch']>, 'session_id' | 'task_id'>>,
  Holds<Same<Schemas['TaskPatch']['source_text'], string | undefined>>,
  Holds<Same<Schemas['TaskPatch']['target_text'], string | null | undefined>>,
  Holds<Same<Schemas['TaskInput']['start_time'], string | null | undefined>>,
  Holds<Same<Schemas['SessionInput']['metadata'], JsonObject | null | undefined>>,
  // All that is answered of a task is always there.
  Holds<Same<Needed<Schemas['Task']>, keyof Schemas['Task']>>,
  Holds<Same<Schemas['Task']['status'], Schemas['TaskStatus']>>,
  Holds<Same<Schemas['Task']['target_text'], string | null>>,
  Holds<Same<Schemas['Task']['confidence'], number | null>>,
  Holds<Same<Schemas['Task']['end_time'], string | null>>,
  Holds<Same<Schemas['SessionDetail']['game_info'], JsonObject | null>>,
  Holds<Same<Schemas['TaskList']['items'], Schemas['Task'][]>>,
  Holds<Same<Schemas['TaskList']['next_cursor'], string | null>>,
  Holds<Same<Schemas['Restored']['session'], Schemas['SessionDetail']>>,
  Holds<Same<Schemas['Accepted']['rejected'], Schemas['RejectedItem'][] | undefined>>,
  Holds<Same<Schemas['Problem']['errors'], Schemas['FieldFault'][] | undefined>>,
  Holds<Same<Extract<Schemas['ErrorCode'], 'SESSION_NOT_FOUND'>, 'SESSION_NOT_FOUND'>>,
]
