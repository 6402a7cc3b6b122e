//! The command line: its commands, and how it reports their outcome.
//!
//! Results go to stdout, everything else to stderr. Only this module, `app` and `main` use
//! `anyhow`, and no other module may depend on the command line.

mod check;
mod error;
mod fleet;
mod healthcheck;
mod init;
mod messages;
mod ops_client;
mod output;
mod report;
#[cfg(feature = "sandbox")]
mod sandbox;
mod serve;
mod trace;
mod usersig;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use const_format::formatcp;

use crate::app::{self, store_location};
use crate::clock::Clock;
use crate::config::{self, Config, Faults};
use crate::owner_only;
use crate::store::{Closing, Store};

pub use error::{Error, ErrorWithHint};

#[cfg(feature = "sandbox")]
const SANDBOX_EXAMPLE: &str =
    "  wechat-im-bridge sandbox --script              see the bridge work, without any account\n";
#[cfg(not(feature = "sandbox"))]
const SANDBOX_EXAMPLE: &str = "";

const EXAMPLES: &str = formatcp!(
    "\
Examples:
{SANDBOX_EXAMPLE}  wechat-im-bridge init                          make a configuration
  wechat-im-bridge check --config config.toml    find what is wrong, and what to set in both consoles
  wechat-im-bridge serve --config config.toml    run the bridge

Exit status: 0 success; 1 failure; 2 the command line or the configuration is wrong."
);

/// Bridges WeChat Official Accounts and Tencent Cloud IM: customers write in WeChat, agents answer
/// in IM.
#[derive(Debug, Parser)]
#[command(name = "wechat-im-bridge", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file [default: config.toml]; BRIDGE_SECTION__KEY in the environment
    /// overrides any key
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a configuration: ask for what this program cannot know, write the files, and check them
    ///
    /// Writes config.toml, or the file that --config names, and beside it one file for each secret, all readable by
    /// this user alone. Draws the tokens and the key that both consoles get. Never overwrites a file. What no flag says
    /// is asked, or read from standard input, one line for each question. The AppSecret and the secret key have no
    /// flag: they are asked, or taken from BRIDGE_WECHAT__APP_SECRET and BRIDGE_IM__SECRET_KEY. Ends like `check`.
    #[command(after_help = "Examples:\n  wechat-im-bridge init\n  wechat-im-bridge init --config \
                            /etc/wechat-im-bridge/config.toml --public-url https://bridge.example.com --agents anna,ben")]
    Init(init::Options),
    /// Run the bridge until SIGTERM or SIGINT
    ///
    /// Logs go to stderr. The first signal lets running work finish (server.shutdown_grace_s). The
    /// second stops at once.
    #[command(after_help = "Example:\n  wechat-im-bridge serve --config /etc/bridge/config.toml")]
    Serve {
        /// Also stop when standard input is closed, because the parent process has ended
        #[arg(long, hide = true)]
        while_stdin: bool,
    },
    /// Report what is wrong with the configuration, and what to set in both consoles
    ///
    /// Also tests each credential and permission with WeChat and Tencent IM, without sending anyone
    /// a message. Prints one line for each finding: subject, evidence, fix. The exit status is 1 if
    /// a finding stops the bridge from working.
    #[command(after_help = "Examples:\n  wechat-im-bridge check --offline --config config.toml\n  \
                            wechat-im-bridge check --wait")]
    Check {
        /// Do not call the platforms
        #[arg(long)]
        offline: bool,
        /// Only show how the running bridge sees the button of WeChat's console, until a try is right, for so many
        /// seconds at most
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600",
              conflicts_with = "offline", value_parser = clap::value_parser!(u32).range(1..=86_400))]
        wait: Option<u32>,
    },
    /// Create or verify a UserSig, the credential of a Tencent IM user
    #[command(subcommand)]
    Usersig(usersig::Action),
    /// Run the bridge between two simulated platforms on loopback
    ///
    /// Needs no configuration and no account. Without --script it serves a page on which you can play
    /// both sides, watch every call and break things on purpose, until SIGTERM or SIGINT. Its address
    /// is the last line that it prints. The bridge then runs as a separate process with its store
    /// in a temporary folder. Both are removed when the sandbox ends (the folder stays if the
    /// sandbox is killed).
    #[command(after_help = "Examples:\n  wechat-im-bridge sandbox\n  wechat-im-bridge sandbox --script\n  \
                            wechat-im-bridge sandbox --instances 3 --store postgres://bridge@localhost/scratch")]
    #[cfg(feature = "sandbox")]
    Sandbox {
        /// Play one conversation, print its transcript, and succeed only if every step passed
        #[arg(long)]
        script: bool,
        /// Address of the page, or of the bridge with --script [default: a free port on loopback]
        #[arg(long, value_name = "ADDR")]
        listen: Option<std::net::SocketAddr>,
        /// Keep the bridge's store in schemas of this PostgreSQL database, which are dropped when the sandbox ends
        #[arg(long, value_name = "postgres://USER@HOST/DB")]
        store: Option<String>,
        /// Run so many bridges on that database, 2 to 8, with a front that asks them in turn. With --script, the two
        /// steps that move the bridge's clock are left out
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=8))]
        instances: Option<u8>,
        /// Open the page in a browser
        #[arg(long, conflicts_with = "script")]
        open: bool,
    },
    /// List the stored messages, and retry or discard those that are stuck
    ///
    /// Also works while the bridge runs, which then notices the change by itself.
    #[command(subcommand)]
    Messages(messages::Action),
    /// Show every step of one message, or of all messages of one customer
    ///
    /// Never shows the text of a message. Also works while the bridge runs.
    #[command(after_help = "Examples:\n  wechat-im-bridge trace oABCD1234efgh5678IJKL90_-mno\n  \
                            wechat-im-bridge trace 17")]
    Trace {
        /// The customer's openid, or the id of a message
        #[arg(value_name = "OPENID_OR_ID")]
        openid_or_id: String,
    },
    /// Succeed if the running server is ready to accept pushes
    ///
    /// Asks `/readyz` on server.ops_listen. The exit status is 1 if it answers anything but 200, or nothing within four
    /// seconds.
    #[command(after_help = "Example:\n  wechat-im-bridge healthcheck --config /etc/bridge/config.toml")]
    Healthcheck,
    /// Show per agent and day how many conversations there were and how long customers waited
    ///
    /// A day is one of desk.time_zone, and a conversation belongs to the day on which it began and to the agent who
    /// had it at the end. Names no customer. Also works while the bridge runs.
    #[command(
        after_help = "Examples:\n  wechat-im-bridge report --since 7d\n  wechat-im-bridge report --since 30d --csv"
    )]
    Report(report::Options),
    /// Show which instances serve the database, since when, and how many customers' shards each has
    ///
    /// Several instances need PostgreSQL. Also works while they run.
    #[command(after_help = "Example:\n  wechat-im-bridge fleet --config config.toml")]
    Fleet,
}

