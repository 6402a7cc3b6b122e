//! The script against a small bridge that can have one defect: the script must pass, or report the
//! defect.

mod stub;

use super::transcript::{WIDTH, columns};
use super::*;
use crate::clock::Clock;
use crate::config::Locale;
use crate::sandbox::stage::Settings;
use stub::{Stub, Wrong};

async fn played(locale: Locale, wrong: Wrong) -> (Result<(), Failed>, String) {
    let settings = Settings { agents: vec!["user1".into(), "user2".into()], ..Settings::default() };
    let stage = Stage::start(Clock::system(), settings).await.unwrap();
    let texts = Texts::defaults(locale, "XX");
    let bridge = Stub::start(&stage, texts.clone(), wrong).await;
    stage.connect(&format!("http://{}", bridge.address()));
    let mut transcript = Vec::new();
    let result = introduce(&stage, &texts, &mut transcript).await;
    bridge.stop().await;
    stage.stop().await;
    (result, String::from_utf8(transcript).unwrap())
}

#[tokio::test]
async fn a_right_bridge_comes_to_the_end_in_every_language() {
    for (locale, question) in [
        (Locale::En, "when are you getting new children clothing?"),
        (Locale::Ko, "아동복 신상품은 언제쯤 나오나요?"),
        (Locale::Zh, "童装新品什么时候上架？"),
    ] {
        let (result, transcript) = played(locale, Wrong::Nothing).await;
        result.unwrap_or_else(|failed| panic!("{failed}\n{transcript}"));
        assert!(transcript.lines().all(|line| columns(line) <= WIDTH), "{transcript}");
        let texts = Texts::defaults(locale, "XX");
        for told in
            [question, texts.welcome.as_str(), "openim/sendmsg", "message/custom/send", "17 steps passed in "]
        {
            assert!(transcript.contains(told), "{told} in {transcript}");
        }
        let settings = Settings::default().wechat;
        assert!(!transcript.contains(&settings.token) && !transcript.contains("usersig"), "{transcript}");
    }
}

#[tokio::test]
async fn each_thing_that_is_wrong_fails_its_own_step() {
    for (wrong, step, told) in [
        (Wrong::Echo, 1, "echostr"),
        (Wrong::Welcome, 2, "Thanks for following XX."),
        (Wrong::Sender, 3, "the customer's own account"),
        (Wrong::Answer, 4, "in May"),
        (Wrong::Picture, 5, "kind image"),
        (Wrong::Location, 11, "TIMLocationElem"),
        (Wrong::Repeats, 15, "Thank you!"),
        (Wrong::Signature, 16, "403"),
        (Wrong::Unfollow, 17, "success"),
    ] {
        let (result, transcript) = played(Locale::En, wrong).await;
        let Err(Failed::Step { number, expected, seen, .. }) = result else {
            panic!("{wrong:?} was not detected: {transcript}");
        };
        assert_eq!(number, step, "{wrong:?}: {transcript}");
        assert!(expected.contains(told), "{wrong:?} expected {expected}, seen: {seen}");
        assert!(
            transcript.contains("FAILED: expected") && !transcript.contains("steps passed"),
            "{transcript}"
        );
        assert!(transcript.lines().all(|line| columns(line) <= WIDTH), "{transcript}");
    }
}

#[tokio::test]
async fn a_closed_port_is_told_at_the_first_step() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let stage = Stage::start(Clock::system(), Settings::default()).await.unwrap();
    stage.connect(&format!("http://{address}"));
    let mut transcript = Vec::new();
    let failed =
        play(&stage, &Texts::defaults(Locale::En, "XX"), &mut transcript).await.unwrap_err().to_string();
    assert!(failed.starts_with("step 1 of the script, \"WeChat checks the URL\""), "{failed}");
    assert!(failed.contains("onnection refused"), "{failed}");
    let transcript = String::from_utf8(transcript).unwrap();
    assert!(transcript.ends_with("step 1 of 24 failed; 23 not played\n"), "{transcript}");
}
