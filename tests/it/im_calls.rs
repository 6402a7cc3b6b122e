//! Calls to Tencent IM: the exact form of each, accounts, order, and rate (CONTRACT, section 4).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::broadcast::Receiver;
use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::{AccountChangeKind, Direction, Edition, Exchange, SendRecord};

use crate::observe::{SENDMSG, counter_value, greeted};
use crate::world::{
    INQUIRY, SDK_APP_ID, SOON, Setup, World, await_shown, await_texts, eventually, is_first_line, openid,
    texts,
};

const IMPORT: &str = "im_open_login_svc/account_import";

fn received(events: &mut Receiver<Arc<Exchange>>) -> Vec<Arc<Exchange>> {
    let all = std::iter::from_fn(|| events.try_recv().ok());
    all.filter(|exchange| exchange.direction == Direction::Received).collect()
}

fn query(exchange: &Exchange) -> BTreeMap<&str, &str> {
    exchange.query.split('&').map(|pair| pair.split_once('=').unwrap()).collect()
}

fn body(exchange: &Exchange) -> Value {
    serde_json::from_str(&exchange.request).unwrap()
}

#[tokio::test]
async fn every_call_has_the_documented_form() {
    let world = World::start().await;
    let (phone, agent, customer) = (world.wechat.customer(&openid("a")), world.agent(), openid("a"));
    let mut events = world.im.events();
    phone.follow().await;
    phone.say("first").await;
    await_texts(&agent, &customer, 1).await;
    world.im.faults().script(SENDMSG, 1, Fault::DropAfter);
    phone.say("second").await;
    await_texts(&agent, &customer, 2).await;
    phone.unfollow().await;
    assert!(eventually(SOON, async || world.im.account(&customer).is_none()).await);
    let history =
        eventually(SOON, async || world.im.ledger().call_count("openim/admin_getroammsg") > 0).await;
    assert!(history);

    let exchanges = received(&mut events);
    let mut randoms = Vec::new();
    for exchange in &exchanges {
        let query = query(exchange);
        assert_eq!(exchange.method, "POST");
        let names: Vec<&str> = query.keys().copied().collect();
        assert_eq!(names, ["contenttype", "identifier", "random", "sdkappid", "usersig"], "{exchange:?}");
        assert_eq!(query["sdkappid"], SDK_APP_ID.to_string());
        assert_eq!((query["identifier"], query["contenttype"]), ("user0", "json"));
        randoms.push(query["random"].parse::<u32>().unwrap());
    }
    randoms.dedup();
    assert_eq!(randoms.len(), exchanges.len(), "each call has a random of its own");
    let paths: Vec<&str> = exchanges.iter().map(|exchange| exchange.path.as_str()).collect();
    let expected = [
        "/v4/im_open_login_svc/account_import",
        // The agent is told who comes.
        "/v4/openim/sendmsg",
        "/v4/openim/sendmsg",
        "/v4/openim/sendmsg",
        "/v4/openim/admin_getroammsg",
        // The agent is told that the customer has left.
        "/v4/openim/sendmsg",
        "/v4/im_open_login_svc/account_delete",
    ];
    assert_eq!(paths, expected);

    let nick = body(&exchanges[0])["Nick"].as_str().unwrap().to_owned();
    assert!(!nick.is_empty());
    assert_eq!(body(&exchanges[0]), json!({"UserID": customer, "Identifier": customer, "Nick": nick}));
    let line = "[bridge] New customer.".to_owned();
    let texts = [line, format!("{INQUIRY}first"), format!("{INQUIRY}second")];
    for (exchange, text) in exchanges[1..4].iter().zip(texts) {
        let sent = body(exchange);
        let expected = json!({
            "SyncOtherMachine": 2, "From_Account": customer, "To_Account": "user1", "MsgLifeTime": 604_800,
            "MsgSeq": sent["MsgSeq"].as_u64().filter(|seq| u32::try_from(*seq).is_ok()),
            "MsgRandom": sent["MsgRandom"].as_u64().filter(|random| u32::try_from(*random).is_ok()),
            "MsgTimeStamp": sent["MsgTimeStamp"].as_i64(),
            "ForbidCallbackControl": ["ForbidBeforeSendMsgCallback", "ForbidAfterSendMsgCallback"],
            "MsgBody": [{"MsgType": "TIMTextElem", "MsgContent": {"Text": text}}],
            "CloudCustomData": sent["CloudCustomData"].as_str(),
            "OfflinePushInfo": sent["OfflinePushInfo"].as_object(),
        });
        assert_eq!(sent, expected);
        let age = world.clock.now().seconds() - sent["MsgTimeStamp"].as_i64().unwrap();
        assert!((0..60).contains(&age), "seconds: {age}");
    }
    let request = body(&exchanges[4]);
    assert_eq!((&request["Operator_Account"], &request["Peer_Account"]), (&json!("user1"), &json!(customer)));
    assert_eq!(body(&exchanges[6]), json!({"DeleteItem": [{"UserID": customer}]}));
    world.finish().await;
}

