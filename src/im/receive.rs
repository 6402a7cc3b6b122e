//! Where Tencent IM calls us: authenticates the callback at `/imcallback` and reads it into the
//! model.
//!
//! Pure: no I/O and no state. The bridge decides whether a customer is known and whether a callback
//! is a repeat. Must never import `send`. Reference: "Webhooks (third-party callbacks)"; docs
//! 269/1522.

mod callback;
mod verify;

pub use callback::{Callback, SkipReason, callback_name};
pub use verify::{CallbackVerifier, Refusal, VerifiedQuery};

/// The response to every authenticated callback, whatever its content.
pub fn ok_response() -> &'static str {
    r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#
}

/// The response to a callback that is refused or unreadable; `info` must not contain a secret.
pub fn error_response(info: &str) -> String {
    serde_json::json!({"ActionStatus": "FAIL", "ErrorCode": 1, "ErrorInfo": info}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_match_the_contract() {
        assert_eq!(ok_response(), r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#);
        assert_eq!(
            error_response("no \"JSON\""),
            r#"{"ActionStatus":"FAIL","ErrorCode":1,"ErrorInfo":"no \"JSON\""}"#
        );
    }
}
