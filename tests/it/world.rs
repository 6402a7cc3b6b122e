//! A bridge between the two simulated platforms, with real HTTP and a real store.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tempfile::TempDir;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use wechat_im_bridge::internals::app::{self, Running};
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::config::Config;
use wechat_im_bridge::internals::model::Millis;
use wechat_im_bridge::internals::sandbox::im::{AgentClient, ImSim, SendRecord, Settings as ImSettings};
use wechat_im_bridge::internals::sandbox::wechat::{
    Phone, PushResult, Settings as WechatSettings, WechatSim,
};
use wechat_im_bridge::internals::store::{PostgresLocation, StoreLocation, TlsMode};

use crate::cluster::{self, Schema};
use crate::database::Database;

pub const SDK_APP_ID: u32 = 1_400_000_000;
pub const SECRET_KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
pub const CALLBACK_TOKEN: &str = "callback-token";
pub const AES_KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
pub const WELCOME: &str = "Thanks for following XX. We want to offer you the best service.";
pub const TRANSFERRING: &str = "Transferring you to a customer service agent, please wait.";
pub const INQUIRY: &str = "Inquiry from a WeChat subscription account: ";
/// The time limit for an event that is due at once. It is long enough for a loaded machine.
pub const SOON: Duration = Duration::from_secs(10);

type Change<T> = Box<dyn FnOnce(&mut T)>;

/// How a test's world differs from the default.
#[derive(Default)]
pub struct Setup {
    /// Environment variables of the bridge, such as `("BRIDGE_WECHAT__REPLY", "push")`.
    pub settings: Vec<(&'static str, String)>,
    pub wechat: Option<Change<WechatSettings>>,
    pub im: Option<Change<ImSettings>>,
    /// The time of the clock when the platforms start; `None` means now.
    pub at: Option<Millis>,
    on_sqlite: bool,
    schema: Option<Schema>,
}

impl Setup {
    pub fn set(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((variable, value.into()));
        self
    }

    pub fn wechat(mut self, change: impl FnOnce(&mut WechatSettings) + 'static) -> Self {
        self.wechat = Some(Box::new(change));
        self
    }

    pub fn im(mut self, change: impl FnOnce(&mut ImSettings) + 'static) -> Self {
        self.im = Some(Box::new(change));
        self
    }

    /// Starts the clock at this time instead of now.
    pub fn at(mut self, at: Millis) -> Self {
        self.at = Some(at);
        self
    }

    /// Keeps the store in SQLite's file, whichever engine was chosen.
    pub fn on_sqlite(mut self) -> Self {
        self.on_sqlite = true;
        self
    }

    /// Keeps the store in this schema, whichever engine was chosen.
    pub fn in_schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    pub async fn start(self) -> World {
        World::from_setup(self).await
    }

    /// Starts the platforms only, so that a test can put files into the bridge's folder before the bridge
    /// starts.
    pub async fn without_bridge(self) -> World {
        World::without_bridge(self).await
    }
}

/// The lines of the level ERROR that this thread's bridge has logged.
#[derive(Clone, Default)]
struct ErrorLines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for ErrorLines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let is_ours = metadata.target().starts_with("wechat_im_bridge");
        if *metadata.level() == tracing::Level::ERROR && is_ours && !metadata.target().contains("sandbox") {
            let mut line = String::new();
            event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                // Writing to a String cannot fail.
                let _ = write!(line, "{field}={value:?} ");
            });
            self.0.lock().push(line);
        }
    }
}

pub struct World {
    pub wechat: WechatSim,
    pub im: ImSim,
    pub clock: Clock,
    pub folder: TempDir,
    /// `None`: the store is in SQLite's file.
    schema: Option<Schema>,
    settings: Vec<(&'static str, String)>,
    bridge: Option<Running>,
    errors: ErrorLines,
    expected_errors: RefCell<Vec<&'static str>>,
    expects_doubles: Cell<bool>,
    has_earlier_conversations: Cell<bool>,
    _log: tracing::subscriber::DefaultGuard,
}

impl World {
    pub async fn start() -> Self {
        Self::from_setup(Setup::default()).await
    }

