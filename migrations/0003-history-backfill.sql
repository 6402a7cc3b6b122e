-- For the backfill of messages whose callback never came, and for transfers between agents.

-- Since when the customer is known without interruption; 0: since before this was recorded.
ALTER TABLE customer ADD COLUMN known_since INTEGER NOT NULL DEFAULT 0;
CREATE INDEX customer_active ON customer (active_at);
CREATE INDEX customer_known ON customer (known_since);

-- Backfill: how far an agent's view of a conversation has been read from IM's history.
CREATE TABLE looked (
    openid   TEXT NOT NULL,
    agent    TEXT NOT NULL,
    newest_s INTEGER NOT NULL,          -- IM's time of the newest message read, Unix seconds; 0: none
    at       INTEGER NOT NULL,          -- when the view was last read
    PRIMARY KEY (openid, agent)
) WITHOUT ROWID;

CREATE INDEX message_transfer ON message (direction, openid, id) WHERE state IN (0, 1) AND kind = 3;
