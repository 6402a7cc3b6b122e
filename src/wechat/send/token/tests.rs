mod shared;
mod useless;

use secrecy::ExposeSecret as _;

use super::*;
use crate::wechat::send::testing::{Fake, SECRET, Scripted, code};

const MINUTE: i64 = 60_000;

fn none() -> Arc<dyn TokenStore> {
    Arc::new(NoTokenStore)
}

fn value(token: &Token) -> &str {
    token.value.expose_secret()
}

/// Waits at most 10 s: less than a claim lasts, so that no test passes because one has run out.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.expect("still waiting")
}

#[tokio::test]
async fn a_valid_token_is_fetched_once() {
    let fake = Fake::start().await;
    let holder = fake.holder(&Clock::movable(), none());
    let first = holder.current().await.unwrap();
    let second = holder.current().await.unwrap();
    assert_eq!((first.generation, first.value.expose_secret()), (1, "77_token_1"));
    assert_eq!(second.generation, 1);
    assert_eq!(fake.fetches(), (1, 0));
}

#[tokio::test]
async fn many_callers_share_one_fetch() {
    let fake = Fake::start().await;
    fake.set(|account| account.open = false);
    let holder = fake.holder(&Clock::movable(), none());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let holder = Arc::clone(&holder);
            tokio::spawn(async move { holder.current().await })
        })
        .collect();
    fake.until(|account| account.normal == 1).await;
    fake.set(|account| account.open = true);
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().generation, 1);
    }
    assert_eq!(fake.fetches(), (1, 0));
}

#[tokio::test]
async fn a_refresh_is_forced_only_if_wechat_repeats_a_rejected_token() {
    let fake = Fake::start().await;
    let holder = fake.holder(&Clock::movable(), none());
    let first = holder.current().await.unwrap();
    // Another instance has forced a refresh: a normal request already returns the new token.
    fake.set(|account| account.token = 2);
    let second = holder.replace_rejected(first.generation).await.unwrap();
    assert_eq!(second.value.expose_secret(), "77_token_2");
    assert_eq!(fake.fetches(), (2, 0));
    // WeChat returns the refused token again.
    let third = holder.replace_rejected(second.generation).await.unwrap();
    assert_eq!(third.value.expose_secret(), "77_token_3");
    assert_eq!(fake.fetches(), (3, 1));
    // A late caller whose token has already been replaced causes no fetch.
    assert_eq!(holder.replace_rejected(first.generation).await.unwrap().generation, third.generation);
    assert_eq!(fake.fetches(), (3, 1));
}

#[tokio::test]
async fn forced_refreshes_are_spaced_and_budgeted() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let mut generation = holder.current().await.unwrap().generation;
    for _ in 0..20 {
        clock.advance(30_000);
        generation = holder.replace_rejected(generation).await.unwrap().generation;
    }
    assert_eq!(fake.get(|account| account.forced), 20);
    clock.advance(30_000);
    let Err(TokenError::Budget { retry_at }) = holder.replace_rejected(generation).await else {
        panic!("forced again")
    };
    let wait = retry_at.since(clock.now());
    assert!((23 * 60 * MINUTE..24 * 60 * MINUTE).contains(&wait), "{wait}");
    clock.advance(wait + 1);
    let next = holder.current().await.unwrap();
    assert_eq!(fake.get(|account| account.forced), 21, "{next:?}");
}

#[tokio::test]
async fn two_forced_refreshes_within_30_s_are_not_made() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let first = holder.current().await.unwrap();
    let second = holder.replace_rejected(first.generation).await.unwrap();
    let error = holder.replace_rejected(second.generation).await.unwrap_err();
    assert!(matches!(error, TokenError::Budget { .. }), "{error}");
    assert_eq!(holder.degraded().len(), 1);
    // Until the pause is over, no request is sent.
    let fetches = fake.fetches();
    assert_eq!(holder.current().await.unwrap_err(), error);
    assert_eq!(fake.fetches(), fetches);
}

#[tokio::test]
async fn a_refused_token_is_tried_again_while_none_may_be_forced() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let first = holder.current().await.unwrap();
    let second = holder.replace_rejected(first.generation).await.unwrap();
    holder.replace_rejected(second.generation).await.unwrap_err();

    clock.advance(1_000);
    let trial = holder.current().await.unwrap();
    assert_eq!(trial.value.expose_secret(), second.value.expose_secret());
    assert!(trial.generation > second.generation);
    assert_eq!(holder.degraded().len(), 1, "a trial does not restore the health");
    // The trial fails, and the pause doubles.
    holder.replace_rejected(trial.generation).await.unwrap_err();
    clock.advance(1_500);
    holder.current().await.unwrap_err();
    clock.advance(1_000);
    holder.current().await.unwrap();
    holder.mark_accepted();
    assert_eq!(holder.degraded(), []);
    assert_eq!(fake.get(|account| account.forced), 1);
}

