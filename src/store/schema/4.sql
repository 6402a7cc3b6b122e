-- Files that WeChat has a copy of, so that the same one is not uploaded twice.
CREATE TABLE upload (
    hash     TEXT NOT NULL,             -- of the file's bytes
    kind     TEXT NOT NULL,             -- what it was uploaded as: WeChat's name for it
    media_id TEXT NOT NULL,             -- WeChat's name for the copy
    until    INTEGER NOT NULL,          -- not to be used from then on
    PRIMARY KEY (hash, kind)
) WITHOUT ROWID;
