//! Links to media: `{public_url}/media/{name}.{extension}?until=…&sign=…`, signed, and valid as
//! long as the file is kept.
//!
//! The key is drawn at the first start and kept in the store, so that instances and restarts share
//! it. It appears in no log line, error or `Debug` output. A wrong link takes the same work to
//! refuse, however it is wrong.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use url::{Url, form_urlencoded};

use crate::config::BaseUrl;
use crate::model::{MediaName, Millis};
use crate::store::{Store, StoreError};

/// The `kv` key under which the store keeps the link key, as hexadecimal digits.
const KEY_NAME: &str = "media_link_key";
/// The `kv` key of the latest expiry, Unix seconds, of links that are not bound to a secret.
const UNBOUND_UNTIL: &str = "media_links_unbound_until";

/// What a link's path contains as it is. The rest of a file's name is percent-encoded, so that every
/// client takes the whole link for one.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');
/// What comes before a file's own name in the extension of its link.
const FILE_NAME: &str = "file.";
/// The longest name of a file in its link, in bytes.
const MAX_FILE_NAME_BYTES: usize = 80;

/// Creates links and verifies them. Clones share the key.
#[derive(Clone)]
pub struct LinkSigner {
    base: Option<BaseUrl>,
    retention_ms: i64,
    key: SecretString,
    /// The keys of links made before the last rotation, each with the latest `until` that is still
    /// accepted, Unix seconds.
    earlier: Vec<(SecretString, i64)>,
}

impl fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("base", &self.base).finish_non_exhaustive()
    }
}

/// What a URL is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadLink {
    /// It is no link of ours.
    Foreign,
    /// It is below `server.public_url/media/`, but not a link that we made, or no longer valid.
    Invalid,
    /// A link of ours, unchanged and still valid.
    Valid(LinkTarget),
}

/// The file that a valid link refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// The medium.
    pub name: MediaName,
    /// The extension of the link, which selects the form of the medium.
    pub extension: String,
}

