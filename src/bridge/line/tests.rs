//! Who gets which customer, against a naive desk: customers write, agents come and go, answer and close, time passes.

use proptest::prelude::*;

use super::*;
use crate::bridge::presence::BELIEVED_MS;
use crate::bridge::tests::bridge_with;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{
    Answer, AnswerPart, Content, DedupKey, Move, OutboundCall, PresenceChange, Push, PushBody,
};
use crate::store::{Head, Settlement, Store, testing};

const AGENTS: usize = 3;
const CUSTOMERS: usize = 7;
const CAPACITY: usize = 2;
const IDLE_MS: i64 = 200_000;
const STICKY_MS: i64 = 500_000;
/// The time of an agent's last answer is stored up to so much too early, milliseconds.
const SERVED_STEP_MS: i64 = 60_000;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A customer writes.
    Write(usize),
    /// The agent of a customer answers.
    Answer(usize),
    /// The agent of a customer ends the conversation.
    Close(usize),
    /// An agent signs in or out.
    Change(usize, bool),
    /// Time passes, milliseconds.
    Pass(i64),
    /// The line is served.
    Serve,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..CUSTOMERS).prop_map(Step::Write),
        2 => (0..CUSTOMERS).prop_map(Step::Answer),
        3 => (0..CUSTOMERS).prop_map(Step::Close),
        3 => (0..AGENTS, any::<bool>()).prop_map(|(agent, is_there)| Step::Change(agent, is_there)),
        3 => prop_oneof![1_000_i64..40_000, 40_000_i64..250_000].prop_map(Step::Pass),
        6 => Just(Step::Serve),
    ]
}

fn agent(n: usize) -> ImUserId {
    ImUserId::new(format!("user{n}")).unwrap()
}

fn openid(n: usize) -> OpenId {
    OpenId::new(format!("oCustomer{n}")).unwrap()
}

/// A customer of the naive desk.
#[derive(Clone, Debug, Default)]
struct Seen {
    agent: Option<usize>,
    wrote_at: Option<i64>,
    /// Who answered last, and when.
    answered: Option<(usize, i64)>,
    /// The number of the first message in the line.
    waits_since: Option<usize>,
    written: Vec<String>,
}

/// The desk as somebody with paper and pencil would keep it.
#[derive(Clone, Debug)]
struct Desk {
    /// Whether each agent is known to be there or away, and since when.
    known: [Option<(bool, i64)>; AGENTS],
    customers: Vec<Seen>,
}

/// What may become of a customer who needs an agent.
#[derive(Clone, Debug, PartialEq)]
enum Expected {
    /// The customer waits.
    Waits,
    /// One of these gets the customer.
    OneOf(Vec<usize>),
}

impl Desk {
    fn load(&self, agent: usize, now: i64) -> usize {
        let is_open = |seen: &&Seen| seen.agent == Some(agent) && !Self::is_idle(seen, now);
        self.customers.iter().filter(is_open).count()
    }

    fn is_idle(seen: &Seen, now: i64) -> bool {
        seen.wrote_at.is_none_or(|at| now - at >= IDLE_MS)
    }

    fn is_there(&self, agent: usize, now: i64) -> bool {
        self.known[agent].is_none_or(|(is_there, since)| is_there || now - since >= BELIEVED_MS)
    }

    fn free(&self, now: i64) -> Vec<usize> {
        (0..AGENTS).filter(|at| self.is_there(*at, now) && self.load(*at, now) < CAPACITY).collect()
    }

    /// The line, who has waited for longest first.
    fn line(&self) -> Vec<usize> {
        let mut line: Vec<(usize, usize)> = Vec::new();
        line.extend(self.customers.iter().enumerate().filter_map(|(at, seen)| Some((seen.waits_since?, at))));
        line.sort_unstable();
        line.into_iter().map(|(_, at)| at).collect()
    }

    /// What becomes of a customer who is the next to get an agent.
    fn next(&self, customer: usize, now: i64) -> Expected {
        let free = self.free(now);
        let Some(least) = free.iter().map(|at| self.load(*at, now)).min() else { return Expected::Waits };
        let least_busy: Vec<usize> = free.iter().copied().filter(|at| self.load(*at, now) == least).collect();
        match self.customers[customer].answered.filter(|(by, _)| free.contains(by)) {
            Some((by, at)) if now - at + SERVED_STEP_MS <= STICKY_MS => Expected::OneOf(vec![by]),
            // Nearly too long ago.
            Some((by, at)) if now - at <= STICKY_MS => Expected::OneOf([least_busy, vec![by]].concat()),
            _ => Expected::OneOf(least_busy),
        }
    }

