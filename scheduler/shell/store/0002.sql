-- What a failure of the platform ended is not billed, and the chain of facts has signed heads.

-- 1 is the hash of the first version, which knows no `billable`; rows keep the one they were posted with.
ALTER TABLE usage_event ADD COLUMN hash_version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE usage_event ADD COLUMN billable INTEGER NOT NULL DEFAULT 1;

-- What a slice that is free would have been in whole seconds; `seconds` and the rest are 0 then.
ALTER TABLE rated_line ADD COLUMN unbilled_seconds INTEGER NOT NULL DEFAULT 0;

-- The chain as it was at one of its events, signed by the fleet's identity.
CREATE TABLE ledger_head (
	id INTEGER PRIMARY KEY,
	event INTEGER NOT NULL REFERENCES usage_event (id),
	hash BLOB NOT NULL,
	at_wall INTEGER NOT NULL,
	signature BLOB NOT NULL,
	UNIQUE (event)
) STRICT;

CREATE TRIGGER ledger_head_keeps BEFORE UPDATE ON ledger_head
	BEGIN SELECT RAISE(ABORT, 'ledger_head only grows'); END;
CREATE TRIGGER ledger_head_stays BEFORE DELETE ON ledger_head
	BEGIN SELECT RAISE(ABORT, 'ledger_head only grows'); END;
