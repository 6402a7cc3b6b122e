//! A bridge with a real store behind a real listener, called the way the platforms call it.

mod callback;
mod push;
mod receipt;

use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;

use super::*;
use crate::bridge::{DeskSettings, Parts, Settings, WorkSignal, quota};
use crate::config::{
    Acknowledge, AesKey, AfterHours, EncryptionMode, Locale, OnUnsubscribe, ReplyMode, Texts,
};
use crate::http::receipt::{channel, report_outcomes};
use crate::http::testing::{Host, host, parts};
use crate::media::Media;
use crate::media::download::Rules;
use crate::model::{Answer, AnswerPart, ImUserId, MessageId, Move, OpenId};
use crate::store::{Closing, MessageFilter, MessageSummary, Settlement, Store, StoreLocation};
use crate::wechat::receive::VerifierSettings;

const TOKEN: &str = "BridgeToken2024";
const APP_ID: &str = "wx1234567890abcdef";
const CALLBACK_TOKEN: &str = "kf-bridge-token";
const CUSTOMER: &str = "oBridgeUser0000000000000001x";
const WELCOME: &str = "Thanks for following XX. We want to offer you the best service.";
const TRANSFERRING: &str = "Transferring you to a customer service agent, please wait.";
const LONG: Duration = Duration::from_secs(20);

struct World {
    host: Host,
    router: Router,
    bridge: Bridge,
    store: Store,
    clock: Clock,
    metrics: Metrics,
    tasks: TaskTracker,
    reporting: JoinHandle<()>,
    _folder: tempfile::TempDir,
    _closing: Closing,
}

impl World {
    async fn new() -> Self {
        Self::with(EncryptionMode::Plain, &crate::store::testing::location(), Limits::default()).await
    }

    async fn with(mode: EncryptionMode, location: &StoreLocation, limits: Limits) -> Self {
        let (clock, metrics, tasks) = (Clock::movable(), Metrics::default(), TaskTracker::new());
        // Shortly after the times of the tests' pushes and callbacks.
        clock.advance(1_700_000_200_000 - clock.now().0);
        let (store, closing) = Store::open(location, clock.clone(), metrics.clone()).unwrap();
        let agents = vec![ImUserId::new("user1").unwrap()];
        let folder = tempfile::tempdir().unwrap();
        let keep = Duration::from_hours(720);
        let media = Media::open(&store, folder.path(), None, keep, clock.clone()).await.unwrap();
        let bridge = Bridge::new(Parts {
            settings: settings(agents.clone()).into(),
            store: store.clone(),
            media,
            work_signal: WorkSignal::new(crate::fleet::Fleet::alone(0)),
            clock: clock.clone(),
            metrics: metrics.clone(),
        });
        let bridge = bridge.await.unwrap();
        let (outcomes, waiting) = channel();
        let reporting = tokio::spawn(report_outcomes(waiting, bridge.clone()));
        let public = Public {
            verifier: Verifier::new(VerifierSettings {
                token: TOKEN.into(),
                previous_token: None,
                app_id: Some(APP_ID.to_owned()),
                account_id: None,
                mode,
                key: Some(key()),
                previous_key: None,
                reserved_senders: Vec::new().into(),
                max_skew_s: 0,
            }),
            callback_verifier: CallbackVerifier::new(
                1_400_000_000,
                Some(CALLBACK_TOKEN.into()),
                300,
                agents,
                clock.clone(),
            ),
            bridge: bridge.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            url_checks: Arc::new(UrlChecks::new(clock.clone())),
            push_health: Arc::new(InboundHealth::new(clock.clone())),
            callback_health: Arc::new(InboundHealth::new(clock.clone())),
            limits,
            base_path: String::new(),
            body_budget: BodyBudget::new(1 << 20, 1 << 20, Metrics::default()),
            outcomes,
            tasks: tasks.clone(),
        };
        let router = router(public);
        let host = host(router.clone(), limits).await;
        Self {
            host,
            router,
            bridge,
            store,
            clock,
            metrics,
            tasks,
            reporting,
            _folder: folder,
            _closing: closing,
        }
    }

    /// Sends a push with a valid signature for plain mode.
    async fn push(&self, xml: &str) -> String {
        self.host.post(&format!("/?{}", signed("1700000001", "987654321")), xml).await
    }

    /// Sends a callback with a valid signature.
    async fn call_back(&self, body: &str) -> String {
        let time = self.clock.now().seconds();
        let sign = hex::encode(Sha256::digest(format!("{CALLBACK_TOKEN}{time}")));
        let command = "C2C.CallbackAfterSendMsg";
        let query = format!(
            "SdkAppid=1400000000&CallbackCommand={command}&OptPlatform=Web&Sign={sign}&RequestTime={time}"
        );
        self.host.post(&format!("/imcallback?{query}"), body).await
    }

