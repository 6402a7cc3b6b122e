-- Tables and columns get plain names. All rows stay, except one that is obsolete.

ALTER TABLE fact RENAME TO kv;
ALTER TABLE kv RENAME COLUMN name TO key;
UPDATE kv SET key = 'checked_at' WHERE key = 'looked_at';
UPDATE kv SET key = 'operator_signal' WHERE key = 'operator_bell';
-- The store's probe of itself writes another key now.
DELETE FROM kv WHERE key = 'pulse';

ALTER TABLE seen RENAME TO dedup;
ALTER TABLE dedup RENAME COLUMN carries TO reply_customer;
DROP INDEX seen_carries;
CREATE INDEX dedup_reply_customer ON dedup (reply_customer) WHERE reply_customer IS NOT NULL;

-- The calls that a message still needs, and how many of them are done.
ALTER TABLE message RENAME COLUMN orders TO calls;
ALTER TABLE message RENAME COLUMN part TO calls_done;
ALTER TABLE message RENAME COLUMN noted TO hold_noticed;
-- Attached to a passive reply: 0 no, 1 maybe sent, 2 not sent; to which one; how many of its calls.
ALTER TABLE message RENAME COLUMN riding TO attached;
ALTER TABLE message RENAME COLUMN rides_on TO attached_to;
ALTER TABLE message RENAME COLUMN ride_parts TO attached_calls;
-- The position in its lane; NULL: its id is the position. SQLite renames it in the indexes too.
ALTER TABLE message RENAME COLUMN turn TO position;
ALTER TABLE message RENAME COLUMN said_s TO sent_at_s;
ALTER TABLE message RENAME COLUMN unlooked TO before_backfill;

ALTER TABLE looked RENAME TO backfill;
ALTER TABLE backfill RENAME COLUMN newest_s TO backfilled_until_s;
ALTER TABLE backfill RENAME COLUMN at TO read_at;
ALTER TABLE backfill RENAME COLUMN start TO run_id;

ALTER TABLE customer RENAME COLUMN behind TO push_not_before;

ALTER TABLE fetch RENAME COLUMN wanted TO request;
DROP TRIGGER media_unwanted;
CREATE TRIGGER media_fetch_deleted AFTER DELETE ON media BEGIN
    DELETE FROM fetch WHERE name = old.name;
END;

ALTER TABLE step RENAME COLUMN what TO event;