    /// What becomes of a customer who writes; `None`: nothing changes.
    fn on_message(&self, customer: usize, now: i64) -> Option<Expected> {
        let seen = &self.customers[customer];
        if seen.agent.is_some() && !Self::is_idle(seen, now) {
            return None;
        }
        let is_behind = self.line().first().is_some_and(|first| *first != customer);
        Some(if is_behind { Expected::Waits } else { self.next(customer, now) })
    }
}

/// The bridge beside the naive desk.
struct Both {
    bridge: Bridge,
    store: Store,
    clock: Clock,
    desk: Desk,
    count: usize,
}

impl Both {
    /// Unix milliseconds.
    fn now(&self) -> i64 {
        self.clock.now().0
    }

    /// The agent of each customer, and who waits in line, as the bridge has it.
    async fn stored(&self) -> Vec<(Option<usize>, bool)> {
        let read = |tx: &Tx<'_>| {
            (0..CUSTOMERS)
                .map(|at| {
                    let customer = tx.customer(&openid(at))?;
                    let of = customer.and_then(|customer| customer.agent);
                    let of = of.map(|of| (0..AGENTS).find(|at| agent(*at) == of).unwrap());
                    Ok((of, tx.parked(&openid(at))?.has_queued))
                })
                .collect::<Result<Vec<_>, StoreError>>()
        };
        self.store.read(read).await.unwrap()
    }

    async fn write(&mut self, at: usize) -> Result<(), TestCaseError> {
        self.count += 1;
        let text = format!("{at}: {}", self.count);
        let push = Push {
            account: "gh_shop".to_owned(),
            from: openid(at),
            create_time: self.clock.now().seconds(),
            dedup_key: DedupKey::new(format!("m:{}", self.count)),
            body: PushBody::Message(Content::Text { content: text.clone(), menu_id: None }),
        };
        let expected = self.desk.on_message(at, self.now());
        self.bridge.accept_push(push).await.unwrap();
        let now = self.now();
        let is_certain = expected == self.desk.on_message(at, now);
        let (of, is_queued) = self.stored().await[at];
        let seen = &self.desk.customers[at];
        match expected.filter(|_| is_certain) {
            None if is_certain => prop_assert_eq!((of, is_queued), (seen.agent, false)),
            None => {}
            Some(Expected::Waits) => prop_assert_eq!((of, is_queued), (None, true), "must wait"),
            Some(Expected::OneOf(agents)) => {
                prop_assert!(of.is_some_and(|of| agents.contains(&of)), "{:?} of {:?}", of, agents);
                prop_assert!(!is_queued);
            }
        }
        let count = self.count;
        let seen = &mut self.desk.customers[at];
        seen.agent = of;
        seen.wrote_at = Some(now);
        seen.waits_since = is_queued.then(|| seen.waits_since.unwrap_or(count));
        seen.written.push(text);
        Ok(())
    }

    /// The agent of the customer, if there is one, types something.
    async fn type_to(&mut self, at: usize, text: &str) {
        let Some(of) = self.desk.customers[at].agent else { return };
        self.count += 1;
        let number = u32::try_from(self.count).unwrap();
        let answer = Answer {
            from: agent(of),
            to: ImUserId::of_customer(&openid(at), 0).unwrap(),
            msg_key: format!("key{number}"),
            msg_time: self.clock.now().seconds(),
            msg_seq: number,
            msg_random: number,
            quoted: None,
            parts: vec![AnswerPart::Text(text.to_owned())],
        };
        self.bridge.accept_answer(answer).await.unwrap();
        let now = self.now();
        let seen = &mut self.desk.customers[at];
        if text == "/close" {
            seen.agent = None;
        } else {
            seen.answered = Some((of, now));
        }
    }

    async fn change(&mut self, at: usize, is_present: bool) {
        let now = self.now();
        let change = PresenceChange { agent: agent(at), is_present, at_ms: now };
        self.bridge.accept_presence(change).await.unwrap();
        self.desk.known[at] = Some((is_present, now));
    }

    /// Serves the line as its task does, and checks each customer who is served.
    async fn serve(&mut self) -> Result<(), TestCaseError> {
        loop {
            let line = self.desk.line();
            let before = self.now();
            let served = self.bridge.serve_line().await.unwrap();
            let now = self.now();
            let stored = self.stored().await;
            let has_left = |at: &usize| !stored[*at].1;
            match (served, line.first().copied()) {
                (Served::Empty, None) => return Ok(()),
                (Served::NotYet, Some(first)) => {
                    let is_certain = self.desk.next(first, before) == self.desk.next(first, now);
                    let free = self.desk.free(now);
                    prop_assert!(free.is_empty() || !is_certain, "{:?} wait while {:?} are free", line, free);
                    prop_assert!(!line.iter().any(has_left));
                    return Ok(());
                }
                (Served::One, Some(first)) => {
                    let expected = self.desk.next(first, before);
                    let of = stored[first].0;
                    if expected == self.desk.next(first, now) {
                        let Expected::OneOf(agents) = expected else {
                            return Err(TestCaseError::fail("no agent is free"));
                        };
                        prop_assert!(of.is_some_and(|of| agents.contains(&of)), "{:?} of {:?}", of, agents);
                    }
                    prop_assert!(has_left(&first) && !line[1..].iter().any(has_left), "{:?}", stored);
                    let seen = &mut self.desk.customers[first];
                    (seen.agent, seen.wrote_at, seen.waits_since) = (of, Some(now), None);
                }
                other => return Err(TestCaseError::fail(format!("{other:?} {line:?}"))),
            }
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Write(at) => self.write(at).await?,
            Step::Answer(at) => self.type_to(at, "Good day!").await,
            Step::Close(at) => self.type_to(at, "/close").await,
            Step::Change(at, is_there) => self.change(at, is_there).await,
            Step::Pass(ms) => self.clock.advance(ms),
            Step::Serve => self.serve().await?,
        }
        let now = self.now();
        let is_full = (0..AGENTS).all(|at| self.desk.load(at, now) <= CAPACITY);
        prop_assert!(is_full, "an agent has too many: {:?}", self.desk);
        let agents: Vec<_> = self.stored().await.into_iter().map(|(of, _)| of).collect();
        let expected: Vec<_> = self.desk.customers.iter().map(|seen| seen.agent).collect();
        prop_assert_eq!(agents, expected, "nobody is given away in between");
        Ok(())
    }

    /// Everybody comes to work, and ends one conversation after the other. Nobody is forgotten, and what each customer
    /// has written leaves once, in order, for the agent who has the customer.
    async fn finish(&mut self) -> Result<(), TestCaseError> {
        for at in 0..AGENTS {
            self.change(at, true).await;
        }
        for at in 0..CUSTOMERS {
            self.serve().await?;
            self.type_to(at, "/close").await;
        }
        self.serve().await?;
        prop_assert!(self.desk.line().is_empty());
        for at in 0..CUSTOMERS {
            let lane = Lane { direction: Direction::ToIm, customer: openid(at) };
            let drain = move |tx: &Tx<'_>| {
                let mut texts = Vec::new();
                while let Head::Ready(call) = tx.head(&lane)? {
                    if let OutboundCall::TextToAgent(text) = &call.call {
                        texts.extend(text.find(": ").map(|_| text.clone()));
                    }
                    tx.settle(call.id, Move::Attempt, &Settlement::default())?;
                    // The line about who comes is the first call of the same message.
                    let is_last = call.call_index + 1 == call.call_count;
                    let transition = if is_last { Move::Deliver } else { Move::Requeue };
                    let settlement = Settlement { call_done: !is_last, ..Settlement::default() };
                    tx.settle(call.id, transition, &settlement)?;
                }
                Ok(texts)
            };
            let left = self.store.write(drain).await.unwrap();
            let name = format!("{at}: ");
            let left: Vec<&str> =
                left.iter().filter_map(|text| Some(&text[text.find(name.as_str())?..])).collect();
            prop_assert_eq!(&left, &self.desk.customers[at].written);
        }
        Ok(())
    }
}

