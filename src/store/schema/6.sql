-- An agent's message that is found late gets the turn that its callback would have had.

-- The turn in its lane; NULL: that of its number.
ALTER TABLE message ADD COLUMN turn INTEGER;
-- IM's time of an agent's message, Unix seconds; 0: not known.
ALTER TABLE message ADD COLUMN said_s INTEGER NOT NULL DEFAULT 0;
-- 1: when it was accepted, the bridge had not yet looked for earlier ones that it may have missed.
ALTER TABLE message ADD COLUMN unlooked INTEGER NOT NULL DEFAULT 0;
-- Which start of the bridge has looked at the view: a number that it drew; 0: none of those that draw one.
ALTER TABLE looked ADD COLUMN start INTEGER NOT NULL DEFAULT 0;

DROP INDEX message_open;
DROP INDEX message_held;
DROP INDEX message_transfer;
CREATE INDEX message_open ON message (direction, openid, ifnull(turn, id), created_at) WHERE state IN (0, 1);
CREATE INDEX message_held ON message (openid, ifnull(turn, id)) WHERE state = 3;
CREATE INDEX message_transfer ON message (direction, openid, ifnull(turn, id)) WHERE state IN (0, 1) AND kind = 3;
