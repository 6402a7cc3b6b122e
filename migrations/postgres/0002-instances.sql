-- Several instances on one database. What each table means stands in docs/several-instances.md.

-- The oldest schema, as the number of its migrations, whose program may work on this one.
ALTER TABLE schema_migration ADD compatible bigint NOT NULL DEFAULT 1;

-- An instance that is alive. A row never changes: to delete it is what keeps its instance from writing.
CREATE TABLE instance (
    id      bigint PRIMARY KEY,
    name    text COLLATE "C" NOT NULL,
    process text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    since   bigint NOT NULL
);

-- When each instance was last heard of, by this server's clock.
CREATE TABLE beat (
    instance bigint PRIMARY KEY,
    at       timestamptz NOT NULL,
    leaving  bigint NOT NULL,
    settings text COLLATE "C" NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Who sends for which customers.
CREATE TABLE shard (
    id    bigint PRIMARY KEY,
    owner bigint
) WITH (fillfactor = 50);
INSERT INTO shard (id) SELECT generate_series(0, 255);

-- Begins anew when callbacks may have been lost: when an instance is gone, or none was there, or a standby has taken the
-- server's place, which `timeline` shows. One row.
CREATE TABLE era (
    id       bigint NOT NULL,
    began    bigint NOT NULL,
    timeline text COLLATE "C" NOT NULL
);
INSERT INTO era (id, began, timeline) VALUES (0, 0, '');
