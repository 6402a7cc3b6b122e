//! Random kills under load and faults, in both directions at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use wechat_im_bridge::internals::sandbox::fault::{Fault, Faults};
use wechat_im_bridge::internals::sandbox::im::{AgentClient, Direction};
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use super::oracle::{Conversation, Stored, check_conversation};
use super::rig::{Rig, TIMEOUT, recovery_limit};
use crate::observe::{CUSTOM_SEND, SENDMSG};
use crate::world::openid;

pub const CUSTOMERS: [&str; 6] = ["ann", "ben", "cai", "dan", "eva", "fay"];
/// Restarts per wave. After each wave the bridge becomes idle, the oracle checks the conversations, and new
/// customers follow, because real conversations do not have thousands of messages within minutes.
const RESTARTS_PER_WAVE: u64 = 100;
/// The rate limit of the simulated IM. It is raised because a bridge that starts several times a second reads
/// more histories than IM allows.
pub const IM_RATE_PER_SECOND: u32 = 2_000;
/// Environment variable with the seed of a run. A run with the same seed kills at the same moments.
pub const SEED: &str = "CRASH_SEED";
/// Environment variable with the number of kills of the long run.
const KILLS: &str = "CRASH_KILLS";

#[derive(Clone, Copy, PartialEq)]
enum End {
    Kill,
    Terminate,
}

/// A part of a long run.
struct Wave {
    end: End,
    restarts: u64,
    /// The restarts of this wave and those before it.
    restarts_so_far: u64,
    /// The restarts of the waves after it.
    left: u64,
}

type Sender = JoinHandle<Vec<(String, bool)>>;

/// Customers, agents and faults that act at the same time until `stop` is set.
pub struct Load {
    stop: Arc<AtomicBool>,
    question_senders: Vec<Sender>,
    answer_senders: Vec<Sender>,
    faults: Option<JoinHandle<()>>,
}

/// Starts a customer or an agent that sends texts. `send` returns whether a text was accepted, or `None` if
/// it was never sent.
fn start_sender<F: Future<Output = Option<bool>> + Send + 'static>(
    prefix: String,
    pause: std::ops::Range<u64>,
    stop: &Arc<AtomicBool>,
    mut random: StdRng,
    mut send: impl FnMut(String) -> F + Send + 'static,
) -> Sender {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut texts = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let text = format!("{prefix} {}", texts.len());
            if let Some(accepted) = send(text.clone()).await {
                texts.push((text, accepted));
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(pause.clone()))).await;
        }
        texts
    })
}

/// Sends a customer's texts.
fn asking(
    phone: Phone,
) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
    move |text| {
        let phone = phone.clone();
        Box::pin(async move { Some(!phone.say(&text).await.fault_line) })
    }
}

/// Sends an agent's texts.
fn answering(
    agent: AgentClient,
    customer: String,
) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
    move |text| {
        let (agent, customer) = (agent.clone(), openid(&customer));
        Box::pin(async move {
            // IM refuses the message while the customer has no account there.
            let sent = agent.say(&customer, &text).await.ok()?;
            Some(sent.callback.is_some_and(|callback| callback.error.is_none()))
        })
    }
}

/// Half of the faults are error codes: only after those is it certain what must become of a message.
fn fault(random: &mut StdRng, codes: &[i64]) -> Fault {
    match random.random_range(0..12) {
        0 => Fault::DropBefore,
        1 => Fault::DropAfter,
        2 => Fault::BadGateway,
        3 => Fault::NotJson,
        4 => Fault::HalfBody,
        5 => Fault::Delay(Duration::from_millis(random.random_range(20..400))),
        _ => Fault::Code(codes[random.random_range(0..codes.len())]),
    }
}

/// Scripts random faults until `stop` is set.
async fn inject_faults(im: Faults, wechat: Faults, stop: Arc<AtomicBool>, mut random: StdRng) {
    while !stop.load(Ordering::Relaxed) {
        match random.random_range(0..10) {
            0 => im.script("admin_getroammsg", 1, fault(&mut random, &[60008])),
            1 => wechat.script("stable_token", 1, fault(&mut random, &[-1])),
            2 => im.script("account_import", 1, fault(&mut random, &[60008])),
            3..=6 => im.script("openim/sendmsg", 1, fault(&mut random, &[60008])),
            _ => wechat.script("message/custom/send", 1, fault(&mut random, &[-1, 45011])),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..350))).await;
        // Unused faults must not pile up.
        im.clear();
        wechat.clear();
    }
}

