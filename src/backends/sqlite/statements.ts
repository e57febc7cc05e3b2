/** The fixed statements of this dialect, inlined by the bundler. */
import clock_read from '../../../sql/sqlite/clock_read.sql' with { type: 'text' }
import dead_letter_delete_group from '../../../sql/sqlite/dead_letter_delete_group.sql' with { type: 'text' }
import dead_letter_put from '../../../sql/sqlite/dead_letter_put.sql' with { type: 'text' }
import fact_add from '../../../sql/sqlite/fact_add.sql' with { type: 'text' }
import fact_get from '../../../sql/sqlite/fact_get.sql' with { type: 'text' }
import fact_put from '../../../sql/sqlite/fact_put.sql' with { type: 'text' }
import instance_dismiss from '../../../sql/sqlite/instance_dismiss.sql' with { type: 'text' }
import instance_flush_wanted from '../../../sql/sqlite/instance_flush_wanted.sql' with { type: 'text' }
import instance_forget from '../../../sql/sqlite/instance_forget.sql' with { type: 'text' }
import instance_hold from '../../../sql/sqlite/instance_hold.sql' with { type: 'text' }
import instance_holder from '../../../sql/sqlite/instance_holder.sql' with { type: 'text' }
import instance_insert from '../../../sql/sqlite/instance_insert.sql' with { type: 'text' }
import instance_list from '../../../sql/sqlite/instance_list.sql' with { type: 'text' }
import instance_number from '../../../sql/sqlite/instance_number.sql' with { type: 'text' }
import instance_numbers from '../../../sql/sqlite/instance_numbers.sql' with { type: 'text' }
import instance_release from '../../../sql/sqlite/instance_release.sql' with { type: 'text' }
import instance_report_flush from '../../../sql/sqlite/instance_report_flush.sql' with { type: 'text' }
import instance_request_flush from '../../../sql/sqlite/instance_request_flush.sql' with { type: 'text' }
import instance_restart from '../../../sql/sqlite/instance_restart.sql' with { type: 'text' }
import instance_sign_off from '../../../sql/sqlite/instance_sign_off.sql' with { type: 'text' }
import instance_touch from '../../../sql/sqlite/instance_touch.sql' with { type: 'text' }
import lease_read from '../../../sql/sqlite/lease_read.sql' with { type: 'text' }
import lease_release from '../../../sql/sqlite/lease_release.sql' with { type: 'text' }
import lease_take from '../../../sql/sqlite/lease_take.sql' with { type: 'text' }
import restore_count from '../../../sql/sqlite/restore_count.sql' with { type: 'text' }
import restore_list from '../../../sql/sqlite/restore_list.sql' with { type: 'text' }
import restore_put from '../../../sql/sqlite/restore_put.sql' with { type: 'text' }
import tombstone_erasing from '../../../sql/sqlite/tombstone_erasing.sql' with { type: 'text' }
import tombstone_finish from '../../../sql/sqlite/tombstone_finish.sql' with { type: 'text' }
import tombstone_mark_repeated from '../../../sql/sqlite/tombstone_mark_repeated.sql' with { type: 'text' }
import tombstone_purge from '../../../sql/sqlite/tombstone_purge.sql' with { type: 'text' }
import tombstone_put from '../../../sql/sqlite/tombstone_put.sql' with { type: 'text' }
import tombstone_put_if from '../../../sql/sqlite/tombstone_put_if.sql' with { type: 'text' }
import tombstone_unfinished from '../../../sql/sqlite/tombstone_unfinished.sql' with { type: 'text' }
import tombstone_unrepeated from '../../../sql/sqlite/tombstone_unrepeated.sql' with { type: 'text' }
import type { CoordinationTexts } from '../sql/coordination.ts'

export const coordinationTexts: CoordinationTexts = {
  clock_read,
  lease_take,
  lease_read,
  lease_release,
  instance_number,
  instance_numbers,
  instance_insert,
  instance_restart,
  instance_touch,
  instance_hold,
  instance_holder,
  instance_release,
  instance_forget,
  instance_dismiss,
  instance_sign_off,
  instance_list,
  instance_request_flush,
  instance_flush_wanted,
  instance_report_flush,
  tombstone_put,
  tombstone_put_if,
  tombstone_finish,
  tombstone_erasing,
  tombstone_unfinished,
  tombstone_unrepeated,
  tombstone_mark_repeated,
  tombstone_purge,
  dead_letter_put,
  dead_letter_delete_group,
  fact_add,
  fact_get,
  fact_put,
  restore_put,
  restore_list,
  restore_count,
}