impl Cli {
    /// Runs the command. Blocks until it is done.
    pub fn run(self) -> Result<(), Error> {
        owner_only::set_umask();
        let clock = Clock::system();
        let outcome = match &self.command {
            Command::Serve { while_stdin } => {
                let runtime = runtime()?;
                let outcome = runtime.block_on(serve::run(self.source(), *while_stdin));
                // A thread that hangs in a call must not keep the process alive.
                runtime.shutdown_background();
                outcome
            }
            Command::Init(options) => init::run(options, &self.source().path, &clock),
            Command::Check { wait: Some(limit_s), .. } => check::wait::run(self.ops_listen()?, *limit_s),
            Command::Check { offline, wait: None } => {
                let (config, warnings) = self.load()?;
                check::run(&config, &warnings, &clock, *offline)
            }
            Command::Usersig(action) => usersig::run(action, &self.load()?.0, &clock),
            #[cfg(feature = "sandbox")]
            Command::Sandbox { script, listen, store, instances, open } => {
                sandbox::reject_config(self.config.as_deref())?;
                let instances = instances.map(usize::from);
                runtime()?.block_on(sandbox::run(*script, *listen, store.as_deref(), instances, *open))
            }
            Command::Messages(action) => messages::run(action, &self.load()?.0, &clock),
            Command::Trace { openid_or_id: whose } => trace::run(whose, &self.load()?.0, &clock),
            Command::Healthcheck => healthcheck::run(self.ops_listen()?),
            Command::Report(options) => report::run(options, &self.load()?.0, &clock),
            Command::Fleet => fleet::run(&self.load()?.0, &clock),
        };
        match outcome {
            Err(Error::ClosedPipe) => Ok(()),
            outcome => outcome,
        }
    }

    fn load(&self) -> Result<(Config, Vec<String>), Faults> {
        (self.source().load)()
    }

