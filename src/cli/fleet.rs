//! `fleet`: the instances that serve one PostgreSQL database.

use super::output::{Columns, print};
use super::{Error, with_store};
use crate::clock::Clock;
use crate::clock::calendar::utc;
use crate::config::Config;
use crate::model::Millis;
use crate::store::Instance;

const ALONE: &str = "The store is in SQLite, so that one process serves it alone. Several instances need PostgreSQL; see \
    docs/several-instances.md.\n";
const NONE: &str = "No instance serves the database.\n";

pub(super) fn run(config: &Config, clock: &Clock) -> Result<(), Error> {
    if !matches!(config.store, crate::config::StoreUrl::Postgres(_)) {
        return print(ALONE);
    }
    let found = with_store(config, clock, async |store| {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method is not general over lifetimes"
        )]
        let instances = store.read(|tx| tx.instances()).await;
        Ok(instances.map_err(anyhow::Error::from)?)
    })?;
    print(&render(&found.unwrap_or_default()))
}

fn render(instances: &[Instance]) -> String {
    const HEADER: [&str; 6] = ["INSTANCE", "MACHINE AND PROCESS", "SINCE", "HEARD OF", "SHARDS", "STATE"];
    if instances.is_empty() {
        return NONE.to_owned();
    }
    let rows: Vec<[String; 6]> = instances.iter().map(row).collect();
    Columns::fitting(HEADER, &rows).table(HEADER, &rows)
}

fn row(instance: &Instance) -> [String; 6] {
    let state = match instance {
        Instance { is_present: false, .. } => "gone",
        Instance { is_leaving: true, .. } => "stopping",
        _ => "alive",
    };
    [
        format!("{:x}", instance.id),
        instance.name.clone(),
        utc(Millis(instance.since_ms)),
        format!("{:.1} s ago", seconds(instance.silent_ms)),
        instance.shards.to_string(),
        state.to_owned(),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "52 bits are enough for an age")]
fn seconds(millis: i64) -> f64 {
    millis.max(0) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_instance_is_a_line() {
        let instance = Instance {
            id: 0x2a,
            name: "shop 7".to_owned(),
            version: 2,
            since_ms: 0,
            silent_ms: 250,
            is_present: true,
            is_leaving: false,
            settings: String::new(),
            shards: 128,
        };
        let gone = Instance { is_present: false, ..instance.clone() };
        let shown = render(&[instance, gone]);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(
            lines[1].starts_with("2a") && lines[1].contains("0.2 s ago") && lines[1].contains("128"),
            "{shown}"
        );
        assert!(lines[1].trim_end().ends_with("alive") && lines[2].trim_end().ends_with("gone"), "{shown}");
        assert_eq!(render(&[]), NONE);
    }
}
