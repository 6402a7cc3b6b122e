//! Settings with which the bridge works, but by which strangers may speak or read.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{Config, EncryptionMode};

/// One way in for strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The key, or the file.
    pub key: String,
    /// What strangers can do.
    pub problem: String,
    /// What prevents it.
    pub fix: String,
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.key, self.problem, self.fix)
    }
}

fn exposure(key: impl Into<String>, problem: &str, fix: impl Into<String>) -> Exposure {
    Exposure { key: key.into(), problem: problem.to_owned(), fix: fix.into() }
}

/// The exposures of a configuration, whatever file it is from.
pub(super) fn of_settings(config: &Config) -> Vec<Exposure> {
    let is_https = config.server.tls.is_some()
        || config.server.public_url.as_ref().is_some_and(|url| url.url().scheme() == "https");
    let plain = (config.wechat.mode == EncryptionMode::Plain && !is_https).then(|| {
        exposure(
            "wechat.mode",
            "is plain without HTTPS: whoever sees one push can write as any customer, and reads what they write",
            "set wechat.mode to safe here and in the console, or use HTTPS (server.tls_cert, or a proxy that \
             server.public_url names)",
        )
    });
    let unsigned = config.im.callback_token.is_none().then(|| {
        exposure(
            "im.callback_token",
            "is empty: anyone who knows the URL and the SDKAppID could write to customers as an agent",
            "switch authentication on in the IM console, and set the same token here",
        )
    });
    plain.into_iter().chain(unsigned).collect()
}

/// Whether every user of this machine may read the configuration file at `path`.
pub(super) fn of_file(path: &Path) -> Option<Exposure> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o004 != 0).then(|| {
        let fix = format!("chmod 600 {}", path.display());
        exposure(path.display().to_string(), "can be read by every user of this machine", fix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(env: &[(&str, &str)]) -> Vec<String> {
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let example = include_str!("../../config.example.toml");
        let (config, _) = Config::from_toml_str(example, env).unwrap();
        config.exposures.into_iter().map(|exposure| exposure.key).collect()
    }

    #[test]
    fn plain_pushes_need_https_and_callbacks_a_token() {
        let token = ("BRIDGE_IM__CALLBACK_TOKEN", "abc");
        let url = |url| ("BRIDGE_SERVER__PUBLIC_URL", url);
        assert_eq!(keys(&[]), ["wechat.mode", "im.callback_token"]);
        assert_eq!(keys(&[token, url("http://a.example")]), ["wechat.mode"]);
        assert_eq!(keys(&[token, url("https://a.example")]), [""; 0]);
        let tls = [("BRIDGE_SERVER__TLS_CERT", "a.pem"), ("BRIDGE_SERVER__TLS_KEY", "b.pem")];
        assert_eq!(keys(&[token, tls[0], tls[1]]), [""; 0]);
        let key = "K".repeat(43);
        let safe = [("BRIDGE_WECHAT__MODE", "safe"), ("BRIDGE_WECHAT__ENCODING_AES_KEY", key.as_str())];
        assert_eq!(keys(&[token, safe[0], safe[1]]), [""; 0]);
    }

    #[test]
    fn a_file_that_others_may_read_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let set = |mode| {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            of_file(file.path()).map(|exposure| exposure.key)
        };
        assert_eq!(set(0o600), None);
        assert_eq!(set(0o640), None, "a group is the operator's choice");
        assert_eq!(set(0o644), Some(file.path().display().to_string()));
        assert_eq!(of_file(Path::new("/nowhere")), None);
    }
}
