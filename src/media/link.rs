//! Links to media: `{public_url}/media/{name}.{extension}?until=…&sign=…`, signed, and valid as
//! long as the file is kept.
//!
//! The key is drawn at the first start and kept in the store, so that instances and restarts share
//! it. It appears in no log line, error or `Debug` output. A wrong link takes the same work to
//! refuse, however it is wrong.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::form_urlencoded;

use crate::config::BaseUrl;
use crate::model::{MediaName, Millis};
use crate::store::{Store, StoreError};

/// The `kv` key under which the store keeps the link key, as hexadecimal digits.
const KEY_NAME: &str = "media_link_key";

/// Creates links and verifies them. Clones share the key.
#[derive(Clone)]
pub struct LinkSigner {
    base: Option<BaseUrl>,
    retention_ms: i64,
    key: SecretString,
}

impl fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The file that a valid link refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// The medium.
    pub name: MediaName,
    /// The extension of the link, which selects the form of the medium.
    pub extension: String,
}

impl LinkSigner {
    /// Creates links below `base` (`server.public_url`), valid for `keep_ms` milliseconds. The key
    /// is read from `store`, or drawn and stored if there is none.
    pub async fn load(store: &Store, base: Option<BaseUrl>, retention_ms: i64) -> Result<Self, StoreError> {
        let new_key = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let load_key = move |tx: &crate::store::Tx<'_>| match tx.kv(KEY_NAME)? {
            Some(key) => Ok(key),
            None => tx.put_kv(KEY_NAME, &new_key).map(|()| new_key.clone()),
        };
        Ok(Self { base, retention_ms, key: SecretString::from(store.write(load_key).await?) })
    }

    /// Returns the link to a medium created at `created_at`; `None` if `server.public_url` is not
    /// set.
    pub fn link_to(&self, name: &MediaName, extension: &str, created_at: Millis) -> Option<String> {
        let base = self.base.as_ref()?;
        let file = format!("{}.{extension}", name.as_str());
        let until = created_at.plus(self.retention_ms).seconds().to_string();
        let sign = hex::encode(self.mac(&file, &until).finalize().into_bytes());
        Some(format!("{base}/media/{file}?until={until}&sign={sign}"))
    }

    /// Verifies a request for `/media/{file}?{query}`; `None` unless the link is ours, unchanged
    /// and still valid.
    pub fn verify(&self, file: &str, query: &str, now: Millis) -> Option<LinkTarget> {
        let single_param = |wanted: &str| {
            let mut found = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
            found
                .next()
                .filter(|_| found.next().is_none())
                .map_or_else(String::new, |(_, value)| value.into_owned())
        };
        let (until, sign) = (single_param("until"), single_param("sign"));
        // Compute the signature and compare it in constant time before checking anything else.
        let signed = self.mac(file, &until).verify_slice(&hex::decode(sign).unwrap_or_default()).is_ok();
        let valid = until.parse::<i64>().is_ok_and(|until| until > now.seconds());
        if !(signed && valid) {
            return None;
        }
        let (name, extension) = file.split_once('.')?;
        Some(LinkTarget { name: MediaName::new(name).ok()?, extension: extension.to_owned() })
    }

    fn mac(&self, file: &str, until: &str) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.key.expose_secret().as_bytes()).expect("HMAC takes any key");
        mac.update(format!("media\n{file}\n{until}").as_bytes());
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use crate::store::StoreLocation;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: Millis = Millis(1_700_000_000_000);

    fn links(key: &str) -> LinkSigner {
        LinkSigner {
            base: Some(BaseUrl::new("https://bridge.example.com/im").unwrap()),
            retention_ms: DAY_MS,
            key: key.to_owned().into(),
        }
    }

    fn split(link: &str) -> (String, String) {
        let (_, file) = link.split_once("/media/").unwrap();
        let (file, query) = file.split_once('?').unwrap();
        (file.to_owned(), query.to_owned())
    }

    #[test]
    fn a_link_is_valid_until_it_expires_and_only_under_its_key() {
        let (links, name) = (links("a"), MediaName::of_bits(7));
        let link = links.link_to(&name, "jpg", NOW).unwrap();
        assert!(link.starts_with("https://bridge.example.com/im/media/0"), "{link}");
        let (file, query) = split(&link);
        let target = Some(LinkTarget { name, extension: "jpg".to_owned() });
        assert_eq!(links.verify(&file, &query, NOW), target);
        assert_eq!(links.verify(&file, &query, NOW.plus(DAY_MS - 1_000)), target);
        assert_eq!(links.verify(&file, &query, NOW.plus(DAY_MS)), None);
        assert_eq!(self::links("b").verify(&file, &query, NOW), None);
        assert_eq!(links.verify(&file, &format!("{query}&until=9999999999"), NOW), None);
        assert_eq!(links.verify(&file, "", NOW), None);
        assert_eq!(LinkSigner { base: None, ..links }.link_to(&MediaName::of_bits(7), "jpg", NOW), None);
    }

    #[tokio::test]
    async fn the_key_persists_and_is_not_in_debug_output() {
        let (store, closing) =
            Store::open(&StoreLocation::Memory, Clock::system(), Metrics::default()).unwrap();
        let first =
            LinkSigner::load(&store, Some(BaseUrl::new("http://a.example").unwrap()), DAY_MS).await.unwrap();
        let second = LinkSigner::load(&store, None, DAY_MS).await.unwrap();
        let (file, query) = split(&first.link_to(&MediaName::of_bits(1), "amr", NOW).unwrap());
        assert!(second.verify(&file, &query, NOW).is_some());
        let key = first.key.expose_secret();
        assert!(key.len() == 64 && !format!("{first:?}").contains(key));
        closing.close();
    }

    proptest! {
        #[test]
        fn one_changed_character_invalidates_a_link(at in 0_usize..150, by in 1_u8..128) {
            let links = links("a");
            let (file, query) = split(&links.link_to(&MediaName::of_bits(7), "jpg", NOW).unwrap());
            let mut link = format!("{file}?{query}").into_bytes();
            let at = at % link.len();
            link[at] = (link[at] ^ by) & 0x7f;
            let changed = String::from_utf8(link).unwrap();
            let (file, query) = changed.split_once('?').unwrap_or((&changed, ""));
            let verified = links.verify(file, query, NOW);
            // Hexadecimal digits may be in upper case.
            let same = changed.eq_ignore_ascii_case(&format!("{}?{}", file.to_lowercase(), query.to_lowercase()))
                && links.verify(&file.to_lowercase(), &query.to_lowercase(), NOW).is_some();
            prop_assert!(verified.is_none() || same, "{changed}");
        }

        #[test]
        fn arbitrary_requests_are_refused(file in ".{0,80}", query in ".{0,200}") {
            prop_assert_eq!(links("a").verify(&file, &query, NOW), None);
        }
    }
}
