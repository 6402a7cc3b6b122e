-- A push that follows a passive reply with answers or the welcome is delayed, so that WeChat has
-- the reply first.

ALTER TABLE customer ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;  -- no push before this time
