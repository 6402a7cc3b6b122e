use super::*;
use crate::model::{Direction, ImUserId, Lane, MessageId, OpenId};
use proptest::prelude::*;

const RULE: MergeRule = MergeRule { below: 3, wait_ms: 3_000 };
const FAR: Millis = Millis(i64::MAX / 2);

fn text_at(id: i64, at: i64, text: &str) -> PendingCall {
    PendingCall {
        id: MessageId(id),
        lane: Lane { direction: Direction::ToWechat, customer: OpenId::new("oA").unwrap() },
        kind: MessageKind::Message,
        agent: ImUserId::new("user1").ok(),
        call: OutboundCall::TextToCustomer(text.to_owned()),
        call_index: 0,
        call_count: 1,
        msg_seq: 1,
        msg_random: 1,
        created_at: Millis(at),
        attempts: 0,
        attempt_at: Millis(0),
        unsettled: false,
        attached: AttachState::Detached,
        before_backfill: false,
        rounds: 0,
        generation: 0,
        waiting_since: Millis(at),
        burst: None,
    }
}

fn ids(burst: &Burst) -> Vec<i64> {
    match burst {
        Burst::Leaves(lines) => lines.iter().map(|line| line.id.0).collect(),
        waits => panic!("{waits:?}"),
    }
}

/// The burst of the first of `lines`, as the lane shows it at `now`.
fn burst_of(lines: &[PendingCall], now: i64) -> Burst {
    RULE.burst(&lines[0], lines[1..].iter().cloned().map(Some), FAR, Millis(now))
}

#[test]
fn a_line_waits_for_the_next_one_and_never_for_ever() {
    let mut lines = vec![text_at(1, 10_000, "a")];
    assert_eq!(burst_of(&lines, 10_000), Burst::Waits(Millis(13_000)));
    assert_eq!(ids(&burst_of(&lines, 13_000)), Vec::<i64>::new());
    lines.push(text_at(2, 12_000, "b"));
    assert_eq!(burst_of(&lines, 12_000), Burst::Waits(Millis(15_000)));
    assert_eq!(ids(&burst_of(&lines, 15_000)), [2]);
    for (id, at) in (3..).zip([14_500, 17_000, 18_900]) {
        lines.push(text_at(id, at, "c"));
    }
    assert_eq!(burst_of(&lines, 18_900), Burst::Waits(Millis(19_000)), "three times the wait in all");
    assert_eq!(ids(&burst_of(&lines, 19_000)), [2, 3, 4, 5]);
}

#[test]
fn whatever_cannot_join_ends_the_burst_at_once() {
    let first = text_at(1, 10_000, "a");
    let other = |change: fn(&mut PendingCall)| {
        let mut next = text_at(3, 10_000, "b");
        change(&mut next);
        let lines = [first.clone(), text_at(2, 10_000, "joins"), next, text_at(4, 10_000, "behind")];
        ids(&burst_of(&lines, 10_000))
    };
    for change in [
        (|next| next.agent = ImUserId::new("user2").ok()) as fn(&mut PendingCall),
        |next| next.call = OutboundCall::Note(String::new()),
        |next| next.call_count = 2,
        |next| next.generation = 1,
        |next| next.waiting_since = Millis(10_001),
        |next| next.unsettled = true,
        |next| next.attached = AttachState::NotSent,
        |next| next.created_at = Millis(13_001),
        |next| next.call = OutboundCall::TextToCustomer("x".repeat(1_993)),
    ] {
        assert_eq!(other(change), [2]);
    }
    let fits = |next: &mut PendingCall| next.call = OutboundCall::TextToCustomer("x".repeat(1_992 - 7));
    assert_eq!(other(fits), [2, 3, 4], "exactly 2,000 bytes");
    let unreadable = [Some(text_at(2, 10_000, "joins")), None];
    assert_eq!(ids(&RULE.burst(&first, unreadable, FAR, Millis(10_000))), [2]);
    // What may not join others does not wait for them either.
    let mut again = text_at(1, 10_000, "a");
    again.generation = 1;
    assert_eq!(ids(&burst_of(&[again, text_at(2, 10_000, "b")], 10_000)), Vec::<i64>::new());
}

#[test]
fn a_line_waits_neither_for_a_window_that_closes_nor_for_a_clock_that_was_set_back() {
    let first = text_at(1, 10_000, "a");
    let alone = |window_end, now| RULE.burst(&first, None, Millis(window_end), Millis(now));
    assert_eq!(ids(&alone(19_000, 10_000)), Vec::<i64>::new());
    assert_eq!(alone(19_001, 10_000), Burst::Waits(Millis(13_000)));
    assert_eq!(ids(&alone(FAR.0, 9_999)), Vec::<i64>::new());
}

proptest! {
    /// An agent types; the lane is looked at when something comes and when a wait is over, as the outbox does it.
    #[test]
    fn every_line_leaves_once_in_order_in_time_and_in_full_calls(
        typed in prop::collection::vec((0_i64..5_000, 1_usize..1_200), 1..40)
    ) {
        let mut at = 1_000_000;
        let lines: Vec<PendingCall> = (1..).zip(&typed).map(|(id, (gap, bytes))| {
            at += gap;
            text_at(id, at, &"x".repeat(*bytes))
        }).collect();
        let (mut left, mut now) = (Vec::new(), lines[0].created_at.0);
        let mut calls: Vec<Vec<i64>> = Vec::new();
        while left.len() < lines.len() {
            let waiting: Vec<PendingCall> =
                lines[left.len()..].iter().filter(|line| line.created_at.0 <= now).cloned().collect();
            let next_typed = lines.iter().map(|line| line.created_at.0).find(|typed| *typed > now);
            if waiting.is_empty() {
                now = next_typed.unwrap();
                continue;
            }
            match burst_of(&waiting, now) {
                Burst::Waits(until) => {
                    prop_assert!(until.0 > now && until.0 <= waiting[0].created_at.0 + 9_000);
                    now = next_typed.unwrap_or(i64::MAX).min(until.0);
                }
                waits @ Burst::BeforeBackfill(_) => panic!("{waits:?}"),
                Burst::Leaves(others) => {
                    let call: Vec<&PendingCall> = std::iter::once(&waiting[0]).chain(&others).collect();
                    prop_assert!(joined_text(call.iter().copied()).len() <= TEXT_BYTES);
                    calls.push(call.iter().map(|line| line.id.0).collect());
                    left.extend(call.iter().map(|line| line.id.0));
                }
            }
        }
        prop_assert_eq!(left, (1..=i64::try_from(lines.len()).unwrap()).collect::<Vec<_>>());
        // Two calls in a row could not have been one.
        for pair in calls.windows(2) {
            let line = |id: i64| &lines[usize::try_from(id - 1).unwrap()];
            let (first, last, next) = (line(pair[0][0]), line(*pair[0].last().unwrap()), line(pair[1][0]));
            let bytes: usize = pair[0].iter().map(|id| typed[usize::try_from(id - 1).unwrap()].1 + 1).sum();
            let next_bytes = typed[usize::try_from(pair[1][0] - 1).unwrap()].1;
            prop_assert!(
                next.created_at.since(last.created_at) >= 3_000
                    || next.created_at.since(first.created_at) >= 9_000
                    || bytes + next_bytes > TEXT_BYTES
                    || bytes >= TEXT_BYTES
            );
        }
    }
}
