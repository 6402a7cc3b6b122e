-- Agents recall and edit messages that they have sent.

-- 1: its agent recalled it when it had left, or while it was leaving.
ALTER TABLE message ADD COLUMN recall_requested INTEGER NOT NULL DEFAULT 0;
-- SHA-256 of the elements that the agent sent last; '': not known.
ALTER TABLE message ADD COLUMN content_hash TEXT NOT NULL DEFAULT '';
-- IM's time of the last edit; 0: never edited.
ALTER TABLE message ADD COLUMN edited_at INTEGER NOT NULL DEFAULT 0;

-- An agent's message is found by its key.
CREATE INDEX message_source ON message (source) WHERE direction = 1;
