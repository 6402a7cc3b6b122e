//! The scripted conversation: plays the documents' scenario over both simulated platforms, step by
//! step, and writes a transcript.
//!
//! It drives a bridge only from outside, by actions of customers and agents. It must never use the
//! bridge's own code.

mod agents;
mod agent_media;
mod cast;
mod kinds;
mod lines;
mod scenario;
mod transcript;
mod bad_pushes;

use std::io::Write;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::conditions::{Checked, Mismatch};
use super::stage::Stage;
use crate::config::Texts;
pub(super) use cast::CUSTOMER;
use cast::Cast;

/// The reasons why the script did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// A step failed; the later steps were not played.
    #[error("step {number} of the script, \"{title}\", expected {expected}; seen: {seen}")]
    Step {
        /// The number of the step, counted from 1.
        number: usize,
        /// The title of the step.
        title: &'static str,
        /// The condition that was not met, in words.
        expected: String,
        /// What happened instead, in words.
        seen: String,
    },
    /// The transcript could not be written.
    #[error("cannot write the transcript")]
    Transcript(#[from] std::io::Error),
}

/// One step of the script.
struct Step {
    title: &'static str,
    play: for<'a> fn(&'a mut Cast<'_>) -> BoxFuture<'a, Checked>,
}

/// The steps that move the bridge's clock, by their titles.
const CLOCK_STEPS: [&str; 2] = [LOST_CALLBACK, PERSONAL_ACCOUNT];
const LOST_CALLBACK: &str = "A backfill recovers a lost callback";
const PERSONAL_ACCOUNT: &str = "An account without customer-service messages";

/// The documents' scenario. A step may depend on the state that earlier steps left.
const SCENARIO_STEPS: &[Step] = &[
    Step { title: "WeChat checks the URL", play: |cast| Box::pin(scenario::verify_url(cast)) },
    Step { title: "A customer follows", play: |cast| Box::pin(scenario::follow(cast)) },
    Step { title: "The customer asks", play: |cast| Box::pin(scenario::question(cast)) },
    Step { title: "The agent types", play: |cast| Box::pin(scenario::typing(cast)) },
    Step { title: "The agent answers", play: |cast| Box::pin(scenario::answer(cast)) },
    Step { title: "The agent sends a picture", play: |cast| Box::pin(agent_media::image(cast)) },
    Step { title: "The agent sends a voice message", play: |cast| Box::pin(agent_media::voice(cast)) },
    Step { title: "An image", play: |cast| Box::pin(kinds::image(cast)) },
    Step { title: "A voice message", play: |cast| Box::pin(kinds::voice(cast)) },
    Step { title: "A video", play: |cast| Box::pin(kinds::video(cast)) },
    Step { title: "A short video", play: |cast| Box::pin(kinds::short_video(cast)) },
    Step { title: "A location", play: |cast| Box::pin(kinds::location(cast)) },
    Step { title: "A link", play: |cast| Box::pin(kinds::link(cast)) },
    Step { title: "A mini program", play: |cast| Box::pin(kinds::mini_program(cast)) },
    Step { title: "A message of an unknown kind", play: |cast| Box::pin(kinds::unknown(cast)) },
    Step { title: "A repeated push delivers one message", play: |cast| Box::pin(bad_pushes::repeat(cast)) },
    Step { title: "A forged push has no effect", play: |cast| Box::pin(bad_pushes::forgery(cast)) },
    Step { title: "The customer unfollows", play: |cast| Box::pin(scenario::unfollow(cast)) },
];

/// Further steps, for a bridge that holds answers, runs backfills and has several agents.
const AGENT_STEPS: &[Step] = &[
    Step { title: "Two lines go as one; a line too many is held", play: |cast| Box::pin(agents::held(cast)) },
    Step { title: "The held answer goes out first", play: |cast| Box::pin(agents::released(cast)) },
    Step { title: "The agent asks /who", play: |cast| Box::pin(agents::who(cast)) },
    Step { title: LOST_CALLBACK, play: |cast| Box::pin(agents::lost_callback(cast)) },
    Step {
        title: "An answer with unknown outcome is reported, not repeated",
        play: |cast| Box::pin(agents::unknown_outcome(cast)),
    },
    Step { title: "The conversation is transferred", play: |cast| Box::pin(agents::transfer(cast)) },
    Step { title: PERSONAL_ACCOUNT, play: |cast| Box::pin(agents::personal(cast)) },
];

