//! Faults on demand: what the next calls of an API of a simulated platform shall suffer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

use super::serve::Answer;

const GATEWAY_PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
const BUSY_PAGE: &str = "<html>busy</html>";

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The platform answers with this code of its own and does nothing.
    Code(i64),
    /// The answer comes this much later, and is then the normal one.
    Delay(Duration),
    /// The connection is closed; nothing was done.
    DropBefore,
    /// The call is carried out, then the connection is closed without an answer.
    DropAfter,
    /// The gateway answers HTTP 502 with HTML; nothing was done.
    BadGateway,
    /// The call is carried out and answered with HTTP 200 and no JSON.
    NotJson,
    /// The call is carried out and half of the answer is sent before the connection closes.
    HalfBody,
}

/// Lets a call suffer `fault`, if any: `refuse` puts a code into the platform's own words, `work` carries the call out
/// and is not begun where the fault strikes before.
pub async fn suffer(
    fault: Option<Fault>,
    refuse: impl FnOnce(i64) -> Answer,
    work: impl Future<Output = Answer>,
) -> Answer {
    match fault {
        None => work.await,
        Some(Fault::Code(code)) => refuse(code),
        Some(Fault::DropBefore) => Answer::cut(),
        Some(Fault::BadGateway) => Answer::new(StatusCode::BAD_GATEWAY, "text/html", GATEWAY_PAGE),
        Some(Fault::Delay(time)) => {
            let answer = work.await;
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::DropAfter) => {
            work.await;
            Answer::cut()
        }
        Some(Fault::NotJson) => {
            work.await;
            Answer::new(StatusCode::OK, "text/html", BUSY_PAGE)
        }
        Some(Fault::HalfBody) => work.await.halved(),
    }
}

/// The faults that are waiting. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<Scripted>>>);

#[derive(Debug)]
struct Scripted {
    api: String,
    left: u32,
    fault: Fault,
}

impl Faults {
    /// Makes the next `calls` calls of `api` suffer `fault`. `api` is the end of the path
    /// (`openim/sendmsg`, `message/custom/send`), or empty for every API.
    pub fn script(&self, api: &str, calls: u32, fault: Fault) {
        self.list().push(Scripted { api: api.to_owned(), left: calls, fault });
    }

    /// Forgets every fault that is waiting.
    pub fn clear(&self) {
        self.list().clear();
    }

    /// The fault that a call of `path` shall suffer, if any; counts the call.
    pub fn take(&self, path: &str) -> Option<Fault> {
        let mut list = self.list();
        let at = list.iter().position(|scripted| path.ends_with(&scripted.api))?;
        let fault = list[at].fault.clone();
        list[at].left -= 1;
        if list[at].left == 0 {
            list.remove(at);
        }
        Some(fault)
    }

    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Scripted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_suffered_as_often_as_scripted_and_only_by_its_api() {
        let faults = Faults::default();
        faults.script("openim/sendmsg", 2, Fault::Code(60007));
        assert_eq!(faults.take("/v4/im_open_login_svc/account_import"), None);
        assert_eq!(faults.take("/v4/openim/sendmsg"), Some(Fault::Code(60007)));
        assert_eq!(faults.take("/v4/openim/sendmsg"), Some(Fault::Code(60007)));
        assert_eq!(faults.take("/v4/openim/sendmsg"), None);
    }
}
