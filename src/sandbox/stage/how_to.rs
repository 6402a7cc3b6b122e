//! The instructions for people who want to try the sandbox by hand.

use std::fmt::Write as _;

use super::Stage;
use crate::sandbox::wechat::{Mode, crypto};

/// The customer of the commands. The script's customer cannot be used: the script deletes that
/// account at its end.
const CUSTOMER: &str = "oSandboxVisitor0000000000001";

/// The addresses, and shell commands that let a customer and an agent talk through the bridge at
/// `public_url`.
pub fn how_to(stage: &Stage, public_url: &str) -> String {
    let bridge = public_url.trim_end_matches('/');
    let (wechat, im) = (stage.wechat.base_url(), stage.im.base_url());
    let agent = stage.agents().first().map_or("", |desk| desk.user_id());
    let mut text = format!(
        "The bridge between two simulated platforms:
  bridge       {bridge}/ and {bridge}/imcallback
  WeChat       {wechat}
  Tencent IM   {im}

A customer writes, and follows the account first if necessary:
  curl -d '{{\"openid\":\"{CUSTOMER}\",\"text\":\"Is size M in stock?\"}}' {wechat}/sandbox/say

The messages that reached the agent:
  curl '{im}/sandbox/inbox?agent={agent}'

The agent answers:
  curl -d '{{\"agent\":\"{agent}\",\"customer\":\"{CUSTOMER}\",\"text\":\"Yes, it is.\"}}' {im}/sandbox/say

The screen of the customer:
  curl '{wechat}/sandbox/screen?openid={CUSTOMER}'
"
    );
    let settings = stage.wechat.settings();
    // In safe mode the body must be encrypted, which a one-line shell command cannot do.
    if settings.mode != Mode::Safe {
        let (timestamp, nonce) = (stage.clock.now().seconds().to_string(), "1234567890");
        let signature = crypto::sign(&[&settings.token, &timestamp, nonce]);
        let _ = write!(
            text,
            "
A push to the bridge as WeChat sends it. The signature covers only timestamp and nonce, so it stays valid:
  curl \"{bridge}/?signature={signature}&timestamp={timestamp}&nonce={nonce}\" \\
    -d \"<xml><ToUserName>{account}</ToUserName><FromUserName>{CUSTOMER}</FromUserName>\\
<CreateTime>$(date +%s)</CreateTime><MsgType>text</MsgType><Content>Hello</Content>\\
<MsgId>$(date +%s)000000$RANDOM</MsgId></xml>\"
",
            account = settings.account_id
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::sandbox::stage::Settings;

    #[tokio::test]
    async fn the_commands_name_everyone_and_no_credential() {
        let stage = Stage::start(Clock::system(), Settings::default()).await.unwrap();
        let text = how_to(&stage, "http://127.0.0.1:8080/");
        for part in
            [stage.wechat.base_url(), &stage.im.base_url(), "http://127.0.0.1:8080/imcallback", "user1"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
        let settings = stage.wechat.settings();
        assert!(!text.contains(&settings.token) && !text.contains(&settings.app_secret), "{text}");
        stage.wechat.change(|settings| settings.mode = Mode::Safe).unwrap();
        assert!(!how_to(&stage, "http://127.0.0.1:8080").contains("signature"));
    }
}
