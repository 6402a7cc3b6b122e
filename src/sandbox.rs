//! The sandbox: the bridge as a process of its own between both platforms, and a page on which people play
//! customers and agents. The page acts only on the platforms, as a customer or an agent would.
//!
//! Both platforms are simulated as strictly as their references allow, over real HTTP on loopback.
//!
//! The simulations share no code with the bridge that they test. They sign, verify and encrypt with
//! code of their own, which is tested against the vendors' vectors. So they cannot repeat a mistake
//! of the bridge.

pub mod fault;
pub mod im;
pub mod serve;
pub mod wechat;
pub mod stage;
pub mod conditions;
pub mod script;
mod show;
pub mod stores;
pub mod child;
mod front;
pub mod instance;
pub mod bridges;
pub mod database;
pub mod wire;
pub mod session;
pub mod drill;
pub mod page_server;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::clock::Clock;
use crate::config::Texts;
use crate::model::hours::WorkingHours;
use bridges::{Bridges, EndSessions, Fleet};
use serve::Server;
use session::{OfferedDrill, Session};
use stage::Stage;
use stores::Stores;
use wechat::Mode;

/// The settings of a sandbox.
pub struct Settings {
    /// The path of the bridge's binary.
    pub program: PathBuf,
    /// Environment variables for the bridge.
    pub environment: Vec<(String, String)>,
    /// The address on which the page is served.
    pub listen: SocketAddr,
    /// The texts that the bridge uses.
    pub texts: Texts,
    /// When the desk of the bridge works; `None`: always.
    pub hours: Option<WorkingHours>,
    /// Where the bridge's stores are.
    pub stores: Stores,
    /// The bridges that share the stores; `None` for one without a front.
    pub instances: Option<Instances>,
}

/// Several bridges on one database.
pub struct Instances {
    /// How many.
    pub count: usize,
    /// Ends their sessions.
    pub end_sessions: EndSessions,
}

/// The reasons why the sandbox cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound, or a setting of a platform is invalid.
    #[error("cannot serve the simulated platforms or the page")]
    Io(#[from] io::Error),
    /// The bridge did not become ready.
    #[error("cannot start the bridge")]
    Bridge(#[from] child::ChildError),
}

/// The running sandbox.
pub struct Sandbox {
    session: Arc<Session>,
    served: Server,
}

impl Sandbox {
    /// Starts both platforms, the bridge and the page, and waits until the bridge is ready.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let listener = TcpListener::bind(settings.listen).await?;
        let clock = Clock::movable();
        let mut platforms = stage::Settings::default();
        // In safe mode the page shows the encrypted body beside the decrypted one.
        platforms.wechat.mode = Mode::Safe;
        platforms.instances = settings.instances.as_ref().map_or(0, |instances| instances.count);
        // WeChat's three requests then outlast a restart of the bridge.
        platforms.wechat.retry_pause = std::time::Duration::from_millis(1_500);
        let stage = Arc::new(Stage::start_with_clocks(clock.clone(), Clock::system(), platforms).await?);
        let fleet = match settings.instances {
            Some(Instances { count, end_sessions }) => {
                let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                Some(Fleet { count, front, end_sessions })
            }
            None => None,
        };
        let bridges = bridges::Settings {
            program: settings.program,
            environment: settings.environment,
            stores: settings.stores,
            fleet,
        };
        let bridges = Bridges::start(&stage, bridges).await?;
        let drills = drill::offered(&bridges)
            .map(|drill| OfferedDrill { name: drill.name, limit: drill.limit })
            .collect();
        let session = Session::start(stage, clock, bridges, settings.texts, settings.hours, drills)?;
        let served = Server::start(listener, page_server::router(Arc::clone(&session)))?;
        Ok(Self { session, served })
    }

    /// The address of the page.
    pub fn address(&self) -> SocketAddr {
        self.served.address()
    }

    /// The shared state of this sandbox.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The base URL at which the platforms reach the bridge.
    pub fn bridge_url(&self) -> String {
        self.session.bridges.url()
    }

    /// Stops the page, the bridge and the platforms, and waits until all of them have ended.
    pub async fn stop(self) {
        self.session.stop.cancel();
        self.served.stop().await;
        self.session.tasks.close();
        self.session.tasks.wait().await;
        // If another owner is left, the platforms stop when that owner drops the stage.
        self.session.bridges.stop().await;
        if let Some(stage) = Arc::into_inner(self.session).and_then(|session| Arc::into_inner(session.stage))
        {
            stage.stop().await;
        }
    }
}