/// Plays only the documents' scenario, for a bridge with its own clock. Otherwise like [`play`].
pub async fn play_scenario(
    stage: &Stage,
    texts: &Texts,
    transcript: &mut impl Write,
) -> Result<(), ScriptError> {
    let steps: Vec<&Step> = SCENARIO_STEPS.iter().collect();
    play_steps(&steps, stage, texts, transcript).await
}

/// The steps that are played again with encrypted pushes.
const SAFE_MODE_STEPS: &[Step] = &[
    Step { title: "WeChat checks the URL", play: |cast| Box::pin(scenario::verify_url(cast)) },
    Step { title: "A customer follows", play: |cast| Box::pin(scenario::follow(cast)) },
    Step { title: "The customer asks", play: |cast| Box::pin(scenario::question(cast)) },
    Step { title: "The agent answers", play: |cast| Box::pin(scenario::answer(cast)) },
    Step { title: "An image", play: |cast| Box::pin(kinds::image(cast)) },
    Step { title: "A forged push has no effect", play: |cast| Box::pin(bad_pushes::forgery(cast)) },
];

/// Plays a few steps against a bridge in safe mode. Otherwise like [`play`].
pub async fn play_in_safe_mode(
    stage: &Stage,
    texts: &Texts,
    transcript: &mut impl Write,
) -> Result<(), ScriptError> {
    writeln!(transcript, "Again in safe mode: pushes and their answers are encrypted.\n")?;
    let steps: Vec<&Step> = SAFE_MODE_STEPS.iter().collect();
    play_steps(&steps, stage, texts, transcript).await
}

/// Plays the script against the bridge that `stage` is connected to. The bridge must use the
/// stage's clock and `texts`. Writes the transcript step by step: plain text of at most 110
/// columns, without secrets.
///
/// Fails at the first step that does not meet its conditions in time: 5 s, or 30 s for a file.
pub async fn play(stage: &Stage, texts: &Texts, transcript: &mut impl Write) -> Result<(), ScriptError> {
    let steps: Vec<&Step> = SCENARIO_STEPS.iter().chain(AGENT_STEPS).collect();
    play_steps(&steps, stage, texts, transcript).await
}

/// Plays all steps but those that move the bridge's clock, for bridges with their own clocks. Otherwise like [`play`].
pub async fn play_in_real_time(
    stage: &Stage,
    texts: &Texts,
    transcript: &mut impl Write,
) -> Result<(), ScriptError> {
    let all = SCENARIO_STEPS.iter().chain(AGENT_STEPS);
    let steps: Vec<&Step> = all.filter(|step| !CLOCK_STEPS.contains(&step.title)).collect();
    play_steps(&steps, stage, texts, transcript).await
}

async fn play_steps(
    steps: &[&Step],
    stage: &Stage,
    texts: &Texts,
    transcript: &mut impl Write,
) -> Result<(), ScriptError> {
    let Some(mut cast) = Cast::new(stage, texts) else {
        return Err(std::io::Error::other("a stage needs an agent").into());
    };
    let began = Instant::now();
    for (number, step) in (1..).zip(steps) {
        let step_began = Instant::now();
        let result = (step.play)(&mut cast).await;
        let mut block = std::mem::take(&mut cast.block);
        if let Err(missed) = &result {
            block.event("FAILED: expected", &missed.expected);
            block.event("seen", &missed.seen);
        }
        writeln!(transcript, "{}", block.render(number, step.title, step_began.elapsed().as_millis()))?;
        if let Err(Mismatch { expected, seen }) = result {
            let remaining = steps.len() - number;
            writeln!(transcript, "step {number} of {} failed; {remaining} not played", steps.len())?;
            transcript.flush()?;
            return Err(ScriptError::Step { number, title: step.title, expected, seen });
        }
        transcript.flush()?;
    }
    writeln!(transcript, "{} steps passed in {} ms", steps.len(), began.elapsed().as_millis())?;
    transcript.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
