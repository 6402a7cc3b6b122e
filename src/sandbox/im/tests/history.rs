//! Tests of `admin_getroammsg`: pages, views, field names, and the delay.

use super::super::settings::Generation;
use super::*;

const ROAM: &str = "openim/admin_getroammsg";

impl Bench {
    fn range(&self) -> Value {
        json!({"Operator_Account": AGENT, "Peer_Account": CUSTOMER, "MaxCnt": 100,
            "MinTime": self.now() - 600, "MaxTime": self.now() + 600})
    }

    /// The texts of every page.
    async fn pages(&self, mut query: Value) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        loop {
            let answer = self.call(ROAM, &query).await;
            assert_eq!(answer["ErrorCode"], 0, "{answer}");
            let list = answer["MsgList"].as_array().unwrap();
            assert_eq!(answer["MsgCnt"], list.len());
            if let Some(oldest) = list.first() {
                assert_eq!(oldest["MsgKey"], answer["LastMsgKey"]);
                assert_eq!(oldest["MsgTimeStamp"], answer["LastMsgTime"]);
            }
            let text =
                |message: &Value| message["MsgBody"][0]["MsgContent"]["Text"].as_str().unwrap().to_owned();
            pages.push(list.iter().map(text).collect());
            if answer["Complete"] == 1 {
                return pages;
            }
            query["MaxTime"] = answer["LastMsgTime"].clone();
            query["LastMsgKey"] = answer["LastMsgKey"].clone();
        }
    }
}

#[tokio::test]
async fn pages_run_backwards_and_are_ascending_inside() {
    let bench = Bench::start().await;
    bench.sim.change(|settings| settings.rate_per_second = 10_000);
    // Several messages share a second, and two of those share a MsgSeq. The cursor must distinguish
    // them.
    for at in 0..7_u32 {
        if at % 3 == 0 {
            bench.next_second();
        }
        bench.send(&with_field(bench.message(&at.to_string()), "MsgSeq", json!(at / 2))).await;
    }
    let pages = bench.pages(with_field(bench.range(), "MaxCnt", json!(2))).await;
    assert_eq!(pages, [vec!["5", "6"], vec!["3", "4"], vec!["1", "2"], vec!["0"]]);
    let whole = bench.pages(bench.range()).await;
    assert_eq!(whole, [["0", "1", "2", "3", "4", "5", "6"]]);
}

#[tokio::test]
async fn a_page_is_cut_by_size() {
    let bench = Bench::start().await;
    for _ in 0..5 {
        bench.send(&bench.message(&"x".repeat(5_000))).await;
    }
    let sizes: Vec<usize> = bench.pages(bench.range()).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 2, 1]);
}

#[tokio::test]
async fn a_message_hidden_from_its_sender_is_in_the_receivers_view_only() {
    let bench = Bench::start().await;
    bench.send(&bench.message("hidden")).await;
    bench.send(&with_field(bench.message("both"), "SyncOtherMachine", json!(1))).await;
    bench.send(&with_field(bench.message("history"), "SyncOtherMachine", json!(null))).await;
    bench.next_second();
    bench.agent.say(CUSTOMER, "answer").await.unwrap();
    assert_eq!(bench.pages(bench.range()).await.concat().len(), 4);
    let customers = with_field(
        with_field(bench.range(), "Operator_Account", json!(CUSTOMER)),
        "Peer_Account",
        json!(AGENT),
    );
    assert_eq!(bench.pages(customers).await.concat(), ["both", "history", "answer"]);
}

#[tokio::test]
async fn messages_become_visible_after_the_delay_and_keep_their_flags() {
    let bench = Bench::start().await;
    bench.sim.change(|settings| settings.history_delay_ms = 30_000);
    let key = bench.send(&bench.message("slow")).await["MsgKey"].clone();
    assert_eq!(bench.pages(bench.range()).await.concat().len(), 0);
    bench.clock.advance(31_000);
    let answer = bench.call(ROAM, &bench.range()).await;
    assert_eq!(
        (&answer["MsgList"][0]["MsgFlagBits"], &answer["MsgList"][0]["IsPeerRead"]),
        (&json!(0), &json!(0))
    );
    bench
        .call(
            "openim/admin_msgwithdraw",
            &json!({"From_Account": CUSTOMER, "To_Account": AGENT, "MsgKey": key}),
        )
        .await;
    let answer = bench.call(ROAM, &bench.range()).await;
    assert_eq!(answer["MsgList"][0]["MsgFlagBits"], 8);
    bench.clock.advance(8 * 86_400_000);
    assert_eq!(
        bench.call(ROAM, &with_field(bench.range(), "MinTime", json!(0))).await["MsgCnt"],
        0,
        "kept 7 days"
    );
}

#[tokio::test]
async fn fields_and_generations_are_checked() {
    let bench = Bench::start().await;
    for (name, value, code) in [
        ("Operator_Account", json!(null), 90008),
        ("Operator_Account", json!("nobody"), 90008),
        ("Peer_Account", json!(null), 90003),
        ("Peer_Account", json!("nobody"), 90003),
        ("MaxCnt", json!(null), 90001),
        ("MaxCnt", json!(0), 90001),
        ("MinTime", json!("0"), 90001),
        ("LastMsgKey", json!("x"), 90054),
    ] {
        assert_eq!(bench.code(ROAM, &with_field(bench.range(), name, value)).await, code, "{name}");
    }
    let mut old = bench.range();
    for (new, before) in [("Operator_Account", "From_Account"), ("Peer_Account", "To_Account")] {
        old[before] = old[new].take();
        old = with_field(old, new, json!(null));
    }
    for (generation, codes) in
        [(Generation::New, [0, 90008]), (Generation::Old, [90008, 0]), (Generation::Both, [0, 0])]
    {
        bench.sim.change(|settings| settings.history_fields = generation);
        assert_eq!([bench.code(ROAM, &bench.range()).await, bench.code(ROAM, &old).await], codes);
    }
}

#[tokio::test]
async fn a_reimported_account_does_not_see_its_old_messages() {
    let bench = Bench::start().await;
    bench.agent.say(CUSTOMER, "before").await.unwrap();
    bench.call("im_open_login_svc/account_delete", &json!({"DeleteItem": [{"UserID": CUSTOMER}]})).await;
    assert_eq!(bench.pages(bench.range()).await.concat(), ["before"], "the agent keeps the conversation");
    bench.sim.import(CUSTOMER).unwrap();
    let customers = with_field(
        with_field(bench.range(), "Operator_Account", json!(CUSTOMER)),
        "Peer_Account",
        json!(AGENT),
    );
    assert!(bench.pages(customers).await.concat().is_empty());
}
