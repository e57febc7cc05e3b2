/** The fixed statements of this dialect, inlined by the bundler. */
import clock_read from '../../../sql/sqlite/clock_read.sql' with { type: 'text' }
import dead_letter_count_group from '../../../sql/sqlite/dead_letter_count_group.sql' with { type: 'text' }
import dead_letter_delete_group from '../../../sql/sqlite/dead_letter_delete_group.sql' with { type: 'text' }
import dead_letter_put from '../../../sql/sqlite/dead_letter_put.sql' with { type: 'text' }
import fact_get from '../../../sql/sqlite/fact_get.sql' with { type: 'text' }
import fact_put from '../../../sql/sqlite/fact_put.sql' with { type: 'text' }
import instance_forget from '../../../sql/sqlite/instance_forget.sql' with { type: 'text' }
import instance_insert from '../../../sql/sqlite/instance_insert.sql' with { type: 'text' }
import instance_number from '../../../sql/sqlite/instance_number.sql' with { type: 'text' }
import instance_numbers from '../../../sql/sqlite/instance_numbers.sql' with { type: 'text' }
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
import tombstone_put from '../../../sql/sqlite/tombstone_put.sql' with { type: 'text' }
import tombstone_unfinished from '../../../sql/sqlite/tombstone_unfinished.sql' with { type: 'text' }
import tombstone_withdraw from '../../../sql/sqlite/tombstone_withdraw.sql' with { type: 'text' }
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
  instance_forget,
  instance_sign_off,
  tombstone_put,
  tombstone_finish,
  tombstone_erasing,
  tombstone_unfinished,
  tombstone_withdraw,
  dead_letter_put,
  dead_letter_count_group,
  dead_letter_delete_group,
  fact_get,
  fact_put,
  restore_put,
  restore_list,
  restore_count,
}
