-- What is decided of a node, by whichever scheduler leads.
ALTER TABLE node ADD COLUMN lost_below INTEGER NOT NULL DEFAULT 0; -- its attempts below this are given up
ALTER TABLE node ADD COLUMN lost_at INTEGER NOT NULL DEFAULT 0; -- when that was decided last; 0: never

-- 1: its idempotency key went on to a later attempt, so that nobody was ever told of it; it is to end.
ALTER TABLE sandbox ADD COLUMN given_up INTEGER NOT NULL DEFAULT 0;
