-- The first schema. Times are Unix milliseconds. Later migrations rename some tables and columns.

-- Dedup: an accepted push or callback, and the reply it received. A repeat gets the same reply.
CREATE TABLE seen (
    key     TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    reply   TEXT,                       -- NULL: `success`
    carries TEXT                        -- the customer whose agents' answers the reply contains, or NULL
) WITHOUT ROWID;
CREATE INDEX seen_carries ON seen (carries) WHERE carries IS NOT NULL;

-- A customer. After an erasure only the openid and the number of the IM UserID stay.
CREATE TABLE customer (
    openid        TEXT PRIMARY KEY,
    known         INTEGER NOT NULL,
    number        INTEGER NOT NULL,     -- at the end of the IM UserID; 0: the UserID is the openid itself
    imported      INTEGER NOT NULL,     -- 1: the IM account exists
    agent         TEXT,                 -- the agent who has the conversation
    active_at     INTEGER NOT NULL,     -- when the customer last wrote
    next_seq      INTEGER NOT NULL,     -- the next MsgSeq
    message_until INTEGER NOT NULL,     -- the window that a message opened: its end, and its sends left
    message_left  INTEGER NOT NULL,
    event_until   INTEGER NOT NULL,     -- the same for follow, menu click and scan
    event_left    INTEGER NOT NULL
) WITHOUT ROWID;

-- A message of a customer or an agent, or of the bridge itself, in the order of acceptance.
CREATE TABLE message (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    direction  INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    openid     TEXT NOT NULL,
    agent      TEXT,
    orders     TEXT NOT NULL,           -- JSON: the outbound calls that the message needs
    part       INTEGER NOT NULL,        -- how many of them are done
    seq        INTEGER NOT NULL,        -- MsgSeq of the first call; each further call has the next
    random     INTEGER NOT NULL,        -- MsgRandom of the first call; each further call has the next
    source     TEXT NOT NULL,           -- the dedup key of the push or callback that contained it
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    attempt_at INTEGER NOT NULL,        -- when the last attempt began; 0 before the first
    settled_at INTEGER NOT NULL,
    last_error TEXT,
    erase      INTEGER NOT NULL,        -- 1: the customer left; deleted when the message is settled
    noted      INTEGER NOT NULL,        -- 1: the agent got a notice that it is held
    riding     INTEGER NOT NULL,        -- attached to a passive reply: 0 no, 1 maybe sent, 2 not sent
    rides_on   TEXT,                    -- the dedup key of the push whose reply it is
    ride_parts INTEGER NOT NULL         -- how many of its calls are attached
);
CREATE INDEX message_open ON message (direction, openid, id, created_at) WHERE state IN (0, 1);
CREATE INDEX message_held ON message (openid, id) WHERE state = 3;
CREATE INDEX message_of ON message (openid, id);

-- Trace steps: what happened to a customer's messages, attempt by attempt.
CREATE TABLE step (
    id      INTEGER PRIMARY KEY,
    openid  TEXT NOT NULL,
    message INTEGER,
    at      INTEGER NOT NULL,
    what    TEXT NOT NULL,
    detail  TEXT NOT NULL,
    took_ms INTEGER
);
CREATE INDEX step_of ON step (openid, id);

-- Key-value pairs: the access token, the permissions of the account, the store's own probe.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
