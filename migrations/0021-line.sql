-- The line: messages of customers for whom no agent is free. The oldest one's customer is served first.
CREATE INDEX message_queued ON message (openid) WHERE state = 10;
CREATE INDEX message_line ON message (id) WHERE state = 10 AND kind = 0;
