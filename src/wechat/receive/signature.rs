//! The SHA-1 signatures of the server configuration (reference: "Server access").
//!
//! `signature` covers token, timestamp and nonce; `msg_signature` covers `Encrypt` as well.

use secrecy::{ExposeSecret, SecretString};
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

/// The SHA-1, in lower-case hex, of all strings sorted bytewise and concatenated.
pub(super) fn sign(token: &SecretString, fields: &[&str]) -> String {
    let mut parts: Vec<&str> = fields.to_vec();
    parts.push(token.expose_secret());
    parts.sort_unstable();
    hex::encode(Sha1::digest(parts.concat()))
}

/// The query with which WeChat's console checks the server URL. `nonce` and `echostr` must need no escape.
pub fn url_check_query(token: &SecretString, timestamp_s: i64, nonce: &str, echostr: &str) -> String {
    let timestamp = timestamp_s.to_string();
    let signature = sign(token, &[&timestamp, nonce]);
    format!("signature={signature}&timestamp={timestamp}&nonce={nonce}&echostr={echostr}")
}

/// The first of `tokens` whose signature equals `given`; compares in constant time.
pub(super) fn matching_token<'a>(
    tokens: impl Iterator<Item = &'a SecretString>,
    fields: &[&str],
    signature: &str,
) -> Option<&'a SecretString> {
    let signature = signature.to_ascii_lowercase();
    tokens.into_iter().find(|token| bool::from(sign(token, fields).as_bytes().ct_eq(signature.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_signatures_are_reproduced() {
        for (token, others, signature) in [
            ("BridgeToken2024", &["1700000001", "987654321"][..], "fceb4a53d136f480622a04924881a40304cbba72"),
            ("AAAAA", &["1714036504", "1514711492"], "f464b24fc39322e44b38aa78f5edd27bd1441696"),
            ("AAAAA", &["1714037059", "486452656"], "899cf89e464efb63f54ddac96b0a0a235f53aa78"),
            ("AAAAA", &["1714112445", "415670741"], "6c5c811b55cc85e0e1b54100749188c20beb3f5d"),
            ("spamtest", &["1409735669", "1320562132"], "16120ec1b8dbb870f510d87ce6bc2463eae6ca1a"),
        ] {
            assert_eq!(sign(&token.into(), others), signature, "{token} {others:?}");
        }
    }

    #[test]
    fn strings_are_sorted_by_bytes_and_in_no_other_way() {
        let token = SecretString::from("a");
        assert_eq!(sign(&token, &["9", "10"]), sign(&token, &["10", "9"]));
        assert_eq!(sign(&token, &["9", "10", "B", "+"]), hex::encode(Sha1::digest("+109Ba")));
    }

    #[test]
    fn either_token_and_either_case_is_accepted_and_nothing_else() {
        let (current, previous) = (SecretString::from("BridgeToken2024"), SecretString::from("AAAAA"));
        let matching = |given: &str| {
            matching_token([&previous, &current].into_iter(), &["1700000001", "987654321"], given)
                .map(ExposeSecret::expose_secret)
        };
        assert_eq!(matching("fceb4a53d136f480622a04924881a40304cbba72"), Some("BridgeToken2024"));
        assert_eq!(matching("FCEB4A53D136F480622A04924881A40304CBBA72"), Some("BridgeToken2024"));
        for wrong in [
            "",
            "fceb",
            "fceb4a53d136f480622a04924881a40304cbba73",
            "fceb4a53d136f480622a04924881a40304cbba72 ",
        ] {
            assert_eq!(matching(wrong), None, "{wrong}");
        }
    }
}
