//! An HTTP client that sends requests which a library refuses to send, and hides no part of a response.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use wechat_im_bridge::internals::clock::Clock;
use wechat_im_bridge::internals::sandbox::im;
use wechat_im_bridge::internals::sandbox::wechat::crypto;

use crate::world::{CALLBACK_TOKEN, SDK_APP_ID, World};

/// Longer than any deadline of the bridge.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A response.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

/// A connection to one of the bridge's listeners.
pub struct Connection(TcpStream);

impl Connection {
    /// Connects to `base`, which has the form `http://ADDRESS`.
    pub async fn open(base: &str) -> Self {
        Self(TcpStream::connect(base.strip_prefix("http://").unwrap()).await.unwrap())
    }

    /// Connects from `source`, an address of the loopback network.
    pub async fn open_from(source: &str, base: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        Self(socket.connect(base.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap())
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends bytes to a bridge that may already have closed the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.0.write_all(bytes.as_ref()).await
    }

    /// The next response, or `None` if the bridge closes the connection without one. Panics after
    /// [`TIMEOUT`].
    pub async fn response(&mut self) -> Option<Response> {
        tokio::time::timeout(TIMEOUT, self.read()).await.unwrap()
    }

    /// Reads the head of the next response and leaves its body unread. Returns the status.
    pub async fn head(&mut self) -> u16 {
        tokio::time::timeout(TIMEOUT, self.read_head()).await.unwrap().unwrap().1
    }

    async fn read_head(&mut self) -> Option<(String, u16)> {
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
        Some((head, status))
    }

    async fn read(&mut self) -> Option<Response> {
        let (head, status) = self.read_head().await?;
        let mut response = Response { status, head, body: Vec::new() };
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        response.body = vec![0; length];
        self.0.read_exact(&mut response.body).await.unwrap();
        Some(response)
    }
}

/// Sends the bytes of one request on a new connection, and returns the response.
pub async fn exchange(base: &str, request: impl AsRef<[u8]>) -> Response {
    let mut connection = Connection::open(base).await;
    connection.send(request).await;
    connection.response().await.unwrap()
}

pub async fn get(base: &str, path: &str) -> Response {
    exchange(base, format!("GET {path} HTTP/1.1\r\nhost: bridge\r\n\r\n")).await
}

pub async fn post(base: &str, path: &str, body: impl AsRef<[u8]>) -> Response {
    let body = body.as_ref();
    let mut request = head(path, body.len()).into_bytes();
    request.extend_from_slice(body);
    exchange(base, request).await
}

/// The head of a POST request whose body has `length` bytes.
pub fn head(path: &str, length: usize) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: bridge\r\ncontent-length: {length}\r\n\r\n")
}

/// A query that is signed with `token`.
pub fn signed(token: &str, timestamp: i64, nonce: &str) -> String {
    let signature = crypto::sign(&[token, &timestamp.to_string(), nonce]);
    format!("signature={signature}&timestamp={timestamp}&nonce={nonce}")
}

/// When the tests began, Unix seconds: a time that repeats of a request share, and that is not too old.
pub fn started_s() -> i64 {
    static STARTED: LazyLock<i64> = LazyLock::new(|| Clock::system().now().seconds());
    *STARTED
}

/// The signed query of a push in plain mode to this world's bridge at this moment.
pub fn query(world: &World) -> String {
    signed(&world.wechat.settings().token, world.clock.now().seconds(), "987654321")
}

/// The body of a text message that is pushed in plain mode.
pub fn text_message(openid: &str, id: u64, content: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_bridge000001]]></ToUserName><FromUserName><![CDATA[{openid}]]>\
         </FromUserName><CreateTime>{at}</CreateTime><MsgType><![CDATA[text]]></MsgType>\
         <Content><![CDATA[{content}]]></Content><MsgId>{id}</MsgId></xml>",
        at = started_s()
    )
}

/// The path and the signed query of a callback. `changes` replace parameters; an empty value removes one.
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
