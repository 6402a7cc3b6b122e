-- What is kept. Times are Unix milliseconds.

-- A push or callback that has been accepted, and the answer it got: a repeat gets the same.
CREATE TABLE seen (
    key     TEXT PRIMARY KEY,
    at      INTEGER NOT NULL,
    reply   TEXT,                       -- NULL: `success`
    carries TEXT                        -- the customer whose agents' words are in the reply; NULL: the bridge's own
) WITHOUT ROWID;
CREATE INDEX seen_carries ON seen (carries) WHERE carries IS NOT NULL;

-- A customer. Once forgotten, only the openid and the account's number stay.
CREATE TABLE customer (
    openid        TEXT PRIMARY KEY,
    known         INTEGER NOT NULL,
    number        INTEGER NOT NULL,     -- of the IM UserID: 0 is the openid itself
    imported      INTEGER NOT NULL,     -- 1: the IM account exists
    agent         TEXT,                 -- whose conversation it is
    active_at     INTEGER NOT NULL,     -- the customer's last message
    next_seq      INTEGER NOT NULL,     -- the next MsgSeq
    message_until INTEGER NOT NULL,     -- the window a message opened: until when, and how many sends it has left
    message_left  INTEGER NOT NULL,
    event_until   INTEGER NOT NULL,     -- the same for follow, menu click and scan
    event_left    INTEGER NOT NULL
) WITHOUT ROWID;

-- What a customer or an agent wrote, or the bridge owes, in the order it was accepted.
CREATE TABLE message (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    direction  INTEGER NOT NULL,
    kind       INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    openid     TEXT NOT NULL,
    agent      TEXT,
    orders     TEXT NOT NULL,           -- JSON: the calls that are owed
    part       INTEGER NOT NULL,        -- how many of them are done
    seq        INTEGER NOT NULL,        -- MsgSeq of the first; each further one has the next
    random     INTEGER NOT NULL,        -- MsgRandom of the first; each further one has the next
    source     TEXT NOT NULL,           -- the push or callback it came with
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    attempt_at INTEGER NOT NULL,        -- the beginning of the last attempt, 0 before the first
    settled_at INTEGER NOT NULL,
    last_error TEXT,
    erase      INTEGER NOT NULL,        -- 1: the customer left, so the row goes when it is settled
    noted      INTEGER NOT NULL,        -- 1: the agent has been told that it is held
    riding     INTEGER NOT NULL,        -- on a passive reply: 0 no, 1 perhaps written out, 2 known not to be
    rides_on   TEXT,                    -- the push whose reply it is
    ride_parts INTEGER NOT NULL         -- how many of its orders ride
);
CREATE INDEX message_open ON message (direction, openid, id, created_at) WHERE state IN (0, 1);
CREATE INDEX message_held ON message (openid, id) WHERE state = 3;
CREATE INDEX message_of ON message (openid, id);

-- What happened to a customer's messages, attempt by attempt.
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

-- Single values: the access token, what the account may do, the store's own pulse.
CREATE TABLE fact (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
