//! Builds the checked [`Config`] from values of the right type: checks formats, dependencies and
//! contradictions between settings.
//!
//! Every check runs, even if others fail. A value that is missing because of a fault is `None`
//! here.

mod desk;
mod im;
mod pairs;
mod wechat;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::address::{self, BaseUrl, StoreUrl};
use super::choice::Locale;
use super::exposure;
use super::settings::Settings;
use super::texts::{self, Texts};
use super::without_effect;
use super::{Canary, Config, Log, Media, Outbox, Secret, Server, Telemetry, Tls};

/// Checks all sections. Returns `None` if a value is missing because of a fault.
pub(super) fn config(settings: &mut Settings) -> Option<Config> {
    let server = server(settings);
    let wechat = wechat::wechat(settings);
    let im = im::im(settings);
    let outbox = outbox(settings);
    let desk = desk::desk(settings);
    let replies = desk::replies(settings);
    let store = store(settings);
    let media = media(settings, store.as_ref());
    let texts = texts(settings);
    let alert_url = alert_url(settings);
    let canary = canary(settings);
    let telemetry = telemetry(settings);
    let log = log(settings);
    without_effect::warn(settings);
    let mut config = Config {
        exposures: Vec::new(),
        server: server?,
        wechat: wechat?,
        im: im?,
        outbox,
        desk: desk?,
        replies,
        store: store?,
        media: media?,
        texts: texts?,
        alert_url,
        canary,
        telemetry,
        log: log?,
        secret_files: settings.secret_files(),
        fingerprints: settings.fingerprints(),
    };
    config.exposures = exposure::of_settings(&config);
    Some(config)
}

fn server(settings: &mut Settings) -> Option<Server> {
    let listen = listen_address(settings, "server.listen");
    let is_ops_off = settings.text("server.ops_listen").is_empty();
    let ops_listen = if is_ops_off { None } else { listen_address(settings, "server.ops_listen") };
    if listen.is_some_and(|address| address.port() != 0) && listen == ops_listen {
        settings.add_value_fault(
            "server.ops_listen",
            "is the same address as server.listen",
            "choose another port",
        );
    }
    let has_public_url = !settings.text("server.public_url").is_empty();
    let public_url = has_public_url
        .then(|| base_url(settings, "server.public_url", "https://bridge.example.com"))
        .flatten();
    let tls = tls(settings);
    let trusted_proxies = networks(settings, "server.trusted_proxies");
    let body_limit = settings.size("server.body_limit_bytes");
    let body_bytes_in_flight = settings.size("server.body_bytes_in_flight");
    if body_bytes_in_flight < body_limit && !settings.is_faulty("server.body_limit_bytes") {
        settings.add_value_fault(
            "server.body_bytes_in_flight",
            "is less than server.body_limit_bytes, so that the largest body never fits",
            "set at least as much as server.body_limit_bytes",
        );
    }
    let ops_token = settings.secret("server.ops_token");
    if ops_token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN_BYTES) {
        settings.warn("server.ops_token", "is shorter than 16 characters, so that it can be guessed");
    }
    Some(Server {
        listen: listen?,
        ops_listen: if is_ops_off { None } else { Some(ops_listen?) },
        public_url,
        body_limit,
        body_bytes_in_flight,
        shutdown_grace: settings.seconds("server.shutdown_grace_s"),
        tls,
        trusted_proxies,
        ops_token,
        watch_config: settings.flag("server.watch_config"),
    })
}

/// The shortest token that takes long to guess.
const MIN_TOKEN_BYTES: usize = 16;

fn networks(settings: &mut Settings, key: &str) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for (number, entry) in (1..).zip(settings.list(key)) {
        match address::network(&entry) {
            Some(network) => networks.push(network),
            None => settings.add_value_fault(
                key,
                format!("entry {number} is neither an IP address nor a network"),
                "write it as 10.0.0.5, 10.0.0.0/8 or fd00::/8",
            ),
        }
    }
    networks
}

fn listen_address(settings: &mut Settings, key: &str) -> Option<SocketAddr> {
    let address = settings.text(key).parse().ok();
    if address.is_none() {
        settings.add_value_fault(
            key,
            "is not an address with a port",
            "set an IP address and a port, such as 0.0.0.0:80 or [::]:80",
        );
    }
    address
}

