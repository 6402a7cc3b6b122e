//! `messages`: lists the stored messages, and lets an operator retry or discard them.
//!
//! Works next to a running bridge, which it notifies through a stored `kv` entry.

mod change;
mod filter;

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::Subcommand;

use super::output::{Columns, print};
use super::{Error, with_store};
use crate::clock::Clock;
use crate::clock::calendar::utc;
use crate::config::Config;
use crate::model::{MessageId, Millis};
use crate::store::{MessageFilter, MessageSummary, Store};
use change::{Change, Desk, Selection};
use filter::Filters;

/// The number of ids that one query covers, so that none takes long.
const WINDOW: i64 = 20_000;

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  wechat-im-bridge messages list --state unknown")]
pub(super) enum Action {
    /// List the stored messages without their texts, the newest last
    ///
    /// Account calls, notices, transfers and agents' notes are listed too. Delivered messages are listed
    /// only with --state delivered or --all.
    #[command(after_help = "Examples:\n  wechat-im-bridge messages list --state held --json\n  \
                            wechat-im-bridge messages list --group --since 1d")]
    List {
        #[command(flatten)]
        filters: Filters,
        /// Count the messages by state, kind, direction and return code instead
        #[arg(long, conflicts_with = "limit")]
        group: bool,
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Send messages again: waiting ones at once, and held, refused, unknown or delivered ones
    ///
    /// Takes ids, or the filters of `list` with --yes. If an attempt is under way, its outcome no
    /// longer counts. An unknown message may already have arrived. If so, it arrives twice.
    #[command(after_help = "Examples:\n  wechat-im-bridge messages retry 17 18\n  \
                            wechat-im-bridge messages retry --state refused --code 45002 --since 2h --yes")]
    Retry(Selection),
    /// Discard messages: they become refused and are never sent
    ///
    /// Takes ids, or the filters of `list` with --yes. If an attempt is under way, its outcome no
    /// longer counts, and the message may still arrive.
    #[command(after_help = "Examples:\n  wechat-im-bridge messages discard 17\n  \
                            wechat-im-bridge messages discard --customer oABCD1234efgh5678IJKL90_-mno --yes")]
    Discard(Selection),
}

pub(super) fn run(action: &Action, config: &Config, clock: &Clock) -> Result<(), Error> {
    let now = clock.now();
    match action {
        Action::List { filters, group, json } => {
            let (filter, limit) = (filters.to_filter(now), filters.limit);
            with_store(config, clock, async |store| {
                let pushes = if filters.shows_pushes() {
                    unreadable_pushes(&store, &filter).await?
                } else {
                    Vec::new()
                };
                match (*group, limit) {
                    (true, _) => print_groups(&store, filter, pushes, *json).await,
                    (false, Some(limit)) => {
                        let mut page = pushes;
                        page.extend(newest(&store, &filter, limit).await?);
                        page.drain(..page.len().saturating_sub(limit as usize));
                        print_messages(&page, *json, &mut None)
                    }
                    (false, None) => list(&store, filter, pushes, *json).await,
                }
            })
        }
        Action::Retry(selection) => with_store(config, clock, async |store| {
            change::apply(
                &store,
                selection,
                now,
                Change::Retry { of_delivered: selection.yes },
                &Desk::of(config),
            )
            .await
        }),
        Action::Discard(selection) => {
            let (locale, random) = (config.texts.locale, rand::random());
            with_store(config, clock, async |store| {
                change::apply(&store, selection, now, Change::Discard { locale, random }, &Desk::of(config))
                    .await
            })
        }
    }
}

/// The columns of a table of messages. Only the last one may be long.
pub(super) const HEADER: [&str; 9] =
    ["ID", "STATE", "KIND", "DIRECTION", "CREATED", "ATTEMPTS", "OPENID", "AGENT", "LAST ERROR"];

pub(super) fn row(message: &MessageSummary) -> [String; 9] {
    [
        message.id.to_string(),
        message.state.to_owned(),
        message.kind.to_owned(),
        message.direction.to_owned(),
        utc(Millis(message.created_at)),
        message.attempts.to_string(),
        message.openid.clone(),
        message.agent.clone().unwrap_or_else(|| "-".to_owned()),
        message.last_error.clone().unwrap_or_default(),
    ]
}

/// The messages with ids above `after` and up to `until`.
async fn window(
    store: &Store,
    filter: &MessageFilter,
    after: i64,
    until: i64,
) -> Result<Vec<MessageSummary>, Error> {
    let filter = filter.clone();
    let read = store.read(move |tx| tx.list(&filter, MessageId(after), MessageId(until))).await;
    Ok(read.map_err(anyhow::Error::from)?)
}

/// The pushes that could not be read and that pass `filter`. They are no messages: nothing can be done with them.
async fn unreadable_pushes(store: &Store, filter: &MessageFilter) -> Result<Vec<MessageSummary>, Error> {
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method path is not general over the transaction's lifetime"
    )]
    let read = store.read(|tx| tx.list_unreadable()).await;
    let mut pushes = read.map_err(anyhow::Error::from)?;
    pushes.retain(|push| {
        filter.customer.as_ref().is_none_or(|customer| push.openid == customer.as_str())
            && filter.agent.as_ref().is_none_or(|agent| push.agent.as_ref() == Some(agent))
            && filter.code.is_none()
            && push.created_at >= filter.since.0
    });
    Ok(pushes)
}

