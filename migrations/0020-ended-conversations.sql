-- Conversations that are over, for reports. They name no customer, and stay when the customer is erased.

CREATE TABLE ended_conversation (
    id              INTEGER PRIMARY KEY,  -- of the conversation, which may be gone
    agent           TEXT NOT NULL,        -- the agent who had it at the end
    begun_at        INTEGER NOT NULL,     -- when the customer first wrote in it
    first_answer_ms INTEGER,              -- NULL: nobody answered
    resolution_ms   INTEGER,              -- until an agent closed it, or its last message; NULL: nobody answered
    ending          INTEGER NOT NULL,     -- 0: an agent closed it, 1: nobody wrote any more, 2: the customer left
    messages_in     INTEGER NOT NULL,     -- the customer's
    messages_out    INTEGER NOT NULL,     -- the agents'
    is_final        INTEGER NOT NULL,     -- 1: it is not looked at again
    is_counted      INTEGER NOT NULL      -- 1: the metrics have it
);
CREATE INDEX ended_conversation_begun ON ended_conversation (begun_at);
CREATE INDEX ended_conversation_uncounted ON ended_conversation (id) WHERE is_counted = 0;