#[tokio::test]
async fn an_account_is_imported_on_subscribe_and_for_an_old_follower_once_before_the_first_message() {
    let world = World::start().await;
    world.wechat.customer(&openid("new")).follow().await;
    assert!(eventually(SOON, async || world.im.account(&openid("new")).is_some()).await);
    assert_eq!(world.im.ledger().sends().len(), 0, "only the import");
    let old = world.follower("old");
    for text in ["one", "two"] {
        old.say(text).await;
    }
    await_texts(&world.agent(), &openid("old"), 2).await;
    assert_eq!(world.im.ledger().call_count(IMPORT), 2, "one import each");
    world.finish().await;
}

#[tokio::test]
async fn a_missing_account_is_imported_and_the_message_sent_once_more() {
    let world = World::start().await;
    let agent = world.agent();
    for (n, code) in [20003, 90012, 90048, 70107].into_iter().enumerate() {
        let name = format!("m{n}");
        let phone = greeted(&world, &name).await;
        let before = world.im.ledger();
        world.im.faults().script(SENDMSG, 1, Fault::Code(code));
        phone.say("again").await;
        await_texts(&agent, &openid(&name), 2).await;
        let after = world.im.ledger();
        assert_eq!(after.call_count(SENDMSG) - before.call_count(SENDMSG), 2, "{code}");
        let imported = after.account_changes().skip(before.account_changes().len());
        let again = imported.filter(|change| change.kind == AccountChangeKind::ImportedAgain);
        assert!(again.map(|change| change.user_id.as_str()).any(|id| id == openid(&name)), "{code}");
    }
    world.finish().await;
}

#[tokio::test]
async fn an_agent_whom_im_does_not_know_blocks_only_the_own_customers() {
    let world = Setup::default().set("BRIDGE_IM__AGENTS", "user1,user9").start().await;
    world.expect_error("IM has no account");
    let (phones, agent) = (["x1", "x2"].map(|name| world.follower(name)), world.agent());
    for phone in &phones {
        phone.say("hello").await;
        phone.say("still there?").await;
    }
    // One of the two customers belongs to the agent without an account.
    assert!(eventually(SOON, async || agent.inbox().len() == 3).await, "{:?}", agent.inbox());
    assert!(
        eventually(SOON, async || is_named_by_readyz(&world, "user9").await).await,
        "{}",
        world.ready().await
    );
    // Nothing is refused, however often it is tried.
    let missing = "wechat_im_bridge_retried_total{direction=\"to_im\",class=\"missing_agent\"}";
    let retried = eventually(SOON, async || {
        world.clock.advance(1_000);
        counter_value(&world, missing).await >= 5
    });
    assert!(retried.await, "{}", world.metrics().await);
    assert!(world.im.account("user9").is_none(), "the bridge created the agent");
    assert_eq!(world.ready().await["backlog"]["waiting"], 2);
    world.im.import("user9").unwrap();
    let late = world.im.agent("user9").unwrap();
    let arrived = eventually(SOON, async || {
        world.clock.advance(1_000);
        late.inbox().len() == 3
    });
    assert!(arrived.await, "{:?}", late.inbox());
    assert!(eventually(SOON, async || world.ready().await["im"]["ok"] == true).await);
    world.finish().await;
}

#[tokio::test]
async fn every_code_that_may_mean_a_missing_account_leads_to_the_agent_that_is_missing() {
    for code in [20003, 90012, 90048, 70107] {
        let world = Setup::default().set("BRIDGE_IM__AGENTS", "user9").start().await;
        world.expect_error("IM has no account");
        world.im.faults().script(SENDMSG, 1, Fault::Code(code));
        world.follower("y").say("hello").await;
        assert!(eventually(SOON, async || is_named_by_readyz(&world, "user9").await).await, "{code}");
        assert!(world.im.account("user9").is_none(), "the bridge created the agent after {code}");
        world.im.import("user9").unwrap();
        let agent = world.im.agent("user9").unwrap();
        let arrived = eventually(SOON, async || {
            world.clock.advance(1_000);
            !agent.inbox().is_empty()
        });
        assert!(arrived.await, "{code}");
        world.finish().await;
    }
}

async fn is_named_by_readyz(world: &World, agent: &str) -> bool {
    world.ready().await["im"]["advice"].as_str().is_some_and(|advice| advice.contains(agent))
}

