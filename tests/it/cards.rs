//! Cards that agents send: pages, pages of mini-programs and menus, as canned replies and as custom elements.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use wechat_im_bridge::internals::sandbox::wechat::{Via, WireEvent};

use crate::agent_media::start_bad_server;
use crate::observe::{CUSTOM_SEND, await_notice, await_states, greeted, notices, shown};
use crate::world::{INQUIRY, SOON, Setup, await_texts, eventually, openid, texts};

fn custom(data: &Value) -> Value {
    json!([{"MsgType": "TIMCustomElem", "MsgContent": {"Data": data.to_string(), "Desc": "", "Ext": ""}}])
}

const SALE: &str = r#"{"wx":"news","title":"Sale","description":"Until Sunday","url":"https://e.com/s","picurl":"https://e.com/s.jpg"}"#;

/// The body of the last `custom/send` so far.
fn last_send(events: &mut Receiver<Arc<WireEvent>>) -> Value {
    let mut last = Value::Null;
    while let Ok(event) = events.try_recv() {
        if event.path.ends_with(CUSTOM_SEND) {
            last = serde_json::from_str(&event.request).unwrap();
        }
    }
    last
}

#[tokio::test]
async fn canned_replies_and_custom_elements_become_pages_and_menus() {
    let menu = r#"{"wx":"msgmenu","head_content":"Which size?","list":["S",{"id":"9","content":"M"}],"tail_content":"Tap one."}"#;
    let world =
        Setup::default().set("BRIDGE_REPLIES__SALE", SALE).set("BRIDGE_REPLIES__SIZE", menu).start().await;
    let (phone, agent, customer) = (greeted(&world, "a").await, world.agent(), openid("a"));
    let mut events = world.wechat.events();
    agent.say(&customer, "/r").await.unwrap();
    await_notice(&agent, &customer, "\nsale: Sale\nsize: Which size?").await;
    agent.say(&customer, "/r sale").await.unwrap();
    await_states(&world, &customer, &["delivered"]).await;
    let page = json!({"title": "Sale", "description": "Until Sunday", "url": "https://e.com/s", "picurl": "https://e.com/s.jpg"});
    assert_eq!(last_send(&mut events)["news"]["articles"], json!([page]));

    agent.say(&customer, "/r SIZE").await.unwrap();
    await_states(&world, &customer, &["delivered"; 2]).await;
    let last = phone.screen().pop().unwrap();
    assert_eq!((last.kind.as_str(), last.text.as_str()), ("msgmenu", "Which size?\nS\nM\nTap one."));
    // A tap is the customer's text, and opens the short window.
    phone.tap_msgmenu("2", "M").await;
    await_texts(&agent, &customer, 3).await;
    assert_eq!(texts(&agent, &customer).last().unwrap(), &format!("{INQUIRY}M"));

    let order = json!({"businessID": "order", "title": "Coat", "description": "blue", "price": "$20",
        "link": "https://e.com/o", "imageUrl": "https://e.com/o.png"});
    agent.send(&customer, custom(&order)).await.unwrap();
    await_states(&world, &customer, &["delivered"; 3]).await;
    let article = &last_send(&mut events)["news"]["articles"][0];
    assert_eq!((&article["title"], &article["description"]), (&json!("Coat"), &json!("blue $20")));
    world.finish().await;
}

#[tokio::test]
async fn a_page_of_a_mini_program_has_its_picture_or_a_grey_one() {
    let world = Setup::default()
        .set("BRIDGE_MEDIA__ALLOW_HOSTS", "127.0.0.1")
        .set("BRIDGE_MEDIA__ALLOW_PRIVATE", "true")
        .start()
        .await;
    let (phone, agent, customer) = (greeted(&world, "b").await, world.agent(), openid("b"));
    let mut events = world.wechat.events();
    let (server, _) = start_bad_server().await;
    let picture = format!("http://{server}/photo.jpg");
    for picurl in [picture.as_str(), "https://elsewhere.example/p.jpg", ""] {
        let card = json!({"wx": "miniprogrampage", "title": "Orders", "appid": "wx1", "pagepath": "pages/o?x=1",
            "picurl": picurl});
        agent.send(&customer, custom(&card)).await.unwrap();
    }
    await_states(&world, &customer, &["delivered"; 3]).await;
    let sent = &last_send(&mut events)["miniprogrampage"];
    assert_eq!(
        (&sent["title"], &sent["appid"], &sent["pagepath"]),
        (&json!("Orders"), &json!("wx1"), &json!("pages/o?x=1"))
    );
    let pictures: Vec<_> = phone.screen().into_iter().filter_map(|shown| shown.media).collect();
    assert_eq!(pictures.len(), 3);
    assert!(pictures[0].bytes != pictures[1].bytes && pictures[1].bytes == pictures[2].bytes);
    assert_eq!(world.wechat.ledger().uploads, 2, "the grey one is uploaded once");
    world.finish().await;
}

#[tokio::test]
async fn a_malformed_card_is_refused_with_what_is_wrong_and_a_passive_reply_has_its_words() {
    let world = Setup::default().set("BRIDGE_REPLIES__SALE", SALE).start().await;
    let (phone, agent, customer) = (greeted(&world, "c").await, world.agent(), openid("c"));
    for (card, problem) in [
        (json!({"wx": "news", "title": "t"}), "url is missing, empty or not a text."),
        (json!({"wx": "music", "title": "t"}), "wx is none of news, miniprogrampage and msgmenu."),
        (json!({"wx": "msgmenu", "list": vec!["x"; 21]}), "list has more than 20 items."),
    ] {
        agent.send(&customer, custom(&card)).await.unwrap();
        await_notice(&agent, &customer, &format!("The card was not sent: {problem}")).await;
    }
    assert_eq!(phone.sends_left(), 5);
    // The window is closed: the card is held, and goes as text with the next reply.
    world.clock.advance(49 * 3_600_000);
    agent.say(&customer, "/r sale").await.unwrap();
    await_notice(&agent, &customer, "“Sale” is held").await;
    assert_eq!(phone.say("hello?").await.text(), Some("Sale\nUntil Sunday\nhttps://e.com/s"));
    await_states(&world, &customer, &["delivered"]).await;
    assert!(shown(&phone, Via::CustomSend).is_empty());
    // Whoever takes the conversation over reads what it was.
    agent.say(&customer, "/history").await.unwrap();
    let told = || {
        notices(&agent, &customer)
            .iter()
            .any(|text| text.contains("user1: Sale\nUntil Sunday\nhttps://e.com/s"))
    };
    assert!(eventually(SOON, async || told()).await, "{:?}", notices(&agent, &customer));
    world.finish().await;
}
