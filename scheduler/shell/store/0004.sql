-- What was asked for of a sandbox's network: JSON; NULL: nothing.
ALTER TABLE sandbox ADD COLUMN network TEXT;
