-- Customers' questions, so that their agents are told of those that nobody has answered.

CREATE TABLE question (
    openid         text COLLATE "C" PRIMARY KEY,
    asked_at       bigint NOT NULL,            -- when the customer first wrote since the last answer; 0: it is answered
    due_at         bigint NOT NULL,            -- when to look at it next; of an answered one: when to delete it
    reminded_until bigint NOT NULL DEFAULT 0   -- the end of the window of which its agent was reminded
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX question_due ON question (due_at, openid);
