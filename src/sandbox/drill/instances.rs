//! Several bridges on one database: one is killed, paused or cut off, all lose their sessions, or one after the other is
//! replaced. The customer and the agent notice nothing: each message arrives once, in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::scene::{DEADLINE, Scene, millis, restart_failed, values};
use super::{DrillResult, Measurements};
use crate::sandbox::child::{self, Child};
use crate::sandbox::conditions::{self, Checked, Mismatch, expect, expect_accepted};
use crate::sandbox::fault::Fault;
use crate::sandbox::im::AgentClient;
use crate::sandbox::instance::Instance;
use crate::sandbox::session::Counters;

/// The IM API that sends a message.
const SENDMSG: &str = "openim/sendmsg";
/// Longer than the drill: a call that takes this long is in flight when its instance is killed.
const IN_FLIGHT_DELAY: Duration = Duration::from_mins(1);
/// The length of a pause.
const PAUSE: Duration = Duration::from_secs(30);
/// How long an instance is cut off from the database.
const CUT_OFF: Duration = Duration::from_secs(10);
/// How long the instances may take to deliver a message while one of them is missing.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);
/// The same for an answer that must be found in IM's history, which is read once a minute.
const BACKFILL_LIMIT: Duration = Duration::from_secs(80);
/// How long all instances may take to share the customers evenly again.
const RETURN_LIMIT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// The pause between two messages that are to fall into different moments.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(300);
/// The customers' shards.
const SHARDS: u64 = 256;

/// The conversation of a drill, of which each message must arrive once, in order.
struct Talk<'s> {
    scene: &'s Scene,
    desk: AgentClient,
    questions: Vec<String>,
    answers: Vec<String>,
}

impl<'s> Talk<'s> {
    /// The customer and an agent exchange a message each. Returns which instance sends for the customer, too.
    async fn open(scene: &'s Scene) -> Checked<(Self, Instance)> {
        await_all(scene).await?;
        let before = count_delivered(scene).await;
        let desk = scene.open_conversation().await?;
        let mut talk = Self { scene, desk, questions: Vec::new(), answers: Vec::new() };
        talk.exchange().await?;
        let sender = scene.await_sender(&talk.questions[0]).await?;
        // The greeting, the question and the answer.
        await_outcomes(scene, before + 3).await;
        Ok((talk, sender))
    }

    /// The customer asks. WeChat repeats the push if it must.
    async fn ask(&mut self) -> Checked<String> {
        let words = self.scene.marked_text(&format!("Question {}", self.questions.len() + 1));
        self.questions.push(words.clone());
        let pushed = self.scene.customer.say(&words).await;
        expect_accepted(&pushed, "the push to be accepted")?;
        Ok(words)
    }

    /// The agent answers. Returns how long the answer may take, too: a callback that no instance takes in time is lost,
    /// and the answer is found in IM's history.
    async fn answer(&mut self) -> Checked<(String, Duration)> {
        let words = self.scene.marked_text(&format!("Answer {}", self.answers.len() + 1));
        self.answers.push(words.clone());
        let sent = self.desk.say(self.scene.customer.openid(), &words).await;
        let sent = sent.map_err(|refused| Mismatch::new("IM to take the answer", refused.to_string()))?;
        let is_taken = sent.callback.is_some_and(|callback| callback.error.is_none());
        Ok((words, if is_taken { DELIVERY_LIMIT } else { BACKFILL_LIMIT }))
    }

    /// The customer asks, the question arrives, the agent answers, and the answer arrives. Returns how long the question
    /// took.
    async fn exchange(&mut self) -> Checked<Duration> {
        let began = Instant::now();
        let question = self.ask().await?;
        self.scene.await_arrival(&question, DELIVERY_LIMIT).await?;
        let took = began.elapsed();
        let (answer, limit) = self.answer().await?;
        self.scene.await_on_screen(&answer, limit).await?;
        Ok(took)
    }

