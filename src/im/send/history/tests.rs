use super::*;
use crate::im::send::client::tests::{Fake, user};
use crate::model::AnswerPart;
use serde_json::json;

fn message(seq: u32, random: u32, time: i64) -> Value {
    json!({"From_Account": "o1", "To_Account": "kf_lin", "MsgSeq": seq, "MsgRandom": random, "MsgTimeStamp": time,
        "MsgFlagBits": 0, "IsPeerRead": 0, "MsgKey": format!("{seq}_{random}_{time}"),
        "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": "x"}}], "CloudCustomData": ""})
}

fn page(complete: u32, messages: &[Value]) -> String {
    let oldest = messages.first().cloned().unwrap_or_default();
    json!({"ActionStatus": "OK", "ErrorInfo": "", "ErrorCode": 0, "Complete": complete, "MsgCnt": messages.len(),
        "LastMsgTime": oldest["MsgTimeStamp"], "LastMsgKey": oldest["MsgKey"], "MsgList": messages})
    .to_string()
}

async fn find(fake: &Fake, seq: u32, random: u32) -> Result<Option<String>, Failure> {
    let (operator, peer, client) = (user("kf_lin"), user("o1"), fake.client());
    let mut pages = HistoryPages::new(History {
        operator: &operator,
        peer: &peer,
        min_s: 1_700_000_000,
        max_s: 1_700_000_600,
        max_count: PAGE_MESSAGES,
        last_key: None,
    });
    while let Some(history) = pages.next() {
        let page = client.admin_getroammsg(history).await?;
        let is_it = |past: &PastMessage| (past.message.msg_seq, past.message.msg_random) == (seq, random);
        if let Some(past) = pages.accept_page(page)?.into_iter().find(is_it) {
            return Ok(Some(past.message.msg_key));
        }
    }
    if pages.is_exhausted() { Ok(None) } else { Err(Failure::no_answer("it is too long")) }
}

#[tokio::test]
async fn a_page_is_requested_for_both_server_generations_and_read() {
    let mut recalled = message(610, 691, 1_700_000_101);
    recalled["MsgFlagBits"] = json!(8);
    recalled["MsgKey"] = json!(null);
    let nameless = json!({"MsgSeq": 1});
    let fake = Fake::answering([page(1, &[message(609, 690, 1_700_000_100), recalled, nameless])]).await;
    let (operator, peer) = (user("kf_lin"), user("o1"));
    let history = History {
        operator: &operator,
        peer: &peer,
        min_s: 1_700_000_000,
        max_s: 1_700_000_600,
        max_count: 100,
        last_key: None,
    };
    let read = fake.client().admin_getroammsg(&history).await.unwrap();
    assert_eq!(read.next, None);
    assert_eq!(read.messages.len(), 2);
    assert_eq!(
        read.messages[0].message,
        Answer {
            from: user("o1"),
            to: user("kf_lin"),
            msg_key: "609_690_1700000100".to_owned(),
            msg_time: 1_700_000_100,
            msg_seq: 609,
            msg_random: 690,
            quoted: None,
            parts: vec![AnswerPart::Text("x".to_owned())],
        }
    );
    assert!(!read.messages[0].recalled && read.messages[1].recalled);
    assert_eq!(read.messages[1].message.msg_key, "610_691_1700000101");
    let call = fake.only_call();
    assert_eq!(call.path, "/v4/openim/admin_getroammsg");
    assert_eq!(
        call.body,
        concat!(
            r#"{"Operator_Account":"kf_lin","Peer_Account":"o1","From_Account":"kf_lin","To_Account":"o1","#,
            r#""MaxCnt":100,"MinTime":1700000000,"MaxTime":1700000600}"#
        )
    );
}

#[tokio::test]
async fn a_message_is_found_pages_back() {
    let fake = Fake::answering([
        page(0, &[message(5, 50, 1_700_000_300), message(6, 60, 1_700_000_400)]),
        page(0, &[message(3, 30, 1_700_000_200), message(4, 40, 1_700_000_250)]),
        page(1, &[message(1, 10, 1_700_000_100), message(2, 20, 1_700_000_150)]),
    ])
    .await;
    assert_eq!(find(&fake, 1, 10).await, Ok(Some("1_10_1700000100".to_owned())));
    let calls = fake.calls();
    let body: Value = serde_json::from_str(&calls[2].body).unwrap();
    assert_eq!(body["MaxTime"], 1_700_000_200);
    assert_eq!(body["LastMsgKey"], "3_30_1700000200");
    assert_eq!(body["MinTime"], 1_700_000_000);
}

#[tokio::test]
async fn both_numbers_must_match_and_the_end_proves_absence() {
    let fake = Fake::answering([page(1, &[message(1, 10, 1_700_000_100)]), page(1, &[])]).await;
    assert_eq!(find(&fake, 1, 11).await, Ok(None));
    assert_eq!(find(&fake, 1, 10).await, Ok(None));
}

#[tokio::test]
async fn an_endless_history_proves_nothing() {
    let stuck = page(0, &[message(1, 10, 1_700_000_100)]);
    let fake = Fake::answering([stuck.clone(), stuck]).await;
    assert!(matches!(find(&fake, 2, 20).await, Err(Failure::NoAnswer { .. })));

    let endless = (1..).take(MAX_PAGES + 9).map(|n| page(0, &[message(n, n, 1_700_000_100)]));
    let fake = Fake::answering(endless).await;
    assert!(matches!(find(&fake, 100, 20).await, Err(Failure::NoAnswer { .. })));
    assert_eq!(fake.calls().len(), MAX_PAGES);

    let fake = Fake::answering([page(0, &[])]).await;
    assert!(matches!(find(&fake, 2, 20).await, Err(Failure::NoAnswer { .. })));
}
