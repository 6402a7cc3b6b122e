-- Media that are still with the platform they were sent on: to be fetched before it throws them away.
CREATE TABLE fetch (
    name       TEXT PRIMARY KEY,        -- the medium's
    mp3        TEXT,                    -- the medium that is made of it
    openid     TEXT NOT NULL,
    wanted     TEXT NOT NULL,           -- JSON: what, and where it is
    created_at INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    attempts   INTEGER NOT NULL,
    running    INTEGER NOT NULL         -- 1: an attempt is under way, or was when the process ended
) WITHOUT ROWID;
CREATE INDEX fetch_due ON fetch (running, due_at);
CREATE INDEX fetch_mp3 ON fetch (mp3) WHERE mp3 IS NOT NULL;
CREATE TRIGGER media_unwanted AFTER DELETE ON media BEGIN
    DELETE FROM fetch WHERE name = old.name;
END;
