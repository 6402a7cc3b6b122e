use axum::http::{HeaderMap, HeaderValue};

use super::guard::RequestGuard;
use super::*;

const NOW: Millis = Millis(1_700_000_000_000);

fn from(last: u8) -> IpAddr {
    [192, 0, 2, last].into()
}

fn connections(limits: ConnectionLimits, proxies: &[&str]) -> Connections {
    let proxies: Vec<_> = proxies.iter().map(|network| network.parse().unwrap()).collect();
    let proxies = TrustedProxies::new(&proxies);
    Connections::new("public", limits, proxies, Clock::movable(), Metrics::default())
}

fn limits(total: usize, per_address: usize) -> ConnectionLimits {
    ConnectionLimits { total, per_address }
}

/// Admits a connection for which there is room at once.
async fn admit(connections: &Connections, peer: IpAddr) -> Arc<OpenConnection> {
    let admitted = tokio::time::timeout(Duration::ZERO, connections.admit(peer)).await;
    admitted.expect("no room").expect("refused")
}

async fn is_told_to_close(connection: &OpenConnection) -> bool {
    tokio::time::timeout(Duration::ZERO, connection.told_to_close()).await.is_ok()
}

async fn is_told_within_a_minute(connection: &OpenConnection) -> bool {
    tokio::time::timeout(Duration::from_mins(1), connection.told_to_close()).await.is_ok()
}

fn begin(connection: &Arc<OpenConnection>) -> RequestGuard {
    match connection.begin_request(&HeaderMap::new()) {
        RequestStart::Process(_, guard) => guard,
        other => panic!("{other:?}"),
    }
}

fn forwarded(connection: &Arc<OpenConnection>, client: &'static str) -> RequestStart {
    let mut headers = HeaderMap::new();
    headers.insert("x-forwarded-for", HeaderValue::from_static(client));
    connection.begin_request(&headers)
}

