//! The agents' day: nobody is signed in, an agent leaves in the middle of a conversation, and the night.

use tokio::time::Instant;

use super::DrillResult;
use super::scene::{DEADLINE, Scene, millis, values};
use crate::clock::Clock;
use crate::model::hours::{Shift, WorkingHours, time_zone};
use crate::sandbox::child::Apply;
use crate::sandbox::conditions::{Checked, Mismatch, expect, expect_webhook};
use crate::sandbox::im::AgentClient;
use crate::sandbox::wechat::Phone;

/// Ends a conversation.
const CLOSE: &str = "/close";
/// The zone of the hours at night: the bridge's own default.
const ZONE: &str = "Asia/Shanghai";
/// The night lasts for as many minutes at least, and for as many more at most.
const NIGHT_MIN: i64 = 6 * 60;
const NIGHT_MORE_MIN: i64 = 4 * 60;
const DAY_MIN: u16 = 24 * 60;
/// Beyond this place in the line the drill does not look for its customers.
const LONGEST_LINE: u32 = 60;

/// No agent is signed in: two customers are told how many are ahead, and wait. When an agent signs in, all that they
/// wrote arrives, of each in order. One whom another agent served before brings what was said, and takes longer.
pub(super) async fn nobody_there(scene: &Scene) -> DrillResult {
    let neighbour = scene.neighbour();
    for phone in [&scene.customer, &neighbour] {
        end_conversation(scene, phone).await?;
    }
    for desk in scene.session.stage.agents() {
        desk.sign_out().await;
    }
    let words = ["Is anybody there?", "And for me?", "I can wait."].map(|words| scene.marked_text(words));
    let before_neighbour = say_and_queue(scene, &neighbour, &words[0]).await?;
    let ahead = say_and_queue(scene, &scene.customer, &words[1]).await?;
    expect(ahead == before_neighbour + 1, format!("{} customers ahead", before_neighbour + 1), || {
        ahead.to_string()
    })?;
    scene.say(&scene.customer, &words[2]).await?;
    let early = words.iter().map(|words| scene.count_arrivals(words)).sum::<usize>();
    expect(early == 0, "nothing to arrive while nobody is there", || format!("{early} messages"))?;
    let desk = scene.session.stage.agents().first().ok_or_else(no_agent)?;
    let began = Instant::now();
    desk.sign_in().await;
    for words in &words {
        scene.await_arrival(words, DEADLINE).await?;
    }
    let after = began.elapsed();
    for words in &words {
        scene.expect_once_at_agent(words)?;
    }
    scene.expect_arrived_in_order(&words[1..])?;
    Ok(values([
        ("ahead", ahead.into()),
        ("messages", words.len().into()),
        ("agent", desk.user_id().into()),
        ("arrived_after_ms", millis(after)),
    ]))
}

/// An agent signs out in the middle of a conversation: it stays with the agent, and new customers go to others. What the
/// customer writes is there when the agent signs in again.
pub(super) async fn agent_leaves(scene: &Scene) -> DrillResult {
    let neighbour = scene.neighbour();
    end_conversation(scene, &neighbour).await?;
    let desk = scene.open_conversation().await?;
    desk.sign_out().await;
    let words = ["One more question.", "It is about the size."].map(|words| scene.marked_text(words));
    for words in &words {
        scene.say(&scene.customer, words).await?;
    }
    let other_words = scene.marked_text("Hello, I am new here.");
    scene.say(&neighbour, &other_words).await?;
    let other = scene.await_arrival(&other_words, DEADLINE).await?;
    expect(other.user_id() != desk.user_id(), "the new customer at another agent", || {
        format!("at {}, who is signed out", other.user_id())
    })?;
    let has = |words: &String| desk.inbox().iter().any(|seen| seen.text().contains(words));
    expect(!words.iter().any(has), "the client to show nothing while it is signed out", || "it does")?;
    let began = Instant::now();
    desk.sign_in().await;
    for words in &words {
        let at = scene.await_arrival(words, DEADLINE).await?;
        expect(at.user_id() == desk.user_id(), "the conversation to stay with its agent", || {
            at.user_id().to_owned()
        })?;
    }
    let after = began.elapsed();
    for words in &words {
        scene.expect_once_at_agent(words)?;
    }
    scene.expect_arrived_in_order(&words)?;
    Ok(values([
        ("agent", desk.user_id().into()),
        ("other", other.user_id().into()),
        ("messages", words.len().into()),
        ("arrived_after_ms", millis(after)),
    ]))
}

