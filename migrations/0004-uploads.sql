-- Files that were uploaded to WeChat, so that the same file is not uploaded twice.
CREATE TABLE upload (
    hash     TEXT NOT NULL,             -- SHA-256 of the file's bytes
    kind     TEXT NOT NULL,             -- the type it was uploaded as, as WeChat names it
    media_id TEXT NOT NULL,             -- WeChat's id for the copy
    until    INTEGER NOT NULL,          -- the copy must not be used from this time on
    PRIMARY KEY (hash, kind)
) WITHOUT ROWID;
