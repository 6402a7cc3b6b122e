//! Creates and verifies the UserSig, the credential of every REST call (TLSSigAPIv2, HMAC-SHA256).
//!
//! The secret key can sign for any user of the app, so neither the key nor a UserSig may appear in
//! `Debug`, logs or errors. Reference: "UserSig (TLSSigAPIv2, HMAC-SHA256)"; docs 269/32688.

mod signer;

pub use signer::Signer;

use std::fmt;
use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The largest inflated size of a UserSig, in bytes; genuine ones stay below one kilobyte.
const MAX_INFLATED_BYTES: usize = 64 * 1024;

/// The content of a UserSig, as its JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The version of the scheme, `2.0`. Not signed.
    #[serde(rename = "TLS.ver", default)]
    pub version: String,
    /// The UserID that it authenticates.
    #[serde(rename = "TLS.identifier")]
    pub identifier: String,
    /// The app.
    #[serde(rename = "TLS.sdkappid")]
    pub sdk_app_id: u32,
    /// The validity in seconds, from `time_s` on. Tencent's Go library omits a zero.
    #[serde(rename = "TLS.expire", default)]
    pub expire_s: u64,
    /// When it was created, Unix seconds.
    #[serde(rename = "TLS.time", default)]
    pub time_s: i64,
    /// Standard base64 of the signed permission bytes; only room permission keys have it.
    #[serde(rename = "TLS.userbuf", default, skip_serializing_if = "Option::is_none")]
    pub userbuf: Option<String>,
    /// Standard base64 of the signature.
    #[serde(rename = "TLS.sig")]
    pub sig: String,
}

/// Why a text is not a valid UserSig.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserSigError {
    /// It cannot be decoded.
    #[error("it is not a UserSig: {0}")]
    Malformed(&'static str),
    /// It belongs to another app.
    #[error("it was made for SDKAppID {found}")]
    OtherApp {
        /// The app that it belongs to.
        found: u32,
    },
    /// Its signature does not match the key.
    #[error("its signature is wrong: it was changed, or made with another app's secret key")]
    WrongSignature,
    /// It has expired.
    #[error("it expired at Unix time {at_s}")]
    Expired {
        /// The last valid second.
        at_s: i64,
    },
}

/// Creates a UserSig for `user` that is valid for `expire_s` seconds from `now_s` on. `key` is the
/// console's 64 hex characters, used as text. `userbuf` is for room permission keys; REST calls
/// have none.
pub fn create(
    sdk_app_id: u32,
    key: &str,
    user: &str,
    expire_s: u64,
    now_s: i64,
    userbuf: Option<&[u8]>,
) -> String {
    let mut content = Content {
        version: "2.0".to_owned(),
        identifier: user.to_owned(),
        sdk_app_id,
        expire_s,
        time_s: now_s,
        userbuf: userbuf.map(|bytes| STANDARD.encode(bytes)),
        sig: String::new(),
    };
    content.sig = signature_mac(key, &content)
        .map(|mac| STANDARD.encode(mac.finalize().into_bytes()))
        .unwrap_or_default();
    // Compressing into memory and writing a struct of strings and numbers as JSON cannot fail.
    let json = serde_json::to_vec(&content).unwrap_or_default();
    let packed = deflate(&json).unwrap_or_default();
    STANDARD.encode(packed).replace('+', "*").replace('/', "-").replace('=', "_")
}

/// Decodes `sig` without verifying it.
pub fn decode(sig: &str) -> Result<Content, UserSigError> {
    let base64 = sig.replace('*', "+").replace('-', "/").replace('_', "=");
    let packed =
        STANDARD.decode(base64).map_err(|_| UserSigError::Malformed("its alphabet or length is wrong"))?;
    let mut json = Vec::new();
    ZlibDecoder::new(packed.as_slice())
        .take(MAX_INFLATED_BYTES as u64 + 1)
        .read_to_end(&mut json)
        .map_err(|_| UserSigError::Malformed("it holds no zlib stream"))?;
    if json.len() > MAX_INFLATED_BYTES {
        return Err(UserSigError::Malformed("it inflates beyond 64 KB"));
    }
    serde_json::from_slice(&json)
        .map_err(|_| UserSigError::Malformed("it holds no JSON with the TLS members"))
}

/// Decodes `sig` and verifies that the holder of `key` created it for this app and that it has not
/// expired.
pub fn verify(sig: &str, sdk_app_id: u32, key: &str, now_s: i64) -> Result<Content, UserSigError> {
    let content = decode(sig)?;
    if content.sdk_app_id != sdk_app_id {
        return Err(UserSigError::OtherApp { found: content.sdk_app_id });
    }
    let claimed = STANDARD.decode(&content.sig).map_err(|_| UserSigError::WrongSignature)?;
    let mac = signature_mac(key, &content).ok_or(UserSigError::WrongSignature)?;
    mac.verify_slice(&claimed).map_err(|_| UserSigError::WrongSignature)?;
    let at_s = content.time_s.saturating_add_unsigned(content.expire_s);
    if now_s > at_s {
        return Err(UserSigError::Expired { at_s });
    }
    Ok(content)
}

/// The HMAC over the signed lines. HMAC accepts keys of any length, so the result is always `Some`.
/// With `None`, no signature would be created and none accepted.
fn signature_mac(key: &str, content: &Content) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    let Content { identifier, sdk_app_id, expire_s, time_s, userbuf, .. } = content;
    mac.update(format!("TLS.identifier:{identifier}\nTLS.sdkappid:{sdk_app_id}\n").as_bytes());
    mac.update(format!("TLS.time:{time_s}\nTLS.expire:{expire_s}\n").as_bytes());
    if let Some(userbuf) = userbuf {
        mac.update(format!("TLS.userbuf:{userbuf}\n").as_bytes());
    }
    Some(mac)
}

fn deflate(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("identifier", &self.identifier)
            .field("sdk_app_id", &self.sdk_app_id)
            .field("expire_s", &self.expire_s)
            .field("time_s", &self.time_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
