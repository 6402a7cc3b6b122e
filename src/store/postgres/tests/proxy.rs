//! A Unix socket before PostgreSQL's, which loses the answer to a COMMIT.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio_postgres::config::Host;

use crate::store::testing::cluster::Schema;

/// What becomes of a COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The connection ends before the server has it.
    NotSent,
    /// The connection ends before the answer is passed on.
    AnswerLost,
    /// The answer never comes, and the connection stays.
    AnswerHeldBack,
}

#[derive(Default)]
struct State {
    next: Mutex<Option<Fate>>,
    commits: AtomicU32,
}

pub struct Proxy {
    /// The schema behind it.
    pub schema: Schema,
    state: Arc<State>,
    _folder: tempfile::TempDir,
}

/// The simple query that commits, as it travels.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

impl Proxy {
    pub fn start(schema: &Schema) -> Self {
        let Some(Host::Unix(behind)) = schema.config.get_hosts().first() else { panic!("a socket") };
        let behind = behind.join(".s.PGSQL.5432");
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let state = Arc::new(State::default());
        let of_listener = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, state, behind) = (client.unwrap(), Arc::clone(&of_listener), behind.clone());
                std::thread::spawn(move || pass(client, &behind, &state));
            }
        });
        let mut config = tokio_postgres::Config::new();
        config.host_path(folder.path()).user("bridge").dbname(schema.config.get_dbname().unwrap());
        config.options(schema.config.get_options().unwrap());
        Self { schema: Schema { config, name: schema.name.clone() }, state, _folder: folder }
    }

    /// Decides about the next COMMIT of any session.
    pub fn next_commit(&self, fate: Fate) {
        *self.state.next.lock() = Some(fate);
    }

    /// How many have been seen.
    pub fn commits(&self) -> u32 {
        self.state.commits.load(Ordering::Relaxed)
    }
}

fn pass(mut client: UnixStream, behind: &PathBuf, state: &State) {
    let mut server = UnixStream::connect(behind).unwrap();
    let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    let holds_back = Arc::new(Mutex::new(false));
    let held = Arc::clone(&holds_back);
    let back = std::thread::spawn(move || {
        let mut bytes = [0; 8_192];
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            if *held.lock() {
                continue;
            }
            if to_client.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(std::net::Shutdown::Both);
    });
    let mut bytes = [0; 8_192];
    while let Ok(count @ 1..) = client.read(&mut bytes) {
        let sent = &bytes[..count];
        if sent.ends_with(COMMIT) {
            // Those of the readers have another fate.
            state.commits.fetch_add(1, Ordering::Relaxed);
            match state.next.lock().take() {
                None => {}
                Some(Fate::NotSent) => break,
                Some(fate) => {
                    *holds_back.lock() = true;
                    server.write_all(sent).unwrap();
                    if fate == Fate::AnswerLost {
                        // The server has committed by then.
                        std::thread::sleep(Duration::from_millis(300));
                        break;
                    }
                    continue;
                }
            }
        }
        if server.write_all(sent).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(std::net::Shutdown::Both), server.shutdown(std::net::Shutdown::Both));
    let _ = back.join();
}
