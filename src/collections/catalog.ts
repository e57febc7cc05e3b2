/** The list of collections, one line each. A new data type is one definition and one line here. */
import { translationSessions, translationTasks } from './translation.ts'

export const COLLECTIONS = [translationSessions, translationTasks] as const