#[tokio::test]
async fn a_configuration_fault_backs_off() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let errmsg = "invalid ip 1.2.3.4 ipv6 ::ffff:1.2.3.4, not in whitelist rid: 65a0b1c2-0a1b2c3d-4e5f6071";
    fake.set(|account| account.token_script.extend(std::iter::repeat_n(code(40164, errmsg), 100)));
    let began = clock.now();
    for _ in 0..50 {
        let error = holder.current().await.unwrap_err();
        assert_eq!(error, TokenError::Code { code: 40164, msg: errmsg.into() });
    }
    assert_eq!(fake.fetches(), (1, 0));
    // 1 + 2 + 4 + 8 + 16 + 32 s, then every 60 s.
    for _ in 0..(600 * 2) {
        clock.advance(500);
        holder.current().await.unwrap_err();
    }
    let (fetches, _) = fake.fetches();
    assert!((14..=17).contains(&fetches), "{fetches}");
    let degraded = holder.degraded().remove(0);
    assert!(degraded.why.contains("40164"), "{degraded:?}");
    assert!(degraded.advice.contains("1.2.3.4"), "{}", degraded.advice);
    assert!(degraded.since.since(began) < MINUTE);

    fake.set(|account| account.token_script.clear());
    clock.advance(MINUTE);
    holder.current().await.unwrap();
    assert_eq!(holder.degraded(), []);
}

#[tokio::test]
async fn a_wrong_secret_advises_the_operator_and_stays_secret() {
    let fake = Fake::start().await;
    let holder = fake.holder(&Clock::movable(), none());
    fake.set(|account| account.token_script.push_back(code(40001, &format!("invalid credential {SECRET}"))));
    let error = holder.current().await.unwrap_err();
    assert!(holder.degraded()[0].advice.contains("wechat.app_secret"));
    let all = format!("{error} {error:?} {holder:?} {:?}", holder.credentials);
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test]
async fn responses_without_a_token_are_errors_and_leak_nothing() {
    for answer in [
        "<html>",
        "{}",
        r#"{"access_token":"","expires_in":7200}"#,
        r#"{"access_token":"77_leak","expires_in":0}"#,
        r#"{"access_token":"77_leak","expires_in":"soon"}"#,
        r#"{"access_token":["77_leak"],"expires_in":7200}"#,
    ] {
        let fake = Fake::start().await;
        fake.set(|account| account.token_script.push_back(Scripted::Response(200, answer.into())));
        let error = fake.holder(&Clock::movable(), none()).current().await.unwrap_err();
        assert!(matches!(error, TokenError::NoAnswer(_)), "{answer} {error}");
        assert!(!format!("{error:?}").contains("leak"), "{error:?}");
    }
}

#[tokio::test]
async fn a_temporary_failure_is_soon_over() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    fake.set(|account| {
        account
            .token_script
            .extend([code(-1, "system error"), Scripted::Response(502, "bad gateway".into())]);
    });
    assert!(matches!(holder.current().await, Err(TokenError::Code { code: -1, .. })));
    clock.advance(1_000);
    assert_eq!(holder.current().await.unwrap_err(), TokenError::NoAnswer("HTTP 502".into()));
    clock.advance(2_000);
    holder.current().await.unwrap();
}

#[tokio::test]
async fn the_token_is_renewed_ahead_without_blocking_readers() {
    let fake = Fake::start().await;
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let stop = CancellationToken::new();
    let renewing = tokio::spawn(Arc::clone(&holder).renew_loop(stop.clone()));
    fake.until(|account| account.normal == 1).await;
    let first = holder.current().await.unwrap();

    clock.advance(109 * MINUTE);
    holder.current().await.unwrap();
    fake.set(|account| {
        account.open = false;
        account.token = 2;
    });
    clock.advance(4 * MINUTE);
    // This reader starts the renewal; neither it nor the next one waits for it.
    assert_eq!(holder.current().await.unwrap().generation, first.generation);
    fake.until(|account| account.normal == 2).await;
    assert_eq!(holder.current().await.unwrap().generation, first.generation);
    fake.set(|account| account.open = true);
    let renewed = async {
        while holder.current().await.unwrap().generation == first.generation {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), renewed).await.unwrap();
    assert_eq!(fake.fetches(), (2, 0));
    stop.cancel();
    renewing.await.unwrap();
}

#[tokio::test]
async fn a_short_life_is_renewed_within_its_last_quarter() {
    let fake = Fake::start().await;
    fake.set(|account| account.expires_in = 20);
    let clock = Clock::movable();
    let holder = fake.holder(&clock, none());
    let token = holder.current().await.unwrap();
    let ahead = token.expires_at.since(holder.state().renew_at);
    assert!((3_700..=5_000).contains(&ahead), "{ahead}");
    clock.advance(20_000);
    fake.set(|account| account.token = 2);
    assert_eq!(holder.current().await.unwrap().generation, 2, "an expired token is not returned");
}

#[tokio::test]
async fn a_token_does_not_show_in_debug() {
    let fake = Fake::start().await;
    let token = fake.holder(&Clock::movable(), none()).current().await.unwrap();
    assert!(!format!("{token:?}").contains("77_token"), "{token:?}");
}

#[tokio::test]
async fn the_renewing_task_backs_off_and_stops() {
    let fake = Fake::start().await;
    let holder = fake.holder(&Clock::movable(), none());
    fake.set(|account| account.token_script.extend(std::iter::repeat_n(code(40013, "invalid appid"), 100)));
    let stop = CancellationToken::new();
    let renewing = tokio::spawn(Arc::clone(&holder).renew_loop(stop.clone()));
    fake.until(|account| account.normal == 1).await;
    for _ in 0..50 {
        holder.current().await.unwrap_err();
        tokio::task::yield_now().await;
    }
    stop.cancel();
    renewing.await.unwrap();
    assert_eq!(fake.fetches(), (1, 0));
}
