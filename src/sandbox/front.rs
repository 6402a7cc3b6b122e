//! Stands in front of several bridges, as `deploy/nginx/bridges.conf` does: asks one after the other in turn, and the next
//! one at once if an instance does not answer. That is safe, because the instances recognise what they have accepted
//! already.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header, request};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;

use super::instance::Instance;
use super::serve::Server;

/// How long a connection to an instance may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(300);
/// How long an instance may take to answer a push or callback.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(700);
/// The same for a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// How many instances are asked about one push or callback.
const TRIES: usize = 3;
/// The largest body of a request, in bytes.
const BODY_LIMIT: usize = 512 * 1024;
/// How long a request's body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// The path of files.
const FILES: &str = "/media/";
/// The headers that belong to one connection, or to the body as one connection carries it.
const OF_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The server in front of the instances. It stops when dropped.
#[derive(Debug)]
pub(super) struct Front {
    server: Server,
    instances: Arc<Instances>,
}

/// The instances that are asked.
#[derive(Debug)]
pub(super) struct Instances {
    /// The public listener of each; `None` before its first start.
    addresses: Mutex<Vec<Option<SocketAddr>>>,
    turn: AtomicUsize,
    /// The client for pushes and callbacks.
    calls: reqwest::Client,
    /// The client for files.
    files: reqwest::Client,
}

impl Front {
    /// Stands in front of `count` instances, whose addresses are not known yet.
    pub(super) fn start(listener: TcpListener, count: usize) -> std::io::Result<Self> {
        let client = |answer_timeout| {
            crate::http_client::loopback()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(answer_timeout)
                .build()
                .map_err(std::io::Error::other)
        };
        let instances = Arc::new(Instances {
            addresses: Mutex::new(vec![None; count]),
            turn: AtomicUsize::new(0),
            calls: client(ANSWER_TIMEOUT)?,
            files: client(FILE_TIMEOUT)?,
        });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&instances));
        Ok(Self { server: Server::start(listener, router)?, instances })
    }

    /// The address on which it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The instances that are asked.
    pub(super) fn instances(&self) -> Arc<Instances> {
        Arc::clone(&self.instances)
    }

    /// Stops listening, and waits until every connection is closed.
    pub(super) async fn stop(&self) {
        self.server.stop().await;
    }
}

impl Instances {
    /// Sets where the instance at `index` listens.
    pub(super) fn set_address(&self, index: usize, address: SocketAddr) {
        if let Some(known) = self.addresses.lock().get_mut(index) {
            *known = Some(address);
        }
    }

    /// The instances in the order in which the next request asks them.
    fn in_turn(&self) -> Vec<(Instance, SocketAddr)> {
        let addresses = self.addresses.lock();
        let numbered = addresses.iter().enumerate();
        let mut asked: Vec<_> = numbered.map(|(at, address)| (Instance::at(at), *address)).collect();
        drop(addresses);
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % asked.len().max(1);
        asked.rotate_left(first);
        asked.into_iter().filter_map(|(instance, address)| Some((instance, address?))).collect()
    }
}

async fn forward(State(instances): State<Arc<Instances>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = match tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, BODY_LIMIT)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let is_file = head.uri.path().starts_with(FILES);
    let (client, tries) = if is_file { (&instances.files, usize::MAX) } else { (&instances.calls, TRIES) };
    let mut last = StatusCode::BAD_GATEWAY.into_response();
    for (instance, address) in instances.in_turn().into_iter().take(tries) {
        last = match ask(client, address, &head, body.clone()).await {
            Ok(mut answer) => {
                instance.note(answer.headers_mut());
                answer
            }
            Err(error) if error.is_timeout() && !error.is_connect() => {
                StatusCode::GATEWAY_TIMEOUT.into_response()
            }
            Err(_) => StatusCode::BAD_GATEWAY.into_response(),
        };
        let asks_next = match last.status() {
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => true,
            StatusCode::GATEWAY_TIMEOUT => !is_file,
            _ => false,
        };
        if !asks_next {
            break;
        }
    }
    last
}

