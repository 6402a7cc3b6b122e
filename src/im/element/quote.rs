//! What a message answers: the quote that IM clients keep beside it, in `CloudCustomData`.

use serde_json::Value;

use crate::json;

/// The beginning of the quoted message; `None` if the message answers none. Some clients write the object as a text.
pub fn quoted(message: &Value) -> Option<String> {
    let object = |value: &Value| match value {
        Value::String(text) => json::from_slice::<Value>(text.as_bytes()).ok(),
        value => Some(value.clone()),
    };
    let reply = object(object(message.get("CloudCustomData")?)?.get("messageReply")?)?;
    let words = reply.get("messageAbstract")?.as_str()?.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_quote_is_read_in_either_form_and_nothing_else_is_one() {
        let reply = json!({"messageReply": {"messageID": "1", "messageAbstract": " when? ", "messageType": 1, "version": 1}});
        let twice = json!({"messageReply": reply["messageReply"].to_string()});
        for data in [json!(reply.to_string()), reply, json!(twice.to_string())] {
            assert_eq!(quoted(&json!({"CloudCustomData": data})).as_deref(), Some("when?"));
        }
        for data in
            ["", "{}", "x", r#"{"messageReply":{}}"#, r#"{"messageReply":7}"#, r#"{"messageReact":{}}"#]
        {
            assert_eq!(quoted(&json!({"CloudCustomData": data})), None, "{data}");
        }
        assert_eq!(quoted(&json!({})), None);
    }
}
