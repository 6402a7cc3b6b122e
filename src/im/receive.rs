//! Where Tencent IM calls us: the callback at `/imcallback`, authenticated, then read into the model.
//!
//! Pure: no I/O and no state; whether a customer is known and whether a callback came before is the bridge's to
//! say. Must never import `send`. Reference: "Webhooks (third-party callbacks)"; docs 269/1522.

mod callback;
mod door;

pub use callback::{BadBody, Callback, Reason};
pub use door::{CallbackDoor, Knock, Refusal};

/// The answer to every callback that was let in, whatever it was about.
pub fn ok() -> &'static str {
    r#"{"ActionStatus":"OK","ErrorInfo":"","ErrorCode":0}"#
}

/// The answer to a callback that was not let in or cannot be read; `info` must name no secret.
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
