//! The checks that need no network: settings, files, ports.

use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use super::{Finding, public_url};
use crate::app::store_location;
use crate::clock::Clock;
use crate::config::{Config, StoreUrl, Tls};
use crate::http::tls::Certificates;
use crate::media::Ffmpeg;
use crate::media::ffmpeg::WITHOUT_FFMPEG;
use crate::model::Millis;
use crate::model::hours::WorkingHours;
use crate::owner_only;
use crate::store::{self, PostgresLocation, ServerState, StoreLocation};

pub(super) fn findings(config: &Config, warnings: &[String]) -> Vec<Finding> {
    let mut findings = vec![Finding::ok("configuration", "every key is known and has a usable value")];
    findings.extend(warnings.iter().map(|warning| {
        let (key, what) = warning.split_once(": ").unwrap_or(("configuration", warning));
        Finding::warn(key, what, "")
    }));
    findings.extend(
        config
            .exposures
            .iter()
            .map(|exposure| Finding::warn(&exposure.key, exposure.problem.clone(), exposure.fix.clone())),
    );
    findings.extend(config.texts.missing_name().map(|evidence| {
        Finding::warn("texts.shop_name", evidence, "set the name that customers know, or texts.welcome")
    }));
    findings.extend(public_url::findings(config));
    findings.extend(config.server.tls.iter().flat_map(|files| tls(files, config, Clock::system())));
    findings.extend(config.desk.hours.as_ref().map(|hours| desk_hours(hours, Clock::system().now())));
    findings.extend(database(&config.store));
    findings.push(media(&config.media.dir));
    findings.push(ffmpeg(Ffmpeg::find().as_ref()));
    findings.extend(readable_by_others(config));
    findings.push(port("server.listen", config.server.listen));
    if let Some(address) = config.server.ops_listen {
        if !address.ip().is_loopback() {
            let evidence =
                format!("{address} is not a loopback address, and the listener asks for no password");
            let fix = "set 127.0.0.1:9090, or block it from the internet";
            findings.push(Finding::warn("server.ops_listen", evidence, fix));
        }
        findings.push(port("server.ops_listen", address));
    }
    findings
}

/// Shows how the hours and the time zone are understood.
fn desk_hours(hours: &WorkingHours, now: Millis) -> Finding {
    const KEY: &str = "desk.hours";
    let clock = format!("the clock in the desk's time zone shows {}", minutes(hours, now));
    match hours.next_opening(now) {
        Some(opening) if opening == now => Finding::ok(KEY, format!("{clock}: the desk is open")),
        Some(opening) => {
            Finding::ok(KEY, format!("{clock}: the desk is closed until {}", minutes(hours, opening)))
        }
        None => Finding::warn(KEY, "the desk never opens", "set other hours"),
    }
}

/// A date and a time as a clock in the desk's time zone shows them.
fn minutes(hours: &WorkingHours, at: Millis) -> String {
    hours.local(at).strftime("%Y-%m-%d %H:%M").to_string()
}

