-- What missed callbacks are looked for by, and transfers between agents.

-- Since when the customer is known without a break; 0: since before that was written down.
ALTER TABLE customer ADD COLUMN known_since INTEGER NOT NULL DEFAULT 0;
CREATE INDEX customer_active ON customer (active_at);
CREATE INDEX customer_known ON customer (known_since);

-- How far an agent's view of a conversation has been read.
CREATE TABLE looked (
    openid   TEXT NOT NULL,
    agent    TEXT NOT NULL,
    newest_s INTEGER NOT NULL,          -- IM's time of the newest message found, Unix seconds; 0: none was
    at       INTEGER NOT NULL,          -- when it was last looked at
    PRIMARY KEY (openid, agent)
) WITHOUT ROWID;

CREATE INDEX message_transfer ON message (direction, openid, id) WHERE state IN (0, 1) AND kind = 3;
