//! One random run of calls on both engines: every answer and all that is stored at the end are equal.

use proptest::prelude::*;

use super::dump::{dump, outcome, tables};
use super::{ended, line};
use crate::model::{
    Direction, ImUserId, Lane, MediaHash, MediaKind, MediaName, MediaOrigin, MediaRequest, MessageId,
    MessageKind, Millis, Move, OpenId, OutboundCall, State,
};
use crate::store::*;

const DAY_MS: i64 = 86_400_000;
const MOVES: [Move; 12] = [
    Move::Attempt,
    Move::Deliver,
    Move::Requeue,
    Move::Hold,
    Move::Release,
    Move::Queue,
    Move::Refuse,
    Move::MarkUnknown,
    Move::SetAside,
    Move::Reopen,
    Move::Recall,
    Move::Discard,
];
/// Texts that the engines could store, compare or sort differently.
const TEXTS: [&str; 8] = ["", "a", "B", "ä", "你好 😀", "it's \"quoted\" \\ {}", "line\nbreak\t\u{7f}", "%_"];

/// A call: its number, and what its arguments are made of.
#[derive(Clone, Copy, Debug)]
struct Call {
    what: u8,
    a: u8,
    b: u8,
    c: u8,
    /// How much time has passed since the call before.
    passed_ms: i64,
}

fn call() -> impl Strategy<Value = Call> {
    let passed = prop_oneof![6 => Just(0_i64), 4 => 0..50_i64, 2 => 0..40_000_i64, 1 => 0..40 * DAY_MS];
    (any::<u8>(), any::<u8>(), any::<u8>(), any::<u8>(), passed).prop_map(|(what, a, b, c, passed_ms)| Call {
        what,
        a,
        b,
        c,
        passed_ms,
    })
}

fn customer(n: u8) -> OpenId {
    OpenId::new(["oA", "oa", "oB-_", "oB1"][usize::from(n % 4)]).unwrap()
}

fn agent(n: u8) -> ImUserId {
    ImUserId::new(["user1", "user2", "User1"][usize::from(n % 3)]).unwrap()
}

fn direction(n: u8) -> Direction {
    if n.is_multiple_of(2) { Direction::ToIm } else { Direction::ToWechat }
}

fn text(n: u8) -> &'static str {
    TEXTS[usize::from(n) % TEXTS.len()]
}

fn message(n: u8) -> MessageId {
    MessageId(i64::from(n % 24) + 1)
}

fn key(n: u8) -> String {
    format!("m:{}:{}", n % 9, text(n))
}

fn hash(n: u8) -> MediaHash {
    MediaHash::of_digest([n % 5; 32])
}

fn name(n: u8) -> MediaName {
    MediaName::of_bits(u128::from(n % 7) << 100)
}

fn calls(n: u8) -> Vec<OutboundCall> {
    let text = |n: u8| OutboundCall::TextToCustomer(format!("{}\0{n}", text(n)));
    match n % 4 {
        0 => vec![OutboundCall::ImportAccount, OutboundCall::TextToAgent(self::text(n).to_owned())],
        1 => vec![text(n), text(n / 3), text(n / 5)],
        _ => vec![text(n)],
    }
}

fn debug<T: std::fmt::Debug>(answer: T) -> String {
    format!("{answer:?}")
}

