//! No output contains a secret, wherever the operator put it by mistake.

use proptest::prelude::*;

use super::*;
use crate::config::keys::SECTIONS;

/// Files that an operator in a hurry may write; `SECRET` is the secret. Whether they are refused or
/// accepted, the output must not contain it.
const PLACES: &[&str] = &[
    // In the right place, with faults elsewhere.
    "[wechat]\ntoken = \"SECRET\"\nmode = \"x\"",
    "[wechat]\nencoding_aes_key = \"SECRET\"\nprevious_encoding_aes_key = \"SECRET+\"",
    "[im]\nsecret_key = \" SECRET\"\ncallback_token = \"SECRET \"",
    "[store]\nurl = \"postgres://bridge:SECRET@\"",
    "[store]\nurl = \"postgres://bridge:SECRET@a:b:c/d\"",
    "[store]\nurl = \"sqlite://bridge:SECRET@db?x\"",
    // The wrong type.
    "[wechat]\ntoken = [\"SECRET\"]",
    "[wechat]\ntoken = { value = \"SECRET\" }",
    "[im]\nsecret_key = { SECRET = 1 }",
    "[im.secret_key]\nSECRET = \"SECRET\"",
    "[im]\nagents = \"SECRET\"\nsdk_app_id = \"SECRET\"",
    // The wrong key, section or level.
    "secret_key = \"SECRET\"",
    "SECRET = 1",
    "[SECRET]\na = 1",
    "[im.SECRET]\na = 1",
    "[im]\nSECRET = \"\"\n\"SECRET x\" = 1\n\"SECRET_file\" = 1",
    "[im]\nsecret_key_file = \"SECRET\"",
    "[im]\nsecret_key_file = \"SECRET/SECRET=\"\ncallback_token_file = \"SECRET.SECRET\"",
    "[store]\nurl_file = \"postgres://bridge:SECRET@db.example/bridge\"",
    "[wechat]\nmode = \"SECRET\"\nreply = \"SECRET\"\napp_id = \"SECRET \"\naccount_id = \"é SECRET\"",
    "[wechat]\napi_base = \"SECRET\"",
    "[wechat]\napi_base = \"https://SECRET@a:b\"",
    "[im]\nadmin = \"SECRET SECRET\"\nagents = [\"SECRET SECRET\", \"a b\"]",
    "[server]\nlisten = \"SECRET\"\npublic_url = \"http://SECRET:SECRET@a/?SECRET\"\ntls_key = \"SECRET\"",
    "[media]\nallow_hosts = [\"https://SECRET\"]\nmax_bytes = \"SECRET\"",
    "[desk]\nhours = \"SECRET\"\nclosed = [\"SECRET\"]\ntime_zone = \"SECRET\"\nsupervisor = \"SECRET SECRET\"",
    "[[desk.group]]\nname = \"SECRETSECRETSECRET\"\nagents = [\"SECRET\"]\nSECRET = 1",
    "[desk]\ngroup = \"SECRET\"",
    "[replies]\nSECRET = 5\n\"SECRET x\" = \"a\"",
    "[alert]\nurl = \"SECRET\"\n[telemetry]\notlp_endpoint = \"SECRET\"",
    "[log]\nlevel = \"SECRET\"\nformat = \"SECRET\"",
    "[log]\nlevel = \"a=SECRET=\"",
    // Not TOML.
    "[wechat]\ntoken = SECRET",
    "[wechat]\ntoken = \"SECRET",
    "[wechat]\ntoken = 'SECRET\"\n",
    "[wechat]\ntoken = \"\"SECRET\"\"",
    "[wechat]\ntoken \"SECRET\"",
    "[wechat]\ntoken: SECRET",
    "[wechat]\nSECRET",
    "[wechat]\ntoken = \"\\SECRET\"",
    "[wechat]\ntoken = \"a\"\ntoken = \"SECRET\"",
    "[wechat]\nSECRET = 1\nSECRET = 2",
    "[wechat]\nSECRET = 1\n[wechat.SECRET]",
    "[wechat]\nSECRET = 1\nSECRET.b = 2",
    "[SECRET",
    "[wechat]\ntoken = \"\"\"SECRET\n",
    "token = 0xSECRET",
    "token = 1SECRET",
];

fn hides(
    outcome: &Result<(Config, Vec<String>), Faults>,
    secret: &str,
    case: &str,
) -> Result<(), TestCaseError> {
    let output = match outcome {
        Ok((config, warnings)) => format!("{config:?}\n{warnings:?}"),
        Err(faults) => format!("{faults}\n{faults:?}"),
    };
    prop_assert!(!output.to_lowercase().contains(&secret.to_lowercase()), "{case}\n{output}");
    Ok(())
}

proptest! {
    #[test]
    fn a_secret_anywhere_in_the_file_is_not_shown(
        secret in "[A-Za-z0-9]{12,63}[0-9]",
        place in prop::sample::select(PLACES),
    ) {
        let text = place.replace("SECRET", &secret);
        hides(&Config::from_toml_str(&text, []), &secret, place)?;
        hides(&Config::from_toml_str(&format!("{REQUIRED}{text}"), []), &secret, place)?;
    }

    #[test]
    fn a_damaged_file_neither_panics_nor_shows_the_secret(
        cut in 0..REQUIRED.len(), junk in "[\\[\\]{}\"'=.,#\\\\\n a0é]{0,4}",
    ) {
        let secret = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e";
        let text = format!("{}{junk}{}", &REQUIRED[..cut], &REQUIRED[cut..]);
        hides(&Config::from_toml_str(&text, []), &secret[..16], &text)?;
        hides(&Config::from_toml_str(&text, []), &secret[48..], &text)?;
    }
}

proptest! {
    // Each case tries every variable.
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn a_secret_in_any_variable_is_not_shown(secret in "[A-Za-z0-9]{12,63}[0-9]") {
        for section in SECTIONS {
            for key in section.keys {
                let full_key = format!("{}.{}", section.name, key.name);
                for name in [keys::env_variable(&full_key), keys::env_variable(&full_key) + "_FILE"] {
                    // Some keys accept any text and show it on purpose.
                    let takes_any = matches!(
                        full_key.as_str(),
                        "media.dir" | "texts.shop_name" | "texts.welcome" | "texts.transferring" | "texts.inquiry_prefix"
                            | "wechat.app_id" | "wechat.account_id" | "im.admin" | "im.agents" | "media.allow_hosts"
                            | "desk.supervisor" | "texts.queued" | "texts.away"
                    );
                    if !takes_any {
                        hides(&Config::from_toml_str(REQUIRED, [(name.clone(), secret.clone())]), &secret, &name)?;
                    }
                }
            }
        }
    }
}
