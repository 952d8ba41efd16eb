-- Secrets of tenants. What is kept of a value opens with vault.key alone, and only in its own row.
CREATE TABLE secret (
	tenant TEXT NOT NULL REFERENCES tenant (id),
	id TEXT NOT NULL UNIQUE,
	name TEXT NOT NULL,
	version INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL,
	metadata TEXT NOT NULL, -- JSON
	sealed TEXT NOT NULL,
	PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
