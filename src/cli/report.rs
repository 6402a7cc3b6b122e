//! `report`: per agent and day, how many conversations there were, how long customers waited, and how they rated.

mod figures;
mod render;

use clap::Args;

use super::output::print;
use super::{Error, with_store};
use crate::clock::Clock;
use crate::clock::calendar::age_ms;
use crate::config::Config;
use crate::model::Millis;
use crate::store::{Silence, Store, StoreError};
use figures::Report;

/// Rows that one question returns.
const BATCH: u32 = 1_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Only conversations that began within this time: 90s, 15m, 2h or 3d
    #[arg(long, value_name = "AGE", value_parser = age_ms)]
    since: i64,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options, config: &Config, clock: &Clock) -> Result<(), Error> {
    let zone = config.desk.zone.clone();
    let from = clock.now().plus(-options.since);
    let report = with_store(config, clock, async |store| {
        let mut report = Report::new(zone);
        collect(&store, from, &mut report).await.map_err(anyhow::Error::from)?;
        Ok(report)
    })?;
    let rows = report.rows();
    print(&match options {
        Options { csv: true, .. } => render::csv(&rows),
        Options { json: true, .. } => render::json(&rows),
        _ => render::table(&rows),
    })
}

async fn collect(store: &Store, from: Millis, report: &mut Report) -> Result<(), StoreError> {
    let mut cursor = Some((from, 0));
    while let Some(after) = cursor {
        let (ended, next) = store.read(move |tx| tx.ended_conversations(after, BATCH)).await?;
        for conversation in &ended {
            report.add_ended(conversation);
        }
        cursor = next;
    }
    // Those that go on, and those of which it is not recorded yet that they are over.
    let open = Silence { from, before: Millis(i64::MAX), again: false };
    let mut cursor = Some(0);
    while let Some(after) = cursor {
        let (found, next) = store.read(move |tx| tx.silent_conversations(open, after, BATCH)).await?;
        for facts in found.iter().filter(|facts| facts.begun_at >= from) {
            report.add_open(facts);
        }
        cursor = next;
    }
    let mut cursor = Some((from, 0));
    while let Some(after) = cursor {
        let (given, next) = store.read(move |tx| tx.ratings(after, BATCH)).await?;
        for rating in &given {
            report.add_rating(rating);
        }
        cursor = next;
    }
    Ok(())
}
