//! A desk under load: customers write, agents come and go, answer and close, and the bridge is killed on the way. The
//! time is moved, so that an hour passes within minutes.

mod acts;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::sync::broadcast::Receiver;
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::im::{AgentClient, Direction, Exchange};
use wechat_im_bridge::internals::sandbox::wechat::Phone;

use acts::{Act, name};

use super::moved_time::MovedTime;
use super::oracle::{Conversation, check_conversation};
use super::rig::{Rig, TIMEOUT, recovery_limit};
use super::storm::{IM_RATE_PER_SECOND, SEED, number_from_env};
use crate::cluster;
use crate::world::eventually;

/// IM may not be asked more often who is there.
const ASK_INTERVAL_MS: i64 = 30_000;
/// So much time passes between two moments at which people do something.
const STEP_MS: i64 = 2_000;
/// A call may reach IM so much later than the bridge decided to make it.
const LATE_MS: i64 = 5_000;

/// How large the desk is, and how long on average everything takes.
struct Scale {
    customers: usize,
    agents: usize,
    /// The most conversations of one agent.
    capacity: usize,
    /// How long it lasts, in times of [`ASK_INTERVAL_MS`].
    rounds: i64,
    /// A customer's pause between two messages.
    pause_s: i64,
    /// How long an agent stays, and stays away.
    there_s: i64,
    away_s: i64,
    /// How long an agent takes to answer, and to close a conversation.
    answer_s: i64,
    close_s: i64,
    /// A conversation is over after so much silence.
    idle_s: i64,
    /// Nobody may wait in line for longer.
    longest_wait_s: i64,
}

#[derive(Default)]
struct Figures {
    signs: usize,
    longest_line: usize,
    longest_wait_ms: i64,
}

/// The desk as it is stored.
struct State {
    /// The open conversations: the agent and the customer.
    open: Vec<(usize, usize)>,
    /// How many customers wait in line, and for how long the first of them.
    line: usize,
    waited_ms: i64,
    /// The agents who are there and have room.
    free: Vec<usize>,
}

struct Desk {
    scale: Scale,
    rig: Rig,
    phones: Vec<Phone>,
    agents: Vec<AgentClient>,
    is_there: Vec<bool>,
    conversations: Vec<Conversation>,
    random: StdRng,
    calls: Receiver<Arc<Exchange>>,
    /// When IM was asked who is there.
    asked: Vec<Millis>,
    figures: Figures,
}

impl Desk {
    async fn start(scale: Scale, random: StdRng) -> Self {
        let schema = cluster::is_chosen().then(cluster::empty_schema).flatten();
        let mut rig = Rig::with_time(schema, Some(MovedTime::new())).await;
        let names: Vec<String> = (0..scale.agents).map(|at| format!("agent{at}")).collect();
        rig.set("BRIDGE_IM__AGENTS", names.join(","));
        rig.set("BRIDGE_IM__RATE_PER_SECOND", IM_RATE_PER_SECOND.to_string());
        rig.set("BRIDGE_DESK__CAPACITY", scale.capacity.to_string());
        rig.set("BRIDGE_WECHAT__SESSION_IDLE_S", scale.idle_s.to_string());
        rig.im.change(|im| im.rate_per_second = IM_RATE_PER_SECOND);
        let agents: Vec<AgentClient> = names.iter().map(|name| rig.im.agent(name).unwrap()).collect();
        let calls = rig.im.events();
        rig.start().await;
        Self {
            phones: (0..scale.customers).map(|at| rig.follower(&name(at))).collect(),
            is_there: vec![true; agents.len()],
            conversations: (0..scale.customers).map(|_| Conversation::default()).collect(),
            agents,
            scale,
            rig,
            random,
            calls,
            asked: Vec::new(),
            figures: Figures::default(),
        }
    }

    fn now(&self) -> Millis {
        self.rig.time.as_ref().unwrap().clock.now()
    }

    fn pass(&mut self, ms: i64) {
        self.rig.time.as_mut().unwrap().pass(ms);
        while let Ok(call) = self.calls.try_recv() {
            if call.direction == Direction::Received && call.path.ends_with("query_online_status") {
                self.asked.push(call.at);
            }
        }
    }