    async fn from_setup(setup: Setup) -> Self {
        let mut world = Self::without_bridge(setup).await;
        world.start_bridge().await;
        world
    }

    async fn without_bridge(setup: Setup) -> Self {
        let clock = Clock::movable();
        if let Some(at) = setup.at {
            clock.advance(at.since(clock.now()));
        }
        let mut wechat = WechatSettings {
            token: "wechattoken".into(),
            app_id: "wx1234567890abcdef".into(),
            app_secret: "app-secret-of-the-world".into(),
            account_id: "gh_bridge000001".into(),
            encoding_aes_key: AES_KEY.into(),
            ..WechatSettings::default()
        };
        if let Some(change) = setup.wechat {
            change(&mut wechat);
        }
        let mut im = ImSettings::new(SDK_APP_ID, SECRET_KEY, "user0");
        im.callback_token = Some(CALLBACK_TOKEN.into());
        if let Some(change) = setup.im {
            change(&mut im);
        }
        let wechat = WechatSim::start(wechat, clock.clone()).await.unwrap();
        let im = ImSim::start(im, clock.clone()).await.unwrap();
        im.import("user1").unwrap();
        let errors = ErrorLines::default();
        let log = tracing_subscriber::registry().with(errors.clone()).set_default();
        Self {
            errors,
            expected_errors: RefCell::default(),
            expects_doubles: Cell::default(),
            has_earlier_conversations: Cell::default(),
            _log: log,
            wechat,
            im,
            clock,
            folder: tempfile::tempdir().unwrap(),
            schema: (setup.schema)
                .or_else(|| (cluster::is_chosen() && !setup.on_sqlite).then(cluster::empty_schema).flatten()),
            settings: setup.settings,
            bridge: None,
        }
    }

    /// The configuration of this world's bridge.
    pub fn config_toml(&self) -> String {
        let (wechat, im) = (self.wechat.settings(), self.im.settings());
        format!(
            r#"
            [server]
            listen = "127.0.0.1:0"
            ops_listen = "127.0.0.1:0"
            [wechat]
            token = "{token}"
            app_id = "{app_id}"
            app_secret = "{app_secret}"
            account_id = "{account_id}"
            api_base = "{wechat_base}"
            [im]
            sdk_app_id = {sdk_app_id}
            secret_key = "{SECRET_KEY}"
            callback_token = "{CALLBACK_TOKEN}"
            api_base = "{im_base}"
            [desk]
            # Most tests count the sends of single messages; those of bursts switch it on.
            merge_below = 0
            [store]
            url = "{store}"
            "#,
            token = wechat.token,
            app_id = wechat.app_id,
            app_secret = wechat.app_secret,
            account_id = wechat.account_id,
            wechat_base = self.wechat.base_url(),
            sdk_app_id = im.sdk_app_id,
            im_base = self.im.base_url(),
            store = self.store_url(),
        )
    }

    pub fn config(&self) -> Config {
        let settings = self.settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        // On SQLite the media are beside the file.
        let media = ("BRIDGE_MEDIA__DIR".to_owned(), self.folder.path().join("media").display().to_string());
        let settings = self.schema.iter().map(|_| media.clone()).chain(settings);
        Config::from_toml_str(&self.config_toml(), settings).unwrap_or_else(|faults| panic!("{faults}")).0
    }

    pub async fn start_bridge(&mut self) {
        let running = app::start(self.config(), Vec::new(), self.clock.clone()).await.unwrap();
        self.wechat.connect(&format!("http://{}/", running.public));
        self.im.connect(format!("http://{}/imcallback", running.public));
        self.bridge = Some(running);
    }

    /// Sets an environment variable of the next bridge.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.settings.push((variable, value.into()));
    }

    pub async fn stop_bridge(&mut self) {
        if let Some(running) = self.bridge.take() {
            running.stop().await.unwrap();
        }
    }

    pub async fn restart(&mut self) {
        self.stop_bridge().await;
        self.start_bridge().await;
    }

    pub fn public(&self) -> String {
        format!("http://{}", self.bridge.as_ref().unwrap().public)
    }

    pub fn ops(&self) -> String {
        format!("http://{}", self.bridge.as_ref().unwrap().ops.unwrap())
    }

