//! `serve`: runs the bridge until a signal stops it.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::app;
use crate::clock::Clock;
use crate::lifecycle::{Signals, deadline, open_files};
use crate::telemetry;

/// `POINT:NTH` or `POINT:NTH:MILLISECONDS`: the point where a build with fail points aborts as if
/// it had been killed, and how long it pauses there first. Other builds ignore it.
const KILL_AT: &str = "BRIDGE_KILL_AT";
/// `POINT:NTH`: the point where a build with fail points stops itself with SIGSTOP, until somebody lets it go on.
/// Other builds ignore it.
const PAUSE_AT: &str = "BRIDGE_PAUSE_AT";
/// `POINT:TIMES`: the point where a build with fail points panics, and how often. Other builds ignore it.
const PANIC_AT: &str = "BRIDGE_PANIC_AT";
/// How many milliseconds have passed already for a build with fail points. As many pass at once as each line of standard
/// input says; the line is repeated when they have. Other builds ignore it.
const PASSED_MS: &str = "BRIDGE_PASSED_MS";

pub(super) async fn run(source: app::Source, while_stdin: bool) -> Result<(), Error> {
    // From now on SIGHUP is kept until the bridge has started, and then applied.
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let stamp = source.stamp();
    let (config, warnings) = (source.load)()?;

    if fail::has_failpoints() {
        if let Some(at) = std::env::var_os(KILL_AT) {
            abort_at(&at.to_string_lossy())?;
        }
        if let Some(at) = std::env::var_os(PAUSE_AT) {
            pause_at(&at.to_string_lossy())?;
        }
        if let Some(at) = std::env::var_os(PANIC_AT) {
            panic_at(&at.to_string_lossy())?;
        }
    }
    let clock = clock()?;
    let mut signals = Signals::catch().context("cannot listen for signals")?;
    let stop = CancellationToken::new();
    deadline::enforce(config.server.shutdown_grace, stop.clone()).context("cannot watch over the stop")?;
    telemetry::init(config.log.format, &config.log.level).context("cannot set up the log")?;
    if let Err(error) = open_files::raise_limit() {
        tracing::warn!(%error, "cannot raise the limit of open files to the hard limit; it stays as it is");
    }
    let (exposures, missing_name) = (config.exposures.clone(), config.texts.missing_name());
    let running = tokio::select! {
        started = app::start(config, warnings, clock) => started?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before the start was finished");
            return Ok(());
        }
    };
    // Only the sandbox is the parent of a bridge, and its bridge is open to nobody else.
    for exposure in exposures.iter().filter(|_| !while_stdin) {
        tracing::warn!("{exposure}");
    }
    if let Some(problem) = missing_name.filter(|_| !while_stdin) {
        tracing::warn!("texts.shop_name: {problem}; set the name that customers know");
    }
    let (settings, soft) = (running.settings.clone(), running.lifecycle.soft().clone());
    running.lifecycle.spawn("settings", settings.follow(source, stamp, hangup, soft.clone()));
    tokio::spawn(async move {
        soft.cancelled().await;
        stop.cancel();
    });
    if while_stdin {
        let soft = running.lifecycle.soft().clone();
        let closed = stdin_closed().context("cannot watch standard input: it must be a pipe")?;
        running.lifecycle.spawn("standard input", async move {
            tokio::select! {
                () = closed => {
                    tracing::info!("standard input was closed: stopping");
                    soft.cancel();
                }
                () = soft.cancelled() => {}
            }
        });
    }
    Ok(running.until_stopped(signals).await?)
}

/// Waits until standard input is closed, without blocking a thread. Fails if standard input is not
/// a pipe.
fn stdin_closed() -> io::Result<impl Future<Output = ()>> {
    let mut pipe = Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    Ok(async move {
        let mut buffer = [0; 64];
        while pipe.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    })
}

/// The system's clock, or one that is moved from outside.
fn clock() -> anyhow::Result<Clock> {
    let Some(passed) = std::env::var_os(PASSED_MS).filter(|_| fail::has_failpoints()) else {
        return Ok(Clock::system());
    };
    let clock = Clock::movable();
    clock.advance(passed.to_string_lossy().parse().context("BRIDGE_PASSED_MS must be milliseconds")?);
    let moved = clock.clone();
    let follow = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            let Ok(ms) = line.parse() else { return };
            moved.advance(ms);
            let _ = writeln!(io::stdout(), "{line}");
        }
    };
    std::thread::Builder::new().name("clock".to_owned()).spawn(follow).context("cannot move the clock")?;
    Ok(clock)
}

/// Arranges that a task panics at a fail point.
fn panic_at(spec: &str) -> anyhow::Result<()> {
    let (point, times) = spec.split_once(':').context("BRIDGE_PANIC_AT must be POINT:TIMES")?;
    fail::cfg(point, &format!("{times}*panic")).map_err(anyhow::Error::msg)
}

/// Arranges that the process stops itself exactly at a fail point.
fn pause_at(spec: &str) -> anyhow::Result<()> {
    let (point, nth) = spec.split_once(':').context("BRIDGE_PAUSE_AT must be POINT:NTH")?;
    let nth: u32 = nth.parse().context("BRIDGE_PAUSE_AT must be POINT:NTH")?;
    let passed = AtomicU32::new(0);
    let pause = move || {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        }
    };
    fail::cfg_callback(point, pause).map_err(anyhow::Error::msg)
}

/// Arranges that the process aborts exactly at a fail point. A `kill -9` from outside would come a
/// little later.
fn abort_at(spec: &str) -> anyhow::Result<()> {
    let mut words = spec.split(':');
    let point = words.next().unwrap_or_default().to_owned();
    let nth: u32 = words.next().unwrap_or_default().parse().context("BRIDGE_KILL_AT must be POINT:NTH")?;
    let pause_ms =
        words.next().map_or(Ok(0), str::parse).context("BRIDGE_KILL_AT: the time must be in milliseconds")?;
    let passed = AtomicU32::new(0);
    let abort = move || {
        if passed.fetch_add(1, Ordering::Relaxed) + 1 == nth {
            std::thread::sleep(Duration::from_millis(pause_ms));
            std::process::abort();
        }
    };
    fail::cfg_callback(point, abort).map_err(anyhow::Error::msg)
}
