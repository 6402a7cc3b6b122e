//! The instances that serve one database: each has a number, which nobody gets twice, and holds a lock by it as long as
//! its session lives. An instance that is taken for dead is buried: its row is deleted, behind all transactions that it
//! has begun, and from then on none of it can record an attempt. Who is taken for dead is not decided here.

use std::time::Duration;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::error::PostgresError;
use super::link::{Link, LockKind};
use crate::store::failover::{FAILOVER_KEY, FAILOVER_MS};

/// Releases the downloads that no instance runs.
pub(in crate::store) const RELEASE_OF_THE_GONE: &str = "UPDATE media_fetch SET running = 0, due_at = ?1
    WHERE running > 0 AND NOT EXISTS (SELECT 1 FROM instance WHERE id = running)";

/// An instance, as the database shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its number.
    pub id: i64,
    /// Its machine and process.
    pub name: String,
    /// The number of migrations that its program knows.
    pub version: i64,
    /// Since when it is there, by the server's clock, Unix milliseconds.
    pub since_ms: i64,
    /// How long ago it was heard of, milliseconds.
    pub silent_ms: i64,
    /// Its session lives.
    pub is_present: bool,
    /// It stops, and wants no shards.
    pub is_leaving: bool,
    /// A digest of the settings that all instances must share.
    pub settings: String,
    /// How many shards it owns.
    pub shards: u32,
}

/// What an instance hears when it tells that it is alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roll {
    /// All instances, the asking one among them, by their number.
    pub instances: Vec<Instance>,
    /// The number of the present era.
    pub era: i64,
    /// How long ago it began, milliseconds.
    pub era_age_ms: i64,
    /// The server's time, Unix milliseconds.
    pub server_ms: i64,
    /// How long ago the server started, milliseconds.
    pub server_age_ms: i64,
    /// The shards of the asking one, as they are stored.
    pub owned: Vec<u8>,
}

/// The key of the lock that an instance holds as long as its session lives.
fn presence(id: i64) -> i64 {
    id
}

/// The key of the lock that each transaction of an instance shares.
pub(super) fn fence(id: i64) -> i64 {
    id + 1
}

/// Draws a number. It is even and larger than all keys of [`Link::lock_key`], so that its two locks are nobody else's.
fn draw() -> i64 {
    let random: i64 = rand::random();
    (random & 0x1fff_ffff_ffff_fffe) | (1 << 61)
}

/// The channel on which instances tell one another something.
pub(super) fn channel(link: &Link) -> String {
    format!("wechat_im_bridge_{}", link.schema)
}

/// An instance that was not heard of for this time is taken for dead.
pub const TTL: Duration = Duration::from_secs(3);

/// Enters the database as a new instance. Returns its number.
pub(super) fn register(link: &Link, name: &str, process: &str, version: i64) -> Result<i64, PostgresError> {
    let id = draw();
    let entered = link.ask(async |client| {
        client.execute("SELECT pg_advisory_lock($1)", &[&presence(id)]).await?;
        client.batch_execute("BEGIN").await?;
        // Of two that enter at once, one is the first.
        client.query("SELECT id FROM era FOR UPDATE", &[]).await?;
        let insert = "WITH entered AS (
                INSERT INTO instance (id, name, process, version, since) VALUES ($1, $2, $3, $4,
                    (extract(epoch FROM clock_timestamp()) * 1000)::bigint) RETURNING id)
            INSERT INTO beat (instance, at, leaving, settings) SELECT id, clock_timestamp(), 0, '' FROM entered";
        client.execute(insert, &[&id, &name, &process, &version]).await?;
        // Whoever is there first begins an era.
        let first = "UPDATE era SET id = $1, began = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
            WHERE NOT EXISTS (SELECT 1 FROM instance WHERE instance.id <> $2)";
        client.execute(first, &[&new_era(), &id]).await?;
        client.batch_execute("COMMIT").await?;
        Ok(id)
    });
    entered.inspect_err(|_| drop(link.batch("ROLLBACK")))
}

fn new_era() -> i64 {
    rand::random_range(1..=i64::MAX)
}