impl Load {
    pub fn start(rig: &Rig, customers: &[String], random: &mut StdRng) -> Self {
        let load = Self::start_calm(rig, customers, random);
        let (im, wechat) = (rig.im.faults().clone(), rig.wechat.faults().clone());
        let faults = tokio::spawn(inject_faults(im, wechat, Arc::clone(&load.stop), random.fork()));
        Self { faults: Some(faults), ..load }
    }

    /// The same without faults of the platforms.
    pub fn start_calm(rig: &Rig, customers: &[String], random: &mut StdRng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut question_senders, mut answer_senders) = (Vec::new(), Vec::new());
        for customer in customers {
            let (phone, agent) = (rig.follower(customer), rig.agent());
            let questions = asking(phone);
            let answers = answering(agent, customer.clone());
            question_senders.push(start_sender(
                format!("{customer} question"),
                10..120,
                &stop,
                random.fork(),
                questions,
            ));
            answer_senders.push(start_sender(
                format!("{customer} answer"),
                20..200,
                &stop,
                random.fork(),
                answers,
            ));
        }
        Self { stop, question_senders, answer_senders, faults: None }
    }

    /// Stops the load, and returns what was sent in each conversation.
    pub async fn stop(self) -> Vec<Conversation> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(faults) = self.faults {
            faults.await.unwrap();
        }
        let mut conversations = Vec::new();
        for (questions, answers) in self.question_senders.into_iter().zip(self.answer_senders) {
            conversations
                .push(Conversation { questions: questions.await.unwrap(), answers: answers.await.unwrap() });
        }
        conversations
    }
}

/// Starts the bridge and ends it at a random moment. Returns how long the bridge took to become ready and to
/// send its first message, or `None` if it was killed before.
async fn start_and_end(rig: &mut Rig, end: End, random: &mut StdRng) -> Option<(Duration, Duration)> {
    let mut calls = rig.im.events();
    let started = Instant::now();
    rig.spawn(None);
    if end == End::Kill && random.random_bool(0.1) {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
        rig.kill();
        return None;
    }
    let first = tokio::spawn(async move {
        loop {
            let call = calls.recv().await.unwrap();
            // Reading a history moves no message.
            if call.direction == Direction::Received && call.path.ends_with(SENDMSG) {
                return started.elapsed();
            }
        }
    });
    rig.wait_until_ready().await;
    let ready = started.elapsed();
    let first = tokio::time::timeout(TIMEOUT, first).await;
    let first = first.unwrap_or_else(|_| panic!("the bridge sends no message\n{}", rig.log())).unwrap();
    tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
    match end {
        End::Kill => rig.kill(),
        End::Terminate => {
            let status = rig.terminate().await;
            assert!(status.success(), "{status}\n{}", rig.log());
        }
    }
    Some((ready, first))
}

pub fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

async fn restart_under_load(end: End, restarts: u64) {
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut rig = Rig::new().await;
    rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    let (mut left, mut answer_count) = (restarts, 0);
    while left > 0 {
        let in_this_wave = left.min(RESTARTS_PER_WAVE);
        left -= in_this_wave;
        let wave = Wave { end, restarts: in_this_wave, restarts_so_far: restarts - left, left };
        run_wave(&mut rig, wave, &mut random, &mut answer_count, &mut ready, &mut first).await;
    }
    ready.sort();
    first.sort();
    let (slowest_ready, slowest_first) = (ready[ready.len() - 1], first[first.len() - 1]);
    println!(
        "{restarts} restarts: ready after {:?} (median), {slowest_ready:?} (slowest); first message after {:?} (median), \
         {slowest_first:?} (slowest)",
        ready[ready.len() / 2],
        first[first.len() / 2],
    );
    let limit = recovery_limit();
    assert!(slowest_ready <= limit && slowest_first <= limit, "{SEED}={seed}");
}

