-- The scheduler's one file.  Points in time are UTC nanoseconds, money is nano-dollars, enums are
-- the numbers of their .def files.

CREATE TABLE meta (
	name TEXT PRIMARY KEY,
	value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (
	name TEXT PRIMARY KEY,
	concurrent_max INTEGER NOT NULL,
	session_max_s INTEGER NOT NULL,
	credit_nano INTEGER NOT NULL, -- granted once, to a new tenant
	prepaid INTEGER NOT NULL      -- 1: nothing new starts once the credit is used up
) STRICT, WITHOUT ROWID;

CREATE TABLE price (
	version INTEGER NOT NULL,
	meter INTEGER NOT NULL,
	price_nano INTEGER NOT NULL, -- for `divisor` units during one second
	divisor INTEGER NOT NULL,
	PRIMARY KEY (version, meter)
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	plan TEXT NOT NULL REFERENCES plan (name),
	concurrent_max INTEGER, -- NULL: as the plan says
	session_max_s INTEGER,
	credit_left_nano INTEGER NOT NULL, -- follows from money_entry; kept to be at hand
	created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
	hash BLOB PRIMARY KEY, -- keyed BLAKE2b: the key itself is nowhere
	id TEXT NOT NULL UNIQUE,
	tenant TEXT REFERENCES tenant (id), -- NULL: an operator's
	name TEXT NOT NULL,
	created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node (
	id TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	public_key BLOB NOT NULL UNIQUE,
	cordoned INTEGER NOT NULL DEFAULT 0,
	vcpus INTEGER NOT NULL DEFAULT 0, -- what it offers, as last reported
	mem_mib INTEGER NOT NULL DEFAULT 0,
	disk_mib INTEGER NOT NULL DEFAULT 0,
	sandboxes INTEGER NOT NULL DEFAULT 0,
	next_seq INTEGER NOT NULL DEFAULT 1,
	enrolled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE node_token (
	hash BLOB PRIMARY KEY,
	expires_at INTEGER NOT NULL,
	public_key BLOB -- of the node that used it: it may ask again when the answer got lost
) STRICT, WITHOUT ROWID;

CREATE TABLE template (
	name TEXT PRIMARY KEY,
	vcpus INTEGER NOT NULL,
	mem_mib INTEGER NOT NULL,
	disk_mib INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sandbox (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL REFERENCES tenant (id),
	node TEXT NOT NULL,
	template TEXT NOT NULL,
	vcpus INTEGER NOT NULL,
	mem_mib INTEGER NOT NULL,
	disk_mib INTEGER NOT NULL,
	state INTEGER NOT NULL,
	refusal INTEGER NOT NULL,
	cause INTEGER NOT NULL,
	attempt INTEGER NOT NULL,
	tries INTEGER NOT NULL,
	deadline_version INTEGER NOT NULL,
	deadline_known INTEGER NOT NULL,
	created_at INTEGER NOT NULL,
	started_at INTEGER NOT NULL, -- 0: did not (yet)
	timeout_s INTEGER NOT NULL, -- as asked for
	end_at INTEGER NOT NULL,
	ended_at INTEGER NOT NULL, -- 0: did not (yet)
	plan TEXT NOT NULL,
	price_version INTEGER NOT NULL,
	metadata TEXT NOT NULL DEFAULT '{}', -- JSON: texts by name
	envs TEXT, -- JSON; NULL once it started or ended: secrets are not kept longer than needed
	idempotency_key TEXT,
	idempotency_hash BLOB
) STRICT, WITHOUT ROWID;

CREATE INDEX sandbox_open ON sandbox (state) WHERE state <> 4;
CREATE INDEX sandbox_running ON sandbox (tenant, started_at, id) WHERE state = 2;
CREATE INDEX sandbox_by_tenant ON sandbox (tenant, started_at, id);
CREATE UNIQUE INDEX sandbox_idempotency ON sandbox (tenant, idempotency_key)
	WHERE idempotency_key IS NOT NULL;

-- Facts as the nodes told them; each node's sequence once, the whole chained by hashes.
CREATE TABLE usage_event (
	id INTEGER PRIMARY KEY, -- 1, 2, 3, ...: the place in the chain
	node TEXT NOT NULL,
	seq INTEGER NOT NULL,
	kind INTEGER NOT NULL,
	sandbox TEXT NOT NULL,
	tenant TEXT NOT NULL,
	attempt INTEGER NOT NULL,
	incarnation INTEGER NOT NULL,
	refusal INTEGER NOT NULL,
	cause INTEGER NOT NULL,
	plan TEXT NOT NULL,
	price_version INTEGER NOT NULL,
	template TEXT NOT NULL,
	vcpus INTEGER NOT NULL,
	mem_mib INTEGER NOT NULL,
	at_wall INTEGER NOT NULL,
	from_ms INTEGER NOT NULL,
	to_ms INTEGER NOT NULL,
	from_wall INTEGER NOT NULL,
	boot_id TEXT NOT NULL,
	detail TEXT NOT NULL,
	received_at INTEGER NOT NULL,
	prev_hash BLOB NOT NULL,
	hash BLOB NOT NULL,
	UNIQUE (node, seq)
) STRICT;

CREATE TABLE rated_line (
	id INTEGER PRIMARY KEY,
	event INTEGER NOT NULL REFERENCES usage_event (id),
	tenant TEXT NOT NULL,
	sandbox TEXT NOT NULL,
	incarnation INTEGER NOT NULL,
	meter INTEGER NOT NULL,
	price_version INTEGER NOT NULL,
	from_ms INTEGER NOT NULL,
	to_ms INTEGER NOT NULL,
	seconds INTEGER NOT NULL,
	quantity INTEGER NOT NULL, -- seconds x units
	amount_nano INTEGER NOT NULL,
	at_wall INTEGER NOT NULL, -- position of to_ms
	UNIQUE (event, meter)
) STRICT;

CREATE INDEX rated_line_by_sandbox ON rated_line (sandbox, incarnation, meter);
CREATE INDEX rated_line_by_tenant ON rated_line (tenant, at_wall);

-- Double entry: the amounts of one movement add up to zero; debits are positive.
CREATE TABLE money_entry (
	id INTEGER PRIMARY KEY,
	movement TEXT NOT NULL, -- "grant:<tenant>", "line:<rated_line>"
	tenant TEXT NOT NULL,
	account INTEGER NOT NULL,
	amount_nano INTEGER NOT NULL,
	at_wall INTEGER NOT NULL
) STRICT;

CREATE INDEX money_entry_by_tenant ON money_entry (tenant, account);

-- Ledgers only grow.
CREATE TRIGGER usage_event_keeps BEFORE UPDATE ON usage_event
	BEGIN SELECT RAISE(ABORT, 'usage_event only grows'); END;
CREATE TRIGGER usage_event_stays BEFORE DELETE ON usage_event
	BEGIN SELECT RAISE(ABORT, 'usage_event only grows'); END;
CREATE TRIGGER rated_line_keeps BEFORE UPDATE ON rated_line
	BEGIN SELECT RAISE(ABORT, 'rated_line only grows'); END;
CREATE TRIGGER rated_line_stays BEFORE DELETE ON rated_line
	BEGIN SELECT RAISE(ABORT, 'rated_line only grows'); END;
CREATE TRIGGER money_entry_keeps BEFORE UPDATE ON money_entry
	BEGIN SELECT RAISE(ABORT, 'money_entry only grows'); END;
CREATE TRIGGER money_entry_stays BEFORE DELETE ON money_entry
	BEGIN SELECT RAISE(ABORT, 'money_entry only grows'); END;
