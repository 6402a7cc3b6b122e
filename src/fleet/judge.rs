//! Who is taken for dead, and how many shards an instance wants. Pure: no clock, no store.

use super::SHARDS;
use crate::store::{Instance, TTL};

/// Whether this instance may take others for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Those whose session is gone, and those who are late.
    All,
    /// Nobody: this instance was late itself, or its connection is new. The others may have had the same trouble.
    Nobody,
}

/// The instances that are taken for dead.
pub(super) fn dead(instances: &[Instance], me: i64, judgement: Judgement) -> Vec<&Instance> {
    if judgement == Judgement::Nobody {
        return Vec::new();
    }
    let ttl_ms = crate::clock::millis(TTL);
    instances
        .iter()
        .filter(|other| other.id != me && (!other.is_present || other.silent_ms > ttl_ms))
        .collect()
}

/// How many shards each instance wants that does not stop.
pub(super) fn wanted(instances: &[Instance], me: i64) -> usize {
    let is_leaving = |id| instances.iter().any(|other| other.id == id && other.is_leaving);
    if is_leaving(me) {
        return 0;
    }
    let staying = instances.iter().filter(|other| !other.is_leaving).count();
    SHARDS.div_ceil(staying.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: i64, silent_ms: i64, is_present: bool, is_leaving: bool) -> Instance {
        Instance {
            id,
            name: format!("machine {id}"),
            version: 2,
            since_ms: 0,
            silent_ms,
            is_present,
            is_leaving,
            settings: String::new(),
            shards: 0,
        }
    }

    #[test]
    fn those_are_dead_whose_session_is_gone_or_who_are_late() {
        let instances = [
            instance(1, 9_000, true, false),
            instance(2, 2_999, true, false),
            instance(3, 3_001, true, false),
            instance(4, 10, false, false),
        ];
        let found = |judgement| dead(&instances, 1, judgement).iter().map(|dead| dead.id).collect::<Vec<_>>();
        assert_eq!(found(Judgement::All), [3, 4]);
        assert!(found(Judgement::Nobody).is_empty());
    }

    #[test]
    fn the_shards_are_split_among_those_who_stay() {
        let three = [1, 2, 3].map(|id| instance(id, 0, true, id == 3));
        assert_eq!([1, 2, 3].map(|me| wanted(&three, me)), [128, 128, 0]);
        let three = [1, 2, 3].map(|id| instance(id, 0, true, false));
        assert_eq!(wanted(&three, 1), 86);
        assert_eq!(wanted(&three[..1], 1), SHARDS);
    }
}
