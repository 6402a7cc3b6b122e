//! `healthcheck`: whether the running server accepts pushes, for containers and supervisors.
//!
//! Reads no more of the configuration than where the server answers operators: a file that a running server does not use
//! because it has a fault must not make that server look ill.

use std::net::SocketAddr;

use super::output::print;
use super::{Error, ErrorWithHint, ops_client, runtime};

/// `ops_listen`: the address of the operations listener; `None` if it is off.
pub(super) fn run(ops_listen: Option<SocketAddr>) -> Result<(), Error> {
    let address = ops_client::address(ops_listen)?;
    let found = match runtime()?.block_on(ops_client::readyz(address)) {
        Ok(answer) if answer.status == 200 => {
            return print(&format!("ready: http://{address}/readyz answers 200\n"));
        }
        Ok(answer) => {
            format!("the server is not ready: http://{address}/readyz answers {}", answer.status)
        }
        Err(error) => error.to_string(),
    };
    let hint = format!("the server's log and http://{address}/readyz say why");
    Err(ErrorWithHint { problem: found, hint }.into())
}
