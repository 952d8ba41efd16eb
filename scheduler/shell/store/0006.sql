-- Templates of tenants, their builds, and which build a tag stands for.  What the nodes have of a
-- build is in table template, by the build's id.
CREATE TABLE tenant_template (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,
	name TEXT NOT NULL, -- in the tenant's namespace; empty: a snapshot without one
	is_public INTEGER NOT NULL,
	deleted INTEGER NOT NULL,
	life INTEGER NOT NULL, -- counts its creations: what belongs to an earlier one is gone
	created_at INTEGER NOT NULL,
	updated_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tenant_template_by_tenant ON tenant_template (tenant, name);

CREATE TABLE build (
	id TEXT PRIMARY KEY,
	template TEXT NOT NULL,
	life INTEGER NOT NULL, -- of its template
	kind INTEGER NOT NULL,
	status INTEGER NOT NULL,
	vcpus INTEGER NOT NULL,
	mem_mib INTEGER NOT NULL,
	disk_mib INTEGER NOT NULL,
	tags TEXT NOT NULL, -- that it gets when it is ready, joined by commas
	reason TEXT NOT NULL, -- of an error, for people
	step TEXT NOT NULL, -- in which it happened
	created_at INTEGER NOT NULL,
	finished_at INTEGER NOT NULL, -- 0: not yet
	gone INTEGER NOT NULL -- with the life of its template that it belonged to
) STRICT;
CREATE INDEX build_by_template ON build (template, created_at);
CREATE INDEX build_open ON build (status) WHERE status IN (0, 1) AND gone = 0;

CREATE TABLE build_tag (
	template TEXT NOT NULL,
	tag TEXT NOT NULL,
	build TEXT NOT NULL, -- empty: it was taken away
	life INTEGER NOT NULL,
	at INTEGER NOT NULL, -- the latest counts, in whatever order they are heard of
	PRIMARY KEY (template, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX build_tag_by_build ON build_tag (build);
