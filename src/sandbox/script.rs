//! The scripted conversation: plays the documents' scenario over both simulated platforms, step by
//! step, and writes a transcript.
//!
//! It drives a bridge only from outside, by actions of customers and agents. It must never use the
//! bridge's own code.

mod agents;
mod answers;
mod cast;
mod kinds;
mod lines;
mod talk;
mod transcript;
mod wrong;

use std::io::Write;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::stage::Stage;
use crate::config::Texts;
pub(super) use cast::CUSTOMER;
use cast::{Cast, Missed, Played};

/// The reasons why the script did not reach its end.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
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
struct Scene {
    title: &'static str,
    play: for<'a> fn(&'a mut Cast<'_>) -> BoxFuture<'a, Played>,
}

/// The documents' scenario. A step may depend on the state that earlier steps left.
const SCENES: &[Scene] = &[
    Scene { title: "WeChat checks the URL", play: |cast| Box::pin(talk::check(cast)) },
    Scene { title: "A customer follows", play: |cast| Box::pin(talk::follow(cast)) },
    Scene { title: "The customer asks", play: |cast| Box::pin(talk::question(cast)) },
    Scene { title: "The agent answers", play: |cast| Box::pin(talk::answer(cast)) },
    Scene { title: "The agent sends a picture", play: |cast| Box::pin(answers::image(cast)) },
    Scene { title: "The agent sends a voice message", play: |cast| Box::pin(answers::voice(cast)) },
    Scene { title: "An image", play: |cast| Box::pin(kinds::image(cast)) },
    Scene { title: "A voice message", play: |cast| Box::pin(kinds::voice(cast)) },
    Scene { title: "A video", play: |cast| Box::pin(kinds::video(cast)) },
    Scene { title: "A short video", play: |cast| Box::pin(kinds::short_video(cast)) },
    Scene { title: "A location", play: |cast| Box::pin(kinds::location(cast)) },
    Scene { title: "A link", play: |cast| Box::pin(kinds::link(cast)) },
    Scene { title: "A mini program", play: |cast| Box::pin(kinds::mini_program(cast)) },
    Scene { title: "A message of an unknown kind", play: |cast| Box::pin(kinds::unknown(cast)) },
    Scene { title: "A repeated push delivers one message", play: |cast| Box::pin(wrong::repeat(cast)) },
    Scene { title: "A forged push has no effect", play: |cast| Box::pin(wrong::forgery(cast)) },
    Scene { title: "The customer unfollows", play: |cast| Box::pin(talk::unfollow(cast)) },
];

/// Further steps, for a bridge that holds answers, runs backfills and has several agents.
const AGENTS_SCENES: &[Scene] = &[
    Scene { title: "Five answers arrive; the sixth is held", play: |cast| Box::pin(agents::held(cast)) },
    Scene { title: "The held answer goes out first", play: |cast| Box::pin(agents::released(cast)) },
    Scene { title: "The agent asks /who", play: |cast| Box::pin(agents::who(cast)) },
    Scene { title: "A backfill recovers a lost callback", play: |cast| Box::pin(agents::lost(cast)) },
    Scene {
        title: "An answer with unknown outcome is reported, not repeated",
        play: |cast| Box::pin(agents::unsure(cast)),
    },
    Scene { title: "The conversation is transferred", play: |cast| Box::pin(agents::transfer(cast)) },
    Scene {
        title: "An account without customer-service messages",
        play: |cast| Box::pin(agents::personal(cast)),
    },
];

/// Plays only the documents' scenario, for a bridge with its own clock. Otherwise like [`play`].
pub async fn introduce(stage: &Stage, texts: &Texts, transcript: &mut impl Write) -> Result<(), Failed> {
    let scenes: Vec<&Scene> = SCENES.iter().collect();
    perform(&scenes, stage, texts, transcript).await
}

/// The steps that are played again with encrypted pushes.
const SEALED_SCENES: &[Scene] = &[
    Scene { title: "WeChat checks the URL", play: |cast| Box::pin(talk::check(cast)) },
    Scene { title: "A customer follows", play: |cast| Box::pin(talk::follow(cast)) },
    Scene { title: "The customer asks", play: |cast| Box::pin(talk::question(cast)) },
    Scene { title: "The agent answers", play: |cast| Box::pin(talk::answer(cast)) },
    Scene { title: "An image", play: |cast| Box::pin(kinds::image(cast)) },
    Scene { title: "A forged push has no effect", play: |cast| Box::pin(wrong::forgery(cast)) },
];

/// Plays a few steps against a bridge in safe mode. Otherwise like [`play`].
pub async fn play_sealed(stage: &Stage, texts: &Texts, transcript: &mut impl Write) -> Result<(), Failed> {
    writeln!(transcript, "Again in safe mode: pushes and their answers are encrypted.\n")?;
    let scenes: Vec<&Scene> = SEALED_SCENES.iter().collect();
    perform(&scenes, stage, texts, transcript).await
}

/// Plays the script against the bridge that `stage` is connected to. The bridge must use the
/// stage's clock and `texts`. Writes the transcript step by step: plain text of at most 110
/// columns, without secrets.
///
/// Fails at the first step that does not meet its conditions in time: 5 s, or 30 s for a file.
pub async fn play(stage: &Stage, texts: &Texts, transcript: &mut impl Write) -> Result<(), Failed> {
    let scenes: Vec<&Scene> = SCENES.iter().chain(AGENTS_SCENES).collect();
    perform(&scenes, stage, texts, transcript).await
}

async fn perform(
    scenes: &[&Scene],
    stage: &Stage,
    texts: &Texts,
    transcript: &mut impl Write,
) -> Result<(), Failed> {
    let Some(mut cast) = Cast::new(stage, texts) else {
        return Err(std::io::Error::other("a stage needs an agent").into());
    };
    let began = Instant::now();
    for (number, scene) in (1..).zip(scenes) {
        let step = Instant::now();
        let played = (scene.play)(&mut cast).await;
        let mut block = std::mem::take(&mut cast.block);
        if let Err(missed) = &played {
            block.did("FAILED: expected", &missed.expected);
            block.did("seen", &missed.seen);
        }
        writeln!(transcript, "{}", block.render(number, scene.title, step.elapsed().as_millis()))?;
        if let Err(Missed { expected, seen }) = played {
            let left = scenes.len() - number;
            writeln!(transcript, "step {number} of {} failed; {left} not played", scenes.len())?;
            transcript.flush()?;
            return Err(Failed::Step { number, title: scene.title, expected, seen });
        }
        transcript.flush()?;
    }
    writeln!(transcript, "{} steps passed in {} ms", scenes.len(), began.elapsed().as_millis())?;
    transcript.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests;
