//! Tests with real files and ports.

use std::path::PathBuf;

use super::*;
use crate::cli::check::Severity;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::hours::Shift;
use crate::store::{Store as Opened, StoreLocation};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn configured(pairs: &[(&str, &str)]) -> (Config, Vec<String>) {
    let env = pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_toml_str(include_str!("../../../../config.example.toml"), env).unwrap()
}

#[test]
fn a_certificate_is_tried_with_its_key() {
    let config = configured(&[]).0;
    let good = Tls { cert: data("tls.cert.pem"), key: data("tls.key.pem") };
    let only = |files: &Tls| {
        let found = tls(files, &config, Clock::system());
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().unwrap()
    };
    let fits = only(&good);
    assert_eq!(fits.severity, Severity::Ok, "{fits}");
    let other = only(&Tls { key: data("other.key.pem"), ..good.clone() });
    assert_eq!((other.severity, other.subject.as_str()), (Severity::Fail, "server.tls_cert, server.tls_key"));
    let missing = only(&Tls { key: "missing.pem".into(), ..good });
    assert_eq!((missing.severity, missing.subject.as_str()), (Severity::Fail, "server.tls_key"));
    assert!(missing.fix.contains("PEM file"), "{missing}");
}

#[test]
fn a_certificate_of_another_host_or_time_is_a_failure() {
    const NOW: i64 = 1_800_000_000;
    // It is for localhost and 127.0.0.1, from 2026-11-22 to 2126-10-29.
    let files = Tls { cert: data("tls.cert.pem"), key: data("tls.key.pem") };
    let found = |pairs: &[(&str, &str)], at: i64| {
        let clock = Clock::movable();
        clock.advance(at * 1000 - clock.now().0);
        let found = tls(&files, &configured(pairs).0, clock);
        found.into_iter().map(|finding| finding.to_string()).collect::<Vec<_>>().join("\n")
    };
    let of = |url| ("BRIDGE_SERVER__PUBLIC_URL", url);
    for url in ["https://localhost", "https://127.0.0.1/wx", ""] {
        assert!(found(&[of(url)], NOW).starts_with("ok    server.tls_cert  "), "{url}");
    }
    let foreign = found(&[of("https://bridge.shop.cn")], NOW);
    let expected =
        "fail  server.tls_cert  the certificate is for localhost, 127.0.0.1, not for bridge.shop.cn; set the";
    assert!(foreign.starts_with(expected), "{foreign}");
    let behind_a_proxy = [of("https://bridge.shop.cn"), ("BRIDGE_SERVER__TRUSTED_PROXIES", "10.0.0.1")];
    assert!(
        found(&behind_a_proxy, NOW).starts_with("warn  server.tls_cert  the certificate is for localhost, ")
    );
    let early = found(&[], 1_700_000_000);
    assert!(
        early.starts_with(
            "fail  server.tls_cert  the certificate does not hold before 2026-11-22T11:30:28Z; "
        )
    );
    assert!(early.contains("renew it"), "{early}");
    let late = found(&[], 4_970_000_000);
    assert!(
        late.starts_with(
            "fail  server.tls_cert  the certificate has ended at 2126-10-29T11:30:28Z; renew it"
        )
    );
    let soon = found(&[], 4_948_900_000);
    assert!(soon.starts_with("warn  server.tls_cert  the certificate ends "), "{soon}");
}

#[test]
fn the_hours_are_shown_as_the_desk_understands_them() {
    let zone = crate::model::hours::time_zone("Asia/Shanghai").unwrap();
    let mut week: [Vec<Shift>; 7] = Default::default();
    week[3] = vec![Shift { start: 540, end: 1080 }];
    let hours = WorkingHours::new(week, Vec::new(), zone);
    // Thursday, 2026-10-01, 09:00 in Shanghai.
    let opening = Millis(1_790_816_400_000);
    let shown = |now| desk_hours(&hours, now).evidence;
    assert_eq!(shown(opening), "the clock in the desk's time zone shows 2026-10-01 09:00: the desk is open");
    let closed =
        "the clock in the desk's time zone shows 2026-10-01 08:59: the desk is closed until 2026-10-01 09:00";
    assert_eq!(shown(opening.plus(-1)), closed);
}

