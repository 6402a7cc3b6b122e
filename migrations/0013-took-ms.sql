-- The duration of the call that delivered the message at its first success, in milliseconds: its trace step needs no
-- row. NULL: the steps have it, or nothing was measured.
ALTER TABLE message ADD COLUMN took_ms INTEGER;
