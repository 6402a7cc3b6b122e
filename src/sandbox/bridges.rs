//! The bridges of one sandbox: one, or several instances on one database with a front.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::net::TcpListener;

use super::child::{self, Apply, Child, ChildError};
use super::database::Way;
use super::front::Front;
use super::instance::Instance;
use super::stage::{Placement, Stage};
use super::stores::{MAIN_STORE, Stores};

/// The settings of the bridges.
pub struct Settings {
    /// The path of the bridge's binary.
    pub program: PathBuf,
    /// Environment variables for the bridges.
    pub environment: Vec<(String, String)>,
    /// Where the bridges' stores are.
    pub stores: Stores,
    /// The instances; `None` for one bridge without a front.
    pub fleet: Option<Fleet>,
}

/// Several instances.
pub struct Fleet {
    /// How many.
    pub count: usize,
    /// Where the front listens.
    pub front: TcpListener,
    /// Ends their sessions.
    pub end_sessions: EndSessions,
}

/// Ends all sessions of the bridges with the database at the server, and returns how many, or the problem.
pub type EndSessions = Box<dyn Fn() -> BoxFuture<'static, Result<u64, String>> + Send + Sync>;

/// The running bridges. They end when this is dropped.
pub struct Bridges {
    children: Vec<Child>,
    several: Option<Several>,
}

/// What several bridges have beside their processes.
struct Several {
    front: Front,
    /// The way of each to the database.
    ways: Vec<Way>,
    end_sessions: EndSessions,
}

impl Bridges {
    /// Starts the bridges, waits until all of them are ready, and sets their URLs in both consoles.
    pub async fn start(stage: &Arc<Stage>, settings: Settings) -> Result<Self, ChildError> {
        let (count, several) = match settings.fleet {
            Some(Fleet { count, front, end_sessions }) => {
                let (front, mut ways) = (Front::start(front, count)?, Vec::with_capacity(count));
                let url = settings.stores.url(Path::new(""), MAIN_STORE).unwrap_or_default();
                for _ in 0..count {
                    ways.push(Way::open(&url).await?);
                }
                (count, Some(Several { front, ways, end_sessions }))
            }
            None => (1, None),
        };
        let public = several.as_ref().map(|several| several.front.address());
        if let Some(public) = public {
            stage.connect(&format!("http://{public}"));
        }
        let starts = (0..count).map(|index| {
            let (configured, moved) = (Arc::clone(stage), Arc::clone(stage));
            let instances = several.as_ref().map(|several| several.front.instances());
            let way = several.as_ref().and_then(|several| several.ways.get(index));
            let stores = match way {
                Some(way) => settings.stores.by_other_urls(|url| way.url(url)),
                None => Some(settings.stores.clone()),
            };
            Child::start(child::Settings {
                program: settings.program.clone(),
                environment: settings.environment.clone(),
                // Without a store the start fails.
                stores: stores.unwrap_or_else(|| Stores::Urls(BTreeMap::new())),
                config: Box::new(move |addresses, store_url| {
                    configured.config_toml(Placement {
                        listen: addresses.public,
                        ops: addresses.ops,
                        public: public.unwrap_or(addresses.public),
                        store_url,
                        instance: public.map(|_| Instance::at(index)),
                    })
                }),
                on_move: Box::new(move |addresses| match &instances {
                    Some(instances) => instances.set_address(index, addresses.public),
                    None => moved.connect(&format!("http://{}", addresses.public)),
                }),
            })
        });
        let (mut children, mut failure) = (Vec::new(), None);
        for started in join_all(starts).await {
            match started {
                Ok(child) => children.push(child),
                Err(error) => failure = Some(error),
            }
        }
        let bridges = Self { children, several };
        if let Some(error) = failure {
            bridges.stop().await;
            return Err(error);
        }
        Ok(bridges)
    }

    /// Each bridge; at least one.
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    /// The base URL at which the platforms reach the bridges.
    pub fn url(&self) -> String {
        let own = || self.children.first().map(|child| child.status().borrow().addresses.public);
        let address: Option<SocketAddr> =
            self.several.as_ref().map(|several| several.front.address()).or_else(own);
        address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Whether all bridges are on the store of this name.
    pub fn are_on(&self, store: &str) -> bool {
        self.children.iter().all(|child| child.store() == store)
    }

    /// Lets nothing pass between a bridge and the database, or lets everything pass again.
    pub fn cut_off(&self, instance: Instance, is_cut_off: bool) {
        let ways = self.several.as_ref().map(|several| &several.ways);
        if let Some(way) = ways.and_then(|ways| ways.get(instance.index())) {
            way.freeze(is_cut_off);
        }
    }

    /// Ends all sessions of the bridges at the database's server. Returns how many, or the problem.
    pub async fn end_sessions(&self) -> Result<u64, String> {
        match &self.several {
            Some(several) => (several.end_sessions)().await,
            None => Err("there is one bridge".to_owned()),
        }
    }

    /// Undoes what was done to single bridges: nothing is paused, dead or cut off.
    pub async fn repair(&self) -> Result<(), ChildError> {
        for way in self.several.iter().flat_map(|several| &several.ways) {
            way.freeze(false);
        }
        for child in &self.children {
            child.resume().await?;
            child.revive().await?;
        }
        Ok(())
    }

    /// Kills all bridges at once with SIGKILL and restarts them on the same store. Returns how long the slowest took to
    /// become ready.
    pub async fn kill(&self) -> Result<Duration, ChildError> {
        slowest(join_all(self.children.iter().map(Child::kill)).await)
    }

    /// Shuts all bridges down and starts them on another store. Returns how long the slowest took to become ready.
    pub async fn change_store(&self, name: &'static str) -> Result<Duration, ChildError> {
        slowest(join_all(self.children.iter().map(|child| child.change_store(name))).await)
    }

    /// Gives all bridges these further lines of configuration instead of those that they got here before.
    pub async fn configure(&self, lines: &str, apply: Apply) -> Result<(), ChildError> {
        slowest(join_all(self.children.iter().map(|child| child.configure(lines, apply))).await).map(drop)
    }

    /// Shuts all bridges down and removes their folders, then stops the front.
    pub async fn stop(&self) {
        join_all(self.children.iter().map(Child::stop)).await;
        if let Some(several) = &self.several {
            several.front.stop().await;
            join_all(several.ways.iter().map(Way::close)).await;
        }
    }
}

fn slowest(results: Vec<Result<Duration, ChildError>>) -> Result<Duration, ChildError> {
    results.into_iter().try_fold(Duration::ZERO, |slowest, took| Ok(slowest.max(took?)))
}