/// Whether callers accept the certificate: whose it is, and when it holds.
fn tls(files: &Tls, config: &Config, clock: Clock) -> Vec<Finding> {
    const KEY: &str = "server.tls_cert";
    let certificates = match Certificates::open(files, clock) {
        Ok(certificates) => certificates,
        Err(error) => return vec![error_finding(&error)],
    };
    let mut findings = Vec::new();
    if let Some(why) = certificates.untimely() {
        let fix = "renew it, or set this machine's clock: WeChat and IM call nobody with such a certificate";
        findings.push(Finding::fail(KEY, format!("the certificate {why}"), fix));
    } else if let Some(problem) = certificates.problem() {
        findings.push(Finding::warn(KEY, problem.why, "renew it"));
    }
    let host = config.server.public_url.as_ref().and_then(|url| url.url().host_str());
    if let Some((host, names)) = host.and_then(|host| Some((host, certificates.other_names(host)?))) {
        let evidence = format!("the certificate is for {}, not for {host}", names.join(", "));
        findings.push(if config.server.trusted_proxies.is_empty() {
            let fix = "set the certificate of the host that server.public_url names";
            Finding::fail(KEY, evidence, fix)
        } else {
            Finding::warn(KEY, evidence, "fine if the proxy has the certificate of that host")
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok(KEY, format!("{} and its key match", files.cert.display())));
    }
    findings
}

/// Turns an error with the text `KEY: problem; fix` into a finding.
fn error_finding(error: &dyn Error) -> Finding {
    let text = error.to_string();
    let (key, rest) = text.split_once(": ").unwrap_or(("configuration", &text));
    let (evidence, fix) = rest.rsplit_once("; ").unwrap_or((rest, ""));
    Finding::fail(key, evidence, fix)
}

const DATABASE: &str = "store.url";

fn database(store: &StoreUrl) -> Vec<Finding> {
    match store {
        StoreUrl::SqliteFile(path) => vec![file(path)],
        StoreUrl::SqliteMemory => {
            let evidence = "keeps everything in memory: a restart loses all waiting messages";
            vec![Finding::warn(DATABASE, evidence, "set sqlite://FILE")]
        }
        StoreUrl::Postgres(_) => match store_location(store) {
            StoreLocation::Postgres(server) => self::server(&server),
            StoreLocation::File(_) | StoreLocation::Memory => Vec::new(),
        },
    }
}

fn server(location: &PostgresLocation) -> Vec<Finding> {
    let state = match store::inspect_server(location, &Clock::system()) {
        Ok(state) => state,
        Err(error) => return vec![error_finding(&error)],
    };
    let ServerState { name, version, .. } = &state;
    let main = match &state.holders[..] {
        holders @ [_, ..] => {
            let evidence = format!("{name} is in use by {}", holders.join(", "));
            let fix = "fine if those are instances of this bridge; else give each bridge its own database";
            Finding::warn(DATABASE, evidence, fix)
        }
        [] if state.is_empty => {
            Finding::ok(DATABASE, format!("{name} (version {version}) is empty, and will be set up"))
        }
        [] if state.is_outdated => {
            let evidence = format!("{name} (version {version}) will be migrated at the next start");
            Finding::ok(DATABASE, evidence)
        }
        [] => Finding::ok(DATABASE, format!("{name} (version {version}) can be read and written")),
    };
    let warnings =
        state.warnings.iter().map(|(evidence, fix)| Finding::warn(DATABASE, evidence.as_str(), *fix));
    std::iter::once(main).chain(warnings).collect()
}

fn file(path: &Path) -> Finding {
    const KEY: &str = DATABASE;
    let folder = folder_of(path);
    if let Err(error) = check_writable(folder) {
        let evidence = format!("the folder {} is not writable: {error}", folder.display());
        return Finding::fail(KEY, evidence, "create it, and let this user write to it");
    }
    let name = path.display();
    match store::inspect(path) {
        Ok(found) if found.holder.is_some() => {
            let holder = found.holder.unwrap_or_default();
            let evidence = format!("{name} is in use by {holder}");
            Finding::warn(KEY, evidence, "fine if that is the running bridge; else give each its own file")
        }
        Ok(found) if !found.exists => Finding::ok(KEY, format!("{name} will be created")),
        Ok(found) if found.outdated => {
            Finding::ok(KEY, format!("{name} is writable, and will be migrated at the next start"))
        }
        Ok(_) => Finding::ok(KEY, format!("{name} can be opened and written")),
        Err(error) => error_finding(&error),
    }
}

fn media(folder: &Path) -> Finding {
    const KEY: &str = "media.dir";
    let exists = folder.exists();
    let checked_folder = if exists { folder } else { folder_of(folder) };
    match (check_writable(checked_folder), exists) {
        (Ok(()), true) => Finding::ok(KEY, format!("{} is writable", folder.display())),
        (Ok(()), false) => Finding::ok(KEY, format!("{} will be created", folder.display())),
        (Err(error), _) => {
            let evidence = format!("{} is not writable: {error}", checked_folder.display());
            Finding::warn(KEY, evidence, "create it, and let this user write to it")
        }
    }
}

fn ffmpeg(found: Option<&Ffmpeg>) -> Finding {
    const PROGRAM: &str = "ffmpeg";
    let Some(found) = found else {
        let evidence = format!("is not on PATH: {WITHOUT_FFMPEG}");
        return Finding::warn(PROGRAM, evidence, "install it, such as with apt-get install ffmpeg");
    };
    Finding::ok(PROGRAM, format!("found at {}", found.program().display()))
}

/// What other users of this machine may read. The mode of a folder in the way may still keep them
/// out, but that is easily changed by mistake.
fn readable_by_others(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut judge = |key: &str, path: &Path, advice: &str| {
        if let Some(mode) = owner_only::open_to_others(path) {
            let evidence = format!("{} has mode {mode:04o}: other users can read it", path.display());
            findings.push(Finding::warn(key, evidence, advice));
        }
    };
    let tls_key = config.server.tls.iter().map(|tls| ("server.tls_key", &tls.key));
    for (key, path) in config.secret_files.iter().map(|(key, path)| (key.as_str(), path)).chain(tls_key) {
        judge(key, path, &format!("chmod 600 {}", path.display()));
    }
    let at_start = "`serve` corrects that when it starts; or use chmod";
    if let StoreUrl::SqliteFile(path) = &config.store {
        for file in store::files_of(path) {
            judge("store.url", &file, at_start);
        }
    }
    judge("media.dir", &config.media.dir, at_start);
    findings
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates a file and removes it, because permissions alone do not show whether a folder is
/// writable.
fn check_writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".wechat-im-bridge-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

fn port(key: &str, address: SocketAddr) -> Finding {
    port_finding(key, address, TcpListener::bind(address).map(drop))
}

fn port_finding(key: &str, address: SocketAddr, bound: io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::ok(key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let fix = "fine if that is the running bridge; else choose another port";
            Finding::warn(key, format!("{address} is already in use"), fix)
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let evidence =
                format!("this user may not listen on {address}: that needs root or CAP_NET_BIND_SERVICE");
            let fix = "run both `check` and `serve` with it, as the unit in deploy/systemd does, or choose a port \
                       above 1023";
            Finding::fail(key, evidence, fix)
        }
        Err(error) => {
            let fix = "set an address of this machine, such as 0.0.0.0";
            Finding::fail(key, format!("cannot listen on {address}: {error}"), fix)
        }
    }
}

#[cfg(test)]
mod tests;
