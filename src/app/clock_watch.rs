//! Compares this machine's clock with the platforms' clocks: at the start, after every jump, and
//! where no answer has shown a platform's time for a minute.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::clock::{Clock, RemoteClock, WrongClock};
use crate::config::Config;
use crate::upstream::measure;
use crate::{im, wechat};

/// How often the clocks are compared.
const TICK: Duration = Duration::from_secs(1);
/// A measurement older than this is made anew, milliseconds.
const MAX_AGE_MS: i64 = 60_000;
/// The same while the clocks contradict each other, milliseconds.
const MAX_AGE_WHILE_WRONG_MS: i64 = 10_000;
/// The shortest time between two requests to a platform that does not answer.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// What to do about a wrong clock.
pub(super) const ADVICE: &str = "set this machine's clock and keep it right with NTP (`timedatectl set-ntp true`); until \
    then the bridge goes by the platforms' clocks, and neither deletes nor gives up anything for its age";

/// The task that compares the clocks.
#[derive(Debug)]
pub(super) struct ClockWatch {
    clock: Clock,
    platforms: Vec<Platform>,
}

#[derive(Debug)]
struct Platform {
    clock: RemoteClock,
    http: reqwest::Client,
    base: Url,
    asked_at: Option<Instant>,
}

impl ClockWatch {
    /// Creates the task, which asks by `http`.
    pub(super) fn new(config: &Config, clock: &Clock, http: &reqwest::Client) -> Self {
        let platform = |name, base: &Url| Platform {
            clock: clock.remote(name),
            http: http.clone(),
            base: base.clone(),
            asked_at: None,
        };
        let platforms = vec![
            platform(im::CLOCK, config.im.api_base.url()),
            platform(wechat::CLOCK, config.wechat.api_base.url()),
        ];
        Self { clock: clock.clone(), platforms }
    }

    /// Runs until stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let mut tick = interval(TICK);
            let mut was_right = true;
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = self.clock.examination_wanted() => {}
                }
                let is_settled = self.clock.is_settled();
                self.measure(self.clock.check().is_err(), !is_settled).await;
                self.clock.mark_examined();
                let checked = self.clock.check();
                if checked.is_ok() != was_right {
                    was_right = checked.is_ok();
                    log(&checked);
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    /// Asks the platforms whose clocks have not been measured lately; with `now`, all of them.
    async fn measure(&mut self, is_wrong: bool, now: bool) {
        let max_age_ms = if is_wrong { MAX_AGE_WHILE_WRONG_MS } else { MAX_AGE_MS };
        let due = self.platforms.iter_mut().filter(|platform| {
            let is_old = platform.clock.age_ms().is_none_or(|age| age >= max_age_ms);
            let may_ask = platform.asked_at.is_none_or(|at| at.elapsed() >= RETRY_INTERVAL);
            now || (is_old && may_ask)
        });
        join_all(due.map(|platform| {
            platform.asked_at = Some(Instant::now());
            measure(&platform.clock, &platform.http, platform.base.clone())
        }))
        .await;
    }
}

fn log(checked: &Result<(), WrongClock>) {
    match checked {
        Ok(()) => tracing::info!("this machine's clock and the platforms' agree"),
        Err(wrong) => tracing::error!("{}: {ADVICE}", describe(wrong)),
    }
}

/// What is wrong with the clock, in words.
pub(super) fn describe(wrong: &WrongClock) -> String {
    let by = |ahead_ms: i64| {
        let side = if ahead_ms < 0 { "behind" } else { "ahead of" };
        format!("{} s {side}", (ahead_ms.abs() + 500) / 1000)
    };
    if wrong.contradicted_by.is_empty() {
        return format!(
            "this machine's clock was set: it is {} the time that passed, and no platform confirms that",
            by(wrong.ahead_ms)
        );
    }
    let clocks: Vec<_> =
        wrong.contradicted_by.iter().map(|(name, ms)| format!("{} {name}'s", by(*ms))).collect();
    format!("this machine's clock is {}", clocks.join(" and "))
}
