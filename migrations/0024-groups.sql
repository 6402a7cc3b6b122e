-- The name of the group of agents that the customer belongs to; NULL: none.
ALTER TABLE customer ADD COLUMN desk_group TEXT;
