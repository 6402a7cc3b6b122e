//! Where every HTTP client begins: it names the library that encrypts. reqwest brings one only together with AWS-LC, which
//! is larger and takes longer to build than *ring*.

use std::sync::Once;

use tokio_rustls::rustls::crypto::ring;

/// The builder of an HTTP client.
#[expect(clippy::disallowed_methods, reason = "this is the place that they are for")]
pub fn builder() -> reqwest::ClientBuilder {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // It fails only if there is one already, which serves as well.
        let _ = ring::default_provider().install_default();
    });
    reqwest::Client::builder()
}

/// The builder of a client for this machine alone: it reads no certificates, which takes a while, and uses no proxy.
#[cfg(feature = "sandbox")]
pub fn loopback() -> reqwest::ClientBuilder {
    builder().no_proxy().tls_certs_only([])
}

/// Makes one request to this machine.
#[cfg(feature = "sandbox")]
pub async fn get(url: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    loopback().build()?.get(url).send().await
}
