//! The ids of both platforms, each with its own type so that they cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a text is not a valid id. Never contains the text itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be 1 to {max} bytes of printable ASCII{}, not {found}", if *spaces { "" } else { " without spaces" })]
pub struct InvalidId {
    what: &'static str,
    max: usize,
    /// Whether it may contain spaces.
    spaces: bool,
    found: String,
}

fn check_id(what: &'static str, max: usize, spaces: bool, text: String) -> Result<String, InvalidId> {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() || spaces && byte == b' ';
    if !text.is_empty() && text.len() <= max && text.bytes().all(is_allowed) {
        return Ok(text);
    }
    let found = if text.len() > max {
        format!("{} bytes", text.len())
    } else if text.is_empty() {
        "nothing".to_owned()
    } else {
        "other characters".to_owned()
    };
    Err(InvalidId { what, max, spaces, found })
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident, $what:literal, spaces: $spaces:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The maximum length of an id, in bytes.
            pub const MAX_BYTES: usize = 32;

            /// Checks that `text` is a valid id: 1 to 32 bytes of printable ASCII.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                check_id($what, Self::MAX_BYTES, $spaces, text.into()).map(Self)
            }

            /// The id as the platform spells it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

identity! {
    /// WeChat's id of one Official Account's customer: in practice 28 characters beginning with
    /// `o`. It has no spaces.
    OpenId, "an openid", spaces: false
}

identity! {
    /// A user of the Tencent IM app: an agent, the admin, or a customer's account. It may contain
    /// spaces.
    ImUserId, "an IM UserID", spaces: true
}

impl OpenId {
    /// The customer's pseudonym in the log: the first ten hex digits of the openid's SHA-256. To
    /// find a customer's lines, compute `printf %s OPENID | sha256sum | cut -c1-10`.
    pub fn log_hash(&self) -> String {
        let mut digits = hex::encode(Sha256::digest(&self.0));
        digits.truncate(10);
        digits
    }
}

impl ImUserId {
    /// The UserID of a customer's account: the openid, or `{openid}_{number}` after IM has refused
    /// to import the earlier UserIDs again (error 70399). Fails if the result is longer than 32
    /// bytes.
    pub fn of_customer(openid: &OpenId, number: u32) -> Result<Self, InvalidId> {
        match number {
            0 => Self::new(openid.as_str()),
            number => Self::new(format!("{openid}_{number}")),
        }
    }

    /// The openids to which this UserID may belong, the most likely one first.
    pub fn possible_openids(&self) -> Vec<OpenId> {
        let stripped = self
            .0
            .rsplit_once('_')
            .filter(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|(openid, _)| OpenId::new(openid).ok());
        OpenId::new(self.0.as_str()).ok().into_iter().chain(stripped).collect()
    }
}

/// The number of a stored message. Later messages have greater numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(pub i64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time: Unix time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Millis(pub i64);

impl Millis {
    /// Unix time in whole seconds, the unit of both platforms.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The point in time `millis` milliseconds later.
    pub fn plus(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`; negative if `earlier` is later.
    pub fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_checked() {
        assert!(OpenId::new("oABCD1234efgh5678IJKL90_-mno").is_ok());
        for bad in ["", "with space", "line\nbreak", "ümlaut", &"x".repeat(33)] {
            assert!(OpenId::new(bad).is_err(), "{bad:?}");
        }
        assert!(ImUserId::new("Anna Li").is_ok() && ImUserId::new("Anna\tLi").is_err());
        let error = OpenId::new("someone private").unwrap_err().to_string();
        assert!(!error.contains("private"), "{error}");
    }

    #[test]
    fn the_log_hash_is_the_start_of_the_sha_256() {
        let openid = OpenId::new("oABCD1234efgh5678IJKL90_-mno").unwrap();
        assert_eq!(openid.log_hash(), "aab2d572b3");
    }

    #[test]
    fn possible_openids_contains_the_openid_of_every_account_number() {
        let openid = OpenId::new("oABCD1234efgh5678IJKL90_-m_7").unwrap();
        for number in [0, 1, 12] {
            let user = ImUserId::of_customer(&openid, number).unwrap();
            assert!(user.possible_openids().contains(&openid), "{user}");
        }
        assert_eq!(ImUserId::of_customer(&openid, 1).unwrap().as_str(), "oABCD1234efgh5678IJKL90_-m_7_1");
    }
}
