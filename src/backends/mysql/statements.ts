/** The fixed statements of this dialect, inlined by the bundler. */
import clock_read from '../../../sql/mysql/clock_read.sql' with { type: 'text' }
import dead_letter_delete_group from '../../../sql/mysql/dead_letter_delete_group.sql' with { type: 'text' }
import dead_letter_put from '../../../sql/mysql/dead_letter_put.sql' with { type: 'text' }
import fact_add from '../../../sql/mysql/fact_add.sql' with { type: 'text' }
import fact_get from '../../../sql/mysql/fact_get.sql' with { type: 'text' }
import fact_put from '../../../sql/mysql/fact_put.sql' with { type: 'text' }
import instance_dismiss from '../../../sql/mysql/instance_dismiss.sql' with { type: 'text' }
import instance_flush_wanted from '../../../sql/mysql/instance_flush_wanted.sql' with { type: 'text' }
import instance_forget from '../../../sql/mysql/instance_forget.sql' with { type: 'text' }
import instance_hold from '../../../sql/mysql/instance_hold.sql' with { type: 'text' }
import instance_holder from '../../../sql/mysql/instance_holder.sql' with { type: 'text' }
import instance_insert from '../../../sql/mysql/instance_insert.sql' with { type: 'text' }
import instance_list from '../../../sql/mysql/instance_list.sql' with { type: 'text' }
import instance_number from '../../../sql/mysql/instance_number.sql' with { type: 'text' }
import instance_numbers from '../../../sql/mysql/instance_numbers.sql' with { type: 'text' }
import instance_release from '../../../sql/mysql/instance_release.sql' with { type: 'text' }
import instance_report_flush from '../../../sql/mysql/instance_report_flush.sql' with { type: 'text' }
import instance_request_flush from '../../../sql/mysql/instance_request_flush.sql' with { type: 'text' }
import instance_restart from '../../../sql/mysql/instance_restart.sql' with { type: 'text' }
import instance_sign_off from '../../../sql/mysql/instance_sign_off.sql' with { type: 'text' }
import instance_touch from '../../../sql/mysql/instance_touch.sql' with { type: 'text' }
import lease_read from '../../../sql/mysql/lease_read.sql' with { type: 'text' }
import lease_release from '../../../sql/mysql/lease_release.sql' with { type: 'text' }
import lease_take from '../../../sql/mysql/lease_take.sql' with { type: 'text' }
import restore_count from '../../../sql/mysql/restore_count.sql' with { type: 'text' }
import restore_list from '../../../sql/mysql/restore_list.sql' with { type: 'text' }
import restore_put from '../../../sql/mysql/restore_put.sql' with { type: 'text' }
import tombstone_erasing from '../../../sql/mysql/tombstone_erasing.sql' with { type: 'text' }
import tombstone_finish from '../../../sql/mysql/tombstone_finish.sql' with { type: 'text' }
import tombstone_mark_repeated from '../../../sql/mysql/tombstone_mark_repeated.sql' with { type: 'text' }
import tombstone_purge from '../../../sql/mysql/tombstone_purge.sql' with { type: 'text' }
import tombstone_put from '../../../sql/mysql/tombstone_put.sql' with { type: 'text' }
import tombstone_put_if from '../../../sql/mysql/tombstone_put_if.sql' with { type: 'text' }
import tombstone_unfinished from '../../../sql/mysql/tombstone_unfinished.sql' with { type: 'text' }
import tombstone_unrepeated from '../../../sql/mysql/tombstone_unrepeated.sql' with { type: 'text' }
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
