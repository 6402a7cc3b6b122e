//! The URL of a PostgreSQL database.
//!
//! Error texts never contain the value, because the URL may contain a password.

use std::path::PathBuf;

use tokio_postgres::Config;
use url::Url;

/// The parameters that a URL may have.
const PARAMETERS: [&str; 7] = [
    "host",
    "options",
    "connect_timeout",
    "target_session_attrs",
    "channel_binding",
    "sslmode",
    "sslrootcert",
];

/// Where a PostgreSQL database is, and how to log in.
#[derive(Clone, Debug)]
pub struct PostgresUrl {
    /// Hosts, ports, database, user, password and options. Debug output hides the password.
    pub config: Config,
    /// What is demanded of TLS.
    pub ssl_mode: SslMode,
    /// A file with the certificates of the authorities to trust, instead of those of the system.
    pub ssl_root_cert: Option<PathBuf>,
}

/// What a connection demands of TLS, as libpq names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server offers it.
    #[default]
    Prefer,
    /// TLS.
    Require,
    /// TLS, with a certificate of a trusted authority.
    VerifyCa,
    /// The same, and the certificate names the host.
    VerifyFull,
}

impl PostgresUrl {
    /// Parses `postgres://USER@HOST/DB`. The error is a phrase that describes the problem.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|problem| format!("is not a URL: {problem}"))?;
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        if pairs.iter().any(|(key, _)| !PARAMETERS.contains(&key.as_str())) {
            return Err(format!("has a parameter that is none of {}", PARAMETERS.join(", ")));
        }
        let find =
            |wanted: &str| pairs.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
        if !url.has_host() && find("host").is_none() {
            return Err("names no host".to_owned());
        }
        let ssl_mode = match find("sslmode") {
            None => SslMode::default(),
            Some("disable") => SslMode::Disable,
            Some("prefer") => SslMode::Prefer,
            Some("require") => SslMode::Require,
            Some("verify-ca") => SslMode::VerifyCa,
            Some("verify-full") => SslMode::VerifyFull,
            Some(_) => {
                return Err(
                    "has an sslmode that is none of disable, prefer, require, verify-ca, verify-full"
                        .to_owned(),
                );
            }
        };
        let ssl_root_cert = find("sslrootcert").map(PathBuf::from);
        // The client does not know these two.
        let others: Vec<String> = (url.query().unwrap_or_default().split('&'))
            .filter(|pair| {
                !pair.is_empty() && !pair.starts_with("sslmode") && !pair.starts_with("sslrootcert")
            })
            .map(str::to_owned)
            .collect();
        url.set_query(Some(&others.join("&")).filter(|query| !query.is_empty()).map(String::as_str));
        // The client's error may quote the URL.
        let config: Config =
            url.as_str().parse().map_err(|_| "is no URL that PostgreSQL's client understands".to_owned())?;
        if config.get_dbname().is_none_or(str::is_empty) {
            return Err("names no database".to_owned());
        }
        Ok(Self { config, ssl_mode, ssl_root_cert })
    }
}

/// The URL of a schema of the database that `url` names; `None` if `url` has options of its own.
#[cfg(feature = "sandbox")]
pub fn in_schema(url: &str, schema: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    if url.query_pairs().any(|(key, _)| key == "options") {
        return None;
    }
    url.query_pairs_mut().append_pair("options", &format!("-csearch_path={schema}"));
    Some(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host;

    #[test]
    fn all_parts_of_a_url_are_read() {
        let url = "postgres://bridge:pw@db.example:5433/chat?sslmode=verify-full&sslrootcert=%2Fetc%2Fca.pem&options=-csearch_path%3Dbridge";
        let read = PostgresUrl::new(url).unwrap();
        assert_eq!(read.config.get_hosts(), [Host::Tcp("db.example".to_owned())]);
        assert_eq!((read.config.get_ports(), read.config.get_dbname()), (&[5433][..], Some("chat")));
        assert_eq!((read.config.get_user(), read.config.get_password()), (Some("bridge"), Some(&b"pw"[..])));
        assert_eq!(read.config.get_options(), Some("-csearch_path=bridge"));
        assert_eq!(
            (read.ssl_mode, read.ssl_root_cert),
            (SslMode::VerifyFull, Some(PathBuf::from("/etc/ca.pem")))
        );

        for socket in ["postgres://bridge@%2Frun%2Fpostgresql/chat", "postgres:///chat?host=/run/postgresql"]
        {
            let read = PostgresUrl::new(socket).unwrap();
            assert_eq!(read.config.get_hosts(), [Host::Unix(PathBuf::from("/run/postgresql"))], "{socket}");
            assert_eq!(read.ssl_mode, SslMode::Prefer);
        }
    }

    #[test]
    fn a_schema_of_a_database_has_a_url_of_its_own() {
        let url = in_schema("postgres://bridge@db.example/chat?sslmode=require", "one").unwrap();
        let read = PostgresUrl::new(&url).unwrap();
        assert_eq!(read.config.get_options(), Some("-csearch_path=one"));
        assert_eq!(read.ssl_mode, SslMode::Require);
        assert_eq!(in_schema(&url, "two"), None);
    }

    #[test]
    fn errors_name_the_problem_and_not_the_value() {
        for (url, problem) in [
            ("postgres:///chat", "no host"),
            ("postgres://hidden:hidden@db.example", "no database"),
            ("postgres://hidden:hidden@db.example/", "no database"),
            ("postgres://hidden:hidden@db.example/a?sslmode=hidden", "sslmode"),
            ("postgres://hidden:hidden@db.example/a?hidden=1", "parameter"),
            ("postgres://hidden:hidden@db.example/a?channel_binding=hidden", "client"),
            ("postgres://hidden:hidden@db.example:hidden/a", "not a URL"),
        ] {
            let found = PostgresUrl::new(url).unwrap_err();
            assert!(found.contains(problem) && !found.contains("hidden"), "{found}");
        }
    }
}
