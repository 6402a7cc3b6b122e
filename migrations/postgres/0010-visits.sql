-- What precedes the first message of a conversation.

ALTER TABLE conversation ADD visit text COLLATE "C";
CREATE TABLE profile (
    openid  text COLLATE "C" PRIMARY KEY,
    remark  text COLLATE "C" NOT NULL,
    tags    text COLLATE "C" NOT NULL,
    picture text COLLATE "C" NOT NULL,
    read_at bigint NOT NULL,
    shown   text COLLATE "C" NOT NULL
);
