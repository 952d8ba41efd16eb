-- Snapshots: rows of their own, which are in no list of sandboxes.  See struct core_sandbox.
ALTER TABLE sandbox ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE sandbox ADD COLUMN source_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN transient INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN from_attempt INTEGER NOT NULL DEFAULT 0;

CREATE INDEX sandbox_kept ON sandbox (tenant, started_at, id) WHERE state = 10 AND transient = 0;
