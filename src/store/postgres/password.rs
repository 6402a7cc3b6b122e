//! The password of a URL that has none: from `PGPASSWORD`, or from the password file, as libpq finds it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// What identifies a connection in the password file.
struct Key<'a> {
    host: &'a str,
    port: u16,
    database: &'a str,
    user: &'a str,
}

/// The password for `config`; `None` if nothing names one.
pub(super) fn find(config: &Config) -> Option<String> {
    if let Some(password) = std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty()) {
        return Some(password);
    }
    let path = std::env::var_os("PGPASSFILE").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".pgpass"))
    })?;
    let mode = std::fs::metadata(&path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            "the password file of PostgreSQL is ignored, because others may read it: chmod 600 it"
        );
        return None;
    }
    let user = config.get_user()?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host,
        Some(Host::Unix(_)) | None => "localhost",
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let key = Key { host, port, database: config.get_dbname().unwrap_or(user), user };
    in_file(&std::fs::read_to_string(&path).ok()?, &key)
}

/// The password of the first line `host:port:database:user:password` that matches. `*` matches all, and a backslash
/// takes the meaning from the character behind it.
fn in_file(text: &str, key: &Key<'_>) -> Option<String> {
    let port = key.port.to_string();
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut fields = vec![String::new()];
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match character {
                // The last field may contain colons.
                ':' if fields.len() < 5 => fields.push(String::new()),
                '\\' => fields.last_mut()?.extend(characters.next()),
                other => fields.last_mut()?.push(other),
            }
        }
        let [host, of_port, database, user, password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = |field: &str, value: &str| field == "*" || field == value;
        let matches = fits(&host, key.host)
            && fits(&of_port, &port)
            && fits(&database, key.database)
            && fits(&user, key.user);
        matches.then_some(password)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_matches_has_the_password() {
        let file = "# a comment\nshort:line\ndb:5432:bridge:other:no\ndb:5433:bridge:me:no\n*:*:bridge:me:a\\:b\\\\c:d\n*:*:*:*:last\n";
        let key = |database, user| Key { host: "db", port: 5432, database, user };
        assert_eq!(in_file(file, &key("bridge", "me")).as_deref(), Some("a:b\\c:d"));
        assert_eq!(in_file(file, &key("bridge", "other")).as_deref(), Some("no"));
        assert_eq!(in_file(file, &key("elsewhere", "me")).as_deref(), Some("last"));
        assert_eq!(in_file("db:1:a:b:c", &key("bridge", "me")), None);
    }
}
