-- What the outbox needs to end every attempt, to tell agents that a message waits, and to let operators act at any time.

-- The return code in `last_error`; NULL: it names none.
ALTER TABLE message ADD COLUMN error_code INTEGER;
-- Rounds in which the platform neither answered the send nor had it in its history.
ALTER TABLE message ADD COLUMN rounds INTEGER NOT NULL DEFAULT 0;
-- Counts the operator's commands on the message. An attempt that began before the last of them no longer counts.
ALTER TABLE message ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
-- Since when it waits: its acceptance, or its last release.
ALTER TABLE message ADD COLUMN waiting_since INTEGER NOT NULL DEFAULT 0;
UPDATE message SET waiting_since = created_at WHERE state IN (0, 1);
-- 1: the agent got a notice that it waits.
ALTER TABLE message ADD COLUMN wait_noticed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX message_waiting ON message (waiting_since)
    WHERE state IN (0, 1) AND direction = 1 AND kind = 0 AND wait_noticed = 0;
