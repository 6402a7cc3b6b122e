//! Scripted faults for the next calls of a simulated platform's API.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;

use super::serve::SimulatedResponse;

const GATEWAY_PAGE: &str = "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>";
const BUSY_PAGE: &str = "<html>busy</html>";

/// A fault that a call suffers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The platform answers with this return code and does nothing.
    Code(i64),
    /// The call is carried out, and its normal answer is delayed by this long.
    Delay(Duration),
    /// The connection is closed and the call is not carried out.
    DropBefore,
    /// The call is carried out, then the connection is closed without an answer.
    DropAfter,
    /// The gateway answers HTTP 502 with HTML, and the call is not carried out.
    BadGateway,
    /// The gateway answers with this HTTP status, and the call is not carried out.
    Status(u16),
    /// The call is carried out and answered with HTTP 200 and a body that is not JSON.
    NotJson,
    /// The call is carried out, and the connection closes after half of the answer.
    HalfBody,
    /// The platform answers HTTP 200 with these bytes, and the call is not carried out.
    Answer(Bytes),
}

/// Applies `fault`, if any, to a call. `refuse` turns a return code into the platform's error
/// answer. `work` carries the call out. It is not started if the fault occurs before the call.
pub async fn apply(
    fault: Option<Fault>,
    refuse: impl FnOnce(i64) -> SimulatedResponse,
    work: impl Future<Output = SimulatedResponse>,
) -> SimulatedResponse {
    match fault {
        None => work.await,
        Some(Fault::Code(code)) => refuse(code),
        Some(Fault::DropBefore) => SimulatedResponse::cut_connection(),
        Some(Fault::BadGateway) => SimulatedResponse::new(StatusCode::BAD_GATEWAY, "text/html", GATEWAY_PAGE),
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            SimulatedResponse::new(status, "text/html", BUSY_PAGE)
        }
        Some(Fault::Delay(time)) => {
            let answer = work.await;
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::DropAfter) => {
            work.await;
            SimulatedResponse::cut_connection()
        }
        Some(Fault::NotJson) => {
            work.await;
            SimulatedResponse::new(StatusCode::OK, "text/html", BUSY_PAGE)
        }
        Some(Fault::Answer(body)) => SimulatedResponse::new(StatusCode::OK, "application/json", body),
        Some(Fault::HalfBody) => work.await.with_half_body(),
    }
}

/// The faults that have not occurred yet. Clones share one list.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Arc<Mutex<Vec<ScriptedFault>>>,
    taken: Arc<Mutex<Vec<(String, Fault)>>>,
}

/// The most faults that are remembered after they occurred.
const MAX_TAKEN: usize = 100_000;

#[derive(Debug)]
struct ScriptedFault {
    api: String,
    /// `None`: every call from now on.
    remaining: Option<u32>,
    /// Only calls whose body contains this.
    marker: String,
    fault: Fault,
}

impl Faults {
    /// Makes the next `calls` calls of `api` suffer `fault`. `api` is the end of the path
    /// (`openim/sendmsg`, `message/custom/send`), or empty for every API.
    pub fn script(&self, api: &str, calls: u32, fault: Fault) {
        self.list().push(ScriptedFault {
            api: api.to_owned(),
            remaining: Some(calls),
            marker: String::new(),
            fault,
        });
    }

    /// Makes every call of `api` whose body contains `marker` suffer `fault`, until the faults are
    /// cleared: a fault that stays.
    pub fn script_for_ever(&self, api: &str, marker: &str, fault: Fault) {
        let (api, marker) = (api.to_owned(), marker.to_owned());
        self.list().push(ScriptedFault { api, remaining: None, marker, fault });
    }

    /// The faults that calls of `api` have suffered so far, in order.
    pub fn taken(&self, api: &str) -> Vec<Fault> {
        let taken = self.taken.lock();
        taken.iter().filter(|(path, _)| path.ends_with(api)).map(|(_, fault)| fault.clone()).collect()
    }

    /// Removes every fault that has not occurred yet.
    pub fn clear(&self) {
        self.list().clear();
    }

    /// Returns the fault for a call of `path` with this body, if any, and counts the call.
    pub fn take(&self, path: &str, body: &[u8]) -> Option<Fault> {
        let mut list = self.list();
        let contains = |marker: &str| {
            marker.is_empty() || body.windows(marker.len()).any(|window| window == marker.as_bytes())
        };
        let at =
            list.iter().position(|scripted| path.ends_with(&scripted.api) && contains(&scripted.marker))?;
        let fault = list[at].fault.clone();
        if let Some(remaining) = &mut list[at].remaining {
            *remaining -= 1;
            if *remaining == 0 {
                list.remove(at);
            }
        }
        let mut taken = self.taken.lock();
        if taken.len() < MAX_TAKEN {
            taken.push((path.to_owned(), fault.clone()));
        }
        Some(fault)
    }

    fn list(&self) -> parking_lot::MutexGuard<'_, Vec<ScriptedFault>> {
        self.list.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_applies_to_its_api_and_as_often_as_scripted() {
        let faults = Faults::default();
        faults.script("openim/sendmsg", 2, Fault::Code(60007));
        assert_eq!(faults.take("/v4/im_open_login_svc/account_import", b""), None);
        assert_eq!(faults.take("/v4/openim/sendmsg", b""), Some(Fault::Code(60007)));
        assert_eq!(faults.take("/v4/openim/sendmsg", b""), Some(Fault::Code(60007)));
        assert_eq!(faults.take("/v4/openim/sendmsg", b""), None);
    }

    #[test]
    fn a_fault_that_stays_strikes_each_call_that_contains_its_marker() {
        let faults = Faults::default();
        faults.script_for_ever("openim/sendmsg", "poison", Fault::Status(403));
        for _ in 0..3 {
            assert_eq!(faults.take("/v4/openim/sendmsg", b"a poisoned text"), Some(Fault::Status(403)));
            assert_eq!(faults.take("/v4/openim/sendmsg", b"a text"), None);
        }
        assert_eq!(faults.taken("openim/sendmsg").len(), 3);
        faults.clear();
        assert_eq!(faults.take("/v4/openim/sendmsg", b"a poisoned text"), None);
    }
}