    /// What became of an instance that was away for a while, and of the messages.
    fn taken_over(
        &self,
        away: Instance,
        successor: Instance,
        took: Duration,
        back: Duration,
    ) -> Measurements {
        values([
            ("instance", away.to_string().into()),
            ("successor", successor.to_string().into()),
            ("taken_over_ms", millis(took)),
            ("back_ms", millis(back)),
            ("messages", self.count()),
        ])
    }

    /// How many messages there were.
    fn count(&self) -> Value {
        (self.questions.len() + self.answers.len()).into()
    }

    /// Fails unless each message arrived once, in order.
    fn check(&self) -> Checked {
        for question in &self.questions {
            self.scene.expect_once_at_agent(question)?;
        }
        for answer in &self.answers {
            self.scene.expect_once_on_screen(answer)?;
        }
        self.scene.expect_arrived_in_order(&self.questions)?;
        self.scene.expect_in_order(&self.answers)
    }
}

/// `kill -9` of the instance that sends for the customer, with a call in flight: another one goes on.
pub(super) async fn instance_killed(scene: &Scene) -> DrillResult {
    let im = &scene.session.stage.im;
    let (mut talk, killed) = Talk::open(scene).await?;
    // IM has the question, but has not answered yet.
    im.faults().script(SENDMSG, 1, Fault::Delay(IN_FLIGHT_DELAY));
    let in_flight = talk.ask().await?;
    scene.await_arrival(&in_flight, DEADLINE).await?;
    child_of(scene, killed)?.keep_dead().await.map_err(|failed| restart_failed(&failed))?;
    let began = Instant::now();
    let question = talk.ask().await?;
    let answers = [talk.answer().await?, talk.answer().await?];
    scene.await_arrival(&question, DELIVERY_LIMIT).await?;
    let took = began.elapsed();
    for (answer, limit) in &answers {
        scene.await_on_screen(answer, *limit).await?;
    }
    let successor = scene.await_sender(&question).await?;
    expect(successor != killed, "another instance to send", || format!("instance {successor}"))?;
    child_of(scene, killed)?.revive().await.map_err(|failed| restart_failed(&failed))?;
    await_all(scene).await?;
    talk.exchange().await?;
    talk.check()?;
    Ok(values([
        ("instance", killed.to_string().into()),
        ("successor", successor.to_string().into()),
        ("taken_over_ms", millis(took)),
        ("messages", talk.count()),
    ]))
}

/// The instance that sends for the customer is paused for 30 s: the others take it for dead, and when it wakes it joins
/// them again and repeats nothing.
pub(super) async fn instance_paused(scene: &Scene) -> DrillResult {
    let (mut talk, paused) = Talk::open(scene).await?;
    child_of(scene, paused)?.pause().await.map_err(|failed| restart_failed(&failed))?;
    let began = Instant::now();
    let took = talk.exchange().await?;
    let successor = scene.await_sender(&talk.questions[talk.questions.len() - 1]).await?;
    expect(successor != paused, "another instance to send", || format!("instance {successor}"))?;
    tokio::time::sleep_until(began + PAUSE / 2).await;
    talk.exchange().await?;
    tokio::time::sleep_until(began + PAUSE).await;
    child_of(scene, paused)?.resume().await.map_err(|failed| restart_failed(&failed))?;
    talk.exchange().await?;
    let back = await_all(scene).await?;
    talk.exchange().await?;
    talk.check()?;
    Ok(talk.taken_over(paused, successor, took, back))
}

/// The instance that sends for the customer cannot reach the database: it stops sending, and another one goes on.
pub(super) async fn instance_cut_off(scene: &Scene) -> DrillResult {
    let (mut talk, cut_off) = Talk::open(scene).await?;
    scene.session.bridges.cut_off(cut_off, true);
    let began = Instant::now();
    let took = talk.exchange().await?;
    let successor = scene.await_sender(&talk.questions[talk.questions.len() - 1]).await?;
    expect(successor != cut_off, "another instance to send", || format!("instance {successor}"))?;
    talk.exchange().await?;
    tokio::time::sleep_until(began + CUT_OFF).await;
    scene.session.bridges.cut_off(cut_off, false);
    let back = await_all(scene).await?;
    talk.exchange().await?;
    talk.check()?;
    Ok(talk.taken_over(cut_off, successor, took, back))
}

