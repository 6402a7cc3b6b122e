-- What customers were asked for at the end of a conversation, and what they answered.
CREATE TABLE rating (
    id       INTEGER PRIMARY KEY,
    openid   TEXT,                      -- NULL: the customer has left
    agent    TEXT NOT NULL,             -- who served the customer
    asked_at INTEGER NOT NULL,
    value    INTEGER,                   -- 3 satisfied, 2 so-so, 1 not satisfied; NULL: no answer
    rated_at INTEGER                    -- when the customer answered
);
CREATE INDEX rating_of ON rating (openid) WHERE openid IS NOT NULL;
CREATE INDEX rating_asked ON rating (asked_at);
