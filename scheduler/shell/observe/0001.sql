-- What was seen of sandboxes: rows come at the end, and go at the beginning.

CREATE TABLE sample (
	id INTEGER PRIMARY KEY,
	sandbox TEXT NOT NULL,
	at INTEGER NOT NULL, -- ms since 1970, as in all tables here
	vcpus INTEGER NOT NULL,
	cpu_used INTEGER NOT NULL, -- hundredths of a percent
	mem_used INTEGER NOT NULL, -- bytes, as all that follow
	mem_total INTEGER NOT NULL,
	mem_cache INTEGER NOT NULL,
	disk_used INTEGER NOT NULL,
	disk_total INTEGER NOT NULL
) STRICT;

CREATE INDEX sample_by_sandbox ON sample (sandbox, at);

CREATE TABLE line (
	id INTEGER PRIMARY KEY,
	sandbox TEXT NOT NULL,
	at INTEGER NOT NULL,
	event INTEGER NOT NULL, -- enum wire_log_event; 0: lines were lost here
	pid INTEGER NOT NULL,
	text TEXT NOT NULL
) STRICT;

CREATE INDEX line_by_sandbox ON line (sandbox, at, id);

-- From the nodes' logs, which may be read more than once: (node, seq, type) once.
CREATE TABLE event (
	id INTEGER PRIMARY KEY,
	node TEXT NOT NULL,
	seq INTEGER NOT NULL,
	type INTEGER NOT NULL, -- enum observed_event
	sandbox TEXT NOT NULL,
	tenant TEXT NOT NULL,
	template TEXT NOT NULL,
	incarnation INTEGER NOT NULL,
	at INTEGER NOT NULL,
	until INTEGER NOT NULL, -- updated: the new time limit; else 0
	UNIQUE (node, seq, type)
) STRICT;

CREATE INDEX event_by_tenant ON event (tenant, at, id);
CREATE INDEX event_by_sandbox ON event (sandbox, at, id);
