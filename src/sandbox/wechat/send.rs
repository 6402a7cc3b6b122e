//! `custom/send` and `custom/typing` with every rule of the reference (sections 7.2 to 7.5). Errors
//! are return codes.

use std::sync::Arc;

use serde_json::Value;

use super::customer::Customer;
use super::ledger::{SendEntry, push_bounded};
use super::media::Media;
use super::screen::{ScreenEntry, Via};
use super::{Platform, codes};

/// The longest text in bytes.
const TEXT_LIMIT: usize = 2048;
/// The longest members of a card, in bytes. The reference gives no values.
const TITLE_LIMIT: usize = 192;
const DESCRIPTION_LIMIT: usize = 512;
const URL_LIMIT: usize = 1024;
/// The typing indicator needs a message of either side within this long, in milliseconds.
const TYPING_NEEDS_TRAFFIC_MS: i64 = 30_000;
/// How long the typing indicator stays, in milliseconds. A second call within this time is a
/// repeat. The reference gives no value.
pub(super) const TYPING_DURATION_MS: i64 = 15_000;

/// The visible content of a message.
#[derive(Debug, Default)]
struct Content {
    text: String,
    media: Option<Arc<Media>>,
}

impl Platform {
    /// Sends a customer-service message. A failure uses no quota.
    pub(super) fn custom_send(&self, body: &[u8]) -> Result<(), i64> {
        let payload = self.custom_body(body)?;
        let customer = self.recipient(&payload)?;
        let settings = self.settings();
        let kind = payload.get("msgtype").and_then(Value::as_str).unwrap_or_default().to_owned();
        let content = self.content(&payload, &kind)?;
        let agent = payload.get("customservice");
        let kf_account =
            agent.map(|agent| agent.get("kf_account").and_then(Value::as_str).unwrap_or_default());
        if kf_account.is_some_and(|account| !settings.kf_accounts.iter().any(|known| known == account)) {
            return Err(codes::KF_ACCOUNT);
        }
        let kf_account = kf_account.unwrap_or_default().to_owned();
        let text = if kind == "text" { content.text.clone() } else { String::new() };
        let at = self.clock.now();
        customer.show_if(|state| {
            if !state.following {
                return Err(codes::OUT_OF_TIME);
            }
            state.window.spend(at)?;
            state.last_traffic = Some(at);
            // Record while the customer is locked, so that the ledger has the order of the screen.
            self.record(|ledger, limit| {
                ledger.sends_total += 1;
                let openid = customer.openid.clone();
                let entry = SendEntry { at, openid, kind: kind.clone(), text, kf_account };
                push_bounded(&mut ledger.sends, Arc::new(entry), limit);
            });
            Ok(ScreenEntry { at, via: Via::CustomSend, kind, text: content.text, media: content.media })
        })
    }

    /// Shows or hides the typing indicator.
    pub(super) fn typing(&self, body: &[u8]) -> Result<(), i64> {
        let payload = self.custom_body(body)?;
        let customer = self.recipient(&payload)?;
        let is_typing = match payload.get("command").and_then(Value::as_str) {
            Some("Typing") => true,
            Some("CancelTyping") => false,
            _ => return Err(codes::TYPING_COMMAND),
        };
        let now = self.clock.now();
        let mut state = customer.state.lock();
        if state.last_traffic.is_none_or(|at| now.since(at) > TYPING_NEEDS_TRAFFIC_MS) {
            return Err(codes::NO_TRAFFIC);
        }
        if is_typing && state.typing_since.is_some_and(|at| now.since(at) < TYPING_DURATION_MS) {
            return Err(codes::ALREADY_TYPING);
        }
        state.typing_since = is_typing.then_some(now);
        drop(state);
        customer.notify();
        self.record(|ledger, _| {
            ledger.typing_calls += 1;
            ledger.typing_shown += u64::from(is_typing);
        });
        Ok(())
    }

    fn custom_body(&self, body: &[u8]) -> Result<Value, i64> {
        let settings = self.settings();
        if settings.personal {
            return Err(codes::UNAUTHORIZED);
        }
        if body.is_empty() {
            return Err(codes::EMPTY_POST);
        }
        let payload: Value = serde_json::from_slice(body).map_err(|_| codes::DATA_FORMAT)?;
        if !payload.is_object() {
            return Err(codes::DATA_FORMAT);
        }
        if settings.strict_escapes && has_unicode_escape(body) {
            return Err(codes::ESCAPED);
        }
        Ok(payload)
    }

    fn recipient(&self, payload: &Value) -> Result<Arc<Customer>, i64> {
        let openid = match payload.get("touser") {
            None | Some(Value::Null) => return Err(codes::OPENID_MISSING),
            Some(openid) => openid.as_str().ok_or(codes::OPENID)?,
        };
        self.customers.lock().get(openid).cloned().ok_or(codes::OPENID)
    }

