//! The script against a small bridge that can have one defect: the script must pass, or report the
//! defect.

mod stub;

use super::transcript::{WIDTH, columns};
use super::*;
use crate::clock::Clock;
use crate::config::Locale;
use crate::sandbox::stage::Settings;
use stub::{Defect, Stub};

async fn run_script(locale: Locale, defect: Defect) -> (Result<(), ScriptError>, String) {
    let settings = Settings { agents: vec!["user1".into(), "user2".into()], ..Settings::default() };
    let stage = Stage::start(Clock::system(), settings).await.unwrap();
    let texts = Texts::defaults(locale, "XX");
    let bridge = Stub::start(&stage, texts.clone(), defect).await;
    stage.connect(&format!("http://{}", bridge.address()));
    let mut transcript = Vec::new();
    let result = play_scenario(&stage, &texts, &mut transcript).await;
    bridge.stop().await;
    stage.stop().await;
    (result, String::from_utf8(transcript).unwrap())
}

#[tokio::test]
async fn the_script_passes_with_a_correct_bridge_in_every_language() {
    for (locale, question) in [
        (Locale::En, "when are you getting new children clothing?"),
        (Locale::Ko, "아동복 신상품은 언제쯤 나오나요?"),
        (Locale::Zh, "童装新品什么时候上架？"),
    ] {
        let (result, transcript) = run_script(locale, Defect::None).await;
        result.unwrap_or_else(|failed| panic!("{failed}\n{transcript}"));
        assert!(transcript.lines().all(|line| columns(line) <= WIDTH), "{transcript}");
        let texts = Texts::defaults(locale, "XX");
        for expected_text in
            [question, texts.welcome.as_str(), "openim/sendmsg", "message/custom/send", "18 steps passed in "]
        {
            assert!(transcript.contains(expected_text), "{expected_text} in {transcript}");
        }
        let settings = Settings::default().wechat;
        assert!(!transcript.contains(&settings.token) && !transcript.contains("usersig"), "{transcript}");
    }
}

#[tokio::test]
async fn each_defect_fails_its_own_step() {
    for (defect, step, expected_text) in [
        (Defect::Echo, 1, "echostr"),
        (Defect::Welcome, 2, "Thanks for following XX."),
        (Defect::Sender, 3, "the customer's own account"),
        (Defect::FirstLine, 3, "who comes"),
        (Defect::Typing, 4, "the account types"),
        (Defect::Answer, 5, "in May"),
        (Defect::Picture, 6, "kind image"),
        (Defect::Location, 12, "TIMLocationElem"),
        (Defect::Repeats, 16, "Thank you!"),
        (Defect::Signature, 17, "403"),
        (Defect::Unfollow, 18, "success"),
        (Defect::Farewell, 18, "the customer has left"),
    ] {
        let (result, transcript) = run_script(Locale::En, defect).await;
        let Err(ScriptError::Step { number, expected, seen, .. }) = result else {
            panic!("{defect:?} was not detected: {transcript}");
        };
        assert_eq!(number, step, "{defect:?}: {transcript}");
        assert!(expected.contains(expected_text), "{defect:?} expected {expected}, seen: {seen}");
        assert!(
            transcript.contains("FAILED: expected") && !transcript.contains("steps passed"),
            "{transcript}"
        );
        assert!(transcript.lines().all(|line| columns(line) <= WIDTH), "{transcript}");
    }
}

#[tokio::test]
async fn a_closed_port_fails_the_first_step() {
    // Bound and not listening: nobody answers there, and no other program can take it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    let stage = Stage::start(Clock::system(), Settings::default()).await.unwrap();
    stage.connect(&format!("http://{address}"));
    let mut transcript = Vec::new();
    let failed =
        play(&stage, &Texts::defaults(Locale::En, "XX"), &mut transcript).await.unwrap_err().to_string();
    assert!(failed.starts_with("step 1 of the script, \"WeChat checks the URL\""), "{failed}");
    assert!(failed.contains("onnection refused"), "{failed}");
    let transcript = String::from_utf8(transcript).unwrap();
    assert!(transcript.ends_with("step 1 of 25 failed; 24 not played\n"), "{transcript}");
}
