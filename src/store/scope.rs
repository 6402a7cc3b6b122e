//! Whose data a write reads and changes.
//!
//! On SQLite one writer runs all writes, one after the other. On PostgreSQL several sessions write at the same time:
//! those of this process, and an operator's commands. Each write decides by what it has read, so it names what nobody
//! else may change meanwhile, and its transaction locks that before its first statement. Two writes whose scopes have
//! nothing in common must never depend on one another.

use crate::model::{ImUserId, Lane, MediaHash, OpenId};

/// What a write reads and changes, and which of the writers runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    queue: Queue,
    keys: Keys,
    /// It records an attempt, which only an instance that is alive may make.
    is_sending: bool,
}

/// The writers: neither waits for the other's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Accepts what the platforms send.
    Doors,
    /// Sends, and does everything in the background.
    Outbox,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keys {
    /// No other write may run meanwhile.
    Everything,
    /// No other write with one of these keys may. Two equal keys of different things only cost time.
    These([Option<u32>; 3]),
}

impl Scope {
    /// All that is stored.
    pub const EVERYTHING: Self = Self { queue: Queue::Outbox, keys: Keys::Everything, is_sending: true };

    /// A customer's conversation, which a platform's request changes.
    pub fn customer(openid: &OpenId) -> Self {
        Self::of_doors(Keys::These([Some(key("customer", openid.as_str())), None, None]))
    }

    /// The conversation of the customer who has this IM account, which a platform's request changes.
    pub fn account(user: &ImUserId) -> Self {
        let mut openids = user.possible_openids().into_iter();
        let mut next = || openids.next().map(|openid| key("customer", openid.as_str()));
        let keys = [next(), next(), None];
        // Not known: no user has more.
        let keys = if openids.next().is_some() { Keys::Everything } else { Keys::These(keys) };
        Self::of_doors(keys)
    }

    /// The same for a write that may also claim the first message of the customer's lane.
    pub fn may_claim(self) -> Self {
        Self { is_sending: true, ..self }
    }

    /// A customer's conversation, which the outbox changes.
    pub fn lane(lane: &Lane) -> Self {
        Self::customer(&lane.customer).in_background()
    }

    /// The same, and how busy all agents are.
    pub fn with_desk(self) -> Self {
        let keys = match self.keys {
            Keys::Everything => Keys::Everything,
            Keys::These([first, second, _]) => Keys::These([first, second, Some(key("desk", ""))]),
        };
        Self { keys, ..self }
    }

    /// What only one task of the background changes, by its name.
    pub fn task(name: &str) -> Self {
        Self::of_doors(Keys::These([Some(key("task", name)), None, None])).in_background()
    }

    /// The same for a write that no platform waits for.
    pub fn in_background(self) -> Self {
        Self { queue: Queue::Outbox, is_sending: true, ..self }
    }

    /// The value of one key in `kv`.
    pub fn kv(name: &str) -> Self {
        Self::of_doors(Keys::These([Some(key("kv", name)), None, None]))
    }

    /// The bytes of a file.
    pub fn media(hash: &MediaHash) -> Self {
        Self::of_doors(Keys::These([Some(key("media", hash.as_str())), None, None])).in_background()
    }

    fn of_doors(keys: Keys) -> Self {
        Self { queue: Queue::Doors, keys, is_sending: false }
    }

    /// Whether an instance that others take for dead must not make this write.
    pub(super) fn is_sending(self) -> bool {
        self.is_sending
    }

    /// The keys that its transaction locks; `None`: everything.
    pub(super) fn lock_keys(self) -> Option<Vec<i32>> {
        match self.keys {
            Keys::Everything => None,
            Keys::These(keys) => Some(keys.into_iter().flatten().map(u32::cast_signed).collect()),
        }
    }

    pub(super) fn queue(self) -> Queue {
        self.queue
    }
}

/// What the transaction of a group locks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Locks {
    /// Keeps all other writes out.
    Everything,
    /// Sorted, and each one once: two groups that lock in the same order cannot wait for one another.
    Keys(Vec<i32>),
}

impl Locks {
    /// The locks of a group with these scopes.
    pub fn of(scopes: impl IntoIterator<Item = Scope>) -> Self {
        let mut sorted = Vec::new();
        for scope in scopes {
            match scope.lock_keys() {
                None => return Self::Everything,
                Some(keys) => sorted.extend(keys),
            }
        }
        sorted.sort_unstable();
        sorted.dedup();
        Self::Keys(sorted)
    }
}

/// FNV-1a: the same in every version and on every machine, because several processes must agree on it.
fn key(kind: &str, name: &str) -> u32 {
    let bytes = kind.bytes().chain([0]).chain(name.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_locks_each_key_once_and_in_order() {
        let openid = |n: u8| OpenId::new(format!("o{n}")).unwrap();
        let scopes = (0..100).chain(0..100).map(|n| Scope::customer(&openid(n)));
        let Locks::Keys(keys) = Locks::of(scopes.clone()) else { panic!("not everything") };
        assert_eq!(keys.len(), 100);
        assert!(keys.is_sorted());
        assert_eq!(Locks::of(scopes.chain([Scope::EVERYTHING])), Locks::Everything);
    }

    #[test]
    fn a_conversation_has_the_same_key_whoever_changes_it() {
        let openid = OpenId::new("oABCD1234efgh5678IJKL90_-mno").unwrap();
        let lane = Lane { direction: crate::model::Direction::ToIm, customer: openid.clone() };
        let locks = Locks::of([Scope::customer(&openid)]);
        assert_eq!(Locks::of([Scope::lane(&lane)]), locks);
        let account = ImUserId::of_customer(&openid, 0).unwrap();
        let Locks::Keys(of_account) = Locks::of([Scope::account(&account)]) else { panic!("not everything") };
        let Locks::Keys(of_customer) = locks else { panic!("not everything") };
        assert!(of_account.contains(&of_customer[0]));
        let Locks::Keys(with_desk) = Locks::of([Scope::customer(&openid).with_desk()]) else {
            panic!("not everything")
        };
        assert!(with_desk.len() == 2 && with_desk.contains(&of_customer[0]));
        assert_ne!(key("customer", "a"), key("kv", "a"));
        assert_eq!(key("", ""), 0x050c_5d1f, "the published values of FNV-1a");
    }
}
