//! Addresses: base URLs, the store's URL, host names.
//!
//! Error texts never contain the value, because a URL may contain a password.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use url::{Host, Url};

use super::postgres_url::PostgresUrl;

/// An `http` or `https` URL to which paths are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Checks `text`. The error is a phrase that describes the problem.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|problem| format!("is not a URL: {problem}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("is neither an http nor an https URL".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("has a query or a fragment, so no path can be appended".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user name or a password, which the bridge never sends".to_owned());
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    /// The URL without a trailing slash, so that a path that begins with one can be appended.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The path without a trailing slash; empty if the URL has none.
    pub fn path(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// The parsed URL. A URL without a path has the path `/`.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The store that `store.url` names.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    /// A SQLite database in this file.
    SqliteFile(PathBuf),
    /// A SQLite database in memory, which is lost when the process ends.
    SqliteMemory,
    /// A PostgreSQL database.
    Postgres(Box<PostgresUrl>),
}

impl StoreUrl {
    /// Parses `sqlite://FILE`, `sqlite::memory:` or `postgres://USER@HOST/DB`. The error is a
    /// phrase that describes the problem.
    pub fn new(url: &str) -> Result<Self, String> {
        if url == "sqlite::memory:" {
            return Ok(Self::SqliteMemory);
        }
        if let Some(file) = url.strip_prefix("sqlite://") {
            return match file {
                "" => Err("names no file".to_owned()),
                _ if file.ends_with('/') => Err("names a directory".to_owned()),
                _ if file.contains(['?', '#', '\0']) => Err("takes no parameters after the file".to_owned()),
                _ => Ok(Self::SqliteFile(PathBuf::from(file))),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(Box::new(PostgresUrl::new(url)?)));
        }
        Err("is not the URL of a known store".to_owned())
    }

    /// Resolves `dir` against the database's directory, unless `dir` is absolute.
    pub(super) fn resolve_dir(&self, dir: &Path) -> PathBuf {
        match self {
            Self::SqliteFile(file) => file.parent().map_or_else(|| dir.to_owned(), |parent| parent.join(dir)),
            Self::SqliteMemory | Self::Postgres(_) => dir.to_owned(),
        }
    }
}

/// Normalizes a host name or address as URLs do: lower case, punycode, no port.
pub(super) fn normalize_host(text: &str) -> Option<String> {
    let host = Host::parse(text).ok()?.to_string();
    // An empty label would match every domain as its subdomain.
    (!host.starts_with('.') && !host.contains("..")).then_some(host)
}

/// Reads a network such as `10.0.0.0/8`, or a single IP address as the network that contains only it.
pub(super) fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(|net| net.trunc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_urls_lose_trailing_slashes() {
        for (input, expected) in [
            ("https://api.weixin.qq.com", "https://api.weixin.qq.com"),
            ("https://api.weixin.qq.com/", "https://api.weixin.qq.com"),
            ("http://127.0.0.1:8081/wechat//", "http://127.0.0.1:8081/wechat"),
            ("HTTP://Host.Example:80", "http://host.example"),
        ] {
            let url = BaseUrl::new(input).unwrap();
            assert_eq!(url.as_str(), expected);
            assert_eq!(url.to_string(), expected);
        }
    }

    #[test]
    fn errors_of_invalid_base_urls_do_not_contain_the_value() {
        for bad in [
            "",
            "hidden",
            "hidden.example",
            "ftp://hidden",
            "https://",
            "https://a/?hidden",
            "https://a/#hidden",
        ] {
            let problem = BaseUrl::new(bad).unwrap_err();
            assert!(!problem.contains("hidden"), "{problem}");
        }
        assert!(BaseUrl::new("https://user:hidden@a/").unwrap_err().contains("password"));
    }

    #[test]
    fn store_urls_are_parsed_and_errors_do_not_contain_them() {
        let file = |url: &str| match StoreUrl::new(url) {
            Ok(StoreUrl::SqliteFile(file)) => file,
            other => panic!("{other:?}"),
        };
        assert_eq!(file("sqlite://bridge.db"), Path::new("bridge.db"));
        assert_eq!(file("sqlite:///var/lib/bridge.db"), Path::new("/var/lib/bridge.db"));
        assert!(matches!(StoreUrl::new("sqlite::memory:"), Ok(StoreUrl::SqliteMemory)));
        let postgres = StoreUrl::new("postgres://bridge:hidden@db.example/bridge").unwrap();
        assert!(!format!("{postgres:?}").contains("hidden"));
        assert!(matches!(postgres, StoreUrl::Postgres(_)));
        for bad in [
            "",
            "bridge.db",
            "sqlite://",
            "sqlite:///",
            "sqlite://a?hidden",
            "postgres://",
            "mysql://hidden@a/b",
        ] {
            assert!(!StoreUrl::new(bad).unwrap_err().contains("hidden"), "{bad}");
        }
    }

    #[test]
    fn a_relative_directory_is_resolved_against_the_database() {
        let resolve = |url: &str, dir: &str| StoreUrl::new(url).unwrap().resolve_dir(Path::new(dir));
        assert_eq!(resolve("sqlite:///var/lib/bridge.db", "media"), Path::new("/var/lib/media"));
        assert_eq!(resolve("sqlite://bridge.db", "media"), Path::new("media"));
        assert_eq!(resolve("sqlite:///var/lib/bridge.db", "/srv/media"), Path::new("/srv/media"));
        assert_eq!(resolve("sqlite::memory:", "media"), Path::new("media"));
    }

    #[test]
    fn hosts_are_normalized_as_in_urls() {
        assert_eq!(normalize_host("MyQCloud.com").as_deref(), Some("myqcloud.com"));
        assert_eq!(normalize_host("127.0.0.1").as_deref(), Some("127.0.0.1"));
        for bad in ["", "https://a.com", "a.com:80", "a.com/x", "*.a.com ", ".a.com", "a..com"] {
            assert_eq!(normalize_host(bad), None, "{bad}");
        }
    }

    #[test]
    fn networks_are_read_with_and_without_a_prefix() {
        for (text, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("fd00::1", "fd00::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(network(text).unwrap().to_string(), expected);
        }
        for bad in ["", "10.0.0.0/33", "10.0.0", "proxy.example", "10.0.0.0/8/8", "::/129"] {
            assert_eq!(network(bad), None, "{bad}");
        }
    }
}