    fn content(&self, payload: &Value, kind: &str) -> Result<Content, i64> {
        let object = payload.get(kind);
        let member = |name: &str| object.and_then(|object| object.get(name)).and_then(Value::as_str);
        let required = |name: &str| member(name).filter(|value| !value.is_empty()).ok_or(codes::PARAMETER);
        let titled = |media| Ok(Content { text: member("title").unwrap_or_default().to_owned(), media });
        match kind {
            "text" => {
                let text = member("content").filter(|text| !text.is_empty()).ok_or(codes::EMPTY_CONTENT)?;
                if text.len() > TEXT_LIMIT {
                    return Err(codes::CONTENT_SIZE);
                }
                Ok(Content { text: text.to_owned(), media: None })
            }
            "image" | "voice" => titled(Some(self.media_of_kind(member("media_id"), kind)?)),
            "video" => {
                let media = self.media_of_kind(member("media_id"), "video")?;
                self.media_of_kind(member("thumb_media_id"), "thumb")?;
                titled(Some(media))
            }
            "music" => {
                for name in ["title", "description", "musicurl"] {
                    required(name)?;
                }
                titled(Some(self.media_of_kind(member("thumb_media_id"), "thumb")?))
            }
            "miniprogrampage" => {
                for name in ["title", "appid", "pagepath"] {
                    required(name)?;
                }
                check_size(required("title")?, TITLE_LIMIT, codes::TITLE_SIZE)?;
                check_size(required("pagepath")?, URL_LIMIT, codes::URL_SIZE)?;
                titled(Some(self.media_of_kind(member("thumb_media_id"), "thumb")?))
            }
            "news" => {
                let articles = object.and_then(|object| object.get("articles")).and_then(Value::as_array);
                match articles.map_or(&[][..], Vec::as_slice) {
                    [] => Err(codes::EMPTY_NEWS),
                    [article] => {
                        let title = required_strings(article, ["title", "description", "url", "picurl"])?;
                        for (name, limit, code) in [
                            ("title", TITLE_LIMIT, codes::TITLE_SIZE),
                            ("description", DESCRIPTION_LIMIT, codes::DESCRIPTION_SIZE),
                            ("url", URL_LIMIT, codes::URL_SIZE),
                            ("picurl", URL_LIMIT, codes::PICURL_SIZE),
                        ] {
                            check_size(
                                article.get(name).and_then(Value::as_str).unwrap_or_default(),
                                limit,
                                code,
                            )?;
                        }
                        Ok(Content { text: title.to_owned(), media: None })
                    }
                    _ => Err(codes::ARTICLES),
                }
            }
            "msgmenu" => {
                let list = object.and_then(|object| object.get("list")).and_then(Value::as_array);
                let mut lines = vec![member("head_content").unwrap_or_default().to_owned()];
                for item in list.filter(|list| !list.is_empty()).ok_or(codes::PARAMETER)? {
                    lines.push(required_strings(item, ["content", "id"])?.to_owned());
                }
                lines.push(member("tail_content").unwrap_or_default().to_owned());
                lines.retain(|line| !line.is_empty());
                Ok(Content { text: lines.join("\n"), media: None })
            }
            // The id names permanent material, and this platform has none.
            "mpnews" => {
                Err(if member("media_id").is_some() { codes::MEDIA_ID } else { codes::MEDIA_ID_MISSING })
            }
            "mpnewsarticle" => required("article_id").map(|_| Content::default()),
            "wxcard" => required("card_id").map(|_| Content::default()),
            _ => Err(codes::MESSAGE_TYPE),
        }
    }

    fn media_of_kind(&self, id: Option<&str>, kind: &str) -> Result<Arc<Media>, i64> {
        let id = id.filter(|id| !id.is_empty()).ok_or(codes::MEDIA_ID_MISSING)?;
        let media = self.media.lock().get(id, self.clock.now()).ok_or(codes::MEDIA_ID)?;
        if media.kind == kind { Ok(media) } else { Err(codes::WRONG_MEDIA) }
    }
}

/// Checks that every named member is a non-empty string, and returns the first one.
fn required_strings<'a, const N: usize>(object: &'a Value, names: [&str; N]) -> Result<&'a str, i64> {
    let mut first = "";
    for (at, name) in names.into_iter().enumerate() {
        let value = object.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
        let value = value.ok_or(codes::PARAMETER)?;
        if at == 0 {
            first = value;
        }
    }
    Ok(first)
}

fn check_size(text: &str, limit: usize, code: i64) -> Result<(), i64> {
    if text.len() > limit { Err(code) } else { Ok(()) }
}

/// Whether the JSON text contains a `\uXXXX` escape. An escaped backslash before a `u` is not one.
fn has_unicode_escape(json: &[u8]) -> bool {
    let mut bytes = json.iter();
    while let Some(byte) = bytes.next() {
        if *byte == b'\\' && bytes.next() == Some(&b'u') {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_backslash_is_no_unicode_escape() {
        assert!(has_unicode_escape(br#"{"a":"\u4f60"}"#));
        assert!(has_unicode_escape(br#"{"a":"\\\u4f60"}"#));
        assert!(!has_unicode_escape(br#"{"a":"C:\\users \n"}"#));
        assert!(!has_unicode_escape("{\"a\":\"你\\\"u\"}".as_bytes()));
    }
}
