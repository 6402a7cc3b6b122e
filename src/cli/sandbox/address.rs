//! How a person gets to the sandbox's page.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Stdio;

use tokio::process::Command;

/// Programs that open an address in the browser that the user has chosen.
const OPENERS: [&str; 3] = ["xdg-open", "wslview", "open"];

/// The page's address in a browser on this machine.
pub(super) fn url(listen: SocketAddr) -> String {
    let ip = match listen.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    format!("http://{}/", SocketAddr::new(ip, listen.port()))
}

/// Warns on stderr if others than this machine's users reach the page.
pub(super) fn warn_of_strangers(listen: SocketAddr) {
    if !listen.ip().is_loopback() {
        let text =
            "is not loopback, and the page asks for no password: whoever reaches this machine can use it";
        // The sandbox works without the warning.
        let _ = writeln!(io::stderr(), "warning: --listen {listen} {text}");
    }
}

/// The last lines: how to get there from another machine, and the address alone.
pub(super) fn last_lines(listen: SocketAddr) -> String {
    let port = listen.port();
    let from_elsewhere = if listen.ip().is_loopback() {
        format!(
            " If this machine has no browser, run this on the one that has it:\n  ssh -L {port}:{listen} USER@THIS-MACHINE"
        )
    } else {
        String::new()
    };
    format!("Or play both sides in a browser.{from_elsewhere}\n\n{}", url(listen))
}

/// Opens the page in a browser, or says on stderr that this machine has none.
pub(super) fn open(listen: SocketAddr) {
    let url = url(listen);
    let start = |program: &&str| {
        let mut command = Command::new(program);
        command.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
    };
    if !OPENERS.iter().any(start) {
        let known = OPENERS.join(", ");
        // The sandbox works without a browser on this machine.
        let _ = writeln!(io::stderr(), "warning: cannot open a browser: there is none of {known} on PATH");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_stands_last_and_alone_and_can_be_opened() {
        for (listen, address, has_tunnel) in [
            ("127.0.0.1:8001", "http://127.0.0.1:8001/", true),
            ("[::1]:8001", "http://[::1]:8001/", true),
            ("0.0.0.0:8001", "http://127.0.0.1:8001/", false),
            ("10.0.0.7:8001", "http://10.0.0.7:8001/", false),
        ] {
            let text = last_lines(listen.parse().unwrap());
            assert_eq!(text.lines().last(), Some(address), "{text}");
            assert_eq!(text.contains(&format!("ssh -L 8001:{listen} ")), has_tunnel, "{text}");
        }
    }
}