    fn look(&self) -> State {
        let sql = "SELECT v.agent, v.openid, v.active_at FROM customer c, conversation v
                   WHERE v.id = c.conversation AND v.agent IS NOT NULL
                   UNION ALL SELECT NULL, openid, min(waiting_since) FROM message WHERE state = 10 GROUP BY openid";
        let rows = self.rig.database().rows(sql, &[]).unwrap();
        let now = self.now();
        let idle_from = now.0 - self.scale.idle_s * 1_000;
        let mut state = State { open: Vec::new(), line: 0, waited_ms: 0, free: Vec::new() };
        for row in rows {
            let (_, customer) = row[1].as_str().unwrap().rsplit_once('c').unwrap();
            let at = row[2].as_i64().unwrap();
            match row[0].as_str() {
                None => {
                    state.line += 1;
                    state.waited_ms = state.waited_ms.max(now.since(Millis(at)));
                }
                Some(agent) if at > idle_from => {
                    let agent = agent.strip_prefix("agent").unwrap().parse().unwrap();
                    state.open.push((agent, customer.parse().unwrap()));
                }
                Some(_) => {}
            }
        }
        let load = |agent: usize| state.open.iter().filter(|(of, _)| *of == agent).count();
        let most = (0..self.agents.len()).map(load).max().unwrap();
        assert!(most <= self.scale.capacity, "an agent has {most} conversations");
        let is_free = |at: &usize| self.is_there[*at] && load(*at) < self.scale.capacity;
        state.free = (0..self.agents.len()).filter(is_free).collect();
        state
    }

    fn measured(&mut self) -> State {
        let state = self.look();
        let figures = &mut self.figures;
        figures.longest_line = figures.longest_line.max(state.line);
        figures.longest_wait_ms = figures.longest_wait_ms.max(state.waited_ms);
        state
    }

