//! The examples in `deploy` and the image's build: their own tools accept them, and they fit the program.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use crate::child;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A tool that most machines do not have, so that its absence fails no test.
fn rare_tool(name: &str, what: &str) -> bool {
    let is_there = child::find(&[name]).is_some();
    if !is_there {
        let _ = writeln!(std::io::stderr(), "SKIPPED {what}: this machine has no {name}");
    }
    is_there
}

/// Whether the command succeeds, and what it prints.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn systemd_accepts_the_units_and_finds_them_little_exposed() {
    if !rare_tool("systemd-analyze", "the units of systemd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for name in ["wechat-im-bridge.service", "wechat-im-bridge@.service"] {
        let unit = read(&format!("deploy/systemd/{name}"));
        let program = env!("CARGO_BIN_EXE_wechat-im-bridge");
        let file = folder.path().join(name.replace('@', "@1"));
        std::fs::write(&file, unit.replace("/usr/local/bin/wechat-im-bridge", program)).unwrap();
        let (accepted, printed) = run(Command::new("systemd-analyze").arg("verify").arg(&file));
        assert!(accepted && !printed.contains("wechat-im-bridge"), "{name}: {printed}");
        let (_, printed) =
            run(Command::new("systemd-analyze").args(["security", "--offline=true"]).arg(&file));
        let exposure = printed.split("exposure level for ").nth(1).and_then(|rest| rest.split(' ').nth(1));
        let exposure: f32 = exposure.unwrap_or_else(|| panic!("{printed}")).parse().unwrap();
        assert!(exposure < 3.0, "{name}: {exposure}");
    }
}

#[test]
fn nginx_accepts_the_example_of_one_shop() {
    if child::find(&["nginx"]).is_none() {
        child::report_skip("nginx's example of one shop", "nginx", "nginx");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let below = |name: &str| folder.path().join(name).display().to_string();
    let data = |name: &str| format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let shop = read("deploy/nginx/shop.conf")
        .replace("listen 443 ", &format!("listen unix:{} ", below("https")))
        .replace("listen 80;", &format!("listen unix:{};", below("http")))
        .replace("/etc/letsencrypt/live/bridge.example.com/fullchain.pem", &data("tls.cert.pem"))
        .replace("/etc/letsencrypt/live/bridge.example.com/privkey.pem", &data("tls.key.pem"));
    let (pid, log) = (below("pid"), below("log"));
    let config = format!("pid {pid};\nerror_log {log};\nevents {{}}\nhttp {{\naccess_log off;\n{shop}\n}}\n");
    std::fs::write(below("nginx.conf"), config).unwrap();
    let (accepted, printed) = run(Command::new("nginx").args(["-t", "-e", &log, "-c", &below("nginx.conf")]));
    assert!(accepted, "{printed}");
}

#[test]
fn caddy_accepts_its_example() {
    if rare_tool("caddy", "Caddy's example") {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/caddy/Caddyfile");
        let (accepted, printed) =
            run(Command::new("caddy").args(["validate", "--adapter", "caddyfile", "--config", file]));
        assert!(accepted, "{printed}");
    }
}

#[test]
fn docker_accepts_the_compose_files() {
    let has_compose = || run(Command::new("docker").args(["compose", "version"])).0;
    if !rare_tool("docker", "the compose files") || !has_compose() {
        return;
    }
    for name in ["compose.yaml", "shop.yaml"] {
        let file = format!("{}/deploy/{name}", env!("CARGO_MANIFEST_DIR"));
        let mut config = Command::new("docker");
        config.args(["compose", "-f", &file, "config", "--quiet"]);
        let (accepted, printed) = run(config.env("PGPASSWORD", "a").env("HOST", "a.example"));
        assert!(accepted, "{name}: {printed}");
    }
}

/// What `init` writes for a shop behind a proxy is what the examples expect.
#[test]
fn the_proxies_lead_to_where_the_bridge_listens() {
    let folder = tempfile::tempdir().unwrap();
    let mut init = child::bridge();
    init.current_dir(folder.path()).args([
        "init",
        "--offline",
        "--public-url=https://bridge.shop.cn",
        "--tls-cert=",
    ]);
    init.args([
        "--app-id=wx0123456789abcdef",
        "--sdk-app-id=1400000000",
        "--admin=administrator",
        "--agents=anna",
    ]);
    init.args(["--shop-name=Tea", "--locale=en"]).env("BRIDGE_WECHAT__APP_SECRET", "0".repeat(32));
    let (_, printed) = run(init.env("BRIDGE_IM__SECRET_KEY", "1".repeat(64)));
    assert!(printed.starts_with("wrote "), "{printed}");
    let written = std::fs::read_to_string(folder.path().join("config.toml")).unwrap();
    assert!(
        written.contains("listen = \"127.0.0.1:8080\"")
            && written.contains("trusted_proxies = [\"127.0.0.1\"]")
    );
    assert!(read("deploy/nginx/shop.conf").contains("proxy_pass http://127.0.0.1:8080;"));
    assert!(read("deploy/caddy/Caddyfile").contains("{$BRIDGE:127.0.0.1:8080}"));
    let compose = read("deploy/shop.yaml");
    for part in [
        "BRIDGE: bridge:8080",
        "BRIDGE_SERVER__LISTEN: 0.0.0.0:8080",
        "./caddy/Caddyfile:",
        "init --public-url",
    ] {
        assert!(compose.contains(part), "{part}");
    }
    let network = compose.split("TRUSTED_PROXIES: ").nth(1).unwrap().lines().next().unwrap();
    assert!(compose.contains(&format!("- subnet: {network}\n")), "{network}");
}

#[test]
fn the_image_is_built_from_pinned_bases_and_says_what_it_is() {
    let dockerfile = read("Dockerfile");
    let bases: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases.len(), 3, "{bases:?}");
    for base in bases {
        // A tag with a whole version number does not move to another release.
        let tag = base.split([':', ' ']).nth(1).unwrap();
        assert!(tag.split('-').next().unwrap().matches('.').count() >= 1, "{base}");
    }
    let version = format!("org.opencontainers.image.version=\"{}\"", env!("CARGO_PKG_VERSION"));
    for part in [
        version.as_str(),
        "image.licenses=\"MIT OR Apache-2.0\"",
        "\"wechat-im-bridge\", \"healthcheck\"",
        "USER 10001:10001",
    ] {
        assert!(dockerfile.contains(part), "{part}");
    }
}