fn base_url(settings: &mut Settings, key: &str, example: &str) -> Option<BaseUrl> {
    let checked = BaseUrl::new(&settings.text(key));
    checked
        .map_err(|problem| settings.add_value_fault(key, problem, &format!("set a URL such as {example}")))
        .ok()
}

/// The hosts of Tencent IM's REST API.
const IM_HOSTS: (&str, &[&str]) = ("Tencent IM", &["tim.qq.com", "im.qcloud.com"]);
/// The hosts of WeChat's API.
const WECHAT_HOSTS: (&str, &[&str]) = ("WeChat", &["weixin.qq.com"]);

/// The base of a platform's API. `own_path`: with what the paths of its calls begin. `other`: the other platform, with its
/// hosts.
fn api_base(
    settings: &mut Settings,
    key: &str,
    example: &str,
    own_path: &str,
    (other, hosts): (&str, &[&str]),
) -> Option<BaseUrl> {
    let base = base_url(settings, key, example)?;
    let fix = format!("set it as {example}");
    if base.path().ends_with(own_path) {
        settings.add_value_fault(key, format!("ends with {own_path}, which the bridge appends itself"), &fix);
        return None;
    }
    let host = base.url().host_str().unwrap_or_default();
    if hosts.iter().any(|known| host == *known || host.ends_with(&format!(".{known}"))) {
        settings.add_value_fault(key, format!("is the address of {other}"), &fix);
        return None;
    }
    Some(base)
}

fn tls(settings: &mut Settings) -> Option<Tls> {
    let (cert, key) = (settings.text("server.tls_cert"), settings.text("server.tls_key"));
    let missing = match (cert.is_empty(), key.is_empty()) {
        (true, true) => return None,
        (false, false) => return Some(Tls { cert: cert.into(), key: key.into() }),
        (true, false) => ["server.tls_cert", "server.tls_key"],
        (false, true) => ["server.tls_key", "server.tls_cert"],
    };
    if !settings.is_faulty(missing[1]) {
        let fix = "set both for HTTPS, or neither for HTTP";
        settings.add_value_fault(missing[0], format!("is missing, though {} is set", missing[1]), fix);
    }
    None
}

fn outbox(settings: &mut Settings) -> Outbox {
    let seconds =
        |settings: &mut Settings, key| Some(settings.seconds(key)).filter(|duration| !duration.is_zero());
    Outbox {
        unknown_after: NonZeroU32::new(settings.number_u32("outbox.unknown_after")),
        give_up: seconds(settings, "outbox.give_up_s"),
        tell_waiting: seconds(settings, "outbox.tell_waiting_s"),
    }
}

fn store(settings: &mut Settings) -> Option<StoreUrl> {
    const FIX: &str = "set sqlite://FILE, sqlite::memory: or postgres://USER@HOST/DB";
    let Some(url) = settings.secret("store.url") else {
        settings.add_value_fault("store.url", "is empty", FIX);
        return None;
    };
    StoreUrl::new(url.expose()).map_err(|problem| settings.add_value_fault("store.url", problem, FIX)).ok()
}

fn media(settings: &mut Settings, store: Option<&StoreUrl>) -> Option<Media> {
    let dir = settings.text("media.dir");
    if dir.trim().is_empty() {
        settings.add_value_fault("media.dir", "is empty", "name a directory, such as media");
    }
    let mut allow_hosts = Vec::new();
    for (number, entry) in (1..).zip(settings.list("media.allow_hosts")) {
        match address::normalize_host(&entry) {
            Some(host) => allow_hosts.push(host),
            None => settings.add_value_fault(
                "media.allow_hosts",
                format!("entry {number} is not a host name"),
                "write it without scheme, port, path or wildcard; subdomains are included",
            ),
        }
    }
    let dir: PathBuf = store?.resolve_dir(Path::new(&dir));
    Some(Media {
        dir,
        max_bytes: settings.number("media.max_bytes"),
        keep: Duration::from_secs(settings.number("media.keep_days") * 86_400),
        max_total_bytes: Some(settings.number("media.max_total_bytes")).filter(|bytes| *bytes > 0),
        allow_hosts,
        allow_http: settings.flag("media.allow_http"),
        allow_private: settings.flag("media.allow_private"),
    })
}

