-- The agent who last answered the customer, who gets the customer back.
ALTER TABLE customer ADD COLUMN served_by TEXT;
ALTER TABLE customer ADD COLUMN served_at INTEGER NOT NULL DEFAULT 0;   -- about when
