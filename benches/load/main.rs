//! Measures the documented figures over real HTTP, next to a bare axum server that does nothing.
//!
//! `cargo bench --bench load` measures everything; `cargo bench --bench load -- accept` (or
//! `open-loop`, `drain`, `memory`, `storm`, `million`, `customers`, `instances`) measures one part. The figures in
//! `docs/benchmarks.md` come from here.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a failed measurement stops the run")]
#![expect(clippy::cast_precision_loss, reason = "rounded figures for display")]

mod client;
mod customers;
mod instances;
mod measure;
mod sink;
mod storm;
mod target;

use std::time::{Duration, Instant};

use client::Load;
use measure::Measured;
use sink::Sink;
use target::{Target, folder_with_messages};

const LOAD: Duration = Duration::from_secs(5);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let chosen = arguments.next();
    if chosen.as_deref() == Some("bare-server") {
        return target::bare_server();
    }
    let runs = |part: &str| chosen.as_deref().is_none_or(|chosen| chosen == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        if runs("accept") {
            measure_accept().await;
        }
        if runs("open-loop") {
            measure_open_loop().await;
        }
        if runs("drain") {
            measure_drain().await;
        }
        if runs("memory") {
            measure_memory().await;
        }
        if runs("storm") {
            storm::measure().await;
        }
        if runs("million") {
            with_a_million_stored().await;
        }
        if runs("customers") {
            with_many_customers().await;
        }
        if runs("instances") {
            instances::measure().await;
        }
    });
}

/// Requests per second and latency of a durable accept and of the bare server, in alternating runs.
async fn measure_accept() {
    println!(
        "\n| connections | server | requests/s | p50 ms | p99 ms | p99.9 ms | of bare |\n|---|---|---|---|---|---|---|"
    );
    for connections in [32, 256] {
        let sink = Sink::start().await;
        let bridge = Target::bridge(&sink, &[]).await;
        let bare = Target::bare().await;
        let mut ratios = Vec::new();
        let (mut of_bare, mut of_bridge) = (Measured::default(), Measured::default());
        for _ in 0..3 {
            of_bare = Load::closed(connections, LOAD).run(&bare).await;
            of_bridge = Load::closed(connections, LOAD).run(&bridge).await;
            ratios.push(of_bridge.per_second() / of_bare.per_second());
        }
        ratios.sort_by(f64::total_cmp);
        print_row(connections, "bare axum", &of_bare, None);
        print_row(connections, "bridge", &of_bridge, Some(ratios[1]));
    }
    let sink = Sink::start().await;
    let bridge = Target::bridge(&sink, &[]).await;
    let verified = Load::get(64, LOAD).run(&bridge).await;
    print_row(64, "bridge, GET /", &verified, None);
}

fn print_row(connections: usize, server: &str, measured: &Measured, ratio: Option<f64>) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    println!(
        "| {connections} | {server} | {:.0} | {:.2} | {:.2} | {:.2} | {ratio} |",
        measured.per_second(),
        measured.percentile(50.0),
        measured.percentile(99.0),
        measured.percentile(99.9),
    );
    assert_eq!(measured.failed, 0, "{server} refused requests");
}

/// Sends 1,000 messages per second on schedule, without waiting for answers. Measures the time to
/// the answer and the time to the call of IM.
async fn measure_open_loop() {
    let sink = Sink::start().await;
    let bridge = Target::bridge(&sink, &[("BRIDGE_IM__RATE_PER_SECOND", "1000000")]).await;
    Load::open(200, 1_000.0, Duration::from_secs(2)).run(&bridge).await;
    sink.clear();
    let used = bridge.used();
    let measured = Load::open(200, 1_000.0, Duration::from_secs(15)).run(&bridge).await;
    let delays = sink.delays(measured.count(), Duration::from_secs(10)).await;
    let used = bridge.used().per_message(used, measured.count());
    println!(
        "\nopen loop at 1,000 messages/s for 15 s, {} accepted, {} refused",
        measured.count(),
        measured.failed
    );
    println!(
        "accept:            p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
        measured.percentile(50.0),
        measured.percentile(99.0),
        measured.percentile(99.9)
    );
    println!(
        "request → IM call: p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms ({} calls)",
        delays.percentile(50.0),
        delays.percentile(99.0),
        delays.percentile(99.9),
        delays.count()
    );
    println!("each message:      {used}");
    println!("memory after it:   {} MB", bridge.resident_mb());
}

