//! The text of a new configuration.

use std::fmt::Write as _;

use serde_json::json;

use super::Answers;
use super::files::SecretFile;

/// Where the bridge listens behind a proxy on the same machine.
const BEHIND_A_PROXY: &str = "127.0.0.1:8080";

/// The configuration with these values. Secrets are only named by their files.
pub(super) fn config_toml(answers: &Answers, files: &[SecretFile]) -> String {
    let value = |key: &str| answers.get(key).map_or("", String::as_str);
    // A JSON string is a TOML string too.
    let text = |key: &str| json!(value(key)).to_string();
    let file = |key: &str| {
        let file = files.iter().find(|file| file.key == key)?;
        let name = key.split_once('.').map_or(key, |(_, name)| name);
        Some(format!("{name}_file = {}", json!(file.path.display().to_string())))
    };
    let file_or_remark = |key: &str, remark: &str| file(key).unwrap_or_else(|| format!("# {remark}"));
    let agents: Vec<&str> = value("im.agents").split(',').map(str::trim).collect();
    let mut toml = format!(
        "# Made by `wechat-im-bridge init`. Every other key has its default, which config.example.toml explains.\n\
         # Secrets are in files of their own.\n\
         \n\
         [server]\n\
         # How the internet reaches this server. WeChat's console gets this URL with a / behind it, IM's with /imcallback.\n\
         public_url = {}\n",
        text("server.public_url")
    );
    let listen = if !value("server.tls_cert").is_empty() {
        format!(
            "# The bridge itself speaks HTTPS. It reads these files again when they change.\n\
             listen = \"0.0.0.0:443\"\n\
             tls_cert = {}\n\
             tls_key = {}\n",
            text("server.tls_cert"),
            text("server.tls_key")
        )
    } else if value("server.public_url").starts_with("https:") {
        format!(
            "# A proxy on this machine has the certificate, and passes the requests on to this address.\n\
             listen = \"{BEHIND_A_PROXY}\"\n\
             trusted_proxies = [\"127.0.0.1\"]\n"
        )
    } else {
        "listen = \"0.0.0.0:80\"\n".to_owned()
    };
    // Writing to a String cannot fail.
    let _ = write!(
        toml,
        "{listen}\
         \n\
         [wechat]\n\
         # What stands in this file is the Token in WeChat's console.\n\
         {token}\n\
         app_id = {app_id}\n\
         {app_secret}\n\
         # Messages are encrypted. In the console choose the security mode; this file has its EncodingAESKey.\n\
         mode = \"safe\"\n\
         {aes_key}\n\
         # The customer reads \"please wait\" once a conversation, not after each message.\n\
         acknowledge = \"session\"\n\
         \n\
         [im]\n\
         sdk_app_id = {sdk_app_id}\n\
         {secret_key}\n\
         # What stands in this file is the authentication token of the callbacks in IM's console.\n\
         {callback_token}\n\
         # The administrator in whose name the bridge calls IM.\n\
         admin = {admin}\n\
         # The agents. Import an account for each in IM's console.\n\
         agents = {agents}\n\
         \n\
         [texts]\n\
         locale = {locale}\n\
         # Followers read this name.\n\
         shop_name = {shop_name}\n\
         # What stands before a customer's words in the agents' clients. The default is long.\n\
         inquiry_prefix = {prefix}\n",
        token = file_or_remark("wechat.token", ""),
        app_id = text("wechat.app_id"),
        app_secret = file_or_remark(
            "wechat.app_secret",
            "Without app_secret the agents' answers go with the reply to the customer's next message."
        ),
        aes_key = file_or_remark("wechat.encoding_aes_key", ""),
        sdk_app_id = value("im.sdk_app_id"),
        secret_key = file_or_remark("im.secret_key", ""),
        callback_token = file_or_remark("im.callback_token", ""),
        admin = text("im.admin"),
        agents = json!(agents),
        locale = text("texts.locale"),
        shop_name = text("texts.shop_name"),
        prefix = json!(match value("texts.locale") {
            "zh" => "微信：",
            "ko" => "위챗: ",
            _ => "WeChat: ",
        }),
    );
    toml
}