/// The database ends the sessions of all instances: each connects again by itself.
pub(super) async fn sessions_ended(scene: &Scene) -> DrillResult {
    let (mut talk, _) = Talk::open(scene).await?;
    let ended = scene.session.bridges.end_sessions().await;
    let ended = ended.map_err(|problem| Mismatch::new("the database to end all sessions", problem))?;
    expect(ended > 0, "sessions to end", || "none".to_owned())?;
    let took = talk.exchange().await?;
    let back = await_all(scene).await?;
    talk.exchange().await?;
    talk.check()?;
    Ok(values([
        ("sessions", ended.into()),
        ("arrived_after_ms", millis(took)),
        ("back_ms", millis(back)),
        ("messages", talk.count()),
    ]))
}

/// One instance after the other is shut down and started again, while customer and agent keep writing.
pub(super) async fn rolling_restart(scene: &Scene) -> DrillResult {
    let (mut talk, _) = Talk::open(scene).await?;
    let have_restarted = AtomicBool::new(false);
    let restart = async {
        let mut slowest = Duration::ZERO;
        for child in scene.session.bridges.children() {
            let began = Instant::now();
            child.restart().await.map_err(|failed| restart_failed(&failed))?;
            await_all(scene).await?;
            slowest = slowest.max(began.elapsed());
        }
        Ok(slowest)
    };
    let restart = async {
        let restarted = restart.await;
        have_restarted.store(true, Ordering::Relaxed);
        restarted
    };
    let keep_talking = async {
        let mut slowest = Duration::ZERO;
        while !have_restarted.load(Ordering::Relaxed) {
            slowest = slowest.max(talk.exchange().await?);
            tokio::time::sleep(BETWEEN_MESSAGES).await;
        }
        Ok(slowest)
    };
    let (restarted, slowest) = tokio::try_join!(restart, keep_talking)?;
    talk.check()?;
    Ok(values([
        ("instances", scene.session.bridges.children().len().into()),
        ("restarted_ms", millis(restarted)),
        ("slowest_ms", millis(slowest)),
        ("messages", talk.count()),
    ]))
}

fn child_of(scene: &Scene, instance: Instance) -> Checked<&Child> {
    let child = scene.session.bridges.children().get(instance.index());
    child.ok_or_else(|| Mismatch::new("an instance of this sandbox", format!("instance {instance}")))
}

/// How many messages the instances have recorded as delivered.
async fn count_delivered(scene: &Scene) -> u64 {
    let mut delivered = 0;
    for child in scene.session.bridges.children() {
        let ops = child.status().borrow().addresses.ops;
        let metrics = child::fetch_ops_snapshot(&scene.session.http, ops).await.metrics;
        delivered += metrics.map_or(0, |metrics| Counters::parse(&metrics).delivered);
    }
    delivered
}

/// Waits until so many deliveries are recorded: an answer that an instance is still sending to WeChat when it goes ends as
/// unknown, rightly, and its agent gets a notice. Others may use the page, so this is no condition.
async fn await_outcomes(scene: &Scene, delivered: u64) {
    let recorded = async {
        while count_delivered(scene).await < delivered {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    let _ = tokio::time::timeout(DEADLINE, recorded).await;
}

/// Waits until each instance has its share of the customers. Returns how long that took.
async fn await_all(scene: &Scene) -> Checked<Duration> {
    let began = Instant::now();
    let children = scene.session.bridges.children();
    let all = async {
        loop {
            let mut shards = Vec::with_capacity(children.len());
            for child in children {
                let ops = child.status().borrow().addresses.ops;
                let fleet = child::fetch_ops_snapshot(&scene.session.http, ops).await.fleet;
                if fleet["ok"] == true && fleet["alive"] == children.len() {
                    shards.extend(fleet["shards"].as_u64().filter(|shards| *shards > 0));
                }
            }
            if shards.len() == children.len() && shards.iter().sum::<u64>() == SHARDS {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    conditions::within(RETURN_LIMIT, "all instances to share the customers", all).await?;
    Ok(began.elapsed())
}
