-- What is decided of a node, by whichever scheduler leads.
ALTER TABLE node ADD COLUMN lost_below INTEGER NOT NULL DEFAULT 0; -- its attempts below this are given up
ALTER TABLE node ADD COLUMN lost_at INTEGER NOT NULL DEFAULT 0; -- when that was decided last; 0: never
