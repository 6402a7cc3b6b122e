//! Which shards this instance owns, and what holds them. Pure: no clock, no store.

use std::time::Instant;

use rand::seq::IteratorRandom as _;
use tokio_util::sync::CancellationToken;

use super::SHARDS;

#[derive(Debug)]
pub(super) struct State {
    pub shards: [Shard; SHARDS],
    /// When the present lease ends, and on which connection it was given; `None`: there is none.
    pub lease: Option<(Instant, u64)>,
    /// Cancelled when this instance has been buried.
    pub life: CancellationToken,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shard {
    pub ownership: Ownership,
    /// How often it is held.
    pub holds: u32,
    /// When this instance took it.
    pub taken_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Ownership {
    #[default]
    NotOurs,
    Ours,
    /// It is given back as soon as nothing holds it.
    Draining,
}

impl Default for State {
    fn default() -> Self {
        Self { shards: [Shard::default(); SHARDS], lease: None, life: CancellationToken::new() }
    }
}

impl State {
    /// How many shards this instance works on.
    pub(super) fn owned(&self) -> usize {
        self.count(|ownership| ownership == Ownership::Ours)
    }

    /// How many shards nobody else has.
    pub(super) fn taken(&self) -> usize {
        self.count(|ownership| ownership != Ownership::NotOurs)
    }

    fn count(&self, is_counted: impl Fn(Ownership) -> bool) -> usize {
        self.shards.iter().filter(|shard| is_counted(shard.ownership)).count()
    }

    pub(super) fn add(&mut self, shards: &[u8]) {
        self.set(shards, Ownership::Ours);
        for number in shards {
            if let Some(shard) = self.shards.get_mut(usize::from(*number)) {
                shard.taken_at = Some(Instant::now());
            }
        }
    }

    /// Compares what this instance works on with what is stored. An answer may have been lost, or the database wound
    /// back. Returns the stored ones that it does not know of; `None` if something holds one that is not stored any
    /// more.
    pub(super) fn reconcile(&mut self, stored: &[u8]) -> Option<Vec<u8>> {
        let is_stored = |number: usize| stored.iter().any(|stored| usize::from(*stored) == number);
        for (number, shard) in self.shards.iter_mut().enumerate() {
            if shard.ownership == Ownership::NotOurs || is_stored(number) {
                continue;
            }
            if shard.holds > 0 || shard.ownership == Ownership::Ours {
                return None;
            }
            shard.ownership = Ownership::NotOurs;
        }
        let is_unknown = |number: &u8| {
            let shard = self.shards.get(usize::from(*number));
            shard.is_some_and(|shard| shard.ownership == Ownership::NotOurs)
        };
        Some(stored.iter().copied().filter(is_unknown).collect())
    }

    pub(super) fn remove(&mut self, shards: &[u8]) {
        self.set(shards, Ownership::NotOurs);
    }

    fn set(&mut self, shards: &[u8], ownership: Ownership) {
        for number in shards {
            if let Some(shard) = self.shards.get_mut(usize::from(*number)) {
                shard.ownership = ownership;
            }
        }
    }

    /// Begins to give shards back until `wanted` are left, or keeps some of them after all. They are drawn by lot: if
    /// those went first that are idle, whoever comes would get no work.
    /// Returns whether some are kept.
    pub(super) fn drain_to(&mut self, wanted: usize) -> bool {
        let owned = self.owned();
        let (from, to, count) = if owned > wanted {
            (Ownership::Ours, Ownership::Draining, owned - wanted)
        } else {
            (Ownership::Draining, Ownership::Ours, wanted - owned)
        };
        let shards = self.shards.iter_mut().filter(|shard| shard.ownership == from);
        for shard in shards.sample(&mut rand::rng(), count) {
            shard.ownership = to;
        }
        count > 0 && to == Ownership::Ours
    }

    /// The shards that can be given back.
    pub(super) fn drained(&self) -> Vec<u8> {
        let is_drained = |number: &u8| {
            let shard = self.shards.get(usize::from(*number));
            shard.is_some_and(|shard| shard.ownership == Ownership::Draining && shard.holds == 0)
        };
        (0..=u8::MAX).filter(is_drained).collect()
    }

    pub(super) fn is_held(&self) -> bool {
        self.shards.iter().any(|shard| shard.holds > 0)
    }
}

const _: () = assert!(SHARDS == u8::MAX as usize + 1, "a shard's number is a byte");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_given_back_when_nothing_holds_them_and_kept_if_they_are_wanted_again() {
        let mut state = State::default();
        state.add(&[1, 2, 3, 4]);
        for number in [1, 2, 3, 4] {
            state.shards[number].holds = 1;
        }
        state.drain_to(1);
        assert_eq!((state.owned(), state.taken(), state.drained().len()), (1, 4, 0));
        for shard in &mut state.shards {
            shard.holds = 0;
        }
        let drained = state.drained();
        assert_eq!(drained.len(), 3);
        state.remove(&drained[..1]);
        assert!(state.drain_to(2), "its lanes must be scanned");
        assert_eq!((state.owned(), state.taken()), (2, 3), "one is kept after all");
        state.drain_to(256);
        assert_eq!((state.owned(), state.taken()), (3, 3), "others are not taken by that");
        assert!(!state.is_held());
    }

    #[test]
    fn what_is_stored_counts_and_not_what_is_remembered() {
        let mut state = State::default();
        state.add(&[1, 2, 3]);
        assert_eq!(state.reconcile(&[1, 2, 3, 9]), Some(vec![9]), "the answer to a take was lost");
        state.drain_to(2);
        let drained = state.drained();
        let others: Vec<u8> = [1, 2, 3].into_iter().filter(|number| !drained.contains(number)).collect();
        assert_eq!(state.reconcile(&others), Some(vec![]), "the answer to a return was lost");
        assert_eq!(state.taken(), 2);
        assert_eq!(state.reconcile(&others[..1]), None, "the database was wound back");
    }
}
