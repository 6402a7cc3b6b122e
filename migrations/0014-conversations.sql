-- What every message of a customer changes gets a table of its own, in which those who write now lie together: each
-- session begins a new row at the end. A message belongs to the conversation in which it was accepted.

CREATE TABLE conversation (
    id            INTEGER PRIMARY KEY,
    openid        TEXT NOT NULL,
    agent         TEXT,                 -- the agent who has it
    active_at     INTEGER NOT NULL,     -- when the customer last wrote
    hour          INTEGER NOT NULL,     -- when it began or the customer last wrote, hours since 1970
    next_seq      INTEGER NOT NULL,     -- the next MsgSeq
    message_until INTEGER NOT NULL,     -- the window that a message opened: its end, and its sends left
    message_left  INTEGER NOT NULL,
    event_until   INTEGER NOT NULL,     -- the same for follow, menu click and scan
    event_left    INTEGER NOT NULL
);
INSERT INTO conversation (openid, agent, active_at, hour, next_seq, message_until, message_left, event_until, event_left)
    SELECT openid, agent, active_at,
           (CASE WHEN known_since > active_at THEN known_since ELSE active_at END) / 3600000,
           next_seq, message_until, message_left, event_until, event_left
    FROM customer ORDER BY active_at, openid;
CREATE INDEX conversation_of ON conversation (openid);
CREATE INDEX conversation_hour ON conversation (hour);

ALTER TABLE customer RENAME TO former_customer;
CREATE TABLE customer (
    openid          TEXT PRIMARY KEY,
    known           INTEGER NOT NULL,
    number          INTEGER NOT NULL,   -- at the end of the IM UserID; 0: the UserID is the openid itself
    imported        INTEGER NOT NULL,   -- 1: the IM account exists
    known_since     INTEGER NOT NULL,   -- since when without interruption; 0: since before this was recorded
    push_not_before INTEGER NOT NULL DEFAULT 0,
    conversation    INTEGER NOT NULL    -- the present one
) WITHOUT ROWID;
INSERT INTO customer
    SELECT c.openid, c.known, c.number, c.imported, c.known_since, c.push_not_before, v.id
    FROM former_customer AS c CROSS JOIN conversation AS v WHERE v.openid = c.openid;
DROP TABLE former_customer;

-- 0: nobody's; such a message is one of the bridge itself.
ALTER TABLE message ADD COLUMN conversation INTEGER NOT NULL DEFAULT 0;
DROP INDEX message_of;
UPDATE message SET conversation = coalesce((SELECT conversation FROM customer WHERE openid = message.openid), 0);
CREATE INDEX message_of ON message (conversation);
