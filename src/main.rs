//! Parses the command line, runs it, and turns the outcome into text on stderr and an exit status.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use wechat_im_bridge::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where stderr is closed too, the exit status is all that can be told.
            let _ = error.tell(&mut io::stderr().lock());
            ExitCode::from(error.status())
        }
    }
}