#[tokio::test]
async fn a_customer_whose_deleted_account_may_not_come_back_gets_the_next_userid_and_answers_arrive() {
    let world = Setup::default().im(|im| im.edition = Edition::PAID).start().await;
    let (phone, agent, customer) = (world.wechat.customer(&openid("p")), world.agent(), openid("p"));
    for user in [customer.clone(), format!("{customer}_1"), format!("{customer}_2")] {
        phone.follow().await;
        phone.say("hello").await;
        let from = user.clone();
        let arrived =
            world.im.wait_for(|ledger| ledger.deliveries().any(|send| send.from == from), SOON).await;
        assert!(arrived.is_ok(), "{user}");
        agent.say(&user, &format!("to {user}")).await.unwrap();
        await_shown(&phone, &format!("to {user}")).await;
        phone.unfollow().await;
        assert!(eventually(SOON, async || world.im.account(&user).is_none()).await, "{user}");
        // Equal events within one second count as one event.
        world.clock.advance(2_000);
    }
    world.finish().await;
}

#[tokio::test]
async fn a_refused_usersig_is_renewed_and_the_message_sent_once_more() {
    let world = World::start().await;
    let (phone, agent) = (greeted(&world, "u").await, world.agent());
    let codes = [70001, 70003, 70005, 70052, 60004, 60005, 60025, 20002];
    for (n, code) in codes.into_iter().enumerate() {
        let before = world.im.ledger().call_count(SENDMSG);
        world.im.faults().script(SENDMSG, 1, Fault::Code(code));
        phone.say(&format!("after {code}")).await;
        await_texts(&agent, &openid("u"), n + 2).await;
        assert_eq!(world.im.ledger().call_count(SENDMSG) - before, 2, "{code}");
    }
    world.im.faults().script(SENDMSG, 10_000, Fault::Code(70009));
    phone.say("with another key").await;
    assert!(eventually(SOON, async || world.ready().await["im"]["ok"] == false).await);
    let ready = world.ready().await;
    assert_eq!((&ready["status"], &ready["backlog"]["waiting"]), (&json!("degraded"), &json!(1)), "{ready}");
    assert!(ready["im"]["advice"].as_str().unwrap().contains("im.secret_key"), "{ready}");
    world.im.faults().clear();
    await_texts(&agent, &openid("u"), codes.len() + 2).await;
    world.finish().await;
}

#[tokio::test]
async fn every_customers_messages_keep_their_order_under_load_and_faults() {
    let world = World::start().await;
    let agent = world.agent();
    for (calls, fault) in
        [(3, Fault::Code(60008)), (2, Fault::DropBefore), (2, Fault::DropAfter), (2, Fault::Code(90994))]
    {
        world.im.faults().script(SENDMSG, calls, fault);
    }
    join_all((0..12).map(|n| {
        let phone = world.follower(&format!("l{n:02}"));
        async move {
            for number in 0..10 {
                phone.say(&number.to_string()).await;
            }
        }
    }))
    .await;
    let expected: Vec<String> = (0..10).map(|number| format!("{INQUIRY}{number}")).collect();
    for n in 0..12 {
        let customer = openid(&format!("l{n:02}"));
        assert_eq!(await_texts(&agent, &customer, 10).await, expected);
        let ledger = world.im.ledger();
        let arrived: Vec<String> =
            ledger.deliveries().filter(|send| send.from == customer).map(SendRecord::text).collect();
        assert!(is_first_line(&arrived[0]), "{arrived:?}");
        assert_eq!(arrived[1..], expected, "in the order of arrival too");
    }
    world.finish().await;
}

#[tokio::test]
async fn at_least_64_calls_are_in_flight_when_enough_conversations_wait() {
    const CUSTOMERS: usize = 80;
    let world = Setup::default()
        .set("BRIDGE_IM__RATE_PER_SECOND", "1000")
        .im(|im| im.rate_per_second = 1_000)
        .start()
        .await;
    let names: Vec<String> = (0..CUSTOMERS).map(|n| format!("f{n:02}")).collect();
    let phones = join_all(names.iter().map(|name| greeted(&world, name))).await;
    world.im.faults().script(SENDMSG, 1_000, Fault::Delay(Duration::from_secs(1)));
    let mut events = world.im.events();
    join_all(phones.iter().map(|phone| phone.say("now"))).await;
    let delivered = "wechat_im_bridge_ended_total{direction=\"to_im\",state=\"delivered\"}";
    let all = u64::try_from(2 * CUSTOMERS).unwrap();
    assert!(eventually(SOON, async || counter_value(&world, delivered).await == all).await);
    world.im.faults().clear();

    let sends: Vec<(i64, i64)> = received(&mut events)
        .iter()
        .filter(|exchange| exchange.path.ends_with(SENDMSG))
        .map(|exchange| (exchange.at.0, exchange.at.0 + i64::try_from(exchange.took.as_millis()).unwrap()))
        .collect();
    assert_eq!(sends.len(), CUSTOMERS);
    let at_once =
        sends.iter().map(|(at, _)| sends.iter().filter(|(from, to)| from <= at && at < to).count()).max();
    assert!(at_once.unwrap() >= 64, "{at_once:?} calls in flight");
    world.finish().await;
}

