//! The platforms out of reach, slow, cut off or wrong: what was accepted arrives once and in order all the same.

use std::time::{Duration, Instant};

use super::proxy::{Proxy, Trouble};
use super::rig::{Rig, SETTLED};
use super::verdict::{Promised, judge};
use crate::world::openid;

async fn say_all(rig: &Rig, customer: &str, texts: &[String]) -> Promised {
    let phone = rig.follower(customer);
    let mut promised = Promised::default();
    for text in texts {
        promised.asked.push((text.clone(), !phone.say(text).await.fault_line));
    }
    promised
}

async fn answer_all(rig: &Rig, customer: &str, texts: &[String], promised: &mut Promised) {
    let agent = rig.agent();
    for text in texts {
        let sent = agent.say(&openid(customer), text).await.unwrap();
        promised
            .answered
            .push((text.clone(), sent.callback.is_some_and(|callback| callback.error.is_none())));
    }
}

/// Invariants 3, 4, 5 and 6: each trouble strikes the second of three messages, both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trouble_of_the_network_loses_doubles_or_reorders_anything() {
    let mut rig = Rig::new().await;
    let (im, wechat) = (Proxy::start(&rig.im.base_url()).await, Proxy::start(rig.wechat.base_url()).await);
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    rig.set("BRIDGE_WECHAT__API_BASE", wechat.base_url());
    rig.start().await;
    let texts = |what: &str, trouble: Trouble| [1, 2, 3].map(|n| format!("{what} {n} amid {trouble:?}"));
    let mut conversations = Vec::new();
    for trouble in Trouble::ALL {
        let (customer, asked) = (format!("{trouble:?}"), texts("question", trouble));
        im.trouble(&asked[1], trouble);
        let promised = say_all(&rig, &customer, &asked).await;
        conversations.push((customer, trouble, promised));
    }
    rig.quiet().await;
    for (customer, trouble, promised) in &mut conversations {
        let answers = texts("answer", *trouble);
        wechat.trouble(&answers[1], *trouble);
        answer_all(&rig, customer, &answers, promised).await;
    }
    let stored = rig.stored().await;
    for (customer, trouble, promised) in &conversations {
        assert!(promised.asked.iter().chain(&promised.answered).all(|(_, accepted)| *accepted));
        judge(&rig, customer, promised, &stored);
        let states = texts("answer", *trouble).map(|text| stored.state(&text));
        let readable = matches!(trouble, Trouble::Drip | Trouble::Twice);
        let second = if readable { "delivered" } else { "unknown" };
        assert_eq!(states, ["delivered", second, "delivered"], "{trouble:?}");
    }
}

/// Invariants 3 and 6: pushes are accepted all the while, and everything is there in seconds, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn im_that_was_away_gets_everything_in_order_within_seconds() {
    let mut rig = Rig::new().await;
    let mut im = Proxy::start(&rig.im.base_url()).await;
    rig.set("BRIDGE_IM__API_BASE", im.base_url());
    rig.start().await;
    let customers = ["ann", "ben", "cai"];
    let mut promised: Vec<Promised> = customers.iter().map(|_| Promised::default()).collect();
    let away = Duration::from_secs(8);
    let since = Instant::now();
    let mut n = 0;
    while since.elapsed() < away {
        for (customer, promised) in customers.iter().zip(&mut promised) {
            let text = format!("{customer} {n}");
            let pushed = rig.follower(customer).say(&text).await;
            assert_eq!(pushed.attempts.len(), 1, "a push is accepted at once: {pushed:?}");
            promised.asked.push((text, true));
        }
        if n == 2 {
            im.close().await;
        }
        n += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = rig.im.ledger().sends().len();
    assert!(before <= 3 * 3, "IM was away: {before}");
    im.open().await;
    let back = Instant::now();
    let all = rig.im.wait_for(|ledger| ledger.deliveries().count() >= 3 * n, SETTLED).await;
    assert!(all.is_ok(), "{} of {} arrived\n{}", rig.im.ledger().sends().len(), 3 * n, rig.log());
    println!("{} messages of an outage arrived within {:?}", 3 * n, back.elapsed());
    assert!(back.elapsed() < Duration::from_secs(15), "only after {:?}", back.elapsed());
    let stored = rig.stored().await;
    for (customer, promised) in customers.iter().zip(&promised) {
        judge(&rig, customer, promised, &stored);
    }
}

/// Invariants 5 and 6: what was certainly not sent waits, and is no `unknown`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_wait_while_wechat_refuses_connections() {
    let mut rig = Rig::new().await;
    let mut wechat = Proxy::start(rig.wechat.base_url()).await;
    rig.set("BRIDGE_WECHAT__API_BASE", wechat.base_url());
    rig.start().await;
    let mut promised = say_all(&rig, "ann", &["hello".to_owned()]).await;
    rig.quiet().await;
    wechat.close().await;
    let texts = ["one", "two", "three"].map(str::to_owned);
    answer_all(&rig, "ann", &texts, &mut promised).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(rig.wechat.ledger().sends.len(), 0);
    wechat.open().await;
    let stored = rig.stored().await;
    judge(&rig, "ann", &promised, &stored);
    assert_eq!(texts.map(|text| stored.state(&text)), ["delivered"; 3]);
}
