-- Lines of an agent that one call sends together.

-- The number of the first of them, from the attempt on until it is settled; NULL: the call sends the message alone.
ALTER TABLE message ADD COLUMN burst INTEGER;
