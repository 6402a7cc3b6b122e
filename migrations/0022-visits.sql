-- What precedes the first message of a conversation.

-- JSON: what the customer did since the last conversation, beside writing; NULL: nothing.
ALTER TABLE conversation ADD COLUMN visit TEXT;
-- What WeChat tells of a customer.
CREATE TABLE profile (
    openid  TEXT PRIMARY KEY,
    remark  TEXT NOT NULL,              -- the operator's name for the customer
    tags    TEXT NOT NULL,              -- JSON: the names of the tags
    picture TEXT NOT NULL,              -- a URL
    read_at INTEGER NOT NULL,
    shown   TEXT NOT NULL               -- the nickname and the picture that IM has; '': those of a new account
) WITHOUT ROWID;
