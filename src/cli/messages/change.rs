//! `messages retry` and `messages discard`.

use clap::Args;

use super::filter::Filters;
use super::{for_each_window, newest};
use crate::bridge::{give_to_anybody, notify_discarded};
use crate::cli::output::print;
use crate::cli::{Error, ErrorWithHint};
use crate::clock::millis;
use crate::config::{Config, Group, Locale};
use crate::model::{Direction, ImUserId, MessageId, MessageKind, Millis, Move, State};
use crate::outbox::OPERATOR_SIGNAL;
use crate::store::{MessageFilter, PendingCall, Store, StoreError, Tx};

/// The most messages that one transaction changes.
const BATCH: usize = 200;

/// The messages to change: ids or filters.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Selection {
    /// The messages' ids
    #[arg(
        value_name = "ID",
        value_parser = clap::value_parser!(i64).range(1..),
        required_unless_present_any = FILTERS,
        conflicts_with_all = FILTERS,
    )]
    ids: Vec<i64>,
    #[command(flatten)]
    filters: Filters,
    /// Change all messages that pass the filters; with `retry`, also delivered ones
    #[arg(long)]
    pub(super) yes: bool,
}

const FILTERS: [&str; 7] = ["state", "customer", "agent", "code", "since", "limit", "all"];

/// What is done with a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It is sent again. `of_delivered`: even if it has been delivered, or its agent recalled it.
    Retry { of_delivered: bool },
    /// It becomes refused. Its agent gets a notice in this locale.
    Discard { locale: Locale, random: u32 },
}

/// Who gets a customer's message that has no agent yet and is sent again.
#[derive(Clone, Debug, Default)]
pub(super) struct Desk {
    /// The agents.
    agents: Vec<ImUserId>,
    /// Their groups.
    groups: Vec<Group>,
    /// How long a conversation counts as open, milliseconds.
    session_idle_ms: i64,
}

impl Desk {
    /// By the configuration.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            agents: config.im.agents.clone(),
            groups: config.desk.groups.clone(),
            session_idle_ms: millis(config.wechat.session_idle),
        }
    }
}

/// A message that must not be changed, so that none is.
enum Kept {
    /// It was delivered or recalled, and `--yes` is missing.
    Ended(MessageId, State),
    /// It is a note, which cannot be sent.
    Note(MessageId),
}

/// Changes the selected messages and prints how many.
pub(super) async fn apply(
    store: &Store,
    selection: &Selection,
    now: Millis,
    change: Change,
    desk: &Desk,
) -> Result<(), Error> {
    let count = if selection.ids.is_empty() {
        let filter = selection.filters.to_filter(now);
        let ids = matching(store, &filter, selection.filters.limit).await?;
        if !selection.yes {
            let problem = format!("{} would be changed; nothing is changed yet", messages(ids.len()));
            return Err(ErrorWithHint { problem, hint: "add --yes to change them".to_owned() }.into());
        }
        let mut count = 0;
        for batch in ids.chunks(BATCH) {
            count += apply_batch(store, batch.to_vec(), Some(filter.states.clone()), change, desk).await?;
        }
        count
    } else {
        let mut ids = selection.ids.clone();
        ids.sort_unstable();
        ids.dedup();
        apply_batch(store, ids, None, change, desk).await?
    };
    let done = match change {
        Change::Retry { .. } => "retried",
        Change::Discard { .. } => "discarded",
    };
    print(&format!("{done} {}\n", messages(count)))
}

fn messages(count: usize) -> String {
    if count == 1 { "1 message".to_owned() } else { format!("{count} messages") }
}

/// The ids of the messages that pass the filter.
async fn matching(store: &Store, filter: &MessageFilter, limit: Option<u32>) -> Result<Vec<i64>, Error> {
    let mut ids = Vec::new();
    if let Some(limit) = limit {
        let newest = newest(store, filter, limit).await?;
        ids.extend(newest.iter().map(|message| message.id));
        return Ok(ids);
    }
    for_each_window(store, filter, |page| {
        ids.extend(page.iter().map(|message| message.id));
        Ok(())
    })
    .await?;
    Ok(ids)
}

