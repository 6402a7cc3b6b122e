//! What an agent's client sends as Tencent's kit, seen by the receiver of the webhooks.

use super::webhooks::connected;
use super::*;

fn typing_status(webhook: &super::webhooks::ReceivedWebhook) -> i64 {
    let data = webhook.body["MsgBody"][0]["MsgContent"]["Data"].as_str().unwrap();
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["businessID"], "user_typing_status");
    data["typingStatus"].as_i64().unwrap()
}

#[tokio::test]
async fn a_composer_signals_typing_as_the_kit_does() {
    let (bench, receiver) = connected().await;
    let compose = async |text: &str| bench.agent.compose(CUSTOMER, text).await.unwrap();
    assert!(!compose("h").await, "the customer has not written");
    bench.send(&bench.message("hello")).await;
    assert!(compose("h").await);
    bench.clock.advance(4_900);
    assert!(!compose("hi").await, "it began less than five seconds ago");
    bench.clock.advance(200);
    assert!(compose("hi you").await);
    assert!(compose("").await && !compose("").await, "it ends once");
    bench.clock.advance(5_000);
    assert!(compose("again").await);
    bench.agent.say(CUSTOMER, "again").await.unwrap();
    bench.clock.advance(25_000);
    assert!(!compose("late").await, "the customer wrote more than 30 seconds ago");

    let webhooks = receiver.wait(6).await;
    let signals: Vec<_> =
        webhooks.iter().filter(|webhook| webhook.body["OnlineOnlyFlag"] == 1).map(typing_status).collect();
    assert_eq!(signals, [1, 1, 0, 1, 0]);
    let answer = webhooks.last().unwrap();
    let flags = (&answer.body["OnlineOnlyFlag"], &answer.body["IsNeedReadReceipt"]);
    assert_eq!(flags, (&json!(0), &json!(1)), "the answer comes after the end of the signal");
    assert_eq!(texts(&bench.agent.conversation(CUSTOMER)), ["hello", "again"], "signals are in no history");
    let history = json!({"Operator_Account": AGENT, "Peer_Account": CUSTOMER, "MaxCnt": 10, "MinTime": 0,
                         "MaxTime": bench.now()});
    assert_eq!(bench.call("openim/admin_getroammsg", &history).await["MsgCnt"], 2);
}

#[tokio::test]
async fn a_phone_signals_only_if_the_customers_message_asks_for_it() {
    let (bench, _receiver) = connected().await;
    let phone = bench.agent.clone().on_phone();
    bench.send(&bench.message("hello")).await;
    assert!(!phone.compose(CUSTOMER, "h").await.unwrap());
    let asks = json!({"messageFeature": {"needTyping": 1, "version": 1}}).to_string();
    bench.send(&with_field(bench.message("hello?"), "CloudCustomData", json!(asks))).await;
    assert!(phone.compose(CUSTOMER, "h").await.unwrap());
}

#[tokio::test]
async fn a_message_can_be_taken_back_for_two_minutes_and_edited() {
    let (bench, receiver) = connected().await;
    let sent = bench.agent.say(CUSTOMER, "9 yuan").await.unwrap();
    let edited = json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": "90 yuan"}}]);
    bench.agent.edit(CUSTOMER, &sent.msg_key, edited.clone()).await.unwrap();
    assert_eq!(texts(&bench.agent.conversation(CUSTOMER)), ["90 yuan"]);
    bench.agent.withdraw(CUSTOMER, &sent.msg_key).await.unwrap();
    assert_eq!(bench.agent.withdraw(CUSTOMER, &sent.msg_key).await.unwrap_err().code, 20023);
    assert!(bench.agent.conversation(CUSTOMER).is_empty());
    let old = bench.agent.say(CUSTOMER, "old").await.unwrap();
    bench.clock.advance(121_000);
    assert_eq!(bench.agent.withdraw(CUSTOMER, &old.msg_key).await.unwrap_err().code, 20016);

    let webhooks = receiver.wait(4).await;
    let commands: Vec<_> = webhooks.iter().map(|webhook| webhook.query["CallbackCommand"].as_str()).collect();
    let after_send = "C2C.CallbackAfterSendMsg";
    assert_eq!(
        commands,
        [after_send, "C2C.CallbackAfterModifyMsg", "C2C.CallbackAfterMsgWithDraw", after_send]
    );
    assert_eq!((&webhooks[1].body["MsgBody"], &webhooks[1].body["MsgKey"]), (&edited, &json!(sent.msg_key)));
    assert_eq!(webhooks[2].body["MsgKey"], json!(sent.msg_key));
}

#[tokio::test]
async fn quotes_forwards_calls_and_programs_are_sent_in_the_kits_forms() {
    let (bench, receiver) = connected().await;
    bench.send(&bench.message("when?")).await;
    let question = bench.agent.conversation(CUSTOMER).remove(0);
    bench.agent.quote(CUSTOMER, &question, "at nine").await.unwrap();
    bench.agent.forward_merged(CUSTOMER, "Chat history", &["A: one".into()]).await.unwrap();
    bench.agent.press_call(CUSTOMER).await.unwrap();
    bench.agent.answer_by_rest(CUSTOMER, "I am a bot").await.unwrap();
    let webhooks = receiver.wait(5).await;
    let custom: Value = serde_json::from_str(webhooks[0].body["CloudCustomData"].as_str().unwrap()).unwrap();
    assert_eq!(custom["messageReply"]["messageAbstract"], "when?");
    assert_eq!(webhooks[1].body["MsgBody"][0]["MsgContent"]["CompatibleText"], "please upgrade the SDK");
    let actions: Vec<_> = webhooks[2..4]
        .iter()
        .map(|webhook| {
            let data = webhook.body["MsgBody"][0]["MsgContent"]["Data"].as_str().unwrap();
            serde_json::from_str::<Value>(data).unwrap()["actionType"].as_i64().unwrap()
        })
        .collect();
    assert_eq!(actions, [1, 2]);
    assert_eq!(webhooks[4].query["OptPlatform"], "RESTAPI");
}
