//! The line that precedes the first message of a conversation, and those about menu taps and scans within it.

use std::time::Duration;

use wechat_im_bridge::internals::sandbox::fault::Fault;
use wechat_im_bridge::internals::sandbox::im::AgentClient;

use crate::observe::{SENDMSG, await_notice, await_states, calls, counter_value, notices};
use crate::unfollow::is_imported;
use crate::world::{INQUIRY, SOON, Setup, World, await_texts, eventually, openid};

const USER_INFO: &str = "user/info";
const HOUR_MS: i64 = 3_600_000;

/// All texts that this customer's account has sent to the agent, the bridge's own among them.
fn everything(agent: &AgentClient, customer: &str) -> Vec<String> {
    let messages = agent.conversation(customer);
    messages.iter().filter(|message| message.from == customer).map(|message| message.text()).collect()
}

async fn await_everything(agent: &AgentClient, customer: &str, expected: &[String]) {
    let arrived = eventually(SOON, async || everything(agent, customer).len() >= expected.len()).await;
    assert_eq!(everything(agent, customer), expected, "{arrived}");
}

fn inquiry(words: &str) -> String {
    format!("{INQUIRY}{words}")
}

#[tokio::test]
async fn the_agent_reads_who_comes_before_the_first_message_and_of_taps_and_scans_within_it() {
    let world = World::start().await;
    let (phone, agent, customer) = (world.wechat.customer(&openid("a")), world.agent(), openid("a"));
    phone.follow_by_scene("shop42").await;
    assert!(is_imported(&world, &customer).await);
    phone.tap_menu("CLICK", "PRICES").await;
    phone.tap_menu("VIEW", "https://example.com").await;
    phone.tap_menu("CLICK", "HOURS").await;
    phone.say("hello").await;
    phone.say("anyone?").await;
    let mut expected = vec![
        "[bridge] New customer. QR code: shop42. Tapped in the menu: PRICES, HOURS.".to_owned(),
        inquiry("hello"),
        inquiry("anyone?"),
    ];
    await_everything(&agent, &customer, &expected).await;

    let tap = phone.tap_menu("CLICK", "SIZES").await;
    world.wechat.repeat(&tap).await;
    expected.push("[bridge] The customer tapped SIZES in the menu.".to_owned());
    await_everything(&agent, &customer, &expected).await;
    phone.scan("door").await;
    expected.push("[bridge] The customer scanned the QR code door.".to_owned());
    await_everything(&agent, &customer, &expected).await;

    agent.say(&customer, "In stock.").await.unwrap();
    await_states(&world, &customer, &["delivered"]).await;
    world.clock.advance(HOUR_MS);
    phone.tap_menu("CLICK", "RETURNS").await;
    phone.scan("shelf7").await;
    phone.say("me again").await;
    let sent = everything(&agent, &customer);
    assert!(
        eventually(SOON, async || everything(&agent, &customer).len() == expected.len() + 2).await,
        "{sent:?}"
    );
    let sent = everything(&agent, &customer);
    let (line, words) = (&sent[sent.len() - 2], &sent[sent.len() - 1]);
    assert!(line.starts_with("[bridge] Customer is back. Last served by user1, 20"), "{line}");
    assert!(line.ends_with(" UTC. QR code: shelf7. Tapped in the menu: RETURNS."), "{line}");
    assert_eq!(words, &inquiry("me again"));
    world.finish().await;
}

#[tokio::test]
async fn remark_and_tags_are_read_once_an_hour_and_im_shows_remark_and_picture() {
    let world = World::start().await;
    let (phone, agent, customer) = (world.wechat.customer(&openid("b")), world.agent(), openid("b"));
    let mut events = world.wechat.events();
    phone.follow().await;
    assert!(is_imported(&world, &customer).await);
    phone.set_facts("Anna Li", &["VIP", "wholesale"], "https://example.org/anna.png");
    phone.say("hello").await;
    let line = "[bridge] New customer. Remark: Anna Li. Tags: VIP, wholesale.".to_owned();
    await_everything(&agent, &customer, &[line, inquiry("hello")]).await;
    let shown = || {
        let account = world.im.account(&customer).unwrap();
        (account.nick, account.face_url)
    };
    let expected = ("Anna Li".to_owned(), "https://example.org/anna.png".to_owned());
    assert!(eventually(SOON, async || shown() == expected).await, "{:?}", shown());

    agent.say(&customer, "/close").await.unwrap();
    await_notice(&agent, &customer, "Closed.").await;
    phone.say("one more").await;
    await_texts(&agent, &customer, 3).await;
    assert_eq!(calls(&mut events, USER_INFO), 1, "it is still fresh");
    agent.say(&customer, "/who").await.unwrap();
    await_notice(&agent, &customer, "Remark: Anna Li. Tags: VIP, wholesale.").await;

    phone.set_facts("Anna Wang", &[], "");
    world.clock.advance(HOUR_MS);
    phone.say("hello again").await;
    await_texts(&agent, &customer, 5).await;
    let sent = everything(&agent, &customer);
    assert!(sent[sent.len() - 2].ends_with(" UTC. Remark: Anna Wang."), "{sent:?}");
    assert!(
        eventually(SOON, async || shown() == ("Anna Wang".to_owned(), String::new())).await,
        "{:?}",
        shown()
    );
    phone.unfollow().await;
    let rows = || world.database().value::<i64>("SELECT count(*) FROM profile", &[]);
    assert!(eventually(SOON, async || rows() == 0).await, "what WeChat told is erased");
    world.finish().await;
}

