//! The addresses on which a bridge listens.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use rand::RngExt as _;

/// The ports for the bridge. They lie below the system's ephemeral ports, so that no client socket
/// takes the port of a dead bridge.
const PORT_RANGE: std::ops::Range<u16> = 10_000..30_000;

/// The bridge's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The public listener.
    pub public: SocketAddr,
    /// The operations listener.
    pub ops: SocketAddr,
}

impl Addresses {
    /// Picks two addresses that are free now.
    pub(super) fn free() -> io::Result<Self> {
        let listeners = [Self::listener()?, Self::listener()?];
        Ok(Self { public: listeners[0].local_addr()?, ops: listeners[1].local_addr()? })
    }

    fn listener() -> io::Result<TcpListener> {
        let mut tries = 0;
        loop {
            let port = rand::rng().random_range(PORT_RANGE);
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                Err(error) if tries == 100 => return Err(error),
                Err(_) => tries += 1,
                listener => return listener,
            }
        }
    }
}
