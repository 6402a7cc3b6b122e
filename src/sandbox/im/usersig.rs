//! Decodes and verifies a UserSig (TLSSigAPIv2, HMAC-SHA256), written from the reference, section
//! 2.
//!
//! It must never use the bridge's own UserSig code, so that a mistake there fails here.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

/// The longest JSON of a UserSig after decompression, in bytes.
const MAX_JSON: u64 = 16 * 1024;

/// A decoded UserSig. It is not trustworthy until [`DecodedUserSig::has_valid_signature`] returns
/// true.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(super) struct DecodedUserSig {
    #[serde(rename = "TLS.ver")]
    version: String,
    /// The UserID.
    #[serde(rename = "TLS.identifier")]
    pub identifier: String,
    /// The SDKAppID.
    #[serde(rename = "TLS.sdkappid")]
    pub sdk_app_id: u32,
    /// The issue time in Unix seconds.
    #[serde(rename = "TLS.time")]
    time: i64,
    /// The validity in seconds.
    #[serde(rename = "TLS.expire")]
    expire: i64,
    /// The userbuf in standard base64.
    #[serde(rename = "TLS.userbuf", default, skip_serializing_if = "Option::is_none")]
    pub userbuf: Option<String>,
    #[serde(rename = "TLS.sig")]
    sig: String,
}

/// Decodes a UserSig. Returns `None` if any layer is malformed.
pub(super) fn decode(text: &str) -> Option<DecodedUserSig> {
    let standard: Option<String> = text
        .chars()
        .map(|c| match c {
            '*' => Some('+'),
            '-' => Some('/'),
            '_' => Some('='),
            c if c.is_ascii_alphanumeric() => Some(c),
            _ => None,
        })
        .collect();
    let packed = STANDARD.decode(standard?).ok()?;
    let mut json = Vec::new();
    ZlibDecoder::new(packed.as_slice()).take(MAX_JSON).read_to_end(&mut json).ok()?;
    let decoded: DecodedUserSig = serde_json::from_slice(&json).ok()?;
    (decoded.version == "2.0").then_some(decoded)
}

impl DecodedUserSig {
    /// Whether the UserSig has expired at `now` (Unix seconds).
    pub fn is_expired(&self, now: i64) -> bool {
        now > self.time.saturating_add(self.expire)
    }

    /// Whether the signature was made with `key` (the console's text, not decoded from hex).
    /// Compares in constant time.
    pub fn has_valid_signature(&self, key: &str) -> bool {
        let (Some(mac), Ok(claimed)) = (self.mac(key), STANDARD.decode(&self.sig)) else { return false };
        mac.verify_slice(&claimed).is_ok()
    }

    fn mac(&self, key: &str) -> Option<Hmac<Sha256>> {
        let mut content = format!(
            "TLS.identifier:{}\nTLS.sdkappid:{}\nTLS.time:{}\nTLS.expire:{}\n",
            self.identifier, self.sdk_app_id, self.time, self.expire
        );
        if let Some(userbuf) = &self.userbuf {
            content.push_str("TLS.userbuf:");
            content.push_str(userbuf);
            content.push('\n');
        }
        Some(Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?.chain_update(content))
    }
}

/// Issues a UserSig for tests that call the simulated API.
#[cfg(test)]
pub(in crate::sandbox) fn issue(
    identifier: &str,
    sdk_app_id: u32,
    key: &str,
    time: i64,
    expire: i64,
) -> String {
    let mut sig = DecodedUserSig {
        version: "2.0".into(),
        identifier: identifier.into(),
        sdk_app_id,
        time,
        expire,
        userbuf: None,
        sig: String::new(),
    };
    sig.sig = STANDARD.encode(sig.mac(key).unwrap().finalize().into_bytes());
    pack(&sig)
}

