-- What a sandbox is to reach once its node has confirmed it; NULL: what it may reach is in network.
ALTER TABLE sandbox ADD COLUMN network_next TEXT;
