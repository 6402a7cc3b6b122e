-- Pending downloads of media, which must be fetched before their platform deletes them.
CREATE TABLE fetch (
    name       TEXT PRIMARY KEY,        -- of the medium
    mp3        TEXT,                    -- the name of its MP3 copy
    openid     TEXT NOT NULL,
    wanted     TEXT NOT NULL,           -- JSON: what it is, and where it can be downloaded
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    running    INTEGER NOT NULL         -- 1: an attempt is running, or was when the process ended
) WITHOUT ROWID;
CREATE INDEX fetch_due ON fetch (running, due_at);
CREATE INDEX fetch_mp3 ON fetch (mp3) WHERE mp3 IS NOT NULL;
CREATE TRIGGER media_unwanted AFTER DELETE ON media BEGIN
    DELETE FROM fetch WHERE name = old.name;
END;