    /// Where the server answers operators; `None` if it does not.
    fn ops_listen(&self) -> Result<Option<std::net::SocketAddr>, Faults> {
        let path = self.config.as_deref().unwrap_or(std::path::Path::new("config.toml"));
        Config::ops_listen(path, self.config.is_some(), config::environment())
    }

    /// Where the configuration comes from.
    fn source(&self) -> app::Source {
        let (explicit, environment) = (self.config.is_some(), config::environment());
        let path = self.config.clone().unwrap_or_else(|| PathBuf::from("config.toml"));
        let file = path.clone();
        app::Source { path, load: Box::new(move || Config::load(&file, explicit, environment.clone())) }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    Ok(built.context("cannot start the worker threads")?)
}

/// Runs `work` on the configured store, which a running bridge may have open too.
fn with_store<T>(
    config: &Config,
    clock: &Clock,
    work: impl AsyncFnOnce(Store) -> Result<T, Error>,
) -> Result<T, Error> {
    if matches!(config.store, config::StoreUrl::SqliteMemory) {
        let problem =
            "store.url is sqlite::memory:, which only the running bridge itself can read".to_owned();
        let hint = "set store.url to sqlite://FILE to use this command".to_owned();
        return Err(ErrorWithHint { problem, hint }.into());
    }
    let location = store_location(&config.store);
    let (store, closing): (Store, Closing) =
        Store::open_for_operator(&location, clock.clone()).map_err(anyhow::Error::from)?;
    let outcome = runtime()?.block_on(work(store));
    closing.close();
    outcome
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definitions_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contracts_command_lines_are_understood() {
        for line in [
            "init",
            "init --config a.toml --public-url https://a.cn --app-id wx1 --agents anna,ben --locale zh --offline",
            "serve",
            "serve --config a.toml",
            "--config a.toml check",
            "check --offline",
            "check --wait",
            "check --wait=30 --config a.toml",
            "usersig create --identifier user1",
            "usersig create --identifier user1 --expire 60 --config a.toml",
            "usersig verify eJx",
            "messages list",
            "messages list --state unknown --json --config a.toml",
            "messages list --state held --customer oA --agent user1 --code -1 --since 3d --limit 5 --all",
            "messages list --group --json",
            "messages retry 5",
            "messages retry 5 6 --yes",
            "messages retry --state refused --code 45002 --since 90s --yes",
            "messages discard 5",
            "messages discard --customer oA",
            "trace oA",
            "healthcheck",
            "healthcheck --config a.toml",
            "report --since 7d",
            "report --since 90s --csv",
            "report --since 3d --json --config a.toml",
            "fleet",
            "fleet --config a.toml",
        ] {
            let words = ["wechat-im-bridge"].into_iter().chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "",
            "frobnicate",
            "check --wait=0",
            "check --wait --offline",
            "usersig create",
            "usersig create --identifier with\u{7f}delete",
            "usersig create --identifier a --expire 0",
            "messages retry five",
            "messages retry 0",
            "messages retry",
            "messages discard --yes",
            "messages retry 5 --state held",
            "messages list --limit 0",
            "messages list --since 5",
            "messages list --customer with\u{7f}delete",
            "messages list --state lost",
            "trace",
            "report",
            "report --since 5",
            "report --since 1d --csv --json",
        ] {
            let words =
                ["wechat-im-bridge"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }

    #[cfg(feature = "sandbox")]
    #[test]
    fn the_command_lines_of_the_sandbox_are_understood() {
        let parse = |line: &str| Cli::try_parse_from(["wechat-im-bridge"].into_iter().chain(line.split(' ')));
        for line in
            ["sandbox", "sandbox --script --listen 127.0.0.1:0", "sandbox --instances 8", "sandbox --open"]
        {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in [
            "sandbox --instances 1",
            "sandbox --instances 9",
            "sandbox --instances",
            "sandbox --open --script",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[cfg(not(feature = "sandbox"))]
    #[test]
    fn without_its_feature_the_sandbox_is_an_unknown_command() {
        let refused = Cli::try_parse_from(["wechat-im-bridge", "sandbox"]).map(drop).unwrap_err();
        assert_eq!((refused.kind(), refused.exit_code()), (clap::error::ErrorKind::InvalidSubcommand, 2));
    }

    #[test]
    fn every_command_has_a_help_text_with_an_example() {
        fn visit(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{}", command.get_name());
            command.get_subcommands_mut().filter(|command| command.get_name() != "help").for_each(visit);
        }
        let mut command = Cli::command();
        command.build();
        visit(&mut command);
    }
}