    async fn messages(&self) -> Vec<MessageSummary> {
        list(&self.store).await
    }

    fn has_metric(&self, line: &str) -> bool {
        self.metrics.render(0, 0, 0).unwrap().contains(line)
    }

    /// Accepts an agent's answer. Nothing sends it here.
    async fn accept(&self, text: &str) -> MessageId {
        let answer = Answer {
            from: ImUserId::new("user1").unwrap(),
            to: ImUserId::new(CUSTOMER).unwrap(),
            msg_key: text.to_owned(),
            msg_time: 1_700_000_000,
            msg_seq: 1,
            msg_random: 1,
            quoted: None,
            parts: vec![AnswerPart::Text(text.to_owned())],
        };
        self.bridge.accept_answer(answer).await.unwrap();
        MessageId(self.messages().await.last().unwrap().id)
    }

    /// Accepts an agent's answer and holds it, as if WeChat had not accepted it.
    async fn hold(&self, text: &str) {
        let id = self.accept(text).await;
        let hold = move |tx: &crate::store::Tx<'_>| {
            tx.record_attempt_at(id)?;
            tx.settle(id, Move::Hold, &Settlement::default())
        };
        self.store.write(hold).await.unwrap();
    }

    /// Stops the listener and waits until every outcome has been reported.
    async fn stop_and_list(self) -> Vec<MessageSummary> {
        self.host.stop.hard.cancel();
        self.host.served.await.unwrap();
        drop(self.router);
        self.tasks.close();
        self.tasks.wait().await;
        tokio::time::timeout(LONG, self.reporting).await.unwrap().unwrap();
        list(&self.store).await
    }
}

/// The customers' and agents' messages.
async fn list(store: &Store) -> Vec<MessageSummary> {
    let read = store.read(|tx| tx.list(&MessageFilter::all(), MessageId(0), MessageId(1_000)));
    let mut all = read.await.unwrap();
    all.retain(|message| message.kind == "message");
    all
}

fn settings(agents: Vec<ImUserId>) -> Settings {
    Settings {
        agents,
        desk: DeskSettings::default(),
        texts: Texts::defaults(Locale::En, "XX"),
        replies: std::collections::BTreeMap::new(),
        acknowledge: Acknowledge::Always,
        session_idle_ms: 1_800_000,
        limits: quota::Limits {
            messages: 5,
            message_window_ms: 172_800_000,
            event_messages: 3,
            event_window_ms: 60_000,
        },
        reply: ReplyMode::Passive,
        on_unsubscribe: OnUnsubscribe::Delete,
        may_fetch: true,
        download_rules: Rules { allow_hosts: Vec::new(), allow_http: false, allow_private: false },
        hours: None,
        after_hours: AfterHours::Hold,
        escalation: crate::bridge::Escalation::default(),
        remind_before_ms: None,
        merge: None,
    }
}

fn key() -> AesKey {
    AesKey::decode("Zb7Kq0mR3xT9vY1cN5sD8fG2hJ4kL6pW0aQ7eU9iOBg").unwrap()
}

/// Computed here, independently of the code under test.
fn sha1_of(mut words: Vec<&str>) -> String {
    words.sort_unstable();
    hex::encode(Sha1::digest(words.concat()))
}

fn signed(timestamp: &str, nonce: &str) -> String {
    let signature = sha1_of(vec![TOKEN, timestamp, nonce]);
    format!("signature={signature}&timestamp={timestamp}&nonce={nonce}")
}

fn message(id: &str, content: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{CUSTOMER}]]>\
         </FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content><![CDATA[{content}]]></Content><MsgId>{id}</MsgId></xml>"
    )
}

fn event(name: &str, time: i64) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{CUSTOMER}]]>\
         </FromUserName><CreateTime>{at}</CreateTime><MsgType><![CDATA[event]]></MsgType>\
         <Event><![CDATA[{name}]]></Event></xml>",
        at = 1_700_000_000 + time
    )
}

/// The text of an element, without the CDATA markers.
fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let (_, rest) = xml.split_once(&format!("<{name}>")).unwrap();
    let (inner, _) = rest.split_once(&format!("</{name}>")).unwrap();
    inner.trim_start_matches("<![CDATA[").trim_end_matches("]]>")
}

/// A store in a file whose writer can be blocked by another connection.
struct BlockableStore {
    folder: tempfile::TempDir,
}

impl BlockableStore {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn location(&self) -> StoreLocation {
        StoreLocation::File(self.folder.path().join("bridge.db"))
    }

    /// Blocks all commits until the returned connection is dropped.
    fn block(&self) -> rusqlite::Connection {
        let other = rusqlite::Connection::open(self.folder.path().join("bridge.db")).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    }
}
