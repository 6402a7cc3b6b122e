//! What the clients of agents and customers really send, and what they show of what they get, as collected from published
//! kits and public reports.

use serde_json::{Value, json};

use crate::customer_media::await_elements;
use crate::observe::{await_sends, counter_value, greeted, notices, stored};
use crate::raw_http::{self, callback_path};
use crate::world::{INQUIRY, SOON, World, await_texts, eventually, openid};

/// An agent's message as its client causes IM to call us.
fn callback(customer: &str, seq: u64, elements: &Value, more: &Value) -> Value {
    let mut body = json!({
        "CallbackCommand": "C2C.CallbackAfterSendMsg", "From_Account": "user1", "To_Account": customer,
        "MsgSeq": seq, "MsgRandom": seq + 7, "MsgTime": crate::raw_http::started_s() + i64::try_from(seq).unwrap(), "MsgKey": format!("{seq}_{}_1", seq + 7),
        "OnlineOnlyFlag": 0, "SendMsgResult": 0, "MsgBody": elements, "CloudCustomData": "",
    });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

async fn post(world: &World, body: impl AsRef<[u8]>) {
    let answer = raw_http::post(&world.public(), &callback_path(world, &[]), body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

fn custom(data: &str) -> Value {
    json!([{"MsgType": "TIMCustomElem", "MsgContent": {"Data": data, "Desc": "", "Ext": ""}}])
}

fn text(words: &str) -> Value {
    json!([{"MsgType": "TIMTextElem", "MsgContent": {"Text": words}}])
}

#[tokio::test]
async fn a_typing_agent_costs_nothing_and_the_customers_phone_shows_it() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "typing").await, openid("typing"));
    let left = phone.sends_left();
    let ignored = "wechat_im_bridge_ignored_callbacks_total{reason=\"online_only\"}";
    let signal = |on: u8| {
        custom(&format!(
            r#"{{"businessID":"user_typing_status","typingStatus":{on},"version":1,"userAction":14,"actionParam":"x"}}"#
        ))
    };
    for (seq, flag) in [(1, json!(1)), (2, json!("1")), (3, json!(0))] {
        let body = callback(&customer, seq, &signal(1), &json!({"OnlineOnlyFlag": flag}));
        post(&world, body.to_string()).await;
    }
    let plain = callback(&customer, 4, &text("正在输入中"), &json!({"OnlineOnlyFlag": 1}));
    post(&world, plain.to_string()).await;
    assert_eq!(counter_value(&world, ignored).await, 4);
    let called = "wechat_im_bridge_calls_total{platform=\"wechat\",api=\"custom/typing\",outcome=\"ok\"}";
    let shown = eventually(SOON, async || counter_value(&world, called).await == 1).await;
    assert!(shown, "the phone does not show that the agent types: {}", world.metrics().await);
    post(&world, callback(&customer, 5, &signal(0), &json!({"OnlineOnlyFlag": 1})).to_string()).await;
    assert!(eventually(SOON, async || counter_value(&world, called).await == 2).await, "it does not stop");
    assert!(stored(&world, &customer).await.is_empty(), "a signal was stored");
    assert_eq!(phone.sends_left(), left);
    assert!(notices(&world.agent(), &customer).is_empty());
    world.finish().await;
}

#[tokio::test]
async fn what_agents_clients_send_reaches_the_customer_as_words() {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, "kits").await, openid("kits"));
    let reply = json!({"messageReply": {"messageID": "1", "messageAbstract": "几点发货?", "messageType": 1}})
        .to_string();
    let relay = json!([{"MsgType": "TIMRelayElem", "MsgContent": {"Title": "Group chat history", "MsgNum": 2,
        "CompatibleText": "please upgrade to the latest version", "AbstractList": ["A: what?", "B: good"]}}]);
    let face = json!([{"MsgType": "TIMFaceElem", "MsgContent": {"Index": 4351, "Data": "yz05@2x"}}]);
    let cases = [
        (text("您好[TUIEmoji_Smile]稍等"), json!({}), "您好🙂稍等"),
        (text("是的"), json!({"CloudCustomData": reply}), "「几点发货?」\n是的"),
        (text(&format!("{INQUIRY}is it in stock?")), json!({}), "is it in stock?"),
        (
            custom(r#"{"businessID":"text_link","text":"Welcome","link":"https://example.com/help"}"#),
            json!({}),
            "Welcome\nhttps://example.com/help",
        ),
        (relay, json!({}), "Group chat history\nA: what?\nB: good"),
        (face, json!({}), "[sticker]"),
    ];
    for (seq, (elements, more, expected)) in (10..).zip(cases) {
        phone.say("and?").await;
        let before = await_sends(&world, &customer, 0).await.len();
        post(&world, callback(&customer, seq, &elements, &more).to_string()).await;
        let sent = await_sends(&world, &customer, before + 1).await;
        assert_eq!(sent.last().map(String::as_str), Some(expected));
    }
    world.finish().await;
}