#[tokio::test]
async fn a_follower_from_before_is_imported_under_the_remark() {
    let world = World::start().await;
    let phone = world.follower("c");
    phone.set_facts("Ben", &[], "https://example.org/ben.png");
    phone.say("hello").await;
    await_texts(&world.agent(), &openid("c"), 1).await;
    let account = world.im.account(&openid("c")).unwrap();
    assert_eq!((account.nick.as_str(), account.face_url.as_str()), ("Ben", "https://example.org/ben.png"));
    world.finish().await;
}

#[tokio::test]
async fn no_answer_of_wechat_delays_a_message_and_a_refusal_ends_the_questions() {
    let world = World::start().await;
    let agent = world.agent();
    world.wechat.faults().script(USER_INFO, 1, Fault::Delay(Duration::from_secs(5)));
    let started = std::time::Instant::now();
    world.follower("d").say("slow").await;
    await_everything(&agent, &openid("d"), &["[bridge] New customer.".to_owned(), inquiry("slow")]).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());

    let mut events = world.wechat.events();
    for (name, code) in [("e", 48001), ("f", 48001)] {
        world.wechat.faults().script(USER_INFO, 1, Fault::Code(code));
        world.follower(name).say("hello").await;
        await_everything(&agent, &openid(name), &["[bridge] New customer.".to_owned(), inquiry("hello")])
            .await;
    }
    assert!(calls(&mut events, USER_INFO) <= 1, "the first refusal is remembered");
    assert_eq!(world.ready().await["wechat"]["ok"], true, "no failure of the account");
    world.finish().await;
}

#[tokio::test]
async fn without_credentials_there_is_a_line_all_the_same() {
    let world = Setup::default()
        .set("BRIDGE_WECHAT__APP_SECRET", "")
        .set("BRIDGE_WECHAT__REPLY", "passive")
        .start()
        .await;
    world.follower("g").say("hello").await;
    await_everything(&world.agent(), &openid("g"), &["[bridge] New customer.".to_owned(), inquiry("hello")])
        .await;
    world.finish().await;
}

#[tokio::test]
async fn a_line_that_im_refuses_or_never_answers_does_not_stop_its_message() {
    let world = Setup::default().set("BRIDGE_OUTBOX__UNKNOWN_AFTER", "1").start().await;
    let agent = world.agent();
    // 80001: the content is refused.
    world.im.faults().script(SENDMSG, 1, Fault::Code(80_001));
    world.follower("h").say("refused").await;
    await_everything(&agent, &openid("h"), &[inquiry("refused")]).await;

    world.im.faults().script(SENDMSG, 1, Fault::DropBefore);
    world.follower("i").say("lost").await;
    let arrived = eventually(SOON, async || {
        world.clock.advance(1_000);
        everything(&agent, &openid("i")).last() == Some(&inquiry("lost"))
    });
    assert!(arrived.await, "{:?}", everything(&agent, &openid("i")));
    assert!(notices(&agent, &openid("h")).is_empty() && notices(&agent, &openid("i")).is_empty());
    let delivered = "wechat_im_bridge_end_to_end_seconds_count{direction=\"to_im\"}";
    assert!(eventually(SOON, async || counter_value(&world, delivered).await == 2).await);
    world.finish().await;
}

#[tokio::test]
async fn a_line_that_waits_through_a_restart_still_precedes_its_message_once() {
    let mut world = World::start().await;
    let agent = world.agent();
    world.im.faults().script_for_ever(SENDMSG, "", Fault::BadGateway);
    world.follower("j").say("hello").await;
    assert!(eventually(SOON, async || !world.im.faults().taken(SENDMSG).is_empty()).await);
    world.stop_bridge().await;
    world.im.faults().clear();
    world.start_bridge().await;
    let arrived = eventually(SOON, async || {
        world.clock.advance(1_000);
        everything(&agent, &openid("j")).len() == 2
    });
    assert!(arrived.await);
    let expected = ["[bridge] New customer.".to_owned(), inquiry("hello")];
    await_everything(&agent, &openid("j"), &expected).await;
    world.finish().await;
}