#[tokio::test(start_paused = true)]
async fn an_address_that_has_its_share_loses_its_oldest_waiting_connection() {
    let connections = connections(limits(100, 2), &[]);
    let first = admit(&connections, from(1)).await;
    let second = admit(&connections, from(1)).await;
    let other = admit(&connections, from(2)).await;
    let third = admit(&connections, from(1)).await;
    assert!(is_told_to_close(&first).await);
    assert!(
        matches!(first.begin_request(&HeaderMap::new()), RequestStart::Closing),
        "it is too late for a request"
    );
    assert!(!is_told_to_close(&second).await && !is_told_to_close(&other).await);
    let _guards = [begin(&second), begin(&third)];
    assert!(connections.admit(from(1)).await.is_none(), "both process requests");
    assert!(connections.admit(from(2)).await.is_some());
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_full_listener_closes_the_connection_that_waits_longest_and_then_admits() {
    let connections = connections(limits(3, 3), &[]);
    let busy = admit(&connections, from(1)).await;
    let guard = begin(&busy);
    let kept_alive = admit(&connections, from(2)).await;
    let half_open = admit(&connections, from(3)).await;
    // The first has a request and its answer, and waits again: it is the youngest from now on.
    drop(begin(&kept_alive));
    kept_alive.flushed();
    let waiting = connections.clone();
    let newcomer = tokio::spawn(async move { waiting.admit(from(4)).await });
    assert!(is_told_within_a_minute(&half_open).await);
    assert!(!is_told_to_close(&kept_alive).await && !is_told_to_close(&busy).await);
    assert!(!newcomer.is_finished(), "its permit is not free yet");
    drop(half_open);
    let _newcomer = begin(&newcomer.await.unwrap().unwrap());
    let waiting = connections.clone();
    let next = tokio::spawn(async move { waiting.admit(from(5)).await });
    assert!(is_told_within_a_minute(&kept_alive).await);
    drop(kept_alive);
    let _next = begin(&next.await.unwrap().unwrap());

    let waiting = connections.clone();
    let last = tokio::spawn(async move { waiting.admit(from(6)).await });
    let closed = is_told_within_a_minute(&busy).await;
    assert!(!closed && !last.is_finished(), "a request is never cut off");
    drop(guard);
    let closed = is_told_within_a_minute(&busy).await;
    assert!(!closed && !last.is_finished(), "nor is a response that is not written yet");
    busy.flushed();
    assert!(is_told_within_a_minute(&busy).await);
    drop(busy);
    assert!(last.await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_trusted_proxy_has_no_share_but_each_of_its_clients_has() {
    let connections = connections(limits(100, 2), &["192.0.2.7/32"]);
    let mut proxied = Vec::new();
    for _ in 0..5 {
        proxied.push(admit(&connections, from(7)).await);
    }
    let first = forwarded(&proxied[0], "198.51.100.1");
    let RequestStart::Process(client, first) = first else { panic!("{first:?}") };
    assert_eq!(client, ClientAddress::of([198, 51, 100, 1].into()));
    let second = forwarded(&proxied[1], "10.1.1.1, 198.51.100.1");
    assert!(matches!(second, RequestStart::Process(..)));
    assert!(matches!(forwarded(&proxied[2], "198.51.100.1"), RequestStart::TooMany(_)));
    assert!(matches!(forwarded(&proxied[3], "198.51.100.2"), RequestStart::Process(..)));
    drop(first);
    assert!(matches!(forwarded(&proxied[2], "198.51.100.1"), RequestStart::Process(..)));

    let stranger = admit(&connections, from(8)).await;
    let RequestStart::Process(client, _) = forwarded(&stranger, "198.51.100.9") else { panic!() };
    assert_eq!(client, ClientAddress::of(from(8)), "the header of a stranger is not believed");
}

#[tokio::test(start_paused = true)]
async fn a_listener_is_crowded_over_80_percent_and_until_below_70() {
    let connections = connections(limits(10, 10), &[]);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(admit(&connections, from(1)).await);
    }
    assert_eq!(connections.crowded_since(), None);
    let before = connections.0.clock.now();
    open.push(admit(&connections, from(1)).await);
    let since = connections.crowded_since().unwrap();
    assert!((before..=connections.0.clock.now()).contains(&since), "{since:?}");
    open.truncate(7);
    assert!(connections.crowded_since().is_some());
    open.truncate(6);
    assert_eq!(connections.crowded_since(), None);
}

#[tokio::test(start_paused = true)]
async fn the_gauges_and_counters_follow() {
    let connections = connections(ConnectionLimits::shared(8), &[]);
    let open = [admit(&connections, from(1)).await, admit(&connections, from(1)).await];
    let _guard = begin(&open[1]);
    let third = begin(&admit(&connections, from(1)).await);
    assert!(is_told_to_close(&open[0]).await);
    assert!(connections.admit(from(1)).await.is_none());
    let shown = connections.0.metrics.render(0, 0, 0).unwrap();
    for line in [
        "connections{listener=\"public\"} 3",
        "connections_limit{listener=\"public\"} 8",
        "connections_of_one_address{listener=\"public\"} 2",
        "closed_connections_total{listener=\"public\"} 1",
        "refused_connections_total{listener=\"public\"} 1",
    ] {
        assert!(shown.contains(&format!("wechat_im_bridge_{line}\n")), "{line}: {shown}");
    }
    drop((open, third));
}

#[test]
fn the_table_forgets_everything_of_a_closed_connection() {
    let mut table = Table::new(limits(3, 2));
    for round in 0..100 {
        let address = Some(ClientAddress::of(from(round % 5)));
        if let (Admission::Admitted(id, _), _) = table.admit(address, NOW)
            && round % 2 == 0
        {
            table.begin_request(id);
        }
        if round % 3 == 0 {
            table.clear();
        }
    }
    table.clear();
    assert_eq!((table.usage(), table.busiest(), table.crowded_since()), ((0, 0), None, None));
    assert!(table.is_empty(), "{table:?}");
}
