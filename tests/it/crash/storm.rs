//! Random kills under load and faults, both ways at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinHandle;
use wechat_im_bridge::sandbox::fault::{Fault, Faults};
use wechat_im_bridge::sandbox::im::{AgentClient, Direction};
use wechat_im_bridge::sandbox::wechat::Phone;

use super::rig::{BACK, Rig};
use super::verdict::{Promised, judge};
use crate::world::openid;

const CUSTOMERS: [&str; 6] = ["ann", "ben", "cai", "dan", "eva", "fay"];
/// Ends between which everything comes to rest, is judged, and other customers come: nobody has a conversation of
/// thousands of messages within minutes.
const WAVE: u64 = 100;
/// A bridge that starts several times a second reads more histories than IM lets one application read.
const IM_RATE_PER_SECOND: u32 = 2_000;
/// Ends the storm of tests in the same way again.
const SEED: &str = "CRASH_SEED";
const KILLS: &str = "CRASH_KILLS";

#[derive(Clone, Copy, PartialEq)]
enum By {
    Kill,
    Terminate,
}

type Written = JoinHandle<Vec<(String, bool)>>;

/// What goes on around the bridge until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    asking: Vec<Written>,
    answering: Vec<Written>,
    faults: JoinHandle<()>,
}

/// One customer or agent at work; `say` gives whether it was accepted, or `None` for what was never written.
fn writer<F: Future<Output = Option<bool>> + Send + 'static>(
    what: String,
    pause: std::ops::Range<u64>,
    stop: &Arc<AtomicBool>,
    mut random: StdRng,
    mut say: impl FnMut(String) -> F + Send + 'static,
) -> Written {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut written = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let text = format!("{what} {}", written.len());
            if let Some(accepted) = say(text.clone()).await {
                written.push((text, accepted));
            }
            tokio::time::sleep(Duration::from_millis(random.random_range(pause.clone()))).await;
        }
        written
    })
}

fn asks(phone: Phone) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
    move |text| {
        let phone = phone.clone();
        Box::pin(async move { Some(!phone.say(&text).await.fault_line) })
    }
}

fn answers(
    agent: AgentClient,
    customer: String,
) -> impl FnMut(String) -> std::pin::Pin<Box<dyn Future<Output = Option<bool>> + Send>> {
    move |text| {
        let (agent, customer) = (agent.clone(), openid(&customer));
        Box::pin(async move {
            // Refused by IM, as long as the customer has no account there.
            let sent = agent.say(&customer, &text).await.ok()?;
            Some(sent.callback.is_some_and(|callback| callback.error.is_none()))
        })
    }
}

fn fault(random: &mut StdRng, codes: &[i64]) -> Fault {
    match random.random_range(0..7) {
        0 => Fault::DropBefore,
        1 => Fault::DropAfter,
        2 => Fault::BadGateway,
        3 => Fault::NotJson,
        4 => Fault::HalfBody,
        5 => Fault::Delay(Duration::from_millis(random.random_range(20..400))),
        _ => Fault::Code(codes[random.random_range(0..codes.len())]),
    }
}

async fn suffer(im: Faults, wechat: Faults, stop: Arc<AtomicBool>, mut random: StdRng) {
    while !stop.load(Ordering::Relaxed) {
        match random.random_range(0..10) {
            0 => im.script("admin_getroammsg", 1, fault(&mut random, &[60008])),
            1 => wechat.script("stable_token", 1, fault(&mut random, &[-1])),
            2 => im.script("account_import", 1, fault(&mut random, &[60008])),
            3..=6 => im.script("openim/sendmsg", 1, fault(&mut random, &[60008])),
            _ => wechat.script("message/custom/send", 1, fault(&mut random, &[-1, 45011])),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(50..350))).await;
        // What nobody has met by now must not pile up.
        im.clear();
        wechat.clear();
    }
}

impl Load {
    fn start(rig: &Rig, customers: &[String], random: &mut StdRng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut asking, mut answering) = (Vec::new(), Vec::new());
        for customer in customers {
            let (phone, agent) = (rig.follower(customer), rig.agent());
            asking.push(writer(format!("{customer} asks"), 10..120, &stop, random.fork(), asks(phone)));
            let answers = answers(agent, customer.clone());
            answering.push(writer(format!("{customer} hears"), 20..200, &stop, random.fork(), answers));
        }
        let (im, wechat) = (rig.im.faults().clone(), rig.wechat.faults().clone());
        let faults = tokio::spawn(suffer(im, wechat, Arc::clone(&stop), random.fork()));
        Self { stop, asking, answering, faults }
    }

    /// Stops it. What was promised to each customer.
    async fn stop(self) -> Vec<Promised> {
        self.stop.store(true, Ordering::Relaxed);
        self.faults.await.unwrap();
        let mut promised = Vec::new();
        for (asking, answering) in self.asking.into_iter().zip(self.answering) {
            promised.push(Promised { asked: asking.await.unwrap(), answered: answering.await.unwrap() });
        }
        promised
    }
}

