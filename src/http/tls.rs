//! HTTPS on the public listener: creates a TLS acceptor from PEM files. No error contains key
//! material.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::Tls;

/// Why the public listener cannot speak TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("server.{key}: cannot read {path}: {source}; name a PEM file that this user may read")]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file does not contain the expected object.
    #[error("server.{key}: {path} holds no {what} in PEM form; {fix}")]
    Missing {
        /// The setting.
        key: &'static str,
        /// The file.
        path: String,
        /// The expected object.
        what: &'static str,
        /// What the operator should do.
        fix: &'static str,
    },
    /// Certificate and key do not match, or are of an unsupported kind.
    #[error("server.tls_cert, server.tls_key: {0}; give the certificate's own key, and the chain leaf first")]
    Unfit(tokio_rustls::rustls::Error),
}

/// Creates an acceptor from both files. Blocks. The files are read only once: restart after
/// renewing a certificate.
pub fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let chain = chain(&tls.cert)?;
    let key = key(&tls.key)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing;

    fn refused(tls: &Tls) -> String {
        acceptor(tls).err().unwrap().to_string()
    }

    #[test]
    fn a_fault_names_its_key_and_shows_nothing_of_the_file() {
        let good = testing::tls();
        assert!(acceptor(&good).is_ok());
        let gone = refused(&Tls { cert: "missing.pem".into(), ..good.clone() });
        assert!(gone.starts_with("server.tls_cert: cannot read missing.pem"), "{gone}");
        let swapped = refused(&Tls { cert: good.key.clone(), key: good.key.clone() });
        assert!(swapped.starts_with("server.tls_cert:") && swapped.contains("no certificate"), "{swapped}");
        let swapped = refused(&Tls { cert: good.cert.clone(), key: good.cert.clone() });
        assert!(swapped.starts_with("server.tls_key:") && swapped.contains("no private key"), "{swapped}");
        let other = refused(&Tls { key: testing::other_key(), ..good });
        assert!(other.starts_with("server.tls_cert, server.tls_key:"), "{other}");
    }
}
