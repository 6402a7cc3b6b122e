-- Signed pushes that could not be read. A table of its own, because such a push has no lane and is never sent.
CREATE TABLE unreadable (
    id INTEGER PRIMARY KEY,
    -- SHA-256 of the body: the same bytes are kept once.
    hash TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    -- How often these bytes came.
    copies INTEGER NOT NULL DEFAULT 1,
    -- The sender, where one could be made out, and the agent of that customer.
    openid TEXT,
    agent TEXT,
    why TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX unreadable_of ON unreadable (openid) WHERE openid IS NOT NULL;
