-- Media files of conversations. The bytes are in `media.dir`, named by their SHA-256. Several rows
-- may share a file.
CREATE TABLE media (
    name       TEXT PRIMARY KEY,        -- drawn at random; part of the link
    openid     TEXT NOT NULL,           -- the customer whose conversation it belongs to
    origin     INTEGER NOT NULL,        -- 0: the customer sent it, 1: an agent
    created_at INTEGER NOT NULL,
    hash       TEXT,                    -- NULL: the file has not been downloaded
    size       INTEGER                  -- bytes
) WITHOUT ROWID;
CREATE INDEX media_of ON media (openid);
CREATE INDEX media_at ON media (created_at);
CREATE INDEX media_file ON media (hash) WHERE hash IS NOT NULL;

-- Files that may have lost their last reference; removed unless a row references them again.
CREATE TABLE media_orphan (
    hash TEXT PRIMARY KEY
) WITHOUT ROWID;
CREATE TRIGGER media_gone AFTER DELETE ON media WHEN old.hash IS NOT NULL BEGIN
    INSERT OR IGNORE INTO media_orphan (hash) VALUES (old.hash);
END;