#[cfg(test)]
fn pack(sig: &DecodedUserSig) -> String {
    use std::io::Write as _;
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(&serde_json::to_vec(sig).unwrap()).unwrap();
    STANDARD.encode(zlib.finish().unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
    const V1_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwhWZiflZpXlQqeKU7MSCgswUJStDEwMogMiUZOamKlkZmqOKplYUZBaBxE1NTY3gosWZ6UpWSj5ljuYp*p7l5unBxXnF2WVhVU4uAf7Ozi5JpX7O5SbuHuUhzgZJmQXaTia2SrUAohcx8g__";
    const V1_PYTHON: &str = "eJyrVgrxCdYrSy1SslJQMtIzUNJRAItkpqTmlWSmZUIkKjIT87NK82CSxSnZiQUFmSlAKUMTAyiAyqVWFGQWpYJkTE1NjRDiJZm5YFFzNPXFmekgG3zKHM1T9D3LzdODi-OKs8vCqpxcAvydnV2SSv2cy03cPcpDnA2SMgu0nUxslWoBHdYzUg__";
    const V2_NODE: &str = "eJyrVgrxCdYrSy1SslIy0jNQ0gHzM1NS80oy0zLBwokpuZl5mcUlRYkl*UVQBcUp2YkFBZkpSlaGJgZQAJEpycxNVbIyNEcVTa0oyCxKVbKyMDOBCRVnpitZKVX6OKZql5uHh6aGlhYmhVlm6IdEmFuUGhnmh7hnamdaRhUYlhoHFORFmhnYKtUCAK0SM5I_";
    const V2_GO: &str = "eAEArwBQ-3siVExTLnZlciI6IjIuMCIsIlRMUy5pZGVudGlmaWVyIjoiYWRtaW5pc3RyYXRvciIsIlRMUy5zZGthcHBpZCI6MTQwMDAwMDAwMCwiVExTLmV4cGlyZSI6ODY0MDAsIlRMUy50aW1lIjoxNzAwMDAwMDAwLCJUTFMuc2lnIjoieUxBZSt3N1dVZVV1cWJWOWgvVFg3OHUyMW9UR2kraTlacDF1M1Bwblk2MD0ifQoBAAD---AkM5w_";

    #[test]
    fn the_full_strings_of_four_libraries_verify() {
        for (text, user, expire) in [
            (V1_NODE, "xiaojun", 15_552_000),
            (V1_PYTHON, "xiaojun", 15_552_000),
            (V2_NODE, "administrator", 86_400),
            (V2_GO, "administrator", 86_400),
        ] {
            let decoded = decode(text).unwrap();
            assert_eq!((decoded.identifier.as_str(), decoded.sdk_app_id), (user, 1_400_000_000));
            assert!(decoded.has_valid_signature(KEY), "{user}");
            assert!(!decoded.has_valid_signature(&KEY.replace('5', "6")));
            assert!(!decoded.is_expired(1_700_000_000 + expire));
            assert!(decoded.is_expired(1_700_000_000 + expire + 1));
        }
    }

    #[test]
    fn signatures_with_and_without_a_userbuf_match_the_vectors() {
        for (user, expire, userbuf, sig) in [
            ("xiaojun", 15_552_000, None, "LvA7d/Iw7gSsnskvVzBDPOCCDbuNCw4GHwTC0bip+B4="),
            ("administrator", 86_400, None, "yLAe+w7WUeUuqbV9h/TX78u21oTGi+i9Zp1u3PpnY60="),
            (
                "xiaojun",
                15_552_000,
                Some("AAAHeGlhb2p1blNyTgAAACcQZkE/AAAAAP8AAAAA"),
                "y9Avb5xwHgIgoABbGakLaE0xs+v/dLcIPegbWfcbRLI=",
            ),
            (
                "xiaojun",
                15_552_000,
                Some("AQAHeGlhb2p1blNyTgAAAAAAZkE/AAAAAP8AAAAAAAoxMDAwMDAwMDQw"),
                "uupaOmIqiVUsVoCDvmakmGU86GEQBV0Ie6Q+9GFbowM=",
            ),
        ] {
            let made = DecodedUserSig {
                version: "2.0".into(),
                identifier: user.into(),
                sdk_app_id: 1_400_000_000,
                time: 1_700_000_000,
                expire,
                userbuf: userbuf.map(Into::into),
                sig: sig.into(),
            };
            assert!(decode(&pack(&made)).unwrap().has_valid_signature(KEY), "{user} {userbuf:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_refused(text in ".{0,200}") {
            assert!(decode(&text).is_none());
        }

        #[test]
        fn an_issued_usersig_decodes_and_a_changed_identifier_does_not_verify(user in "[A-Za-z0-9_-]{1,32}") {
            let mut decoded = decode(&issue(&user, 7, KEY, 1_700_000_000, 60)).unwrap();
            assert!(decoded.identifier == user && decoded.has_valid_signature(KEY));
            decoded.identifier.push('x');
            assert!(!decoded.has_valid_signature(KEY));
        }
    }

    #[test]
    fn a_malformed_layer_is_refused() {
        let inner = |json: &str| {
            use std::io::Write as _;
            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            zlib.write_all(json.as_bytes()).unwrap();
            STANDARD.encode(zlib.finish().unwrap()).replace('+', "*").replace('/', "-").replace('=', "_")
        };
        for bad in ["", "eJ", "not+base64", &V1_NODE[..100], &inner("[]"), &inner("{\"TLS.ver\":\"2.0\"}")] {
            assert!(decode(bad).is_none(), "{bad}");
        }
    }
}
