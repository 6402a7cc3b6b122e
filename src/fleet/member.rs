//! The task of one instance among others: it tells that it is alive, looks at the others, and takes and gives back
//! shards. It must never wait for anything but the database, because it is late then.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exchange::Notification;
use super::judge::{self, Judgement};
use super::shards::Ownership;
use super::{Era, Fleet, LEASE, Others};
use crate::clock::Clock;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::model::Millis;
use crate::store::{Heard, Instance, Membership, Roll, Scope, Store, StoreError, TTL, Tx};

/// How often an instance tells that it is alive.
const BEAT: Duration = Duration::from_millis(500);
/// An instance whose own heartbeats are further apart judges nobody.
const LATE: Duration = Duration::from_millis(1_500);
/// The clocks of this machine and of the database may differ by this much, milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// By this value operators' commands tell an outbox that messages are due, in all versions.
const SIGNAL_OF_OPERATORS: &str = "operator_signal";

/// What the task needs.
#[derive(Debug)]
pub struct MemberParts {
    /// The place among the instances.
    pub membership: Membership,
    /// The store.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Metrics,
    /// A digest of the settings that all instances must share. It may change at any time.
    pub settings: Live<String>,
}

/// The task of one instance.
#[derive(Debug)]
pub struct Member {
    fleet: Fleet,
    parts: MemberParts,
    heard: mpsc::Receiver<Heard>,
    /// When the last heartbeat that succeeded was asked for.
    last_beat: Option<Instant>,
    /// How many connections there were then, and since when there is the present one, if it replaced another.
    connection: (u64, Option<Instant>),
    /// The instances that were alive then.
    alive: BTreeSet<i64>,
    /// Those that were gone when this instance came. They are logged when it is ready.
    found_dead: Vec<Instance>,
    is_ready: bool,
    is_leaving: bool,
}

impl Member {
    /// Takes the place of this process among the instances: buries those that are gone, and takes its share of the
    /// shards. Fails if the database cannot be used.
    pub async fn join(parts: MemberParts) -> Result<(Fleet, Self), StoreError> {
        let heard = parts.membership.hear().ok_or(StoreError::Closed)?;
        let era = Era { id: 0, started_ms: parts.clock.monotonic_ms() };
        let fleet = Fleet::beside_others(parts.membership.clone(), era);
        let connection = (parts.membership.connection().1, None);
        let mut member = Self {
            fleet: fleet.clone(),
            parts,
            heard,
            last_beat: None,
            connection,
            alive: BTreeSet::new(),
            found_dead: Vec::new(),
            is_ready: false,
            is_leaving: false,
        };
        member.beat().await?;
        // What the burials have freed.
        member.beat().await?;
        Ok((fleet, member))
    }