#[tokio::test]
async fn what_wechat_has_nothing_for_is_told_to_the_agent_and_never_to_the_customer() {
    let world = World::start().await;
    let (_phone, customer) = (greeted(&world, "calls").await, openid("calls"));
    let call = |action: u8| {
        custom(&format!(
            r#"{{"businessID":1,"inviteID":"1","inviter":"user1","inviteeList":["{customer}"],"actionType":{action},"groupID":"","timeout":30,"data":"{{}}"}}"#
        ))
    };
    let plugin = custom(r#"{"customerServicePlugin":0,"src":"26"}"#);
    for (seq, elements) in [(20, call(1)), (21, call(2)), (22, plugin)] {
        post(&world, callback(&customer, seq, &elements, &json!({})).to_string()).await;
    }
    let told = eventually(SOON, async || notices(&world.agent(), &customer).len() == 1).await;
    let notices = notices(&world.agent(), &customer);
    assert!(told && notices[0].contains("cannot be called"), "{notices:?}");
    assert!(await_sends(&world, &customer, 0).await.is_empty());
    world.finish().await;
}

#[tokio::test]
async fn broken_json_of_agents_clients_is_repaired() {
    let world = World::start().await;
    let (_phone, customer) = (greeted(&world, "broken").await, openid("broken"));
    let body = |seq: u64, words: &str| {
        callback(&customer, seq, &text("WORDS"), &json!({})).to_string().replace("WORDS", words)
    };
    post(&world, body(30, "on its way \\ud83d")).await;
    await_sends(&world, &customer, 1).await;
    post(&world, body(31, "\u{1b}[0;32mboot ok\n\tend")).await;
    let sent = await_sends(&world, &customer, 2).await;
    assert_eq!(sent[0], "on its way \u{fffd}");
    assert_eq!(sent[1], "[0;32mboot ok\n\tend");
    world.finish().await;
}

#[tokio::test]
async fn what_wechats_clients_send_reaches_the_agent_as_it_was_typed() {
    let world = World::start().await;
    let (phone, customer) = (world.follower("raw"), openid("raw"));
    let agent = world.agent();
    let account = world.wechat.settings().account_id.clone();
    let now = world.clock.now().seconds();
    let push = |id: u64, kind: &str, fields: &str| {
        format!(
            "<xml><ToUserName><![CDATA[{account}]]></ToUserName><FromUserName><![CDATA[{customer}]]></FromUserName>\
             <CreateTime>{now}</CreateTime><MsgType><![CDATA[{kind}]]></MsgType>{fields}<MsgId>{id}</MsgId></xml>"
        )
    };
    let content = |words: &str| format!("<Content><![CDATA[{words}]]></Content>");
    let nested = "<xml><status><![CDATA[paid]]></status><note>please check</note></xml>";
    let json = format!(
        r#"{{"ToUserName":"{account}","FromUserName":"{customer}","CreateTime":{now},"MsgType":"text","Content":"666","MsgId":5}}"#
    );
    let bodies = [
        (push(1, "text", &content("if (a[b[0]]>c) why?")), "if (a[b[0]]>c) why?"),
        (push(2, "text", &content(nested)), nested),
        (push(3, "text", &content("好的/::)[旺柴]")), "好的🙂🐶"),
        (push(4, "text", "<Content>a < b & c</Content>"), "a < b & c"),
        (json, "666"),
        (
            push(6, "text", &content("who gets this?"))
                .replace(&format!("<ToUserName><![CDATA[{account}]]></ToUserName>"), ""),
            "who gets this?",
        ),
        (
            push(7, "text", &content("【收到不支持的消息类型，暂无法显示】")),
            "[sticker or something else that WeChat shows only in its own console, mp.weixin.qq.com]",
        ),
        (
            push(
                8,
                "file",
                "<Title><![CDATA[offer-2026.pdf]]></Title><FileKey>k</FileKey><FileTotalLen>48213</FileTotalLen>",
            ),
            "[file] offer-2026.pdf (48 KB); WeChat does not hand it out; see mp.weixin.qq.com, or ask for a picture",
        ),
    ];
    for (count, (body, expected)) in bodies.into_iter().enumerate() {
        let attempt = world.wechat.push_raw(&customer, body, |_| {}).await;
        assert_eq!(attempt.status, Some(200), "{expected}");
        let texts = await_texts(&agent, &customer, count + 1).await;
        assert_eq!(texts.last().unwrap(), &format!("{INQUIRY}{expected}"));
    }
    drop(phone);
    world.finish().await;
}

/// Sends each message in the name of the agent, and waits for what the customer gets of it.
async fn arrive(name: &str, cases: impl IntoIterator<Item = (Value, Value, &str)>) {
    let world = World::start().await;
    let (phone, customer) = (greeted(&world, name).await, openid(name));
    for (seq, (elements, more, expected)) in (40..).zip(cases) {
        phone.say("and?").await;
        let before = await_sends(&world, &customer, 0).await.len();
        post(&world, callback(&customer, seq, &elements, &more).to_string()).await;
        let sent = await_sends(&world, &customer, before + 1).await;
        assert_eq!(sent.last().map(String::as_str), Some(expected), "{elements}");
    }
    assert!(notices(&world.agent(), &customer).is_empty(), "{:?}", notices(&world.agent(), &customer));
    world.finish().await;
}

/// Every kit shows the first element of a message and no other one.
#[tokio::test]
async fn a_card_stands_in_words_in_the_first_element() {
    let world = World::start().await;
    let (phone, customer) = (world.follower("cards"), openid("cards"));
    phone.send_link("A title", "About it", "https://example.com/a").await;
    let link = await_elements(&world, &customer, 1).await;
    phone.send_mini_program("A program", "wx9", "pages/index").await;
    let program = await_elements(&world, &customer, 2).await;
    for (elements, words) in
        [(&link, &["A title", "About it", "https://example.com/a"][..]), (&program, &["A program"])]
    {
        assert_eq!(
            (&elements[0]["MsgType"], &elements[1]["MsgType"]),
            (&"TIMTextElem".into(), &"TIMCustomElem".into())
        );
        let shown = elements[0]["MsgContent"]["Text"].as_str().unwrap();
        assert!(shown.starts_with(INQUIRY) && words.iter().all(|word| shown.contains(word)), "{shown}");
        let data: Value = serde_json::from_str(elements[1]["MsgContent"]["Data"].as_str().unwrap()).unwrap();
        assert_eq!(data["businessID"], "text_link", "{data}");
        assert!(data["wx"].is_string(), "{data}");
    }
    world.finish().await;
}

#[tokio::test]
async fn a_place_stands_in_words_in_the_first_element() {
    let world = World::start().await;
    let (phone, customer) = (world.follower("place"), openid("place"));
    for (count, label) in [(1, "Huangpu"), (2, "")] {
        phone.send_location(31.230_416, 121.473_701, 16, label).await;
        let elements = await_elements(&world, &customer, count).await;
        assert_eq!(
            (&elements[0]["MsgType"], &elements[1]["MsgType"]),
            (&"TIMTextElem".into(), &"TIMLocationElem".into())
        );
        let shown = elements[0]["MsgContent"]["Text"].as_str().unwrap();
        let map = "https://apis.map.qq.com/uri/v1/marker?marker=coord:31.230416,121.473701;title:";
        assert!([label, "31.230416,121.473701", map].iter().all(|part| shown.contains(part)), "{shown}");
    }
    world.finish().await;
}

#[tokio::test]
async fn custom_elements_of_kits_and_house_apps_are_words() {
    let order = r#"{"businessID":"order","title":"Coat","description":"blue","price":"$20","link":"https://example.com/o","imageUrl":"x"}"#;
    arrive(
        "custom",
        [
            (custom(order), json!({}), "Coat\nblue\n$20\nhttps://example.com/o"),
            (custom(r#"{"businessID":"evaluation","score":4,"comment":"fine"}"#), json!({}), "★★★★\nfine"),
            (custom(r#"{"kind":"own","content":"from our app"}"#), json!({}), "from our app"),
            (
                custom(r#"{"title":"Sale","url":"https://example.com/s"}"#),
                json!({}),
                "Sale\nhttps://example.com/s",
            ),
            (custom("no JSON at all"), json!({}), "no JSON at all"),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_object_without_words_never_reaches_the_customer() {
    let world = World::start().await;
    let (_phone, customer) = (greeted(&world, "object").await, openid("object"));
    let silent = [
        "consultion",
        r#"{"businessID":"group_create","version":4}"#,
        r#"{"a":{"b":[1,2]}}"#,
        r#"{"text":"{\"inner\":1}"}"#,
        "[1,2,3]",
        r#"{"cut":"#,
    ];
    for (seq, data) in (60..).zip(silent) {
        post(&world, callback(&customer, seq, &custom(data), &json!({})).to_string()).await;
    }
    post(&world, callback(&customer, 70, &text("the next one"), &json!({})).to_string()).await;
    assert_eq!(await_sends(&world, &customer, 1).await, ["the next one"]);
    let told = eventually(SOON, async || {
        let told = notices(&world.agent(), &customer).concat();
        told.matches("does not exist in WeChat").count() == silent.len()
    });
    assert!(told.await, "{:?}", notices(&world.agent(), &customer));
    world.finish().await;
}

#[tokio::test]
async fn a_forward_without_a_digest_shows_the_text_that_it_has() {
    let relay = |title: &str, digest: &[&str]| {
        json!([{"MsgType": "TIMRelayElem", "MsgContent": {"Title": title, "AbstractList": digest,
            "CompatibleText": "please upgrade"}}])
    };
    arrive(
        "forward",
        [
            (relay("Chat", &["A: 1"]), json!({}), "Chat\nA: 1"),
            (relay("Chat", &[]), json!({}), "Chat"),
            (relay("", &[]), json!({}), "please upgrade"),
        ],
    )
    .await;
}

#[tokio::test]
async fn every_spelling_of_an_unsupported_message_is_the_honest_line() {
    let world = World::start().await;
    let (phone, customer) = (world.follower("gif"), openid("gif"));
    let honest = "[sticker or something else that WeChat shows only in its own console, mp.weixin.qq.com]";
    for (count, spelling) in [
        (1, "【收到不支持的消息类型，暂无法显示】"),
        (2, "[收到不支持的消息类型，暂时无法显示]"),
        (3, "[Unsupported Message]"),
    ] {
        phone.say(spelling).await;
        let texts = await_texts(&world.agent(), &customer, count).await;
        assert_eq!(texts.last().unwrap(), &format!("{INQUIRY}{honest}"), "{spelling}");
    }
    phone.say("what does [Unsupported Message] mean?").await;
    let texts = await_texts(&world.agent(), &customer, 4).await;
    assert_eq!(texts.last().unwrap(), &format!("{INQUIRY}what does [Unsupported Message] mean?"));
    world.finish().await;
}

#[tokio::test]
async fn emoticon_codes_and_private_characters_are_emoji_for_the_agent() {
    let world = World::start().await;
    let (phone, customer) = (world.follower("faces"), openid("faces"));
    for (count, (typed, shown)) in (1..).zip([
        ("好的/::)[旺柴]/:rose", "好的🙂🐶🌹"),
        ("\u{e415} hi", "😄 hi"),
        ("https://a.example/:v", "https://a.example/:v"),
    ]) {
        phone.say(typed).await;
        let texts = await_texts(&world.agent(), &customer, count).await;
        assert_eq!(texts.last().unwrap(), &format!("{INQUIRY}{shown}"));
    }
    world.finish().await;
}

#[tokio::test]
async fn a_quote_shows_what_it_answers_but_never_a_notice() {
    let quoting = |words: &str, kind: u8| {
        let reply = json!({"messageReply": {"messageID": "1", "messageAbstract": words, "messageSender": "x",
            "messageType": kind, "version": 1}});
        json!({"CloudCustomData": reply.to_string()})
    };
    let long = "尺".repeat(60);
    let cut = format!("「{}…」\nyes", "尺".repeat(40));
    let inquiry = format!("{INQUIRY}几点发货?");
    arrive(
        "quote",
        [
            (text("yes"), quoting(&inquiry, 1), "「几点发货?」\nyes"),
            (text("yes"), quoting("[图片]", 3), "「[图片]」\nyes"),
            (text("yes"), quoting(&long, 1), cut.as_str()),
            (text("yes"), quoting("[bridge] “x” is held", 1), "yes"),
            (text("yes"), quoting("[TUIEmoji_Smile]", 1), "「🙂」\nyes"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_sticker_of_any_kit_is_a_word() {
    let face = |name: &str| json!([{"MsgType": "TIMFaceElem", "MsgContent": {"Index": 4350, "Data": name}}]);
    arrive("sticker", ["yz00", "ys01@2x", "gcs03", "tt01"].map(|name| (face(name), json!({}), "[sticker]")))
        .await;
}
