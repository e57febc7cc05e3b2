-- What outlives a restart besides the records: one row. It is the second table: salvage counts on its root being page 3.
CREATE TABLE IF NOT EXISTS journal_state (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  line TEXT NOT NULL
);