#[test]
fn a_database_is_inspected_and_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bridge.db");
    assert!(file(&path).to_string().ends_with("bridge.db will be created"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the check leaves no file behind");

    let (_store, closing) =
        Opened::open(&StoreLocation::File(path.clone()), Clock::system(), Metrics::default()).unwrap();
    let used = file(&path);
    assert_eq!(used.severity, Severity::Warn, "{used}");
    assert!(used.evidence.contains(&format!("process {}", std::process::id())), "{used}");
    closing.close();
    assert!(file(&path).to_string().ends_with("can be opened and written"));

    fs::write(&path, vec![7; 8192]).unwrap();
    let damaged = file(&path);
    assert_eq!(damaged.severity, Severity::Fail);
    assert!(damaged.evidence.starts_with("cannot open") && damaged.fix.contains("backup"), "{damaged}");

    let nowhere = file(&folder.path().join("none/bridge.db"));
    assert_eq!(nowhere.severity, Severity::Fail);
    assert!(nowhere.evidence.contains("none is not writable"), "{nowhere}");
}

#[test]
fn stores_without_a_file() {
    assert_eq!(database(&StoreUrl::new("sqlite::memory:").unwrap())[0].severity, Severity::Warn);
    let refused = &database(&StoreUrl::new("postgres://a:hidden@127.0.0.1:1/c").unwrap())[0];
    assert_eq!(refused.severity, Severity::Fail);
    assert!(refused.to_string().contains("start the server") && !refused.to_string().contains("hidden"));
}

#[test]
fn a_taken_port_is_no_failure_and_a_foreign_address_is() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(port("server.listen", address).severity, Severity::Warn);
    // Port 0 is any that is free.
    assert_eq!(port("server.listen", "127.0.0.1:0".parse().unwrap()).severity, Severity::Ok);
    // 192.0.2.0/24 is reserved for documentation, so no machine has it.
    assert_eq!(port("server.listen", "192.0.2.1:8080".parse().unwrap()).severity, Severity::Fail);
    let forbidden = Err(io::ErrorKind::PermissionDenied.into());
    let found = port_finding("server.listen", "0.0.0.0:80".parse().unwrap(), forbidden);
    assert_eq!(found.severity, Severity::Fail, "{found}");
    let text = "this user may not listen on 0.0.0.0:80: that needs root or CAP_NET_BIND_SERVICE; run both";
    assert!(found.to_string().contains(text) && found.fix.contains("above 1023"), "{found}");
}

#[test]
fn a_key_that_others_may_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("tls.key.pem");
    fs::copy(data("tls.key.pem"), &key).unwrap();
    let told = |mode| {
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let cert = data("tls.cert.pem").display().to_string();
        let files =
            [("BRIDGE_SERVER__TLS_CERT", cert.as_str()), ("BRIDGE_SERVER__TLS_KEY", key.to_str().unwrap())];
        let found = readable_by_others(&configured(&files).0);
        found.into_iter().filter(|finding| finding.subject == "server.tls_key").collect::<Vec<_>>()
    };
    assert_eq!(told(0o600), []);
    let [found] = &told(0o644)[..] else { panic!("no finding") };
    let expected = format!("{} has mode 0644: other users can read it; chmod 600 ", key.display());
    assert!(found.to_string().contains(&expected), "{found}");
}

fn with(pairs: &[(&str, &str)]) -> Vec<Finding> {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite://{}", folder.path().join("bridge.db").display());
    let own = [("BRIDGE_STORE__URL", store.as_str()), ("BRIDGE_SERVER__LISTEN", "127.0.0.1:0")];
    let (config, warnings) = configured(&own.iter().chain(pairs).copied().collect::<Vec<_>>());
    findings(&config, &warnings)
}

#[test]
fn the_example_fails_nowhere_and_warns_of_its_own_secrets() {
    let found = with(&[]);
    assert!(found.iter().all(|finding| finding.severity != Severity::Fail), "{found:#?}");
    for key in [
        "wechat.token",
        "wechat.app_id",
        "wechat.app_secret",
        "im.secret_key",
        "im.callback_token",
        "server.public_url",
        "texts.shop_name",
    ] {
        assert!(
            found.iter().any(|finding| finding.severity == Severity::Warn && finding.subject == key),
            "{key}"
        );
    }
}

#[test]
fn exposed_and_unreachable_listeners_are_warnings() {
    let found = with(&[
        ("BRIDGE_SERVER__OPS_LISTEN", "0.0.0.0:0"),
        ("BRIDGE_SERVER__PUBLIC_URL", "https://a.example:8443"),
        ("BRIDGE_WECHAT__TOKN", "x"),
        ("BRIDGE_IM__CALLBACK_TOKEN", "abc"),
    ]);
    let warned = |key: &str, part: &str| {
        found
            .iter()
            .any(|one| one.severity == Severity::Warn && one.subject == key && one.evidence.contains(part))
    };
    assert!(warned("server.ops_listen", "not a loopback"), "{found:#?}");
    assert!(warned("server.public_url", "names port 8443"), "{found:#?}");
    assert!(warned("BRIDGE_WECHAT__TOKN", "not a known variable"), "{found:#?}");
    assert!(!found.iter().any(|one| one.subject == "im.callback_token"), "{found:#?}");
}
