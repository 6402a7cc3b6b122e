//! The time of a bridge that is a process, moved together with that of the platforms.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use wechat_im_bridge::internals::clock::Clock;

pub struct MovedTime {
    /// That of the platforms.
    pub clock: Clock,
    passed_ms: i64,
    bridge: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl MovedTime {
    pub fn new() -> Self {
        Self { clock: Clock::movable(), passed_ms: 0, bridge: None }
    }

    /// Starts a bridge that follows.
    pub fn spawn(&mut self, mut command: Command) -> Child {
        command.env("BRIDGE_PASSED_MS", self.passed_ms.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        self.bridge = child.stdin.take().zip(child.stdout.take().map(BufReader::new));
        child
    }

    /// Lets time pass for the platforms and for the bridge, if one runs.
    pub fn pass(&mut self, ms: i64) {
        self.clock.advance(ms);
        self.passed_ms += ms;
        if let Some((moves, moved)) = &mut self.bridge {
            let mut line = String::new();
            // One that was killed takes no line any more.
            let is_taken = writeln!(moves, "{ms}").is_ok() && moved.read_line(&mut line).is_ok();
            assert!(!is_taken || line.is_empty() || line == format!("{ms}\n"), "{line:?}");
        }
    }
}
