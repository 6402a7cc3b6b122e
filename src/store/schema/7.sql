-- A push behind a reply that carried answers, or the welcome, leaves so much later that WeChat has the reply first.

ALTER TABLE customer ADD COLUMN behind INTEGER NOT NULL DEFAULT 0;  -- no push before this time
