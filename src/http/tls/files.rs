//! The PEM files of a certificate: whether they have changed, what they contain, when it ends.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{CertificateError, Error};
use x509_cert::der::Decode as _;

use super::TlsError;
use crate::config::Tls;
use crate::model::Millis;

/// What tells whether one of the files has changed: its time, size and inode. Links are followed, because
/// some renewals only exchange a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp([Option<(SystemTime, u64, u64)>; 2]);

impl Stamp {
    /// Looks at both files; a missing one is a state like any other.
    pub(super) fn of(tls: &Tls) -> Self {
        Self([&tls.cert, &tls.key].map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len(), file.ino()))
        }))
    }
}

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Pair {
    /// Both, ready for handshakes.
    pub key: Arc<CertifiedKey>,
    /// When the certificate begins to hold; `None` if that cannot be read from it.
    pub not_before: Option<Millis>,
    /// When the certificate ends; `None` if that cannot be read from it.
    pub not_after: Option<Millis>,
}

impl Pair {
    /// Reads both files. Fails if they do not match.
    pub(super) fn read(tls: &Tls) -> Result<Self, TlsError> {
        let chain = chain(&tls.cert)?;
        let key = key(&tls.key)?;
        let (not_before, not_after) = chain.first().and_then(validity).unzip();
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Unfit)?;
        Ok(Self { key: Arc::new(key), not_before, not_after })
    }

    /// The names for which the certificate is, if `host` is none of them.
    pub(super) fn other_names(&self, host: &str) -> Option<Vec<String>> {
        let name = ServerName::try_from(host).ok()?;
        let certificate = ParsedCertificate::try_from(self.key.end_entity_cert().ok()?).ok()?;
        match verify_server_name(&certificate, &name) {
            Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented, ..
            })) => Some(presented.iter().map(|name| plain_name(name).to_owned()).collect()),
            _ => None,
        }
    }
}

/// The name alone of `DnsName("host")`, or the address alone of `IpAddress(127.0.0.1)`.
fn plain_name(presented: &str) -> &str {
    let inner = presented.split_once('(').map_or(presented, |(_, inner)| inner);
    inner.trim_end_matches(')').trim_matches('"')
}

/// From when until when the certificate holds.
fn validity(certificate: &CertificateDer<'_>) -> Option<(Millis, Millis)> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let validity = certificate.tbs_certificate().validity();
    let millis = |at: Duration| Millis(i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
    Some((millis(validity.not_before.to_unix_duration()), millis(validity.not_after.to_unix_duration())))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read("tls_cert", path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&pem).collect();
    chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| TlsError::Missing {
        key: "tls_cert",
        path: path.display().to_string(),
        what: "certificate",
        fix: "it must hold the server's certificate, then those of its issuers",
    })
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read("tls_key", path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::Missing {
        key: "tls_key",
        path: path.display().to_string(),
        what: "private key",
        fix: "it must be PKCS#8, PKCS#1 or SEC1, without a passphrase",
    })
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Unreadable {
        key,
        path: path.display().to_string(),
        source,
    })
}
