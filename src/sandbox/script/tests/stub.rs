//! The smallest bridge with which the script passes: it stores nothing, and makes its calls before
//! it answers.

use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::config::Texts;
use crate::sandbox::conditions::NOTICE_PREFIX;
use crate::sandbox::im::{self, issue_usersig};
use crate::sandbox::serve::Server;
use crate::sandbox::stage::Stage;
use crate::sandbox::wechat::{self, crypto};

/// The one defect of a stub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// No defect.
    None,
    /// The echo ends with a line break.
    Echo,
    /// The welcome has another text.
    Welcome,
    /// Messages come from the administrator's account.
    Sender,
    /// Nobody tells the agent who comes.
    FirstLine,
    /// An agent's typing signals are ignored.
    Typing,
    /// The agent's answer is changed.
    Answer,
    /// A picture arrives as a text.
    Picture,
    /// A location arrives as a text.
    Location,
    /// A repeated push is delivered again.
    Repeats,
    /// Signatures are not checked.
    Signature,
    /// An unfollow gets a reply.
    Unfollow,
    /// The agent is not told of an unfollow.
    Farewell,
}

/// The bridge.
pub struct Stub {
    defect: Defect,
    texts: Texts,
    wechat: Arc<wechat::Settings>,
    im: Arc<im::Settings>,
    wechat_base: String,
    im_base: String,
    http: reqwest::Client,
    replies: Mutex<HashMap<String, String>>,
    /// The customers whose conversation has begun.
    introduced: Mutex<HashSet<String>>,
    random: AtomicU32,
    now: i64,
}

type Parameters = Query<HashMap<String, String>>;

impl Stub {
    /// Serves a bridge with this defect on a free port.
    pub async fn start(stage: &Stage, texts: Texts, defect: Defect) -> Server {
        let stub = Arc::new(Self {
            defect,
            texts,
            wechat: stage.wechat.settings(),
            im: stage.im.settings(),
            wechat_base: stage.wechat.base_url().to_owned(),
            im_base: stage.im.base_url(),
            http: crate::http_client::loopback().build().unwrap(),
            replies: Mutex::default(),
            introduced: Mutex::default(),
            random: AtomicU32::new(1),
            now: crate::clock::Clock::system().now().seconds(),
        });
        let routes = Router::new().route("/", get(verify).post(push)).route("/imcallback", post(callback));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Server::start(listener, routes.with_state(stub)).unwrap()
    }

    async fn call_im(&self, command: &str, body: Value) {
        let (admin, key) = (&self.im.admins[0], self.im.secret_key.expose_secret());
        let sig = issue_usersig(admin, self.im.sdk_app_id, key, self.now, 86_400);
        let url = format!(
            "{}/v4/{command}?sdkappid={}&identifier={admin}&usersig={sig}&random=1&contenttype=json",
            self.im_base, self.im.sdk_app_id
        );
        self.http.post(url).body(body.to_string()).send().await.unwrap();
    }

    async fn to_agent(&self, openid: &str, element: Value) {
        let from = if self.defect == Defect::Sender { &self.im.admins[0] } else { openid };
        let random = self.random.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "SyncOtherMachine": 2, "From_Account": from, "To_Account": "user1", "MsgSeq": random,
            "MsgRandom": random, "MsgTimeStamp": self.now, "MsgLifeTime": 604_800, "MsgBody": [element],
            "ForbidCallbackControl": ["ForbidBeforeSendMsgCallback", "ForbidAfterSendMsgCallback"],
        });
        self.call_im("openim/sendmsg", body).await;
    }

    async fn upload(&self, token: &str, kind: &str, name: &str, url: &str) -> String {
        let file = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
        let part = reqwest::multipart::Part::bytes(file.to_vec()).file_name(name.to_owned());
        let url = format!("{}/cgi-bin/media/upload?access_token={token}&type={kind}", self.wechat_base);
        let form = reqwest::multipart::Form::new().part("media", part);
        let response = self.http.post(url).multipart(form).send().await.unwrap().text().await.unwrap();
        let response: Value = serde_json::from_str(&response).unwrap();
        response["media_id"].as_str().unwrap().to_owned()
    }

    fn reply(&self, openid: &str, content: &str) -> String {
        format!(
            "<xml><ToUserName>{openid}</ToUserName><FromUserName>{}</FromUserName><CreateTime>{}</CreateTime>\
             <MsgType>text</MsgType><Content>{content}</Content></xml>",
            self.wechat.account_id, self.now
        )
    }
}

async fn verify(State(stub): State<Arc<Stub>>, Query(query): Parameters) -> String {
    let end = if stub.defect == Defect::Echo { "\n" } else { "" };
    format!("{}{end}", query["echostr"])
}

