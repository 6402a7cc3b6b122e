-- Conversations that are over, for reports. They name no customer, and stay when the customer is erased.

CREATE TABLE ended_conversation (
    id              bigint PRIMARY KEY,            -- of the conversation, which may be gone
    agent           text COLLATE "C" NOT NULL,     -- the agent who had it at the end
    begun_at        bigint NOT NULL,               -- when the customer first wrote in it
    first_answer_ms bigint,                        -- NULL: nobody answered
    resolution_ms   bigint,                        -- until an agent closed it, or its last message; NULL: nobody answered
    ending          bigint NOT NULL,               -- 0: an agent closed it, 1: nobody wrote any more, 2: the customer left
    messages_in     bigint NOT NULL,               -- the customer's
    messages_out    bigint NOT NULL,               -- the agents'
    is_final        bigint NOT NULL,               -- 1: it is not looked at again
    is_counted      bigint NOT NULL                -- 1: the metrics have it
);
CREATE INDEX ended_conversation_begun ON ended_conversation (begun_at);
CREATE INDEX ended_conversation_uncounted ON ended_conversation (id) WHERE is_counted = 0;