impl LinkTarget {
    /// The file's own name; `None` if the medium is not offered as a file.
    pub fn file_name(&self) -> Option<&str> {
        self.extension.strip_prefix(FILE_NAME).filter(|name| !name.is_empty())
    }
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
        let key = SecretString::from(store.write(load_key).await?);
        Ok(Self { base, retention_ms, key, earlier: Vec::new() })
    }

    /// Binds the links to `secret` too, so that replacing that secret replaces their key. Links made
    /// with the `previous` secret stay valid, and for one retention those made before links were
    /// bound to a secret.
    pub async fn bind(
        self,
        store: &Store,
        secret: &SecretString,
        previous: Option<&SecretString>,
    ) -> Result<Self, StoreError> {
        let retention_ms = self.retention_ms;
        let unbound_until = store
            .write(move |tx| {
                if let Some(until) = tx.kv(UNBOUND_UNTIL)? {
                    return Ok(until.parse().unwrap_or(0));
                }
                let until = tx.now().plus(retention_ms).seconds();
                tx.put_kv(UNBOUND_UNTIL, &until.to_string()).map(|()| until)
            })
            .await?;
        let bound = |secret: &SecretString| {
            let mac = keyed(&self.key).chain_update("media links\n").chain_update(secret.expose_secret());
            SecretString::from(hex::encode(mac.finalize().into_bytes()))
        };
        let mut earlier = vec![(self.key.clone(), unbound_until)];
        earlier.extend(previous.map(|previous| (bound(previous), i64::MAX)));
        Ok(Self { key: bound(secret), earlier, ..self })
    }

    /// Returns the link to a medium created at `created_at`; `None` if `server.public_url` is not
    /// set.
    pub fn link_to(&self, name: &MediaName, extension: &str, created_at: Millis) -> Option<String> {
        let base = self.base.as_ref()?;
        let file = format!("{}.{extension}", name.as_str());
        let until = created_at.plus(self.retention_ms).seconds().to_string();
        let sign = hex::encode(mac(&self.key, &file, &until).finalize().into_bytes());
        let file = utf8_percent_encode(&file, PLAIN);
        Some(format!("{base}/media/{file}?until={until}&sign={sign}"))
    }

    /// Returns the link to a medium that is offered as a file with a name of its own; `None` if
    /// `server.public_url` is not set. A long name is cut in its middle.
    pub fn link_to_file(&self, name: &MediaName, file_name: &str, created_at: Millis) -> Option<String> {
        let clean: String =
            file_name.chars().filter(|c| !c.is_control() && !matches!(c, '/' | '\\')).collect();
        let (stem, extension) = clean.rsplit_once('.').unwrap_or((&clean, ""));
        let extension = if extension.len() <= MAX_FILE_NAME_BYTES / 4 { extension } else { "" };
        let stem =
            stem.get(..stem.floor_char_boundary(MAX_FILE_NAME_BYTES - extension.len())).unwrap_or(stem);
        let dot = if extension.is_empty() { "" } else { "." };
        self.link_to(name, &format!("{FILE_NAME}{stem}{dot}{extension}"), created_at)
    }

    /// Whether links can be made: `server.public_url` is set.
    pub fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// Reads a URL that somebody else sent.
    pub fn read(&self, url: &str, now: Millis) -> ReadLink {
        let (Ok(url), Some(base)) = (Url::parse(url), &self.base) else { return ReadLink::Foreign };
        let base = base.url();
        let path = url.path().strip_prefix(base.path().trim_end_matches('/'));
        let file = path.and_then(|path| path.strip_prefix("/media/"));
        let Some(file) = file.filter(|_| url.origin() == base.origin()) else { return ReadLink::Foreign };
        let file = percent_decode_str(file).decode_utf8_lossy();
        self.verify(&file, url.query().unwrap_or_default(), now).map_or(ReadLink::Invalid, ReadLink::Valid)
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
        let (sign, until_s) = (hex::decode(sign).unwrap_or_default(), until.parse::<i64>().unwrap_or(0));
        let keys = self.earlier.iter().map(|(key, latest)| (key, *latest)).chain([(&self.key, i64::MAX)]);
        let signed = keys.fold(false, |signed, (key, latest)| {
            let matches = mac(key, file, &until).verify_slice(&sign).is_ok();
            signed || (matches && until_s <= latest)
        });
        let valid = until_s > now.seconds();
        if !(signed && valid) {
            return None;
        }
        let (name, extension) = file.split_once('.')?;
        Some(LinkTarget { name: MediaName::new(name).ok()?, extension: extension.to_owned() })
    }
}

fn mac(key: &SecretString, file: &str, until: &str) -> Hmac<Sha256> {
    keyed(key).chain_update(format!("media\n{file}\n{until}"))
}

