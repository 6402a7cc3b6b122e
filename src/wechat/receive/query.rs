//! The query string of a request, with the parameters that authenticate it.
//!
//! A repeated parameter is refused: a proxy in front of the bridge may have checked the other one.

use std::borrow::Cow;

use url::form_urlencoded;

use super::Refusal;

/// The decoded parameters. An empty parameter counts as missing, except `echostr`.
#[derive(Default)]
pub(super) struct Query<'a> {
    raw: &'a str,
    signature: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    nonce: Option<Cow<'a, str>>,
    echostr: Option<Cow<'a, str>>,
    encrypt_type: Option<Cow<'a, str>>,
    msg_signature: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    /// Reads a raw query string, without the question mark. Unknown parameters are allowed: they
    /// are the operator's own.
    pub(super) fn read(raw: &'a str) -> Result<Self, Refusal> {
        let mut query = Self { raw, ..Self::default() };
        for (name, value) in form_urlencoded::parse(raw.as_bytes()) {
            let (name, slot) = match &*name {
                "signature" => ("signature", &mut query.signature),
                "timestamp" => ("timestamp", &mut query.timestamp),
                "nonce" => ("nonce", &mut query.nonce),
                "echostr" => ("echostr", &mut query.echostr),
                "encrypt_type" => ("encrypt_type", &mut query.encrypt_type),
                "msg_signature" => ("msg_signature", &mut query.msg_signature),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Refusal::Repeated(name));
            }
        }
        Ok(query)
    }

    pub(super) fn signature(&self) -> Result<&str, Refusal> {
        non_empty("signature", self.signature.as_deref())
    }

    pub(super) fn timestamp(&self) -> Result<&str, Refusal> {
        non_empty("timestamp", self.timestamp.as_deref())
    }

    pub(super) fn nonce(&self) -> Result<&str, Refusal> {
        non_empty("nonce", self.nonce.as_deref())
    }

    pub(super) fn msg_signature(&self) -> Result<&str, Refusal> {
        non_empty("msg_signature", self.msg_signature.as_deref())
    }

    pub(super) fn encrypt_type(&self) -> Result<&str, Refusal> {
        non_empty("encrypt_type", self.encrypt_type.as_deref())
    }

    /// `echostr` as bytes: even an `echostr` that is not UTF-8 must be echoed unchanged.
    pub(super) fn echostr(&self) -> Option<Vec<u8>> {
        self.echostr.as_ref()?;
        let mut pairs = self.raw.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(name, _)| *name == "echostr").map(|(_, value)| decode_form_value(value))
    }
}

/// Decodes a form value; an invalid escape stays as it is.
fn decode_form_value(value: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.first_chunk::<2>().filter(|_| *first == b'%');
        if let Some(byte) = escaped.and_then(|digits| hex::decode(digits).ok()) {
            bytes.extend(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(if *first == b'+' { b' ' } else { *first });
            rest = tail;
        }
    }
    bytes
}

fn non_empty<'a>(name: &'static str, value: Option<&'a str>) -> Result<&'a str, Refusal> {
    value.filter(|value| !value.is_empty()).ok_or(Refusal::Missing(name))
}
