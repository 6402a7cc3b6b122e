//! HTTP by hand: what a client library would not send, and what it would hide.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wechat_im_bridge::sandbox::im;
use wechat_im_bridge::sandbox::wechat::crypto;

use crate::world::{CALLBACK_TOKEN, SDK_APP_ID, World};

/// Longer than any deadline of the bridge.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// A connection to one of the bridge's listeners.
pub struct Line(TcpStream);

impl Line {
    /// `base` as `http://ADDRESS`.
    pub async fn to(base: &str) -> Self {
        Self(TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer, or `None` where the bridge closes without one; fails when neither comes.
    pub async fn answer(&mut self) -> Option<Answer> {
        tokio::time::timeout(PATIENCE, self.read()).await.unwrap()
    }

    async fn read(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            match self.0.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(_) => return None,
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap().to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; length];
        self.0.read_exact(&mut answer.body).await.unwrap();
        Some(answer)
    }
}

/// One request on a connection of its own.
pub async fn ask(base: &str, request: impl AsRef<[u8]>) -> Answer {
    let mut line = Line::to(base).await;
    line.send(request).await;
    line.answer().await.unwrap()
}

pub async fn get(base: &str, path: &str) -> Answer {
    ask(base, format!("GET {path} HTTP/1.1\r\nhost: bridge\r\n\r\n")).await
}

pub async fn post(base: &str, path: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut request = head(path, body.len()).into_bytes();
    request.extend_from_slice(body);
    ask(base, request).await
}

/// The head of a POST whose body is `length` bytes.
pub fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: bridge\r\ncontent-length: {length}\r\n\r\n")
}

/// A query that `token` signs.
pub fn signed(token: &str, timestamp: i64, nonce: &str) -> String {
    let signature = crypto::sign(&[token, &timestamp.to_string(), nonce]);
    format!("signature={signature}&timestamp={timestamp}&nonce={nonce}")
}

/// The query of a plain push to this world's bridge, now.
pub fn query(world: &World) -> String {
    signed(&world.wechat.settings().token, world.clock.now().seconds(), "987654321")
}

/// A text message as it is pushed in plain mode.
pub fn text_message(openid: &str, id: u64, content: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{openid}]]>\
         </FromUserName><CreateTime>1700000000</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content><![CDATA[{content}]]></Content><MsgId>{id}</MsgId></xml>"
    )
}

/// A rightly signed callback, with some parameters replaced, or left out where the value is empty.
pub fn callback_path(world: &World, changes: &[(&str, &str)]) -> String {
    let time = world.clock.now().seconds().to_string();
    let sign = im::sign(CALLBACK_TOKEN, &time);
    let app = SDK_APP_ID.to_string();
    let mut pairs = vec![
        ("SdkAppid", app.as_str()),
        ("CallbackCommand", "C2C.CallbackAfterSendMsg"),
        ("OptPlatform", "Web"),
        ("Sign", &sign),
        ("RequestTime", &time),
    ];
    for (name, value) in changes {
        pairs.retain(|(known, _)| known != name);
        if !value.is_empty() {
            pairs.push((name, value));
        }
    }
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("/imcallback?{}", pairs.join("&"))
}