/// The largest message id at present. Later messages are not looked at.
async fn newest_id(store: &Store) -> Result<i64, Error> {
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method path is not general over the transaction's lifetime"
    )]
    let newest = store.read(|tx| tx.newest_message()).await;
    Ok(newest.map_err(anyhow::Error::from)?.0)
}

/// Calls `visit` with the messages that pass `filter`, window by window, the oldest first.
async fn for_each_window(
    store: &Store,
    filter: &MessageFilter,
    mut visit: impl FnMut(&[MessageSummary]) -> Result<(), Error>,
) -> Result<(), Error> {
    let newest = newest_id(store).await?;
    let mut after = 0;
    while after < newest {
        let until = after.saturating_add(WINDOW).min(newest);
        visit(&window(store, filter, after, until).await?)?;
        after = until;
    }
    Ok(())
}

/// The newest `limit` messages that pass `filter`, the newest last.
async fn newest(store: &Store, filter: &MessageFilter, limit: u32) -> Result<Vec<MessageSummary>, Error> {
    let limit = limit as usize;
    let mut until = newest_id(store).await?;
    let mut found: Vec<MessageSummary> = Vec::new();
    while until > 0 && found.len() < limit {
        let after = (until - WINDOW).max(0);
        let older = window(store, filter, after, until).await?;
        found.splice(0..0, older);
        until = after;
    }
    found.drain(..found.len().saturating_sub(limit));
    Ok(found)
}

async fn list(
    store: &Store,
    filter: MessageFilter,
    pushes: Vec<MessageSummary>,
    json: bool,
) -> Result<(), Error> {
    let mut columns = None;
    if !pushes.is_empty() {
        print_messages(&pushes, json, &mut columns)?;
    }
    for_each_window(store, &filter, |page| match page {
        [] => Ok(()),
        page => print_messages(page, json, &mut columns),
    })
    .await?;
    if columns.is_none() && !json { print("no messages\n") } else { Ok(()) }
}

/// Prints a page of messages; with the first page, the header too.
fn print_messages(page: &[MessageSummary], json: bool, columns: &mut Option<Columns>) -> Result<(), Error> {
    if json {
        return print_json(page);
    }
    let rows: Vec<_> = page.iter().map(row).collect();
    match columns {
        Some(columns) => print(&columns.lines(&rows)),
        None if rows.is_empty() => print("no messages\n"),
        None => {
            let fitting = Columns::fitting(HEADER, &rows);
            print(&fitting.table(HEADER, &rows))?;
            *columns = Some(fitting);
            Ok(())
        }
    }
}

fn print_json(rows: &[impl serde::Serialize]) -> Result<(), Error> {
    let lines = rows.iter().map(|row| serde_json::to_string(row).map(|line| line + "\n"));
    print(&lines.collect::<Result<String, _>>().context("cannot write a message as JSON")?)
}

/// Messages that have these four in common.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
struct GroupKey {
    state: &'static str,
    kind: &'static str,
    direction: &'static str,
    code: Option<i64>,
}

#[derive(Clone, serde::Serialize)]
struct Group {
    #[serde(flatten)]
    key: GroupKey,
    count: u64,
    oldest_at: i64,
    newest_at: i64,
    /// The reason of the newest message.
    last_error: Option<String>,
}

async fn print_groups(
    store: &Store,
    filter: MessageFilter,
    pushes: Vec<MessageSummary>,
    json: bool,
) -> Result<(), Error> {
    const HEADER: [&str; 8] =
        ["COUNT", "STATE", "KIND", "DIRECTION", "CODE", "OLDEST", "NEWEST", "LAST ERROR OF THE NEWEST"];
    let mut groups: BTreeMap<GroupKey, Group> = BTreeMap::new();
    let mut count = |page: &[MessageSummary]| {
        for message in page {
            let MessageSummary { kind, state, direction, created_at, code, .. } = *message;
            let key = GroupKey { state, kind, direction, code };
            let first =
                Group { key, count: 0, oldest_at: created_at, newest_at: created_at, last_error: None };
            let group = groups.entry(key).or_insert(first);
            group.count += 1;
            group.oldest_at = group.oldest_at.min(created_at);
            group.newest_at = group.newest_at.max(created_at);
            group.last_error.clone_from(&message.last_error);
        }
        Ok(())
    };
    count(&pushes)?;
    for_each_window(store, &filter, count).await?;
    let mut groups: Vec<Group> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    if json {
        return print_json(&groups);
    }
    if groups.is_empty() {
        return print("no messages\n");
    }
    let rows: Vec<[String; 8]> = groups
        .iter()
        .map(|group| {
            [
                group.count.to_string(),
                group.key.state.to_owned(),
                group.key.kind.to_owned(),
                group.key.direction.to_owned(),
                group.key.code.map_or_else(|| "-".to_owned(), |code| code.to_string()),
                utc(Millis(group.oldest_at)),
                utc(Millis(group.newest_at)),
                group.last_error.clone().unwrap_or_default(),
            ]
        })
        .collect();
    let fitting = Columns::fitting(HEADER, &rows);
    print(&fitting.table(HEADER, &rows))
}
