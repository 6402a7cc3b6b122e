//! Both simulated platforms, running, and the configuration of a bridge between them.
//!
//! This module must never use the bridge's own code. It knows a bridge only by its configuration
//! and its address.

mod how_to;

use std::io;
use std::net::SocketAddr;

use secrecy::ExposeSecret as _;
use serde_json::json;

pub use how_to::how_to;

use super::im::{self, AgentClient, ImSim};
use super::instance::Instance;
use super::wechat::{self, Mode, WechatSim};
use crate::clock::Clock;

// These credentials exist only in the sandbox; no real account or application uses them.
const TOKEN: &str = "SandboxToken2026";
const APP_ID: &str = "wx5a4db0c05a4db0c0";
const APP_SECRET: &str = "5a4db0c0ffee5a4db0c0ffee5a4db0c0";
const ACCOUNT_ID: &str = "gh_5a4db0c00001";
const SDK_APP_ID: u32 = 1_400_000_000;
const SECRET_KEY: &str = "5a4db0c0ffee00015a4db0c0ffee00025a4db0c0ffee00035a4db0c0ffee0004";
const CALLBACK_TOKEN: &str = "sandbox-callback-token";
const ADMIN: &str = "user0";
const AGENTS: [&str; 2] = ["user1", "user2"];
/// Calls per second that the bridge may make to each IM API: fewer than the simulated IM allows.
const RATE_PER_SECOND: u32 = 150;

/// The settings of both platforms. The default is the sandbox's own account and application, with
/// two agents.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings of the simulated WeChat.
    pub wechat: wechat::Settings,
    /// The settings of the simulated IM.
    pub im: im::Settings,
    /// UserIDs of the agents, who are all signed in; at least one.
    pub agents: Vec<String>,
    /// For how many bridges each platform has an address of its own. 0 if there is one bridge.
    pub instances: usize,
}

impl Default for Settings {
    fn default() -> Self {
        let wechat = wechat::Settings {
            token: TOKEN.to_owned(),
            app_id: APP_ID.to_owned(),
            app_secret: APP_SECRET.to_owned(),
            account_id: ACCOUNT_ID.to_owned(),
            ..wechat::Settings::default()
        };
        let mut im = im::Settings::new(SDK_APP_ID, SECRET_KEY, ADMIN);
        im.callback_token = Some(CALLBACK_TOKEN.into());
        Self { wechat, im, agents: AGENTS.map(str::to_owned).to_vec(), instances: 0 }
    }
}

/// Where a bridge between the platforms is.
#[derive(Clone, Copy)]
pub struct Placement<'a> {
    /// Its public listener.
    pub listen: SocketAddr,
    /// Its operations listener.
    pub ops: SocketAddr,
    /// Where agents load customers' media from: `listen`, unless something stands in front of the bridge.
    pub public: SocketAddr,
    /// The URL of its store.
    pub store_url: &'a str,
    /// Which of several bridges it is.
    pub instance: Option<Instance>,
}

/// The two platforms, which stop when this is dropped.
pub struct Stage {
    /// The simulated WeChat.
    pub wechat: WechatSim,
    /// The simulated IM.
    pub im: ImSim,
    agents: Vec<AgentClient>,
    clock: Clock,
}

impl Stage {
    /// Starts both platforms, and imports the accounts of the administrator and of the agents.
    /// Fails if an address is in use, a setting is invalid, or there is no agent.
    pub async fn start(clock: Clock, settings: Settings) -> io::Result<Self> {
        Self::start_with_clocks(clock.clone(), clock, settings).await
    }

