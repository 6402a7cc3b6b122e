//! `check --wait`: shows the tries of the button in WeChat's console as the running bridge sees them.
//!
//! Must never end well on a try from before it began.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::cli::output::{one_line, print};
use crate::cli::{Error, ErrorWithHint, ops_client, runtime};

/// How often the bridge is asked.
const INTERVAL: Duration = Duration::from_millis(300);

/// A try, as `/readyz` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Try {
    /// Tells it from others of the same second. A bridge that has been restarted counts anew.
    number: u64,
    at_utc: String,
    from: Option<String>,
    ok: bool,
    why: Option<String>,
    advice: Option<String>,
}

impl Try {
    fn line(&self) -> String {
        let from = self.from.as_deref().unwrap_or("an unknown address");
        let outcome = if self.ok { "right" } else { "wrong" };
        let why = self.why.iter().chain(&self.advice).map(String::as_str).collect::<Vec<_>>().join("; ");
        let separator = if why.is_empty() { "" } else { ": " };
        one_line(&format!("{}  from {from}  {outcome}{separator}{why}", self.at_utc)) + "\n"
    }
}

#[derive(Deserialize)]
struct Ready {
    wechat: WeChat,
}

#[derive(Deserialize)]
struct WeChat {
    url_checks: Vec<Try>,
}

/// Waits until a right try is seen, at most `limit_s` seconds. `ops_listen`: the address of the operations listener;
/// `None` if it is off.
pub(in crate::cli) fn run(ops_listen: Option<SocketAddr>, limit_s: u32) -> Result<(), Error> {
    let address = ops_client::address(ops_listen)?;
    runtime()?.block_on(wait(address, Duration::from_secs(limit_s.into())))
}

async fn wait(address: SocketAddr, limit: Duration) -> Result<(), Error> {
    let before = tries(address).await.map_err(|error| ErrorWithHint {
        problem: error.to_string(),
        hint: "start the bridge with `serve` first: WeChat calls it when the button is pressed".to_owned(),
    })?;
    if !before.is_empty() {
        print(&format!("Before:\n{}\n", before.iter().map(Try::line).collect::<String>()))?;
    }
    print(&format!(
        "Save the server configuration in WeChat's console now. Each try is shown here, until one is right, for {} s \
         at most.\n",
        limit.as_secs()
    ))?;
    let (mut seen, mut is_gone) = (before, false);
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        tokio::time::sleep(INTERVAL).await;
        let tries = match tries(address).await {
            Ok(tries) => tries,
            Err(error) => {
                if !is_gone {
                    print(&format!("{}; waiting for it\n", one_line(&error.to_string())))?;
                }
                is_gone = true;
                continue;
            }
        };
        is_gone = false;
        for tried in tries.iter().filter(|tried| !seen.contains(tried)) {
            print(&tried.line())?;
            if tried.ok {
                return print(
                    "\nWeChat's console has its answer. Now switch the server configuration on there.\n",
                );
            }
        }
        seen = tries;
    }
    Err(ErrorWithHint {
        problem: format!("no right try within {} s", limit.as_secs()),
        hint: "if no line was shown, the request does not reach the bridge: look at DNS, firewall and proxy"
            .to_owned(),
    }
    .into())
}

/// The last tries that the bridge knows, the newest last.
async fn tries(address: SocketAddr) -> anyhow::Result<Vec<Try>> {
    let answer = ops_client::readyz(address).await?;
    let ready: Result<Ready, _> = serde_json::from_str(&answer.body);
    ready.map(|ready| ready.wechat.url_checks).map_err(|_| {
        anyhow::anyhow!(
            "what answers on {address} is no bridge of this version (HTTP status {})",
            answer.status
        )
    })
}
