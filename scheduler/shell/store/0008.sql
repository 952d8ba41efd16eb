-- Tenants' volumes.  A row stays when its volume is deleted: whoever keeps the files must be able to tell "deleted" from
-- "never heard of", which a store put back from an old copy says of volumes that are there.
CREATE TABLE volume (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL REFERENCES tenant (id),
	name TEXT NOT NULL,
	created_at INTEGER NOT NULL,
	deleted_at INTEGER NOT NULL DEFAULT 0 -- 0: it is there
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX volume_by_name ON volume (tenant, name) WHERE deleted_at = 0;