    /// Like [`Self::start`], but `clock` is WeChat's clock and `im_clock` is IM's. The `Date` of both
    /// platforms' answers shows the latter.
    pub async fn start_with_clocks(clock: Clock, im_clock: Clock, settings: Settings) -> io::Result<Self> {
        let mut wechat = WechatSim::start_with_date(settings.wechat, clock.clone(), im_clock.clone()).await?;
        let mut im = ImSim::start(settings.im, im_clock).await?;
        wechat.open_entrances(settings.instances).await?;
        im.open_entrances(settings.instances).await?;
        let agents: Result<Vec<AgentClient>, _> =
            settings.agents.iter().map(|agent| im.agent(agent)).collect();
        let agents = agents.map_err(io::Error::other)?;
        if agents.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a stage needs an agent"));
        }
        Ok(Self { wechat, im, agents, clock })
    }

    /// WeChat's clock; after [`Self::start`] also IM's.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The agents, in the order of the settings; at least one.
    pub fn agents(&self) -> &[AgentClient] {
        &self.agents
    }

    /// The configuration file of a bridge between these platforms. Credentials, addresses and mode are the
    /// platforms' current ones.
    pub fn config_toml(&self, placement: Placement<'_>) -> String {
        let Placement { listen, ops, public, store_url, instance } = placement;
        let (wechat, im) = (self.wechat.settings(), self.im.settings());
        let agents: Vec<&str> = self.agents.iter().map(AgentClient::user_id).collect();
        let encryption = match wechat.mode {
            Mode::Plain => String::new(),
            mode => {
                let mode = if mode == Mode::Safe { "safe" } else { "compatible" };
                format!("mode = \"{mode}\"\nencoding_aes_key = {}\n", json!(wechat.encoding_aes_key))
            }
        };
        let callback_token = im.callback_token.as_ref().map_or("", |token| token.expose_secret());
        // Agents load customers' media from this URL. With port 0 the port is not known yet.
        let public_url = match public.port() {
            0 => String::new(),
            _ => format!("public_url = \"http://{public}\"\n"),
        };
        // A JSON string, or an array of JSON strings, is valid TOML too.
        format!(
            "[server]\n\
             listen = \"{listen}\"\n\
             ops_listen = \"{ops}\"\n\
             {public_url}\
             \n\
             [wechat]\n\
             token = {}\n\
             app_id = {}\n\
             app_secret = {}\n\
             account_id = {}\n\
             {encryption}\
             reply = \"auto\"\n\
             api_base = {}\n\
             \n\
             [im]\n\
             sdk_app_id = {}\n\
             secret_key = {}\n\
             admin = {}\n\
             agents = {}\n\
             callback_token = {}\n\
             api_base = {}\n\
             rate_per_second = {RATE_PER_SECOND}\n\
             \n\
             [media]\n\
             allow_hosts = [\"127.0.0.1\"]\n\
             allow_private = true\n\
             \n\
             [store]\n\
             url = {}\n",
            json!(wechat.token),
            json!(wechat.app_id),
            json!(wechat.app_secret),
            json!(wechat.account_id),
            json!(self.wechat.base_url_for(instance)),
            im.sdk_app_id,
            json!(im.secret_key.expose_secret()),
            json!(im.admins.first()),
            json!(agents),
            json!(callback_token),
            json!(self.im.base_url_for(instance)),
            json!(store_url),
        )
    }

    /// Sets the bridge's URLs in both consoles; `bridge_url` is the base URL of its public
    /// listener.
    pub fn connect(&self, bridge_url: &str) {
        let base = bridge_url.trim_end_matches('/');
        self.wechat.connect(&format!("{base}/"));
        self.im.connect(format!("{base}/imcallback"));
    }

    /// Stops both platforms and waits until their connections have ended.
    pub async fn stop(self) {
        tokio::join!(self.wechat.stop(), self.im.stop());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EncryptionMode as Encryption, Locale};
    use crate::model::ImUserId;

    const ANYWHERE: &str = "127.0.0.1:0";

    fn anywhere(store_url: &str) -> Placement<'_> {
        let address = ANYWHERE.parse().unwrap();
        Placement { listen: address, ops: address, public: address, store_url, instance: None }
    }

    async fn stage(change: impl FnOnce(&mut Settings)) -> Stage {
        let mut settings = Settings::default();
        change(&mut settings);
        Stage::start(Clock::system(), settings).await.unwrap()
    }

    #[tokio::test]
    async fn the_configuration_is_read_without_a_warning_and_names_the_platforms() {
        let stage = stage(|_| ()).await;
        let text = stage.config_toml(anywhere("sqlite::memory:"));
        let (config, warnings) = Config::from_toml_str(&text, []).unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(config.wechat.api_base.as_str(), stage.wechat.base_url());
        assert_eq!(config.im.api_base.as_str(), stage.im.base_url());
        assert_eq!(config.im.agents.iter().map(ImUserId::as_str).collect::<Vec<_>>(), ["user1", "user2"]);
        assert!(config.im.callback_token.is_some());
        assert_eq!(config.server.listen.to_string(), ANYWHERE);
        for account in ["user0", "user1", "user2"] {
            assert!(stage.im.account(account).is_some(), "{account}");
        }
        stage.stop().await;
    }

    #[tokio::test]
    async fn the_environment_overrides_and_the_mode_is_the_platforms() {
        let stage = stage(|settings| settings.wechat.mode = Mode::Safe).await;
        let text = stage.config_toml(anywhere("sqlite:///tmp/a \"b\".db"));
        let env = [("BRIDGE_TEXTS__LOCALE".to_owned(), "ko".to_owned())];
        let (config, _) = Config::from_toml_str(&text, env).unwrap();
        assert_eq!(config.texts.locale, Locale::Ko);
        assert_eq!(config.wechat.mode, Encryption::Safe);
        assert!(config.wechat.encoding_aes_key.is_some());
    }

    #[tokio::test]
    async fn a_stage_without_an_agent_is_refused() {
        let settings = Settings { agents: Vec::new(), ..Settings::default() };
        assert!(Stage::start(Clock::system(), settings).await.is_err());
    }
}
