-- Statements are worded so that PostgreSQL takes them too. No row changes.

-- `fetch` is a reserved word.
ALTER TABLE fetch RENAME TO media_fetch;
DROP INDEX fetch_due;
DROP INDEX fetch_mp3;
CREATE INDEX media_fetch_due ON media_fetch (running, due_at);
CREATE INDEX media_fetch_mp3 ON media_fetch (mp3) WHERE mp3 IS NOT NULL;
DROP TRIGGER media_fetch_deleted;
CREATE TRIGGER media_fetch_deleted AFTER DELETE ON media BEGIN
    DELETE FROM media_fetch WHERE name = old.name;
END;

-- A statement uses an index only if both spell the expression the same way.
DROP INDEX message_open;
DROP INDEX message_held;
DROP INDEX message_transfer;
CREATE INDEX message_open ON message (direction, openid, coalesce(position, id), created_at) WHERE state IN (0, 1);
CREATE INDEX message_held ON message (openid, coalesce(position, id)) WHERE state = 3;
CREATE INDEX message_transfer ON message (direction, openid, coalesce(position, id))
    WHERE state IN (0, 1) AND kind = 3;