/// Whether a standby has taken the server's place since somebody looked last. The last commits may be lost then, so
/// that each young message counts as one whose attempt was not settled: IM is asked for it before it is sent again,
/// and WeChat's becomes unknown. What is found in IM's history later is judged by the time that is kept here. Nothing may
/// be sent before this.
pub(super) fn note_failover(link: &Link) -> Result<bool, PostgresError> {
    const TIMELINE: &str = "SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)";
    // The states 0 and 1 are those of messages that wait and that are being sent.
    const DOUBT: &str = "UPDATE message SET state = 1, attempts = attempts + 1, generation = generation + 1,
            attempt_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        WHERE state IN (0, 1) AND attached = 0
        AND created_at > (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1";
    const KEEP: &str = "INSERT INTO kv (key, value)
        VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint::text)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    let noted = link.ask(async |client| {
        client.batch_execute("BEGIN").await?;
        let timeline: String = client.query_one(TIMELINE, &[]).await?.try_get(0)?;
        let known = client.query_one("SELECT timeline FROM era FOR UPDATE", &[]).await?;
        let known: String = known.try_get(0)?;
        if known != timeline {
            client.execute("UPDATE era SET timeline = $1", &[&timeline]).await?;
        }
        let is_failover = !known.is_empty() && known != timeline;
        if is_failover {
            let era =
                "UPDATE era SET id = $1, began = (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            client.execute(era, &[&new_era()]).await?;
            client.execute(DOUBT, &[&FAILOVER_MS]).await?;
            client.execute(KEEP, &[&FAILOVER_KEY]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(is_failover)
    });
    noted.inspect_err(|_| drop(link.batch("ROLLBACK")))
}

/// Takes the presence of `id` for a new session of the same instance. `false` if the old one still has it.
pub(super) fn take_presence(link: &Link, id: i64) -> Result<bool, PostgresError> {
    let sql = "SELECT pg_try_advisory_lock($1)";
    link.ask(async |client| client.query_one(sql, &[&presence(id)]).await?.try_get(0))
}

/// Keeps programs away that serve the database alone, as earlier versions do. `false` if one does now.
pub(super) fn keep_single_ones_away(link: &Link) -> Result<bool, PostgresError> {
    let take = "SELECT pg_try_advisory_lock_shared($1)";
    let (doors, outbox) = (link.lock_key(LockKind::Doors), link.lock_key(LockKind::Outbox));
    link.ask(async |client| {
        if !client.query_one(take, &[&doors]).await?.try_get::<_, bool>(0)? {
            return Ok(false);
        }
        let has_both: bool = client.query_one(take, &[&outbox]).await?.try_get(0)?;
        if !has_both {
            // Its doors may have to take this lock again.
            client.execute("SELECT pg_advisory_unlock_shared($1)", &[&doors]).await?;
        }
        Ok(has_both)
    })
}

/// Tells that `id` is alive. `None`: it has been buried.
pub(super) fn beat(
    link: &Link,
    id: i64,
    is_leaving: bool,
    settings: &str,
) -> Result<Option<Roll>, PostgresError> {
    const BEAT: &str =
        "UPDATE beat SET at = clock_timestamp(), leaving = ?2, settings = ?3 WHERE instance = ?1";
    // An advisory lock is tried for each row: nobody has the presence of an instance whose session is gone.
    const INSTANCES: &str = "SELECT i.id, i.name, i.version, i.since,
            (extract(epoch FROM clock_timestamp() - b.at) * 1000)::bigint, b.leaving <> 0, b.settings,
            (SELECT count(*) FROM shard WHERE owner = i.id),
            i.id = ?1 OR NOT pg_try_advisory_xact_lock_shared(i.id)
        FROM instance AS i JOIN beat AS b ON b.instance = i.id ORDER BY i.id";
    const STATE: &str = "SELECT id, began, (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
            (extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()) * 1000)::bigint,
            (SELECT coalesce(array_agg(s.id), '{}') FROM shard AS s WHERE s.owner = ?1)
        FROM era";
    // Nobody was heard of: the server was away, and callbacks may have been lost meanwhile.
    const NEW_ERA: &str =
        "UPDATE era SET id = ?1, began = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        WHERE NOT EXISTS (SELECT 1 FROM beat WHERE at > clock_timestamp() - ?2 * interval '1 second')";
    let leaving = i64::from(is_leaving);
    let answer = link.ask(async |client| {
        let beat = link.statement(client, BEAT).await?;
        let instances = link.statement(client, INSTANCES).await?;
        let state = link.statement(client, STATE).await?;
        let new_era_if_silent = link.statement(client, NEW_ERA).await?;
        let (era, silence) = (new_era(), TTL.as_secs_f64());
        let of_era: [&(dyn ToSql + Sync); 2] = [&era, &silence];
        let of_beat: [&(dyn ToSql + Sync); 3] = [&id, &leaving, &settings];
        let of_instances: [&(dyn ToSql + Sync); 1] = [&id];
        // A beat that is lost with the server is late, and no more.
        let (begun, drawn, beaten, instances, state, committed) = tokio::join!(
            client.batch_execute("BEGIN; SET LOCAL synchronous_commit = off"),
            client.execute(&new_era_if_silent, &of_era),
            client.execute(&beat, &of_beat),
            client.query(&instances, &of_instances),
            client.query_one(&state, &of_instances),
            client.batch_execute("COMMIT"),
        );
        begun?;
        drawn?;
        let (beaten, instances, state) = (beaten?, instances?, state?);
        committed?;
        if beaten == 0 {
            return Ok(None);
        }
        let (began_ms, server_ms): (i64, i64) = (state.try_get(1)?, state.try_get(2)?);
        let owned: Vec<i64> = state.try_get(4)?;
        Ok(Some(Roll {
            instances: instances.iter().map(read_instance).collect::<Result<_, _>>()?,
            era: state.try_get(0)?,
            era_age_ms: (server_ms - began_ms).max(0),
            server_ms,
            server_age_ms: state.try_get(3)?,
            owned: owned.into_iter().filter_map(|shard| u8::try_from(shard).ok()).collect(),
        }))
    });
    answer.inspect_err(|_| drop(link.batch("ROLLBACK")))
}

fn read_instance(row: &Row) -> Result<Instance, tokio_postgres::Error> {
    let shards: i64 = row.try_get(7)?;
    Ok(Instance {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        version: row.try_get(2)?,
        since_ms: row.try_get(3)?,
        silent_ms: row.try_get(4)?,
        is_leaving: row.try_get(5)?,
        settings: row.try_get(6)?,
        shards: u32::try_from(shards).unwrap_or(0),
        is_present: row.try_get(8)?,
    })
}

/// Buries `id`: ends its sessions, waits until none of its transactions runs, and frees what it owned. `false` if
/// another instance was first.
pub(super) fn bury(link: &Link, id: i64) -> Result<bool, PostgresError> {
    // It may have been heard of since it was judged. Nobody else buries it meanwhile.
    const STILL_DEAD: &str =
        "SELECT i.process FROM instance AS i JOIN beat AS b ON b.instance = i.id WHERE i.id = $1
        AND (b.at < clock_timestamp() - $2 * interval '1 second' OR pg_try_advisory_xact_lock(i.id))
        FOR UPDATE OF i";
    let silence = TTL.as_secs_f64();
    let buried = link.ask(async |client| {
        client.batch_execute("BEGIN").await?;
        let found = client.query_opt(STILL_DEAD, &[&id, &silence]).await?;
        let Some(found) = found else {
            client.batch_execute("ROLLBACK").await?;
            return Ok(false);
        };
        let process: String = found.try_get(0)?;
        // One that is paused in the middle of a transaction keeps its locks.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE split_part(application_name, ' ', 4) = $1 AND usename = current_user
            AND datname = current_database()";
        client.query(end, &[&process]).await?;
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&fence(id)]).await?;
        let deleted = client.execute("DELETE FROM instance WHERE id = $1", &[&id]).await?;
        if deleted > 0 {
            forget(client, id, &process).await?;
            // Callbacks may have been lost with it.
            let era =
                "UPDATE era SET id = $1, began = (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
            client.execute(era, &[&new_era()]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(deleted > 0)
    });
    buried.inspect_err(|_| drop(link.batch("ROLLBACK")))
}

/// Leaves the database: everything that `id` owned is free.
pub(super) fn leave(link: &Link, id: i64, process: &str) -> Result<(), PostgresError> {
    link.ask(async |client| {
        client.batch_execute("BEGIN").await?;
        client.execute("DELETE FROM instance WHERE id = $1", &[&id]).await?;
        forget(client, id, process).await?;
        client.batch_execute("COMMIT").await
    })
}

async fn forget(
    client: &tokio_postgres::Client,
    id: i64,
    process: &str,
) -> Result<(), tokio_postgres::Error> {
    client.execute("DELETE FROM beat WHERE instance = $1", &[&id]).await?;
    client.execute("UPDATE shard SET owner = NULL WHERE owner = $1", &[&id]).await?;
    client.execute("UPDATE media_fetch SET running = 0 WHERE running = $1", &[&id]).await?;
    client.execute("DELETE FROM writer WHERE name LIKE '% ' || $1", &[&process]).await?;
    Ok(())
}

/// Takes up to `count` shards that nobody owns. None for an instance that has been buried.
pub(super) fn take(link: &Link, id: i64, count: i64) -> Result<Vec<u8>, PostgresError> {
    let taken = link.ask(async |client| {
        client.batch_execute("BEGIN").await?;
        client.execute("SELECT pg_advisory_xact_lock_shared($1)", &[&fence(id)]).await?;
        let sql =
            "UPDATE shard SET owner = $1 WHERE EXISTS (SELECT 1 FROM instance WHERE id = $1) AND id IN (
                SELECT id FROM shard WHERE owner IS NULL ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING id";
        let rows = client.query(sql, &[&id, &count]).await?;
        client.batch_execute("COMMIT").await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(ids.into_iter().filter_map(|shard| u8::try_from(shard).ok()).collect())
    });
    taken.inspect_err(|_| drop(link.batch("ROLLBACK")))
}

/// Gives shards back.
pub(super) fn give_back(link: &Link, id: i64, shards: &[u8]) -> Result<(), PostgresError> {
    let shards: Vec<i64> = shards.iter().map(|shard| i64::from(*shard)).collect();
    let sql = "UPDATE shard SET owner = NULL WHERE owner = $1 AND id = ANY($2)";
    link.ask(async |client| client.execute(sql, &[&id, &shards]).await).map(drop)
}

/// Tells all instances something.
pub(super) fn notify(link: &Link, payloads: &[String]) -> Result<(), PostgresError> {
    let channel = channel(link);
    link.ask(async |client| {
        for payload in payloads {
            client.execute("SELECT pg_notify($1, $2)", &[&channel, payload]).await?;
        }
        Ok(())
    })
}
