use super::*;

const DAY_MS: i64 = 86_400_000;

/// Lets the server `name`, whose clock is `by_ms` ahead of the true time, answer.
fn answer(clock: &Clock, name: &'static str, by_ms: i64) {
    let true_ms = system_millis()
        + match &clock.0.source {
            Source::System => 0,
            Source::Movable { passed, .. } => passed.load(Ordering::Relaxed),
        };
    clock.remote(name).observe((true_ms + by_ms) / 1000, clock.monotonic_ms());
}

/// By how much the clock is ahead of the true time, with an error of at most two seconds.
fn ahead_ms(clock: &Clock) -> i64 {
    let passed = match &clock.0.source {
        Source::System => 0,
        Source::Movable { passed, .. } => passed.load(Ordering::Relaxed),
    };
    clock.now().0 - system_millis() - passed
}

fn is_near(value: i64, expected: i64) -> bool {
    (value - expected).abs() < 2_000
}

#[test]
fn a_movable_clock_moves_and_its_clones_with_it() {
    let clock = Clock::movable();
    let other = clock.clone();
    let before = other.now();
    clock.advance(60_000);
    assert!(other.now().0 - before.0 >= 60_000);
    assert!(clock.is_trusted());
}

#[test]
fn a_jump_changes_nothing_until_another_clock_confirms_it() {
    for by_ms in [4 * DAY_MS, -4 * DAY_MS, 600_000, -600_000] {
        let clock = Clock::movable();
        clock.set_forward(by_ms);
        assert!(is_near(ahead_ms(&clock), 0), "{by_ms}");
        assert!(!clock.is_trusted());
        let wrong = clock.check().unwrap_err();
        assert!(is_near(wrong.ahead_ms, by_ms), "{wrong:?}");

        answer(&clock, "a", by_ms);
        assert!(is_near(ahead_ms(&clock), by_ms), "the jump was right: {by_ms}");
        assert!(clock.is_trusted());
        assert_eq!(clock.check(), Ok(()));
    }
}

#[test]
fn the_others_win_over_a_clock_that_was_wrong_at_the_start() {
    for by_ms in [4 * DAY_MS, -40 * DAY_MS, 600_000, -600_000] {
        let clock = Clock::wrong_at_start(by_ms);
        assert!(is_near(ahead_ms(&clock), by_ms));
        assert!(!clock.is_trusted() && !clock.is_measured());
        let began = clock.monotonic_ms();
        answer(&clock, "a", 0);
        assert!(is_near(ahead_ms(&clock), 0), "{by_ms}");
        assert!(is_near(clock.at_monotonic(began).0, clock.now().0));
        assert!(clock.is_measured() && !clock.is_trusted());
        answer(&clock, "b", 1_000);
        let wrong = clock.check().unwrap_err();
        let names: Vec<_> = wrong.contradicted_by.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b"]);

        clock.set_forward(-by_ms);
        assert_eq!(clock.check(), Ok(()), "the operator has set it right");
        assert!(clock.is_trusted());
    }
}

#[test]
fn one_wrong_server_does_not_change_the_time() {
    let clock = Clock::movable();
    answer(&clock, "a", 0);
    answer(&clock, "b", DAY_MS);
    assert!(is_near(ahead_ms(&clock), 0));
    assert!(is_near(clock.remote("b").now().0 - clock.now().0, DAY_MS));
    assert!(is_near(clock.remote("a").now().0, clock.now().0));
    let wrong = clock.check().unwrap_err();
    assert_eq!(wrong.contradicted_by.len(), 1, "{wrong:?}");
    assert!(clock.is_trusted());
}

#[test]
fn a_slow_answer_measures_nothing() {
    let clock = Clock::wrong_at_start(DAY_MS);
    let sent_ms = clock.monotonic_ms();
    clock.advance(20_000);
    clock.remote("a").observe(system_millis() / 1000, sent_ms);
    assert!(!clock.is_measured());
}

#[tokio::test]
async fn a_measurement_ends_the_wait_after_a_jump() {
    let clock = Clock::wrong_at_start(DAY_MS);
    let waiting = tokio::spawn({
        let clock = clock.clone();
        async move { clock.settled().await }
    });
    clock.examination_wanted().await;
    assert!(!clock.is_settled());
    answer(&clock, "a", 0);
    waiting.await.unwrap();
    assert!(clock.is_measured() && clock.is_settled());
    clock.set_forward(-DAY_MS);
    assert!(!clock.is_settled());
}