    /// Opens another connection to the bridge's database.
    pub fn database(&self) -> Database {
        match &self.schema {
            Some(schema) => Database::in_schema(schema),
            None => Database::in_file(&self.folder.path().join("bridge.db")),
        }
    }

    /// Where the bridge's store is.
    pub fn location(&self) -> StoreLocation {
        match &self.schema {
            None => StoreLocation::File(self.folder.path().join("bridge.db")),
            Some(schema) => StoreLocation::Postgres(Box::new(PostgresLocation {
                config: schema.config.clone(),
                tls: TlsMode::Disable,
                root_cert: None,
            })),
        }
    }

    fn store_url(&self) -> String {
        match &self.schema {
            Some(schema) => schema.url(),
            None => format!("sqlite://{}", self.folder.path().join("bridge.db").display()),
        }
    }

    /// A customer who follows the account, and whose follow event the bridge did not receive.
    pub fn follower(&self, name: &str) -> Phone {
        let phone = self.wechat.customer(&openid(name));
        phone.set_following(true);
        phone
    }

    pub fn agent(&self) -> AgentClient {
        self.im.agent("user1").unwrap()
    }

    pub async fn ready(&self) -> serde_json::Value {
        get_json(&format!("{}/readyz", self.ops())).await.1
    }

    pub async fn metrics(&self) -> String {
        wechat_im_bridge::internals::http_client::get(format!("{}/metrics", self.ops()))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The bridge may log an error that contains `part`.
    pub fn expect_error(&self, part: &'static str) {
        self.expected_errors.borrow_mut().push(part);
    }

    /// IM makes no callback for the next agents' messages. The bridge may log that, but only for a message sent
    /// in a later second than that of its start.
    pub fn lose_callbacks(&self, count: u32) {
        self.expect_error("IM does not call back");
        self.im.lose_next_callbacks(count);
    }

    /// A customer may see an answer twice, because the test asks for it.
    pub fn expect_doubles(&self) {
        self.expects_doubles.set(true);
    }

    /// Stops the bridge. Panics if a message still waits, if the agent or a customer got a message twice, or
    /// if the bridge logged an error that nothing in the test explains.
    pub async fn finish(mut self) {
        let settled = eventually(SOON, async || self.ready().await["backlog"]["waiting"] == 0).await;
        assert!(settled, "a message still waits: {}", self.ready().await);
        self.stop_bridge().await;
        let repeated: Vec<String> = self.im.ledger().repeated_deliveries().map(SendRecord::text).collect();
        assert!(repeated.is_empty(), "delivered twice: {repeated:?}");
        let doubles = self.doubles_at_customers();
        assert!(self.expects_doubles.get() || doubles.is_empty(), "shown twice: {doubles:?}");
        self.check_first_lines();
        let unexplained: Vec<String> = self.unexplained_errors();
        assert!(unexplained.is_empty(), "logged errors: {unexplained:#?}");
    }

    /// Panics if a customer's first message came to an agent without the line about who comes. A fault of IM may have
    /// cost it.
    fn check_first_lines(&self) {
        let ledger = self.im.ledger();
        let has_faults = !self.im.faults().taken("").is_empty() || ledger.refused_calls().len() > 0;
        if has_faults || self.has_earlier_conversations.get() {
            return;
        }
        let mut introduced = HashSet::new();
        for send in ledger.deliveries().filter(|send| send.api == "openim/sendmsg") {
            let text = send.text();
            if is_first_line(&text) {
                introduced.insert(send.from.clone());
            } else {
                let is_expected = introduced.contains(&send.from) || text.starts_with("[bridge] ");
                assert!(is_expected, "nobody said who comes: {text}");
            }
        }
    }

    /// The store has conversations that an earlier version began, without a line about who comes.
    pub fn has_earlier_conversations(&self) {
        self.has_earlier_conversations.set(true);
    }

    /// The texts that customers got more often than their agents wrote them.
    fn doubles_at_customers(&self) -> Vec<(String, String)> {
        let agents = self.config().im.agents;
        let clients: Vec<AgentClient> = (agents.iter().map(ToString::to_string))
            .filter(|agent| self.im.account(agent).is_some())
            .map(|agent| self.im.agent(&agent).unwrap())
            .collect();
        let mut doubles = Vec::new();
        for phone in self.wechat.phones() {
            let openid = phone.openid().to_owned();
            let mut written: HashMap<String, usize> = HashMap::new();
            for account in std::iter::once(openid.clone()).chain((1..4).map(|n| format!("{openid}_{n}"))) {
                for message in clients.iter().flat_map(|agent| agent.conversation(&account)) {
                    if !message.from.starts_with(&openid) {
                        *written.entry(message.text()).or_default() += 1;
                    }
                }
            }
            let mut shown: HashMap<String, usize> = HashMap::new();
            for text in phone.texts() {
                *shown.entry(text).or_default() += 1;
            }
            // Other texts are the bridge's own, or parts of what an agent wrote.
            let is_double =
                |(text, count): &(String, usize)| written.get(text).is_some_and(|said| count > said);
            doubles.extend(shown.into_iter().filter(is_double).map(|(text, _)| (openid.clone(), text)));
        }
        doubles
    }

    /// The errors that neither the test nor a refusal or fault of IM explains.
    fn unexplained_errors(&self) -> Vec<String> {
        let im_fails = self.im.ledger().refused_calls().len() > 0 || !self.im.faults().taken("").is_empty();
        let of_im = ["IM refuses or misses our calls", "the platform refused an account call"];
        let mut expected = self.expected_errors.borrow().clone();
        expected.extend(of_im.into_iter().filter(|_| im_fails));
        let is_unexplained = |line: &String| !expected.iter().any(|part| line.contains(part));
        self.errors.0.lock().iter().filter(|line| is_unexplained(line)).cloned().collect()
    }
}

/// A 28-character openid that ends in `name`.
pub fn openid(name: &str) -> String {
    let (start, _) = "oABCD1234efgh5678IJKL90_-mno".split_at(28 - name.len());
    format!("{start}{name}")
}

pub async fn get_json(url: &str) -> (u16, serde_json::Value) {
    let response = wechat_im_bridge::internals::http_client::get(url).await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Checks `condition` repeatedly until it holds or `timeout` has passed. Returns whether it holds.
pub async fn eventually(timeout: Duration, mut condition: impl AsyncFnMut() -> bool) -> bool {
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        if condition().await {
            return true;
        }
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The texts of the messages that this customer has sent to the agent, without the lines that begin conversations:
/// [`World::finish`] sees to those.
pub fn texts(agent: &AgentClient, customer: &str) -> Vec<String> {
    agent
        .conversation(customer)
        .iter()
        .filter(|message| message.from.starts_with(customer))
        .map(|message| message.text())
        .filter(|text| !is_first_line(text))
        .collect()
}

/// How the line begins that precedes the first message of a conversation.
const FIRST_LINES: [&str; 6] = [
    "[bridge] New customer.",
    "[bridge] Customer is back.",
    "[bridge] 신규 고객입니다.",
    "[bridge] 재방문 고객입니다.",
    "[bridge] 新客户。",
    "[bridge] 老客户。",
];

/// Whether this is the line that precedes the first message of a conversation.
pub fn is_first_line(text: &str) -> bool {
    FIRST_LINES.iter().any(|line| text.starts_with(line))
}

/// Waits until this customer has sent `count` messages to the agent, and returns their texts.
pub async fn await_texts(agent: &AgentClient, customer: &str, count: usize) -> Vec<String> {
    let arrived = eventually(SOON, async || texts(agent, customer).len() >= count).await;
    let texts = texts(agent, customer);
    assert!(arrived, "the agent has {} of {count} messages: {texts:?}", texts.len());
    texts
}

/// Waits until the customer's screen shows `text`.
pub async fn await_shown(phone: &Phone, text: &str) {
    let shown = eventually(SOON, async || phone.texts().iter().any(|shown| shown == text)).await;
    assert!(shown, "{text:?} is not on the screen: {:?}", phone.texts());
}

/// Asserts that the bridge answered the first attempt of the push with `success`, which is no passive reply.
pub fn assert_success(pushed: &PushResult) {
    assert_eq!(pushed.attempts.len(), 1, "{pushed:?}");
    assert_eq!(&pushed.attempts[0].body[..], b"success", "{pushed:?}");
}