/// Makes the call and returns its answer.
#[expect(clippy::too_many_lines, reason = "one line or two for each call")]
fn apply(tx: &Tx<'_>, call: Call) -> Result<String, StoreError> {
    let Call { what, a, b, c, .. } = call;
    let (now, openid, id) = (tx.now(), customer(a), message(b));
    let lane = || Lane { direction: direction(b), customer: customer(a) };
    Ok(match what % 76 {
        0..=7 => {
            let kinds =
                [MessageKind::Message, MessageKind::Account, MessageKind::Notice, MessageKind::Transfer];
            let kind = kinds[usize::from(if c < 160 { 0 } else { c % 4 })];
            let message = NewMessage {
                direction: direction(b),
                kind: if c > 230 { MessageKind::Note } else { kind },
                openid,
                agent: (b % 3 > 0).then(|| agent(c)),
                calls: calls(c),
                msg_seq: u32::from(a),
                msg_random: u32::MAX - u32::from(b),
                source: key(c),
                erase: c == 7,
            };
            match what % 4 {
                0 => debug(tx.add_claimed(message)?),
                _ if message.kind == MessageKind::Note => debug(tx.add_note(&message)?),
                _ => debug(tx.add(&message)?),
            }
        }
        8..=11 => {
            let mut customer = Customer {
                agent: (b % 3 > 0).then(|| agent(c)),
                active_at: now,
                known: c % 9 > 0,
                imported: b % 2 > 0,
                next_seq: u32::from(c),
                message_until: now.plus(1_000),
                message_left: 5,
                away_until: now.plus(i64::from(c)),
                known_since: now,
                ..Customer::new(openid)
            };
            if c % 4 > 0 {
                debug(tx.put_customer(&customer)?)
            } else {
                debug(tx.begin_conversation(&mut customer)?)
            }
        }
        12 => {
            let customer = tx.customer(&openid)?;
            customer.as_ref().map_or(Ok(()), |customer| tx.record_served(customer, &agent(c)))?;
            debug(customer)
        }
        13 => debug(tx.set_account(&openid, u32::from(b), c % 2 > 0)?),
        14 => debug(tx.conversations_by_agent(now.plus(-DAY_MS))?),
        15 if c < 60 => debug(tx.forget_customer(&openid)?),
        16..=18 => debug(tx.head(&lane())?),
        19..=21 => debug(tx.record_attempt_at(id)?),
        22..=27 => {
            let settlement = Settlement {
                why: (c % 2 > 0).then(|| text(c).to_owned()),
                due_at: now.plus(i64::from(c) * 100),
                call_done: c.is_multiple_of(5),
                took_ms: (c % 3 > 0).then(|| i64::from(c)),
            };
            debug(tx.settle(id, MOVES[usize::from(c) % MOVES.len()], &settlement)?)
        }
        28 => debug(tx.postpone(id, now.plus(5_000), text(c))?),
        29 => debug(tx.reschedule_preparation(id, now.plus(5_000), text(c))?),
        30 => debug(tx.reschedule_resolve(id, now.plus(5_000), text(c))?),
        31 => debug((tx.state(id)?, tx.lane_of(id)?)),
        32 => {
            let pending = tx.pending_call(id)?;
            debug((tx.lane_behind(&pending, 3)?, tx.rest_of_burst(&pending)?, pending))
        }
        33 => {
            let first = tx.pending_call(id)?;
            let behind = tx.lane_behind(&first, 2)?;
            let lines: Vec<_> = std::iter::once(&first).chain(behind.iter().flatten()).collect();
            debug((tx.record_round(id)?, tx.record_burst(&lines)?))
        }
        34 => debug(tx.set_aside(id)?),
        35 => {
            let pending = tx.pending_call(id)?;
            debug((tx.current(&pending)?, tx.mark_wait_noticed(id)?))
        }
        36 => debug(tx.head_id(&lane())?),
        37 => debug(tx.long_waiting(now.plus(-1_000), 3)?),
        38 => debug(tx.held(&openid, 3)?),
        39 => debug(tx.attach(id, u32::from(c % 3), &key(c), now.plus(20_000))?),
        40 => debug(tx.resplit(id, &calls(c))?),
        41 => debug((tx.has_attached(&openid)?, tx.parked(&openid)?, tx.count_held(&openid)?)),
        42 => debug((tx.count_held_before_pending(&openid)?, tx.has_held_before(&openid, id)?)),
        43 => debug(tx.reattach(&openid, &key(c), now.plus(20_000))?),
        44 => debug(tx.settle_sent_reply(&openid, &key(c), Move::Requeue)?),
        45 => debug((tx.set_push_not_before(&openid, now)?, tx.push_not_before(&openid)?)),
        46 => debug(tx.mark_reply_not_sent(&openid, &key(c))?),
        47 => debug(tx.mark_held_noticed(id)?),
        48 => {
            let merge = |calls: &[OutboundCall]| (calls.len() < 4).then(|| [calls, &calls[..1]].concat());
            debug(tx.merge_notice(&openid, &agent(c), merge)?)
        }
        49 => debug(tx.set_sent_at(id, i64::from(c), c % 2 > 0)?),
        50 | 51 => {
            let newest = tx.newest_message()?;
            tx.set_sent_at(newest, i64::from(c), false)?;
            debug(tx.insert_by_time(&openid, newest, (i64::from(c), 1))?)
        }
        52 => debug((tx.answer(id)?, tx.answer_by_source(&key(c))?)),
        53 => debug((tx.set_content_hash(id, text(c), now)?, tx.replace_calls(id, &calls(c))?)),
        54 => debug((tx.request_recall(id)?, tx.is_recall_requested(id)?)),
        55 => {
            let customer = tx.customer(&openid)?.unwrap_or_else(|| Customer::new(openid.clone()));
            let failed = tx.failed_answers(&customer, 3)?;
            let note = tx.note_by_source(&openid, &key(c))?.is_some();
            let said = (tx.past_messages(&openid, &agent(c), 5)?, tx.last_messages(&openid, 5)?);
            debug((said, tx.last_agent(&openid)?, failed, note))
        }
        56 => debug(tx.reassign_pending(&openid, &agent(c), u32::from(b))?),
        57 => {
            debug(tx.record_step(&openid, (b % 2 > 0).then_some(id), text(b), text(c), Some(i64::from(c)))?)
        }
        58 => {
            let first = tx.first_reply(&key(c))?;
            if first.is_none() {
                tx.record_dedup(&key(c), (b % 2 > 0).then(|| text(b)))?;
                tx.set_reply_customer(&key(c), &openid)?;
            }
            debug(first)
        }
        59 => debug((tx.put_kv(text(b), text(c))?, tx.kv(text(a))?)),
        60 => {
            let agents = [agent(0), agent(1), agent(2)];
            let due = tx.due_backfills(&agents, i64::from(c % 2), now.plus(-DAY_MS), 4)?;
            let missing = tx.missing_backfills(&openid, &agents, i64::from(c % 2))?;
            for backfill in missing.iter().take(usize::from(b % 3)) {
                let backfill = Backfill { run_id: i64::from(c % 2), ..backfill.clone() };
                tx.set_backfilled_until(&backfill, i64::from(b))?;
            }
            if let Some(backfill) = missing.last().filter(|_| b > 200) {
                tx.abandon_backfill(backfill, i64::from(c % 2))?;
            }
            debug((due, missing))
        }
        61 => debug((tx.open_lanes(direction(b), None, 3)?, tx.open_lanes(direction(b), Some(&openid), 3)?)),
        62 => {
            match c % 3 {
                0 => tx.ask_question(&openid, now.plus(i64::from(b) * 1_000))?,
                1 => tx.answer_question(&openid)?,
                _ => tx.delete_question(&openid)?,
            }
            if let Some(question) = tx.question(&openid)? {
                tx.put_question(&openid, &Question { reminded_until: now, ..question })?;
            }
            debug((tx.question(&openid)?, tx.due_questions(None, 3)?, tx.counts()?))
        }
        63 => {
            if tx.medium(&name(b))?.is_none() {
                tx.add_medium(&name(b), &openid, MediaOrigin::Customer)?;
                let request = MediaRequest {
                    kind: MediaKind::Voice,
                    ids: vec![text(c).to_owned()],
                    url: None,
                    mp3: (c % 2 > 0).then(|| name(c)),
                };
                tx.enqueue_fetch(&name(b), &openid, &request)?;
            }
            debug(tx.set_medium_file(&name(c), &MediumFile { hash: hash(c), size: u64::from(c) << 33 })?)
        }
        64 => {
            let mut claimed = tx.claim_fetches(2, 1)?;
            claimed.sort_by_key(|fetch| (fetch.created_at, fetch.name.as_str().to_owned()));
            debug((claimed, tx.next_fetch_at()?))
        }
        65 => debug((tx.reschedule_fetch(&name(b), now)?, tx.make_fetch_due(&name(c))?)),
        66 => debug((
            tx.finish_fetch(&name(b))?,
            tx.is_fetch_pending(&name(c))?,
            tx.release_fetches(now, true)?,
        )),
        67 => {
            let orphans = tx.orphans(9)?;
            let referenced = tx.is_file_referenced(&hash(c))?;
            let pruned = if b % 2 > 0 {
                tx.prune_media(now.plus(-DAY_MS), 2)?
            } else {
                tx.prune_oldest_media(u64::from(c) << 33, 2)?
            };
            tx.unmark_orphan(&hash(b))?;
            tx.mark_orphan(&hash(c))?;
            debug((orphans, referenced, pruned))
        }
        68 => {
            tx.put_upload(&hash(b), text(c), &key(c), now.plus(DAY_MS))?;
            tx.forget_upload(&key(a))?;
            debug(tx.uploaded_media_id(&hash(c), text(b))?)
        }
        69 => {
            let row = UnreadableRow {
                hash: key(b),
                openid: (a % 2 > 0).then_some(openid),
                agent: (c % 2 > 0).then(|| agent(c)),
                why: text(c).to_owned(),
                body: vec![0, 255, c],
            };
            let kept = tx.keep_unreadable(&row)?;
            let listed = tx.list_unreadable()?;
            debug((kept, listed.into_iter().map(|row| MessageSummary { id: 0, ..row }).collect::<Vec<_>>()))
        }
        70 => {
            let filter = MessageFilter {
                customer: (a % 2 > 0).then_some(openid.clone()),
                agent: (b % 2 > 0).then(|| agent(b).to_string()),
                code: (c.is_multiple_of(7)).then_some(45_015),
                ..MessageFilter::all()
            };
            let listed = tx.list(&filter, MessageId(0), id)?;
            let why = (c % 2 > 0).then(|| text(c));
            let transition = if c.is_multiple_of(3) { Move::Reopen } else { Move::Discard };
            let before = tx.state(id).ok().map(|_| tx.act_as_operator(id, transition, why)).transpose()?;
            debug((listed, before, tx.messages_of(&openid)?, tx.steps(&openid)?))
        }
        71 => {
            let limit = now.plus(-30 * DAY_MS);
            let held = tx.expired_held(&HeldCursor::default(), 2, limit)?;
            tx.prune_unreadable(limit)?;
            debug((
                held,
                tx.prune_dedup("", 5, limit)?,
                tx.prune_messages(MessageId(0), 9, limit)?,
                tx.prune_steps(0, 9, limit)?.is_some(),
                tx.prune_conversations(0, 9)?,
                State::ALL.len(),
            ))
        }
        72 => {
            let message = NewMessage {
                calls: calls(c),
                ..testing::message(Direction::ToIm, &openid, calls(0)[0].clone())
            };
            let added = if b % 4 > 0 { Some(tx.add_deferred(&message, text(c))?) } else { None };
            let released = if c % 3 > 0 { 0 } else { tx.release_deferred(&openid, &agent(c))? };
            let others = tx.have_others_deferred(&openid)?;
            debug((added, released, others, tx.deferred_customers(None, 3)?))
        }
        73 | 74 => ended::apply(tx, &openid, b, c)?,
        75 => line::apply(tx, &openid, (calls(c), text(c), agent(c)), b)?,
        _ => debug(tx.newest_message()?),
    })
}