/// Changes all of `ids` in one transaction, or none. With `states`, leaves messages alone that are
/// in none of them any more. Returns how many it changed.
async fn apply_batch(
    store: &Store,
    ids: Vec<i64>,
    states: Option<Vec<State>>,
    change: Change,
    desk: &Desk,
) -> Result<usize, Error> {
    let desk = desk.clone();
    let write = move |tx: &Tx<'_>| {
        let mut selected = Vec::new();
        for id in ids.iter().copied().map(MessageId) {
            match tx.state(id) {
                // It was deleted since it was found.
                Err(StoreError::NoMessage(_)) if states.is_some() => {}
                Ok(state) if states.as_ref().is_some_and(|states| !states.contains(&state)) => {}
                // A note has no receiver. It can be discarded, and is then shown to nobody.
                Ok(_) if matches!(change, Change::Retry { .. }) && tx.is_note(id)? => {
                    if states.is_none() {
                        return Ok(Err(Kept::Note(id)));
                    }
                }
                Ok(state @ (State::Delivered | State::Recalled))
                    if matches!(change, Change::Retry { of_delivered: false }) =>
                {
                    return Ok(Err(Kept::Ended(id, state)));
                }
                Ok(_) => selected.push(id),
                Err(error) => return Err(error),
            }
        }
        selected.iter().try_for_each(|id| change_one(tx, *id, change, &desk))?;
        tx.put_kv(OPERATOR_SIGNAL, &tx.now().0.to_string())?;
        Ok(Ok(selected.len()))
    };
    match store.write(write).await {
        Ok(Ok(count)) => Ok(count),
        Ok(Err(Kept::Note(id))) => {
            let problem = format!("message {id} is a note of an agent; nothing is changed");
            let hint = "a note is never sent; `messages discard` removes it from what agents see";
            Err(ErrorWithHint { problem, hint: hint.to_owned() }.into())
        }
        Ok(Err(Kept::Ended(id, state))) => {
            let problem = format!("message {id} has been {}; nothing is changed", state.name());
            let hint = "add --yes to send it nevertheless".to_owned();
            Err(ErrorWithHint { problem, hint }.into())
        }
        Err(error @ StoreError::NoMessage(_)) => {
            let problem = format!("{error}; nothing is changed");
            let hint = "`messages list --all` shows the stored messages; ended ones are kept for 30 days";
            Err(ErrorWithHint { problem, hint: hint.to_owned() }.into())
        }
        Err(error) => Err(anyhow::Error::from(error).into()),
    }
}

fn change_one(tx: &Tx<'_>, id: MessageId, change: Change, desk: &Desk) -> Result<(), StoreError> {
    let (event, transition, why) = match change {
        Change::Retry { .. } => ("retry", Move::Reopen, None),
        Change::Discard { .. } => ("discard", Move::Discard, Some("discarded by the operator")),
    };
    // Record the step first: if the customer has unsubscribed, the move deletes the row.
    match tx.lane_of(id) {
        Err(error) if error.is_unreadable() => {}
        lane => tx.record_step(&lane?.customer, Some(id), event, "by the operator", None)?,
    }
    if let Change::Discard { locale, random } = change
        && matches!(
            tx.state(id)?,
            State::Accepted | State::Sending | State::Held | State::Unknown | State::Deferred | State::Queued
        )
    {
        match tx.pending_call(id) {
            Err(error) if error.is_unreadable() => {}
            // Ids differ, and so do the random numbers of their notices.
            pending => {
                let random = random.wrapping_add(u32::try_from(id.0 & 0xffff).unwrap_or(0));
                notify_discarded(tx, locale, &pending?, random)?;
            }
        }
    }
    tx.act_as_operator(id, transition, why)?;
    match (change, tx.pending_call(id)) {
        // It waited for an agent: somebody gets it now, with all that the customer has written.
        (Change::Retry { .. }, Ok(PendingCall { kind: MessageKind::Message, agent: None, lane, .. }))
            if lane.direction == Direction::ToIm =>
        {
            give_to_anybody(tx, &lane.customer, &desk.agents, &desk.groups, desk.session_idle_ms)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