/// The desk is closed: the customer is told when it opens. At the opening all that the customer wrote arrives.
pub(super) async fn night(scene: &Scene) -> DrillResult {
    let opens = close_for_the_night(scene).await?;
    let words = ["Are you still open?", "Then tomorrow."].map(|words| scene.marked_text(words));
    let pushed = scene.say(&scene.customer, &words[0]).await?;
    let reply = pushed.text().unwrap_or_default();
    let is_told = scene.session.texts.away("").is_none() || reply.contains(&opens);
    expect(is_told, format!("the customer to be told that the desk opens at {opens}"), || {
        format!("{reply:?}")
    })?;
    scene.say(&scene.customer, &words[1]).await?;
    let early = words.iter().map(|words| scene.count_arrivals(words)).sum::<usize>();
    expect(early == 0, "nothing to arrive at night", || format!("{early} messages"))?;
    let began = Instant::now();
    scene.set_hours(None, Apply::Reload).await?;
    for words in &words {
        scene.await_arrival(words, DEADLINE).await?;
    }
    let after = began.elapsed();
    for words in &words {
        scene.expect_once_at_agent(words)?;
    }
    scene.expect_arrived_in_order(&words)?;
    Ok(values([
        ("opens", opens.into()),
        ("messages", words.len().into()),
        ("arrived_after_ms", millis(after)),
    ]))
}

/// Gives the bridge hours that begin some hours from now. Returns when, as its words for customers show it.
async fn close_for_the_night(scene: &Scene) -> Checked<String> {
    let zone = time_zone(ZONE).ok_or_else(|| Mismatch::new("a time zone", "none"))?;
    let always = WorkingHours::new(WorkingHours::whole_week(), Vec::new(), zone.clone());
    // Customers are told once a session, and again when the time has changed: each drill has its own.
    let minutes = NIGHT_MIN + scene.mark() % NIGHT_MORE_MIN;
    let opening = always.local(Clock::system().now().plus(minutes * 60_000));
    let start =
        u16::try_from(i16::from(opening.hour()) * 60 + i16::from(opening.minute())).unwrap_or_default();
    let shift = Shift { start, end: (start + 60).min(DAY_MIN) };
    let hours = WorkingHours::new(std::array::from_fn(|_| vec![shift]), Vec::new(), zone);
    let opens = opening.strftime("%H:%M").to_string();
    let closes = format!("{:02}:{:02}", shift.end / 60, shift.end % 60);
    let lines = format!("\n[desk]\nhours = \"Mon-Sun {opens}-{closes}\"\ntime_zone = \"{ZONE}\"\n");
    scene.set_hours(Some((lines, hours)), Apply::Restart).await?;
    Ok(opens)
}

/// Lets the customer open a conversation and the agent end it, so that the next message needs an agent.
async fn end_conversation(scene: &Scene, phone: &Phone) -> Checked<AgentClient> {
    let words = scene.marked_text(&format!("Thank you, {}.", &phone.openid()[8..14]));
    scene.say(phone, &words).await?;
    let desk = scene.await_arrival(&words, DEADLINE).await?;
    let notices = |inbox: &[crate::sandbox::im::MessageView]| {
        let mine = inbox.iter().filter(|seen| seen.from.starts_with(phone.openid()));
        mine.filter(|seen| seen.text().starts_with(crate::sandbox::conditions::NOTICE_PREFIX)).count()
    };
    let before = notices(&desk.inbox());
    expect_webhook(desk.say(phone.openid(), CLOSE).await)?;
    let is_ended = desk.wait_for(|inbox| notices(inbox) > before, DEADLINE).await;
    is_ended.map_err(|_| Mismatch::late("the conversation to end", DEADLINE))?;
    Ok(desk)
}

/// The customer writes, and is told how many are ahead in the line. Returns how many.
async fn say_and_queue(scene: &Scene, phone: &Phone, words: &str) -> Checked<u32> {
    let pushed = scene.say(phone, words).await?;
    let reply = pushed.text().unwrap_or_default();
    let is_told = |ahead: &u32| scene.session.texts.queued(*ahead).is_some_and(|text| reply.contains(&text));
    (0..LONGEST_LINE)
        .find(is_told)
        .ok_or_else(|| Mismatch::new("the customer to be told how many are ahead", format!("{reply:?}")))
}

fn no_agent() -> Mismatch {
    Mismatch::new("an agent", "none")
}
