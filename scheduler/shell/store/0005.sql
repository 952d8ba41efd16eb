-- Lives of a sandbox, and what becomes of it in between.  See struct core_sandbox.
ALTER TABLE sandbox ADD COLUMN incarnation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sandbox ADD COLUMN saved_attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN save INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN how INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN saved_mib INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN on_limit INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN life_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sandbox ADD COLUMN auto_resume INTEGER NOT NULL DEFAULT 0; -- 1: traffic lets it go on
UPDATE sandbox SET life_at = created_at;

-- Paused ones are listed too: in the order of their first start, among those that run.
DROP INDEX sandbox_running;
CREATE INDEX sandbox_listed ON sandbox (tenant, started_at, id) WHERE state IN (2, 5, 6, 7);
