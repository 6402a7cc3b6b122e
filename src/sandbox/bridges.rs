//! The bridges of one sandbox: one, or several instances on one database with a front.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;

use super::child::{self, Child, ChildError};
use super::front::Front;
use super::instance::Instance;
use super::stage::{Placement, Stage};
use super::stores::Stores;

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
}

/// The running bridges. They end when this is dropped.
pub struct Bridges {
    children: Vec<Child>,
    front: Option<Front>,
}

impl Bridges {
    /// Starts the bridges, waits until all of them are ready, and sets their URLs in both consoles.
    pub async fn start(stage: &Arc<Stage>, settings: Settings) -> Result<Self, ChildError> {
        let (count, front) = match settings.fleet {
            Some(Fleet { count, front }) => (count, Some(Front::start(front, count)?)),
            None => (1, None),
        };
        let public = front.as_ref().map(Front::address);
        if let Some(public) = public {
            stage.connect(&format!("http://{public}"));
        }
        let starts = (0..count).map(|index| {
            let (configured, moved) = (Arc::clone(stage), Arc::clone(stage));
            let instances = front.as_ref().map(Front::instances);
            Child::start(child::Settings {
                program: settings.program.clone(),
                environment: settings.environment.clone(),
                stores: settings.stores.clone(),
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
        let bridges = Self { children, front };
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
        let address: Option<SocketAddr> = self.front.as_ref().map(Front::address).or_else(own);
        address.map(|address| format!("http://{address}")).unwrap_or_default()
    }

    /// Whether all bridges are on the store of this name.
    pub fn are_on(&self, store: &str) -> bool {
        self.children.iter().all(|child| child.store() == store)
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

    /// Shuts all bridges down and removes their folders, then stops the front.
    pub async fn stop(&self) {
        join_all(self.children.iter().map(Child::stop)).await;
        if let Some(front) = &self.front {
            front.stop().await;
        }
    }
}

fn slowest(results: Vec<Result<Duration, ChildError>>) -> Result<Duration, ChildError> {
    results.into_iter().try_fold(Duration::ZERO, |slowest, took| Ok(slowest.max(took?)))
}