fn texts(settings: &mut Settings) -> Option<Texts> {
    let shop_name = settings.text("texts.shop_name");
    if let Some(problem) = texts::text_problem(&shop_name, false) {
        settings.add_value_fault("texts.shop_name", problem, "set the name that customers know");
    }
    let mut texts = Texts::defaults(settings.choice::<Locale>("texts.locale")?, &shop_name);
    let overrides = [
        ("texts.welcome", &mut texts.welcome, false),
        ("texts.transferring", &mut texts.transferring, false),
        ("texts.inquiry_prefix", &mut texts.inquiry_prefix, true),
    ];
    for (key, text, may_be_empty) in overrides {
        if let Some(text_override) = settings.override_text(key) {
            *text = text_override;
        }
        if let Some(problem) = texts::text_problem(text, may_be_empty) {
            settings.add_value_fault(
                key,
                problem,
                "set 1 to 2000 bytes of plain text, or remove the key for the default text",
            );
        }
    }
    let templates =
        [("texts.queued", &mut texts.queued, texts::AHEAD), ("texts.away", &mut texts.away, texts::OPENS)];
    for (key, text, placeholder) in templates {
        if let Some(text_override) = settings.override_text(key) {
            *text = text_override;
        }
        if let Some(problem) = texts::template_problem(text, placeholder) {
            let fix = format!(
                "write {placeholder} where it belongs and no other braces, at most 2000 bytes in all"
            );
            settings.add_value_fault(key, problem, &fix);
        }
    }
    Some(texts)
}

/// The webhook's URL, which may contain a key.
fn alert_url(settings: &mut Settings) -> Option<Secret> {
    let url = settings.secret("alert.url")?;
    let parsed = Url::parse(url.expose()).ok();
    if parsed.is_none_or(|parsed| !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host()) {
        let problem = "is neither an http nor an https URL";
        settings.add_value_fault("alert.url", problem, "set the whole URL of the webhook");
    }
    Some(url)
}

/// How often the canary may be sent at most, seconds.
const MIN_CANARY_S: u64 = 10;

fn canary(settings: &mut Settings) -> Canary {
    let every_s = settings.number("canary.every_s");
    if (1..MIN_CANARY_S).contains(&every_s) {
        settings.add_value_fault("canary.every_s", "is less than 10 seconds", "set 0 or 10 to 86400");
    }
    Canary { every: Some(Duration::from_secs(every_s)).filter(|every| !every.is_zero()) }
}

fn telemetry(settings: &mut Settings) -> Telemetry {
    const KEY: &str = "telemetry.otlp_endpoint";
    let is_set = !settings.text(KEY).is_empty();
    Telemetry { otlp_endpoint: is_set.then(|| base_url(settings, KEY, "http://127.0.0.1:4318")).flatten() }
}

fn log(settings: &mut Settings) -> Option<Log> {
    let level = settings.text("log.level");
    if !is_filter(&level) {
        let fix = "set error, warn, info, debug, trace or off, or TARGET=LEVEL pairs separated by commas";
        settings.add_value_fault("log.level", "is not a tracing filter", fix);
    }
    Some(Log { format: settings.choice("log.format")?, level })
}

/// Whether `level` is a filter without misspelt levels. `tracing` would take a misspelt level for
/// the name of a target, log everything of that target and nothing of any other.
fn is_filter(level: &str) -> bool {
    let is_bare_level = |directive: &str| !directive.contains(['=', '[']);
    let is_misspelt =
        |directive: &str| is_bare_level(directive) && directive.trim().parse::<LevelFilter>().is_err();
    let has_no_spans = !level.contains('[');
    !(level.trim().is_empty() || has_no_spans && level.split(',').any(is_misspelt))
        && EnvFilter::builder().parse(level).is_ok()
}

/// An id as the consoles show it: printable ASCII without spaces.
fn id(settings: &mut Settings, key: &str) -> Option<String> {
    let text = settings.text(key);
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return (!text.is_empty()).then_some(text);
    }
    settings.add_value_fault(
        key,
        "contains spaces or characters that are not printable ASCII",
        "copy it from the console",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_levels_are_not_filters() {
        for good in ["info", "OFF", "warn,wechat_im_bridge=debug", "info,a::b[span{id=1}]=trace", "hyper=off"]
        {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", " ", "warning", "infoo", "hyper", "hyper=loud", "a=b=c"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }
}
