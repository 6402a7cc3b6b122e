//! The configuration: any text gives a configuration or faults with a fix, and no output contains a
//! secret.

use wechat_im_bridge::internals::config::{Config, StoreUrl};

/// Stands for a secret in the input.
const MARK: &str = "SECRET";
/// Replaces the mark. It looks like a key from the consoles, so no correct message contains it.
const SECRET: &str = "5bd2850fff3ecb11D7c805251c51ee46";

/// `input` is the file. Lines that begin with `BRIDGE_` are environment variables, as `NAME=VALUE`.
pub fn check(input: &[u8]) {
    let input = String::from_utf8_lossy(input);
    let (variables, lines): (Vec<&str>, Vec<&str>) =
        input.split('\n').partition(|line| line.starts_with("BRIDGE_"));
    let variables = variables.iter().filter_map(|line| line.split_once('='));
    // Only replace the mark in values: a variable's name is not secret.
    let variables = variables.map(|(name, value)| (name.to_owned(), value.replace(MARK, SECRET)));
    match Config::from_toml_str(&lines.join("\n").replace(MARK, SECRET), variables) {
        Ok((config, warnings)) => {
            assert_no_secret(&warnings.join("\n"));
            assert_no_secret(&secrets(&config));
        }
        Err(faults) => {
            assert!(!faults.0.is_empty());
            for fault in &faults.0 {
                let message = fault.to_string();
                assert!(
                    !message.contains('\n') && !fault.key.is_empty() && !fault.fix.is_empty(),
                    "{message:?}"
                );
                // The path of a secret's file is not secret.
                if !fault.problem.starts_with("the file /") && !fault.problem.starts_with("the file .") {
                    assert_no_secret(&format!("{message}\n{fault:?}"));
                }
            }
        }
    }
}

/// All secrets of a configuration, formatted as a log would show them.
fn secrets(config: &Config) -> String {
    let (wechat, im) = (&config.wechat, &config.im);
    let store = if matches!(config.store, StoreUrl::Postgres(_)) {
        format!("{:?}", config.store)
    } else {
        String::new()
    };
    format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {store}",
        wechat.token,
        wechat.previous_token,
        wechat.app_secret,
        wechat.encoding_aes_key,
        wechat.previous_encoding_aes_key,
        im.secret_key,
        im.callback_token,
    )
}

fn assert_no_secret(text: &str) {
    assert!(!text.to_lowercase().contains(&SECRET.to_lowercase()), "{text}");
}