/// Sends 20,000 messages at once, with no limit on the rate of calls to IM.
async fn measure_drain() {
    let sink = Sink::start().await;
    let bridge = Target::bridge(&sink, &[("BRIDGE_IM__RATE_PER_SECOND", "1000000")]).await;
    let (started, used) = (Instant::now(), bridge.used());
    let measured = Load::burst(256, 20_000).run(&bridge).await;
    let accepted = started.elapsed();
    sink.delays(20_000, Duration::from_mins(2)).await;
    let drained = started.elapsed();
    println!(
        "\nburst of {}: accepted in {:.2} s, all at IM after {:.2} s ({:.0}/s)",
        measured.count(),
        accepted.as_secs_f64(),
        drained.as_secs_f64(),
        20_000.0 / drained.as_secs_f64()
    );
    println!("each message: {}", bridge.used().per_message(used, 20_000));
}

async fn measure_memory() {
    let sink = Sink::start().await;
    let started = Instant::now();
    let bridge = Target::bridge(&sink, &[]).await;
    let start = started.elapsed();
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!("\ncold start to the first answered request: {:.0} ms", start.as_secs_f64() * 1000.0);
    println!("idle memory: {} MB", bridge.resident_mb());
    Load::closed(256, LOAD).run(&bridge).await;
    println!("memory after {} s of 256 connections: {} MB", LOAD.as_secs(), bridge.resident_mb());
}

/// Compares an empty store with one that knows 200,000 customers, each met once, of whom 5,000 write now: accepting alone,
/// because IM takes only 200 calls per second, and accepting and forwarding.
async fn with_many_customers() {
    println!(
        "\n| customers known | accepted/s at 256 | each message | forwarded/s | each message |\n|---|---|---|---|---|"
    );
    let mut per_second = Vec::new();
    for stored in [0, 200_000] {
        let sink = Sink::start().await;
        let bridge = Target::bridge_in(folder_with_messages(200_000, stored).await, &sink, &[]).await;
        // Each of the 5,000 writes a few times first, so that all have a conversation.
        Load::burst(256, 20_000).run(&bridge).await;
        let used = bridge.used();
        let accepted = Load::closed(256, LOAD).run(&bridge).await;
        let used_to_accept = bridge.used().per_message(used, accepted.count());
        drop(bridge);

        let folder = folder_with_messages(200_000, stored).await;
        let sink = Sink::start().await;
        let bridge = Target::bridge_in(folder, &sink, &[("BRIDGE_IM__RATE_PER_SECOND", "1000000")]).await;
        Load::burst(256, 20_000).run(&bridge).await;
        sink.delays(20_000, Duration::from_mins(2)).await;
        sink.clear();
        let (started, used) = (Instant::now(), bridge.used());
        Load::burst(256, 40_000).run(&bridge).await;
        sink.delays(40_000, Duration::from_mins(2)).await;
        let forwarded = 40_000.0 / started.elapsed().as_secs_f64();
        let used_to_forward = bridge.used().per_message(used, 40_000);
        println!(
            "| {stored} | {:.0} | {used_to_accept} | {forwarded:.0} | {used_to_forward} |",
            accepted.per_second()
        );
        per_second.push((accepted.per_second(), forwarded));
    }
    let ((accepted, forwarded), (accepted_of_many, forwarded_of_many)) = (per_second[0], per_second[1]);
    println!(
        "with 200,000 customers: accepting {:.2}, forwarding {:.2} of the empty store",
        accepted_of_many / accepted,
        forwarded_of_many / forwarded
    );
}

/// Compares an empty store with one that already holds a million messages.
async fn with_a_million_stored() {
    println!("\n| stored | start ms | requests/s at 256 |\n|---|---|---|");
    let mut per_second = Vec::new();
    for stored in [0, 1_000_000] {
        let sink = Sink::start().await;
        let folder = folder_with_messages(100_000, stored).await;
        let started = Instant::now();
        let bridge = Target::bridge_in(folder, &sink, &[]).await;
        let start = started.elapsed();
        let mut runs = Vec::new();
        for _ in 0..3 {
            runs.push(Load::closed(256, LOAD).run(&bridge).await.per_second());
        }
        runs.sort_by(f64::total_cmp);
        println!("| {stored} | {:.0} | {:.0} |", start.as_secs_f64() * 1000.0, runs[1]);
        per_second.push(runs[1]);
    }
    println!("with a million stored: {:.2} of the empty store", per_second[1] / per_second[0]);
}
