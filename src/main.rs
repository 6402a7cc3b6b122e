//! Parses the command line, runs the command, and reports the outcome on stderr and as an exit
//! status.

use std::io;
use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use wechat_im_bridge::Cli;

/// Gives memory back to the system after a storm of requests, which the system's allocator does not
/// (docs/benchmarks.md has the figures).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If stderr is closed too, only the exit status can report the failure.
            let _ = error.write_to(&mut io::stderr().lock());
            ExitCode::from(error.status())
        }
    }
}