    /// Lets time pass until nobody waits in line while an agent is free.
    async fn await_service(&mut self) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let State { free, line, .. } = self.look();
            if line == 0 || free.is_empty() {
                return;
            }
            let log = self.rig.log();
            assert!(Instant::now() < deadline, "{line} customers wait while {free:?} are free\n{log}");
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.pass(200);
        }
    }

    /// People go on until IM must have been asked again who is there. `is_killed`: the bridge, on the way.
    async fn round(&mut self, is_killed: bool) {
        let before = self.asked.len();
        let steps = ASK_INTERVAL_MS / STEP_MS + 1;
        for step in 0..steps {
            let acts = self.acts();
            let doing = self.carry_out(acts);
            if is_killed && step == steps / 2 {
                tokio::time::sleep(Duration::from_millis(self.random.random_range(0..15))).await;
                self.rig.kill();
                let ready = self.rig.start().await;
                assert!(ready <= recovery_limit(), "{ready:?}");
                println!("killed; ready again after {ready:?}");
            }
            let done = doing.await;
            self.note(done);
            self.pass(STEP_MS);
        }
        let asked = eventually(TIMEOUT, async || {
            self.pass(0);
            self.asked.len() > before
        });
        assert!(asked.await, "IM was not asked who is there\n{}", self.rig.log());
        self.await_service().await;
    }

    /// Everybody comes to work and ends one conversation after the other, until nobody waits.
    async fn finish(&mut self) {
        for (is_there, agent) in self.is_there.iter_mut().zip(&self.agents) {
            agent.sign_in().await;
            *is_there = true;
        }
        let deadline = Instant::now() + 2 * TIMEOUT;
        loop {
            let State { open, line, .. } = self.measured();
            if line == 0 {
                return;
            }
            assert!(Instant::now() < deadline, "{line} still wait\n{}", self.rig.log());
            self.carry_out(open.into_iter().map(|(agent, customer)| Act::Close(agent, customer)).collect())
                .await;
            self.pass(STEP_MS);
            self.await_service().await;
        }
    }

    /// Lets time pass until all agents' messages are stored: a round of the backfill reads 1,200 views, and there is one for
    /// each customer and agent.
    async fn await_answers(&mut self, count: usize) {
        let sql = "SELECT count(*) FROM message WHERE direction = 1 AND kind = 0";
        let deadline = Instant::now() + 4 * TIMEOUT;
        loop {
            let stored: i64 = self.rig.database().value(sql, &[]);
            if usize::try_from(stored).unwrap() == count {
                return;
            }
            let log = self.rig.log();
            assert!(Instant::now() < deadline, "{stored} of {count} answers are stored\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.pass(STEP_MS);
        }
    }

    /// Whoever was served had waited for longest. Returns how many were served from the line.
    fn check_order_of_service(&self) -> usize {
        let sql = "SELECT openid, event, message FROM step WHERE event IN ('queued', 'released') ORDER BY id";
        let mut line: BTreeMap<String, i64> = BTreeMap::new();
        let mut served = 0;
        for row in self.rig.database().rows(sql, &[]).unwrap() {
            let customer = row[0].as_str().unwrap().to_owned();
            match (row[1].as_str().unwrap(), row[2].as_i64()) {
                ("queued", Some(message)) => {
                    line.entry(customer).or_insert(message);
                }
                ("released", None) => {
                    let Some(since) = line.remove(&customer) else { panic!("{customer} did not wait") };
                    assert!(line.values().all(|other| *other > since), "{customer} overtook: {line:?}");
                    served += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(line.is_empty(), "{line:?}");
        served
    }

    /// IM is asked who is there at most once in so much time.
    fn check_questions(&self, began: Millis) {
        for pair in self.asked.windows(2) {
            let gap_ms = pair[1].since(pair[0]);
            assert!(gap_ms >= ASK_INTERVAL_MS - LATE_MS, "asked again after {gap_ms} ms");
        }
        let most = 1 + self.now().since(began) / ASK_INTERVAL_MS;
        assert!(i64::try_from(self.asked.len()).unwrap() <= most, "{} of {most}", self.asked.len());
        let counted = self.rig.im.ledger().call_count("openim/query_online_status");
        assert_eq!(usize::try_from(counted).unwrap(), self.asked.len(), "a call was missed");
    }
}

async fn work(scale: Scale) {
    let seed = number_from_env(SEED).unwrap_or_else(rand::random);
    println!("{SEED}={seed}");
    let started = Instant::now();
    let mut desk = Desk::start(scale, StdRng::seed_from_u64(seed)).await;
    let (began, rounds) = (desk.now(), desk.scale.rounds);
    for round in 0..rounds {
        desk.round(round == rounds / 2).await;
    }
    desk.finish().await;
    desk.check_questions(began);
    let answers = desk.conversations.iter().map(|conversation| conversation.answers.len()).sum();
    desk.await_answers(answers).await;
    let stored = desk.rig.stop_and_read_store().await;
    for (at, conversation) in desk.conversations.iter().enumerate() {
        check_conversation(&desk.rig, &name(at), conversation, &stored);
    }
    assert_eq!(stored.count("refused"), 0, "{:?}", stored.answers);
    let served = desk.check_order_of_service();
    let questions: usize = desk.conversations.iter().map(|conversation| conversation.questions.len()).sum();
    let Figures { signs, longest_line, longest_wait_ms } = desk.figures;
    println!(
        "{} simulated minutes in {:?}: {questions} questions, {answers} answers ({} unknown, {} held), agents came or went \
         {signs} times; {served} served from the line, the longest line had {longest_line}, the longest wait was {} s; IM \
         was asked {} times",
        desk.now().since(began) / 60_000,
        started.elapsed(),
        stored.count("unknown"),
        stored.count("held"),
        longest_wait_ms / 1_000,
        desk.asked.len(),
    );
    assert!(served > 0 && longest_wait_ms <= desk.scale.longest_wait_s * 1_000, "{SEED}={seed}");
}

/// Invariants 1 to 7 of a desk with a line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten_in_line_when_the_bridge_is_killed() {
    let scale = Scale {
        customers: 60,
        agents: 5,
        capacity: 2,
        rounds: 3,
        pause_s: 30,
        there_s: 40,
        away_s: 25,
        answer_s: 8,
        close_s: 15,
        idle_s: 45,
        longest_wait_s: 300,
    };
    work(scale).await;
}

/// The same with 1,000 customers and 20 agents for an hour: `cargo test --release -- --ignored desk_soak`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes about three minutes; the first test is its short form"]
async fn desk_soak() {
    let scale = Scale {
        customers: 1_000,
        agents: 20,
        capacity: 8,
        rounds: 120,
        pause_s: 720,
        there_s: 400,
        away_s: 250,
        answer_s: 40,
        close_s: 90,
        idle_s: 600,
        longest_wait_s: 1_200,
    };
    work(scale).await;
}
