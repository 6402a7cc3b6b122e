-- The agent who last answered the customer, who gets the customer back.
ALTER TABLE customer ADD served_by text COLLATE "C";
ALTER TABLE customer ADD served_at bigint NOT NULL DEFAULT 0;   -- about when
