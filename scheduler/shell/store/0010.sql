-- Volumes that a sandbox has, as asked for at its create.  Rows stay, as the sandbox's does.
CREATE TABLE volume_mount (
	sandbox TEXT NOT NULL,
	path TEXT NOT NULL,
	volume TEXT NOT NULL,
	name TEXT NOT NULL, -- of the volume, then
	PRIMARY KEY (sandbox, path)
) STRICT, WITHOUT ROWID;

CREATE INDEX volume_mount_by_volume ON volume_mount (volume, sandbox);