/// Asks one instance.
async fn ask(
    client: &reqwest::Client,
    address: SocketAddr,
    head: &request::Parts,
    body: Bytes,
) -> reqwest::Result<Response> {
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let request = client.request(head.method.clone(), format!("http://{address}{path}"));
    let answer = request.headers(end_to_end(&head.headers)).body(body).send().await?;
    let (parts, body) = axum::http::Response::<reqwest::Body>::from(answer).into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = parts.status;
    *response.headers_mut() = end_to_end(&parts.headers);
    Ok(response)
}

/// The headers without those of the connection.
fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in OF_CONNECTION {
        headers.remove(name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use axum::routing::any;

    use super::*;

    async fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    /// An instance that answers with this status, and says who it is.
    async fn instance(name: &'static str, status: StatusCode) -> Server {
        let answer = any(async move |body: String| (status, format!("{name} {body}")));
        Server::start(listener().await, Router::new().fallback(answer)).unwrap()
    }

    fn in_front_of(front: TcpListener, addresses: &[SocketAddr]) -> Front {
        let front = Front::start(front, addresses.len()).unwrap();
        for (index, address) in addresses.iter().enumerate() {
            front.instances().set_address(index, *address);
        }
        front
    }

    async fn push(front: &Front, path: &str) -> (u16, String) {
        let (status, text, _) = push_to(front, path).await;
        (status, text)
    }

    async fn push_to(front: &Front, path: &str) -> (u16, String, Option<usize>) {
        let client = crate::http_client::loopback().build().unwrap();
        let answer = client.post(format!("http://{}{path}", front.address())).body("hello").send().await;
        let mut answer = answer.unwrap();
        let taken_by = Instance::take(answer.headers_mut()).map(Instance::index);
        (answer.status().as_u16(), answer.text().await.unwrap(), taken_by)
    }

    #[tokio::test]
    async fn instances_are_asked_in_turn_and_the_next_one_when_one_does_not_answer() {
        let (one, two) = (instance("one", StatusCode::OK).await, instance("two", StatusCode::OK).await);
        let front = in_front_of(listener().await, &[one.address(), two.address()]);
        let answers = [push(&front, "/").await, push(&front, "/").await, push(&front, "/").await];
        assert_eq!(answers.map(|(_, text)| text), ["one hello", "two hello", "one hello"]);
        front.stop().await;

        let busy = instance("busy", StatusCode::SERVICE_UNAVAILABLE).await;
        let closed = listener().await.local_addr().unwrap();
        // It takes connections, and answers none.
        let silent = listener().await;
        let addresses = [busy.address(), closed, silent.local_addr().unwrap(), one.address()];
        let front = in_front_of(listener().await, &addresses);
        let began = Instant::now();
        assert_eq!(push(&front, "/").await.0, 504, "the fourth is not asked");
        assert!(began.elapsed() >= ANSWER_TIMEOUT, "{:?}", began.elapsed());
        assert_eq!(push_to(&front, "/").await, (200, "one hello".to_owned(), Some(3)));
        front.stop().await;
    }

    #[tokio::test]
    async fn a_refusal_is_an_answer_and_a_slow_file_is_waited_for() {
        let refusing = instance("no", StatusCode::FORBIDDEN).await;
        let slow = any(async || {
            tokio::time::sleep(ANSWER_TIMEOUT * 2).await;
            "slow"
        });
        let slow = Server::start(listener().await, Router::new().fallback(slow)).unwrap();
        let front = in_front_of(listener().await, &[refusing.address(), slow.address()]);
        assert_eq!(push(&front, "/").await, (403, "no hello".to_owned()));
        assert_eq!(push(&front, "/media/a.png").await, (200, "slow".to_owned()));
        front.stop().await;
    }
}
