//! `usersig`: creates and verifies the credential of an IM user, for tests of a client or the
//! console.

use anyhow::Context as _;
use clap::Subcommand;

use super::output::print;
use super::{Error, ErrorWithHint};
use crate::clock::Clock;
use crate::config::Config;
use crate::im::send::usersig::{self, UserSigError};
use crate::model::ImUserId;

/// The same limit as `im.usersig_expire_s`.
const MAX_EXPIRE_S: u64 = 315_360_000;

#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  wechat-im-bridge usersig create --identifier user1")]
pub(super) enum Action {
    /// Print a UserSig on stdout; anyone who has it can sign in as that user until it expires
    #[command(after_help = "Example:\n  wechat-im-bridge usersig create --identifier user1 --expire 86400")]
    Create {
        /// The UserID that it is for
        #[arg(long, value_name = "ID", value_parser = |id: &str| ImUserId::new(id))]
        identifier: ImUserId,
        /// How long it is valid [default: im.usersig_expire_s]
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=MAX_EXPIRE_S))]
        expire: Option<u64>,
    },
    /// Print the content of a UserSig as JSON, if its signature is valid and it has not expired
    #[command(after_help = "Example:\n  wechat-im-bridge usersig verify eJwtzN...")]
    Verify {
        /// The UserSig
        #[arg(allow_hyphen_values = true)]
        sig: String,
    },
}

pub(super) fn run(action: &Action, config: &Config, clock: &Clock) -> Result<(), Error> {
    let (app, key, now_s) =
        (config.im.sdk_app_id.get(), config.im.secret_key.expose(), clock.now().seconds());
    let text = match action {
        Action::Create { identifier, expire } => {
            let expire_s = expire.unwrap_or(config.im.usersig_expire.as_secs());
            usersig::create(app, key, identifier.as_str(), expire_s, now_s, None)
        }
        Action::Verify { sig } => {
            let verify = |key: &str| usersig::verify(sig.trim(), app, key, now_s);
            let content = match (verify(key), &config.im.previous_secret_key) {
                (Err(UserSigError::WrongSignature), Some(previous)) => verify(previous.expose()),
                (verified, _) => verified,
            };
            let content = content.map_err(invalid_error)?;
            serde_json::to_string_pretty(&content).context("cannot write the content as JSON")?
        }
    };
    print(&format!("{text}\n"))
}

fn invalid_error(invalid: UserSigError) -> Error {
    let problem = format!("the UserSig is not valid: {invalid}");
    let hint = match invalid {
        UserSigError::Malformed(_) => "copy all of it, without quotes or line breaks",
        UserSigError::OtherApp { .. } => "compare im.sdk_app_id with the application that the UserSig is for",
        UserSigError::WrongSignature => "compare im.secret_key with the console's",
        UserSigError::Expired { .. } => {
            "make a new one with `usersig create`, and check this machine's clock"
        }
    };
    ErrorWithHint { problem, hint: hint.to_owned() }.into()
}