async fn push(State(stub): State<Arc<Stub>>, Query(query): Parameters, body: String) -> (StatusCode, String) {
    let expected = crypto::sign(&[&stub.wechat.token, &query["timestamp"], &query["nonce"]]);
    if query["signature"] != expected && stub.defect != Defect::Signature {
        return (StatusCode::FORBIDDEN, String::new());
    }
    let openid = element(&body, "FromUserName");
    let (kind, event) = (element(&body, "MsgType"), element(&body, "Event"));
    let answer = match event {
        "subscribe" => {
            stub.call_im("im_open_login_svc/account_import", json!({"UserID": openid})).await;
            stub.reply(openid, if stub.defect == Defect::Welcome { "Hi" } else { &stub.texts.welcome })
        }
        "unsubscribe" => {
            if stub.defect != Defect::Farewell {
                let text = format!("{NOTICE_PREFIX}The customer has left.");
                stub.to_agent(openid, json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}})).await;
            }
            let gone = json!({"DeleteItem": [{"UserID": openid}]});
            stub.call_im("im_open_login_svc/account_delete", gone).await;
            if stub.defect == Defect::Unfollow { stub.reply(openid, "Bye") } else { "success".to_owned() }
        }
        _ => {
            let id = element(&body, "MsgId").to_owned();
            let first = stub.replies.lock().get(&id).cloned();
            if let Some(first) = first
                && stub.defect != Defect::Repeats
            {
                return (StatusCode::OK, first);
            }
            let description = match kind {
                "text" => element(&body, "Content").to_owned(),
                _ => format!("[{kind}] {} {}", element(&body, "Title"), element(&body, "Url")),
            };
            let text = format!("{}{description}", stub.texts.inquiry_prefix);
            let mut content = json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": text}});
            if kind == "location" && stub.defect != Defect::Location {
                let degrees = |name| element(&body, name).parse::<f64>().unwrap();
                content = json!({"MsgType": "TIMLocationElem", "MsgContent": {
                    "Desc": element(&body, "Label"),
                    "Latitude": degrees("Location_X"), "Longitude": degrees("Location_Y"),
                }});
            }
            if stub.introduced.lock().insert(openid.to_owned()) && stub.defect != Defect::FirstLine {
                let line = format!("{NOTICE_PREFIX}New customer.");
                stub.to_agent(openid, json!({"MsgType": "TIMTextElem", "MsgContent": {"Text": line}})).await;
            }
            stub.to_agent(openid, content).await;
            let answer = stub.reply(openid, &stub.texts.transferring);
            stub.replies.lock().insert(id, answer.clone());
            answer
        }
    };
    (StatusCode::OK, answer)
}

async fn callback(State(stub): State<Arc<Stub>>, body: String) -> String {
    let message: Value = serde_json::from_str(&body).unwrap();
    let token_request = json!({
        "grant_type": "client_credential", "appid": stub.wechat.app_id, "secret": stub.wechat.app_secret,
    });
    let url = format!("{}/cgi-bin/stable_token", stub.wechat_base);
    let granted =
        stub.http.post(url).body(token_request.to_string()).send().await.unwrap().text().await.unwrap();
    let granted: Value = serde_json::from_str(&granted).unwrap();
    let token = granted["access_token"].as_str().unwrap();
    let ok = json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0}).to_string();
    let content = &message["MsgBody"][0]["MsgContent"];
    if message["OnlineOnlyFlag"] == 1 {
        let is_typing = content["Data"].as_str().unwrap().contains(r#""typingStatus":1"#);
        let command = if is_typing { "Typing" } else { "CancelTyping" };
        let body = json!({"touser": message["To_Account"], "command": command});
        let url = format!("{}/cgi-bin/message/custom/typing?access_token={token}", stub.wechat_base);
        if stub.defect != Defect::Typing {
            stub.http.post(url).body(body.to_string()).send().await.unwrap();
        }
        return ok;
    }
    let (kind, content_json) = match message["MsgBody"][0]["MsgType"].as_str().unwrap() {
        "TIMImageElem" => {
            let url = content["ImageInfoArray"][0]["URL"].as_str().unwrap();
            ("image", json!({"media_id": stub.upload(token, "image", "a.png", url).await}))
        }
        "TIMSoundElem" => {
            let url = content["Url"].as_str().unwrap();
            ("voice", json!({"media_id": stub.upload(token, "voice", "a.amr", url).await}))
        }
        _ => {
            let end = if stub.defect == Defect::Answer { "!" } else { "" };
            ("text", json!({"content": format!("{}{end}", content["Text"].as_str().unwrap())}))
        }
    };
    let url = format!("{}/cgi-bin/message/custom/send?access_token={token}", stub.wechat_base);
    let send = match stub.defect {
        Defect::Picture if kind == "image" => json!({
            "touser": message["To_Account"], "msgtype": "text", "text": {"content": "[image]"}
        }),
        _ => json!({"touser": message["To_Account"], "msgtype": kind, kind: content_json}),
    };
    stub.http.post(url).body(send.to_string()).send().await.unwrap();
    ok
}

/// The text of the first element of this name, or nothing.
fn element<'a>(body: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let inner =
        body.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |found| found.0);
    inner.strip_prefix("<![CDATA[").and_then(|rest| rest.strip_suffix("]]>")).unwrap_or(inner)
}
