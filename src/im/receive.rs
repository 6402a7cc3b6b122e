//! Where Tencent IM calls us: authenticates the callback at `/imcallback` and reads it into the
//! model.
//!
//! Pure: no I/O and no state. The bridge decides whether a customer is known and whether a callback
//! is a repeat. Must never import `send`. Reference: "Webhooks (third-party callbacks)"; docs
//! 269/1522.

mod callback;
mod door;

pub use callback::{BadBody, Callback, Reason};
pub use door::{CallbackDoor, Knock, Refusal};

/// The response to every authenticated callback, whatever its content.
pub fn ok() -> &'static str {
    r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#
}

/// The response to a callback that is refused or unreadable; `info` must not contain a secret.
pub fn fail(info: &str) -> String {
    serde_json::json!({"ActionStatus": "FAIL", "ErrorCode": 1, "ErrorInfo": info}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_the_contracts() {
        assert_eq!(ok(), r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#);
        assert_eq!(fail("no \"JSON\""), r#"{"ActionStatus":"FAIL","ErrorCode":1,"ErrorInfo":"no \"JSON\""}"#);
    }
}