/// Checks that each message that did not arrive for certain has a cause: an answer that a fault swallowed, or
/// a kill. Nothing in this test is a reason to refuse a message.
fn judge_ends(rig: &Rig, stored: &Stored, end: End, restarts: u64) {
    assert_eq!(stored.count("refused"), 0, "{:?}\n{}", stored.answers, rig.log());
    let delivered = stored.questions.get("delivered").copied().unwrap_or_default();
    let questions: u32 = stored.questions.values().sum();
    assert_eq!(delivered, questions, "{:?}\n{}", stored.questions, rig.log());
    let swallowed = rig.wechat.faults().taken(CUSTOM_SEND);
    let swallowed =
        swallowed.iter().filter(|fault| !matches!(fault, Fault::Code(_) | Fault::Delay(_))).count();
    let unknown = stored.answers.values().flatten().filter(|answer| answer.state == "unknown");
    let (interrupted, unanswered): (Vec<_>, Vec<_>) =
        unknown.partition(|answer| answer.reason.contains("interrupted"));
    assert!(unanswered.len() <= swallowed, "{} for {swallowed} faults: {unanswered:?}", unanswered.len());
    let kills = if end == End::Kill { usize::try_from(restarts).unwrap() } else { 0 };
    assert!(interrupted.len() <= kills, "{} for {kills} kills: {interrupted:?}", interrupted.len());
}

/// Restarts the bridge under load with new customers, and then checks their conversations.
async fn run_wave(
    rig: &mut Rig,
    Wave { end, restarts, restarts_so_far, left }: Wave,
    random: &mut StdRng,
    answer_count: &mut usize,
    ready: &mut Vec<Duration>,
    first: &mut Vec<Duration>,
) {
    let customers = CUSTOMERS.map(|name| format!("{name}{left}"));
    let load = Load::start(rig, &customers, random);
    let started = Instant::now();
    for _ in 0..restarts {
        if let Some((ready_after, first_after)) = start_and_end(rig, end, random).await {
            ready.push(ready_after);
            first.push(first_after);
        }
    }
    rig.start().await;
    let conversations = load.stop().await;
    rig.im.faults().clear();
    rig.wechat.faults().clear();
    // The history has every answer, so none may be missing, whatever became of its callback.
    *answer_count += conversations.iter().map(|conversation| conversation.answers.len()).sum::<usize>();
    rig.wait_until_answers_are_stored(*answer_count).await;
    let stored = rig.stop_and_read_store().await;
    judge_ends(rig, &stored, end, restarts_so_far);
    let mut late = 0;
    for (customer, conversation) in customers.iter().zip(&conversations) {
        late += check_conversation(rig, customer, conversation, &stored);
    }
    let accepted = |list: fn(&Conversation) -> &Vec<(String, bool)>| {
        let all: Vec<bool> = conversations.iter().flat_map(list).map(|(_, accepted)| *accepted).collect();
        (all.iter().filter(|accepted| **accepted).count(), all.len())
    };
    let (questions, all_questions) = accepted(|conversation| &conversation.questions);
    let (answers, all_answers) = accepted(|conversation| &conversation.answers);
    let states = ["delivered", "held", "refused", "unknown"].map(|state| (state, stored.count(state)));
    println!(
        "{restarts} restarts in {:?}; pushes accepted {questions} of {all_questions}, answers {answers} of {all_answers}; \
         so far: {states:?}, {} backfilled; {late} of these too late for their position",
        started.elapsed(),
        stored.backfilled_count(),
    );
    assert!(questions > 0 && answers > 0 && stored.count("delivered") > 0);
}

/// Invariants 1 to 7, at random moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_under_load_and_faults_lose_double_and_reorder_no_message() {
    restart_under_load(End::Kill, 60).await;
}

/// Invariants 1 to 6: SIGTERM loses no message either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stops_under_load_lose_double_and_reorder_no_message() {
    restart_under_load(End::Terminate, 10).await;
}

/// The first test with a thousand kills: `cargo test --release -- --ignored crash_soak`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about six minutes; the first test is its short form"]
async fn crash_soak() {
    restart_under_load(End::Kill, number_from_env(KILLS).unwrap_or(1000)).await;
}
