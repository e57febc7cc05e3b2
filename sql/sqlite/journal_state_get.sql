-- The state, as it was written last.
SELECT line FROM journal_state WHERE one = 1;