fn keyed(key: &SecretString) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()).expect("HMAC takes any key")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::metrics::Metrics;
    use proptest::prelude::*;

    const DAY_MS: i64 = 86_400_000;
    const NOW: Millis = Millis(1_700_000_000_000);

    fn links(key: &str) -> LinkSigner {
        LinkSigner {
            base: Some(BaseUrl::new("https://bridge.example.com/im").unwrap()),
            retention_ms: DAY_MS,
            key: key.to_owned().into(),
            earlier: Vec::new(),
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

    #[test]
    fn a_file_keeps_its_name_in_its_link() {
        let (links, name) = (links("a"), MediaName::of_bits(7));
        let long = format!("{}.xlsx", "长".repeat(100));
        let cut = format!("{}.xlsx", "长".repeat(25));
        for (given, expected) in [
            ("合同 (1).pdf", "合同 (1).pdf"),
            ("a/b\\c\n.pdf", "abc.pdf"),
            ("large.jpg", "large.jpg"),
            ("README", "README"),
            (&long, &cut),
        ] {
            let link = links.link_to_file(&name, given, NOW).unwrap();
            assert!(link.bytes().all(|b| b.is_ascii_alphanumeric() || b":/.?=&_-%".contains(&b)), "{link}");
            assert!(link.len() < 500);
            let ReadLink::Valid(target) = links.read(&link, NOW) else { panic!("{link}") };
            assert_eq!((&target.name, target.file_name()), (&name, Some(expected)), "{link}");
        }
        let link = links.link_to_file(&name, "", NOW).unwrap();
        assert!(matches!(links.read(&link, NOW), ReadLink::Valid(target) if target.file_name().is_none()));
    }

    #[test]
    fn own_links_are_told_from_others() {
        let (links, name) = (links("a"), MediaName::of_bits(7));
        let link = links.link_to(&name, "jpg", NOW).unwrap();
        assert!(matches!(links.read(&link, NOW), ReadLink::Valid(target) if target.name == name));
        let forged = link.replace("until=1", "until=2");
        for not_valid in [forged.as_str(), "https://bridge.example.com/im/media/", &link[..link.len() - 1]] {
            assert_eq!(links.read(not_valid, NOW), ReadLink::Invalid, "{not_valid}");
        }
        assert_eq!(links.read(&link, NOW.plus(DAY_MS)), ReadLink::Invalid);
        for other in [
            link.replace("bridge.", "other."),
            link.replace("https", "http"),
            link.replace("/im/", "/"),
            "no url".to_owned(),
        ] {
            assert_eq!(links.read(&other, NOW), ReadLink::Foreign, "{other}");
        }
    }

    #[tokio::test]
    async fn the_key_persists_and_is_not_in_debug_output() {
        let (store, closing) =
            Store::open(&crate::store::testing::location(), Clock::system(), Metrics::default()).unwrap();
        let first =
            LinkSigner::load(&store, Some(BaseUrl::new("http://a.example").unwrap()), DAY_MS).await.unwrap();
        let second = LinkSigner::load(&store, None, DAY_MS).await.unwrap();
        let (file, query) = split(&first.link_to(&MediaName::of_bits(1), "amr", NOW).unwrap());
        assert!(second.verify(&file, &query, NOW).is_some());
        let key = first.key.expose_secret();
        assert!(key.len() == 64 && !format!("{first:?}").contains(key));
        closing.close();
    }

    #[tokio::test]
    async fn links_survive_one_rotation_of_the_secret_and_not_two() {
        let clock = Clock::movable();
        let (store, closing) =
            Store::open(&crate::store::testing::location(), clock.clone(), Metrics::default()).unwrap();
        let base = || Some(BaseUrl::new("http://a.example").unwrap());
        let secret = |text: &str| SecretString::from(text.to_owned());
        let load = async || LinkSigner::load(&store, base(), DAY_MS).await.unwrap();
        let link =
            |links: &LinkSigner| split(&links.link_to(&MediaName::of_bits(1), "jpg", clock.now()).unwrap());
        let is_valid = |links: &LinkSigner, (file, query): &(String, String)| {
            links.verify(file, query, clock.now()).is_some()
        };
        let unbound = link(&load().await);
        let first = load().await.bind(&store, &secret("one"), None).await.unwrap();
        let of_first = link(&first);
        assert!(is_valid(&first, &of_first) && is_valid(&first, &unbound));
        let second = load().await.bind(&store, &secret("two"), Some(&secret("one"))).await.unwrap();
        let of_second = link(&second);
        assert!(is_valid(&second, &of_second) && is_valid(&second, &of_first) && is_valid(&second, &unbound));
        assert!(!is_valid(&first, &of_second));
        let third = load().await.bind(&store, &secret("three"), Some(&secret("two"))).await.unwrap();
        assert!(is_valid(&third, &of_second) && !is_valid(&third, &of_first));
        // Whoever has the stored key alone can make no link that outlives the change.
        clock.advance(2_000);
        assert!(!is_valid(&third, &link(&load().await)), "a new link without a secret");
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