/// Runs each call in a transaction of its own. Returns the answers.
fn run(runtime: &tokio::runtime::Runtime, store: &Store, calls: &[Call]) -> Vec<String> {
    let mut now = Millis(1_700_000_000_000);
    calls
        .iter()
        .map(|call| {
            let call = *call;
            now = now.plus(call.passed_ms);
            let written =
                runtime.block_on(store.write(move |tx| apply(&Tx { session: tx.session, now }, call)));
            format!("{call:?}: {}", outcome(written))
        })
        .collect()
}

#[test]
fn a_random_run_of_calls_has_the_same_answers_and_the_same_end_on_both_engines() {
    if testing::on_postgres().is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24);
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 400,
        ..ProptestConfig::with_cases(cases)
    };
    proptest!(config, |(calls in proptest::collection::vec(call(), 1..160))| {
        let open = |location: &StoreLocation| Store::open(location, Clock::system(), Metrics::default()).unwrap();
        let (sqlite, close_sqlite) = open(&StoreLocation::Memory);
        let (postgres, close_postgres) = open(&testing::on_postgres().unwrap());
        let of_sqlite = run(&runtime, &sqlite, &calls);
        let of_postgres = run(&runtime, &postgres, &calls);
        for (expected, found) in of_sqlite.iter().zip(&of_postgres) {
            prop_assert_eq!(expected, found);
        }
        let tables = runtime.block_on(sqlite.write(|tx| Ok(tables(tx)))).unwrap();
        let of_sqlite = tables.clone();
        let expected = runtime.block_on(sqlite.write(move |tx| Ok(dump(tx, &of_sqlite)))).unwrap();
        let found = runtime.block_on(postgres.write(move |tx| Ok(dump(tx, &tables)))).unwrap();
        for (expected, found) in expected.iter().zip(&found) {
            prop_assert_eq!(expected, found);
        }
        prop_assert_eq!(expected.len(), found.len());
        drop((sqlite, postgres));
        close_sqlite.close();
        close_postgres.close();
    });
}
