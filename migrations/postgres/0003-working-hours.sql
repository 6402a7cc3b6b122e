-- Working hours: a customer's message that comes outside them waits in a state of its own.

-- The opening that the customer was told of outside the working hours; 0: none in this session.
ALTER TABLE conversation ADD away_until bigint NOT NULL DEFAULT 0;
CREATE INDEX message_deferred ON message (openid) WHERE state = 9;