#[test]
fn nobody_waits_while_an_agent_is_free_none_has_too_many_and_the_line_is_served_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(16);
    let config = ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 200,
        ..ProptestConfig::with_cases(cases)
    };
    proptest!(config, |(steps in proptest::collection::vec(step(), 1..90))| {
        let (clock, folder) = (Clock::movable(), tempfile::tempdir().unwrap());
        let (store, closing) =
            Store::open(&testing::location(), clock.clone(), Metrics::default()).unwrap();
        let outcome = runtime.block_on(async {
            let bridge = bridge_with(&store, &clock, folder.path(), |settings| {
                settings.agents = (0..AGENTS).map(agent).collect();
                settings.session_idle_ms = IDLE_MS;
                settings.desk.presence = true;
                settings.desk.capacity = u32::try_from(CAPACITY).ok();
                settings.desk.sticky_ms = Some(STICKY_MS);
            });
            let desk = Desk { known: [None; AGENTS], customers: vec![Seen::default(); CUSTOMERS] };
            let (bridge, store, clock) = (bridge.await, store.clone(), clock.clone());
            let mut both = Both { bridge, store, clock, desk, count: 0 };
            for step in &steps {
                both.take(*step).await?;
            }
            both.finish().await
        });
        drop(store);
        closing.close();
        outcome?;
    });
}
