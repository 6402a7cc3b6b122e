//! How much faster several instances on one PostgreSQL are than one, where the calls in flight are the limit.

use std::time::{Duration, Instant};

use super::client::Load;
use super::sink::Sink;
use super::target::Target;

/// The time that IM takes for an answer.
const IM_TAKES: Duration = Duration::from_millis(100);
const MESSAGES: usize = 10_000;
const NAME: &str = "BRIDGE_STORE__URL";

/// Needs an empty PostgreSQL database. All messages are sent to the first instance, which accepts them for all.
pub async fn measure() {
    if !std::env::var(NAME).is_ok_and(|url| url.starts_with("postgres://")) {
        println!("\nseveral instances: not measured, because {NAME} names no PostgreSQL database");
        return;
    }
    println!("\n| instances | accepted in | all at IM after | forwarded/s |\n|---|---|---|---|");
    let mut per_second = Vec::new();
    for count in [1, 3] {
        let sink = Sink::start_slow(IM_TAKES).await;
        let mut instances = Vec::new();
        for _ in 0..count {
            instances.push(Target::bridge(&sink, &[("BRIDGE_IM__RATE_PER_SECOND", "1000000")]).await);
        }
        for instance in &instances {
            instance.until_it_owns(256 / count - 2, 256 / count + 2).await;
        }
        // All customers have their account first.
        send_all(&instances[0]).await;
        until_all_came(&sink).await;
        sink.clear();
        let started = Instant::now();
        send_all(&instances[0]).await;
        let accepted = started.elapsed();
        until_all_came(&sink).await;
        let forwarded = MESSAGES as f64 / started.elapsed().as_secs_f64();
        println!(
            "| {count} | {:.2} s | {:.2} s | {forwarded:.0} |",
            accepted.as_secs_f64(),
            started.elapsed().as_secs_f64()
        );
        per_second.push(forwarded);
        // In order, or the calls without a recorded answer would hold up the customers of the next run.
        instances.into_iter().for_each(Target::end);
    }
    println!("three forward {:.2} times what one does", per_second[1] / per_second[0]);
}

async fn send_all(instance: &Target) {
    let sent = Load::burst(256, 10_000).run(instance).await;
    assert_eq!((sent.count(), sent.failed), (MESSAGES, 0), "not all were accepted");
}

async fn until_all_came(sink: &Sink) {
    let came = sink.delays(MESSAGES, Duration::from_mins(2)).await.count();
    assert_eq!(came, MESSAGES, "not all came to IM; is the database that {NAME} names empty?");
}
