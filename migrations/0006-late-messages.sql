-- An agent's message that is found late gets the position that its callback would have had.

-- The position in its lane; NULL: its id is the position.
ALTER TABLE message ADD COLUMN turn INTEGER;
-- IM's time of an agent's message, Unix seconds; 0: not known.
ALTER TABLE message ADD COLUMN said_s INTEGER NOT NULL DEFAULT 0;
-- 1: it was accepted before the backfill of its conversation; earlier ones may be missing.
ALTER TABLE message ADD COLUMN unlooked INTEGER NOT NULL DEFAULT 0;
-- The run of the bridge that has read the view: a random number drawn at its start; 0: a run of
-- an older version, which drew none.
ALTER TABLE looked ADD COLUMN start INTEGER NOT NULL DEFAULT 0;

DROP INDEX message_open;
DROP INDEX message_held;
DROP INDEX message_transfer;
CREATE INDEX message_open ON message (direction, openid, ifnull(turn, id), created_at) WHERE state IN (0, 1);
CREATE INDEX message_held ON message (openid, ifnull(turn, id)) WHERE state = 3;
CREATE INDEX message_transfer ON message (direction, openid, ifnull(turn, id)) WHERE state IN (0, 1) AND kind = 3;