    /// Runs until `left`. From `leaving` on it gives its shards back as soon as nothing holds them. Ends earlier if the
    /// thread of the control connection has ended, which is a bug: without it nobody can be alive.
    pub async fn run(mut self, leaving: CancellationToken, left: CancellationToken) {
        self.is_ready = true;
        std::mem::take(&mut self.found_dead).iter().for_each(log_burial);
        let mut tick = tokio::time::interval(BEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !left.is_cancelled() {
            let fleet = self.fleet.clone();
            let Some(others) = &fleet.0.others else { return };
            tokio::select! {
                _ = tick.tick() => self.try_beat().await,
                () = leaving.cancelled(), if !self.is_leaving => {
                    self.is_leaving = true;
                    self.try_beat().await;
                }
                () = others.drained.notified() => self.give_back(others).await,
                () = others.exchange.has_outgoing() => self.tell(others).await,
                heard = self.heard.recv() => match heard {
                    Some(heard) => if self.hear(others, &heard) {
                        self.try_beat().await;
                    },
                    None => return,
                },
                () = left.cancelled() => {}
            }
        }
    }

    async fn try_beat(&mut self) {
        if let Err(error) = self.beat().await {
            tracing::debug!(%error, "this instance cannot tell the others that it is alive; it tries again");
        }
    }

    /// Tells that this instance is alive, and acts on what it hears.
    async fn beat(&mut self) -> Result<(), StoreError> {
        let fleet = self.fleet.clone();
        let Some(others) = &fleet.0.others else { return Ok(()) };
        let asked = Instant::now();
        let number = self.parts.membership.connection().1;
        let roll = self.parts.membership.beat(self.is_leaving, self.parts.settings.get().to_string()).await?;
        let Some(roll) = roll else { return self.begin_again(others).await };
        let connection = self.parts.membership.connection().1;
        if connection != self.connection.0 {
            self.connection = (connection, Some(Instant::now()));
        }
        // The request may have waited for a new connection; then the beat is younger than `asked`, which does no harm.
        let is_late = self.last_beat.is_some_and(|last| asked.duration_since(last) > LATE);
        let is_new = self.connection.1.is_some_and(|since| since.elapsed() < TTL);
        self.last_beat = Some(asked);
        others.state.lock().lease = Some((asked + LEASE, number));
        // After a restart of the server all connections are new.
        let is_fresh = roll.server_age_ms < crate::clock::millis(TTL);
        let judgement = if is_late || is_new || is_fresh { Judgement::Nobody } else { Judgement::All };
        let me = self.parts.membership.id();
        let reconciled = others.state.lock().reconcile(&roll.owned);
        match reconciled {
            None => return self.begin_again(others).await,
            Some(unknown) if !unknown.is_empty() => {
                others.state.lock().add(&unknown);
                others.exchange.scan();
            }
            Some(_) => {}
        }
        for dead in judge::dead(&roll.instances, me, judgement) {
            self.bury(dead).await?;
        }
        self.note_era(&roll);
        self.note_members(others, &roll);
        self.balance(others, &roll, me).await?;
        self.update_status(others, &roll, me);
        Ok(())
    }

    async fn bury(&mut self, dead: &Instance) -> Result<(), StoreError> {
        if !self.parts.membership.bury(dead.id).await? {
            return Ok(());
        }
        let silent = Duration::from_millis(u64::try_from(dead.silent_ms).unwrap_or(0));
        self.parts.metrics.record_burial(silent);
        if self.is_ready {
            log_burial(dead);
        } else {
            self.found_dead.push(dead.clone());
        }
        self.parts.membership.tell(vec![Notification::MembersChanged.to_text()]).await
    }

    fn note_era(&self, roll: &Roll) {
        let mut era = self.fleet.0.era.lock();
        if era.id != roll.era {
            *era = Era { id: roll.era, started_ms: self.parts.clock.monotonic_ms() - roll.era_age_ms };
        }
    }

    /// After a change, signals may have been lost with whoever has gone.
    fn note_members(&mut self, others: &Others, roll: &Roll) {
        let alive: BTreeSet<i64> = roll.instances.iter().map(|instance| instance.id).collect();
        if alive != self.alive || self.parts.membership.take_missed() {
            self.alive = alive;
            others.exchange.scan();
        }
    }

    /// Takes shards, or gives some back, until this instance has its share.
    async fn balance(&mut self, others: &Others, roll: &Roll, me: i64) -> Result<(), StoreError> {
        let is_served_alone = self.parts.membership.is_served_alone().await?;
        let now = self.parts.clock.now();
        {
            let mut status = others.status.lock();
            status.served_alone_since = is_served_alone.then(|| status.served_alone_since.unwrap_or(now));
        }
        let wanted = if is_served_alone { 0 } else { judge::wanted(&roll.instances, me) };
        let owned = others.state.lock().owned();
        if owned < wanted {
            let count = u32::try_from(wanted - owned).unwrap_or(0);
            let taken = self.parts.membership.take(count).await?;
            if !taken.is_empty() {
                others.state.lock().add(&taken);
                others.exchange.scan();
            }
        }
        let has_kept = others.state.lock().drain_to(wanted);
        if has_kept {
            others.exchange.scan();
        }
        self.update_share(others);
        self.give_back(others).await;
        Ok(())
    }

    /// Gives back the shards that are to be given back and that nothing holds.
    async fn give_back(&self, others: &Others) {
        let drained = others.state.lock().drained();
        if drained.is_empty() {
            return;
        }
        // Until they are given back they stay taken, so that a failure is repeated with the next heartbeat.
        match self.parts.membership.give_back(drained.clone()).await {
            Ok(()) => {
                others.state.lock().remove(&drained);
                self.update_share(others);
                let told = vec![Notification::MembersChanged.to_text()];
                if let Err(error) = self.parts.membership.tell(told).await {
                    tracing::debug!(%error, "the others notice with their next heartbeat that shards are free");
                }
            }
            Err(error) => tracing::debug!(%error, "shards could not be given back; this is tried again"),
        }
    }

    fn update_share(&self, others: &Others) {
        let owned = others.state.lock().taken();
        self.fleet.0.share.set(owned);
    }

    async fn tell(&self, others: &Others) {
        let told = others.exchange.take_outgoing();
        if told.is_empty() {
            return;
        }
        if others.status.lock().served_alone_since.is_some() {
            // The program that sends hears of no notification. It looks at this value every second.
            let signal = |tx: &Tx<'_>| tx.put_kv(SIGNAL_OF_OPERATORS, &tx.now().0.to_string());
            if let Err(error) = self.parts.store.write_for(Scope::kv(SIGNAL_OF_OPERATORS), signal).await {
                tracing::debug!(%error, "the program that sends could not be told of new work");
            }
        }
        let texts = told.iter().map(Notification::to_text).collect();
        if let Err(error) = self.parts.membership.tell(texts).await {
            tracing::debug!(%error, "the other instances could not be told of new work; this is tried again");
            tokio::time::sleep(Duration::from_millis(50)).await;
            others.exchange.put_back(told);
        }
    }

    /// Returns whether the others must be looked at.
    fn hear(&self, others: &Others, heard: &Heard) -> bool {
        let Heard::Told(text) = heard else {
            others.exchange.scan();
            return true;
        };
        match Notification::of_text(text) {
            Some(Notification::Lanes(lanes)) => {
                let ours = lanes.into_iter().filter(|lane| self.fleet.owns(&lane.customer));
                others.exchange.hear(ours);
                false
            }
            Some(Notification::MembersChanged) => true,
            // What a newer version tells is not known. To scan is always right.
            Some(Notification::Scan) | None => {
                others.exchange.scan();
                false
            }
        }
    }

    /// This instance has been buried: everything in memory belongs to others now. It ends what runs, and enters again
    /// with a new number once nothing is left of its former life.
    async fn begin_again(&mut self, others: &Others) -> Result<(), StoreError> {
        tracing::warn!(
            "the other instances have taken this one for dead, because it was paused or could not reach the database, or \
             the database was wound back; it begins again"
        );
        let life = {
            let mut state = others.state.lock();
            state.lease = None;
            state.shards.iter_mut().for_each(|shard| shard.ownership = Ownership::NotOurs);
            state.life.clone()
        };
        self.update_share(others);
        life.cancel();
        while others.state.lock().is_held() {
            others.drained.notified().await;
        }
        // Writes that were begun in the former life are refused, as long as there is no new one.
        for scope in [Scope::kv("barrier"), Scope::task("barrier")] {
            let _ = self.parts.store.write_for(scope, |_| Ok(())).await;
        }
        self.parts.membership.enter_again().await?;
        others.state.lock().life = CancellationToken::new();
        self.last_beat = None;
        Ok(())
    }

    fn update_status(&self, others: &Others, roll: &Roll, me: i64) {
        let now = self.parts.clock.now();
        let ahead_ms = roll.server_ms - self.parts.clock.of_machine().0;
        let since = |known: Option<Millis>| known.unwrap_or(now);
        let settings = self.parts.settings.get();
        let different: Vec<String> = roll
            .instances
            .iter()
            .filter(|other| !other.settings.is_empty() && other.settings != *settings)
            .map(|other| other.name.clone())
            .collect();
        let owned = others.state.lock().owned();
        let mut status = others.status.lock();
        status.id = me;
        status.alive = roll.instances.len();
        status.owned = owned;
        status.era = roll.era;
        status.out_of_reach_since = None;
        let known = status.different_settings.take().map(|(since, _)| since);
        status.different_settings = (!different.is_empty()).then(|| (since(known), different));
        let known = status.clock_ahead.take().map(|(since, _)| since);
        status.clock_ahead = (ahead_ms.abs() > CLOCK_TOLERANCE_MS).then(|| (since(known), ahead_ms));
        self.parts.metrics.set_fleet(status.alive, status.owned);
    }
}

fn log_burial(dead: &Instance) {
    tracing::warn!(
        instance = %dead.name,
        silent_ms = dead.silent_ms,
        shards = dead.shards,
        "an instance is gone without a word; its customers are taken over"
    );
}