/// Starts the bridge and ends it at a random moment. How long it took to be ready, and to make its first call.
async fn round(rig: &mut Rig, by: By, random: &mut StdRng) -> Option<(Duration, Duration)> {
    let mut calls = rig.im.events();
    let started = Instant::now();
    rig.spawn(None);
    if by == By::Kill && random.random_bool(0.1) {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
        rig.kill();
        return None;
    }
    let first = tokio::spawn(async move {
        while calls.recv().await.unwrap().direction != Direction::Received {}
        started.elapsed()
    });
    rig.ready().await;
    let ready = started.elapsed();
    let first = tokio::time::timeout(BACK, first).await;
    let first = first.unwrap_or_else(|_| panic!("the bridge makes no call\n{}", rig.log())).unwrap();
    tokio::time::sleep(Duration::from_millis(random.random_range(0..400))).await;
    match by {
        By::Kill => rig.kill(),
        By::Terminate => {
            let status = rig.terminate().await;
            assert!(status.success(), "{status}\n{}", rig.log());
        }
    }
    Some((ready, first))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

async fn storm(by: By, kills: u64) {
    let seed = setting(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut rig = Rig::new().await;
    rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
    let (mut ready, mut first) = (Vec::new(), Vec::new());
    let mut left = kills;
    while left > 0 {
        let ends = left.min(WAVE);
        left -= ends;
        wave(&mut rig, by, ends, left, &mut random, &mut ready, &mut first).await;
    }
    ready.sort();
    first.sort();
    let (ready_at_most, first_at_most) = (ready[ready.len() - 1], first[first.len() - 1]);
    println!(
        "{kills} ends: ready after {:?} (median), {ready_at_most:?} (most); first call after {:?} (median), \
         {first_at_most:?} (most)",
        ready[ready.len() / 2],
        first[first.len() / 2],
    );
    assert!(ready_at_most <= BACK && first_at_most <= BACK, "{SEED}={seed}");
}

/// Some ends under load with customers of their own, and what came of all that was said meanwhile.
async fn wave(
    rig: &mut Rig,
    by: By,
    ends: u64,
    left: u64,
    random: &mut StdRng,
    ready: &mut Vec<Duration>,
    first: &mut Vec<Duration>,
) {
    let customers = CUSTOMERS.map(|name| format!("{name}{left}"));
    let load = Load::start(rig, &customers, random);
    let began = Instant::now();
    for _ in 0..ends {
        if let Some((to_ready, to_first)) = round(rig, by, random).await {
            ready.push(to_ready);
            first.push(to_first);
        }
    }
    rig.start().await;
    let promised = load.stop().await;
    rig.im.faults().clear();
    rig.wechat.faults().clear();
    let stored = rig.stored().await;
    let mut late = 0;
    for (customer, promised) in customers.iter().zip(&promised) {
        late += judge(rig, customer, promised, &stored);
    }
    let accepted = |list: fn(&Promised) -> &Vec<(String, bool)>| {
        let all: Vec<bool> = promised.iter().flat_map(list).map(|(_, accepted)| *accepted).collect();
        (all.iter().filter(|accepted| **accepted).count(), all.len())
    };
    let (asked, all_asked) = accepted(|promised| &promised.asked);
    let (answered, all_answered) = accepted(|promised| &promised.answered);
    let states = ["delivered", "held", "refused", "unknown"].map(|state| (state, stored.count(state)));
    println!(
        "{ends} ends in {:?}; pushes accepted {asked} of {all_asked}, answers {answered} of {all_answered}; \
         so far: {states:?}, {} found in the history; {late} of these answers late",
        began.elapsed(),
        stored.found(),
    );
    assert!(asked > 0 && answered > 0 && stored.count("delivered") > 0);
}

/// Invariants 1 to 7, at random moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_under_load_and_faults_nothing_is_lost_doubled_or_reordered() {
    storm(By::Kill, 60).await;
}

/// Invariants 1 to 6: an order to stop is no loss either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_under_load_nothing_is_lost_doubled_or_reordered() {
    storm(By::Terminate, 10).await;
}

/// The same as the first, a thousand times: `cargo test --release -- --ignored crash_soak`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about six minutes; the short form runs every time"]
async fn crash_soak() {
    storm(By::Kill, setting(KILLS).unwrap_or(1000)).await;
}