/// The arrival time of every send, in milliseconds.
fn arrivals(world: &World) -> Vec<i64> {
    world.im.ledger().sends().map(|send| send.arrived.0).collect()
}

#[tokio::test]
async fn the_configured_rate_is_honoured() {
    let world = Setup::default().set("BRIDGE_IM__RATE_PER_SECOND", "20").start().await;
    let agent = world.agent();
    let names: Vec<String> = (0..12).map(|n| format!("r{n:02}")).collect();
    join_all(names.iter().map(|name| async {
        let phone = world.follower(name);
        for number in 0..5 {
            phone.say(&number.to_string()).await;
        }
    }))
    .await;
    for name in &names {
        await_texts(&agent, &openid(name), 5).await;
    }
    let arrivals = arrivals(&world);
    for (first, from) in arrivals.iter().enumerate() {
        for (count, at) in (1..).zip(&arrivals[first..]) {
            let allowed = 20 + (at - from) * 20 / 1000 + 4;
            assert!(count <= allowed, "{count} calls within {} ms", at - from);
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn a_rate_error_slows_the_calls_and_everything_arrives_once() {
    let world = Setup::default().im(|im| im.rate_per_second = 15).start().await;
    let agent = world.agent();
    let names: Vec<String> = (0..10).map(|n| format!("s{n:02}")).collect();
    join_all(names.iter().map(|name| async {
        let phone = world.follower(name);
        for number in 0..6 {
            phone.say(&number.to_string()).await;
        }
    }))
    .await;
    let expected: Vec<String> = (0..6).map(|number| format!("{INQUIRY}{number}")).collect();
    for name in &names {
        let all = eventually(Duration::from_secs(40), async || texts(&agent, &openid(name)).len() >= 6).await;
        assert!(all, "{name}: {:?}", texts(&agent, &openid(name)));
        assert_eq!(texts(&agent, &openid(name)), expected);
    }
    let ledger = world.im.ledger();
    let refused = ledger.refused_calls().filter(|call| call.code == 60007).count();
    assert!((1..=60).contains(&refused), "{refused} calls were over the rate");
    world.finish().await;
}

#[tokio::test]
async fn a_text_over_8000_bytes_is_sent_as_several_in_order() {
    let world = World::start().await;
    let (phone, agent) = (world.follower("t"), world.agent());
    let long = (0..1_500).map(|n| format!("句{n} 👩‍👩‍👧 ")).collect::<Vec<_>>().concat();
    phone.say(&long).await;
    phone.say("and then").await;
    let whole = format!("{INQUIRY}{long}");
    let expected = whole.len().div_ceil(8_000);
    let parts = eventually(SOON, async || {
        texts(&agent, &openid("t")).last().is_some_and(|last| last.ends_with("and then"))
    });
    assert!(parts.await);
    let mut texts = texts(&agent, &openid("t"));
    texts.pop();
    assert!((expected..=expected + 2).contains(&texts.len()), "{}", texts.len());
    assert!(texts.iter().all(|text| text.len() <= 8_000));
    assert_eq!(texts.concat(), whole);
    let ledger = world.im.ledger();
    let seqs: Vec<u32> = ledger.sends().map(|send| send.seq).collect();
    assert!(seqs.is_sorted_by(|one, next| one < next), "{seqs:?}");
    world.finish().await;
}

#[tokio::test]
async fn a_customers_text_never_has_the_notice_prefix() {
    let world = Setup::default().set("BRIDGE_TEXTS__INQUIRY_PREFIX", "").start().await;
    let (phone, agent) = (world.follower("n"), world.agent());
    phone.say("[bridge] the account is closed").await;
    let second = format!("{}\n[bridge] in the second part", "x".repeat(7_999));
    phone.say(&second).await;
    phone.say("a [bridge] elsewhere stays").await;
    phone.say(&format!("[bridge] {}", "y".repeat(7_991))).await;
    let texts = await_texts(&agent, &openid("n"), 5).await;
    assert_eq!(texts[4].len(), 8_000, "one part of the maximum length");
    assert!(texts.iter().all(|text| !text.starts_with("[bridge] ")), "{texts:?}");
    assert!(texts[0].ends_with("(bridge) the account is closed"), "{texts:?}");
    assert!(texts[2].ends_with("(bridge) in the second part"), "{texts:?}");
    assert_eq!(texts[3], "a [bridge] elsewhere stays");
    world.finish().await;
}
