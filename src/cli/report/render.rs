//! A report as a table, as comma-separated values, and as JSON.

use serde_json::json;

use super::figures::{Figures, ReportRow};
use crate::cli::output::Columns;

const NONE: &str = "No conversation began within that time.\n";

/// The names of the values in JSON and CSV, in order.
const NAMES: [&str; 14] = [
    "day",
    "agent",
    "conversations",
    "open",
    "answered",
    "first_answer_median_s",
    "first_answer_p90_s",
    "resolution_median_s",
    "resolution_p90_s",
    "messages_in",
    "messages_out",
    "satisfied",
    "so_so",
    "not_satisfied",
];

/// The numbers of a line, in the order of [`NAMES`].
fn numbers(figures: &Figures) -> [Option<u64>; 12] {
    let seconds = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let [first_median, first_p90] = figures.first_answer_s().map(seconds);
    let [end_median, end_p90] = figures.resolution_s().map(seconds);
    let [satisfied, so_so, not_satisfied] = figures.ratings.map(|count| Some(count.into()));
    [
        Some(figures.conversations.into()),
        Some(figures.open.into()),
        Some(figures.answered.into()),
        first_median,
        first_p90,
        end_median,
        end_p90,
        Some(figures.messages_in),
        Some(figures.messages_out),
        satisfied,
        so_so,
        not_satisfied,
    ]
}

/// Lines for people.
pub(super) fn table(rows: &[ReportRow]) -> String {
    const HEADER: [&str; 10] = [
        "DAY",
        "AGENT",
        "CONVERSATIONS",
        "OPEN",
        "ANSWERED",
        "FIRST ANSWER",
        "RESOLUTION",
        "IN",
        "OUT",
        "RATINGS",
    ];
    if rows.is_empty() {
        return NONE.to_owned();
    }
    let cells = |row: &ReportRow| {
        let figures = &row.figures;
        [
            row.day.to_string(),
            row.agent.clone(),
            figures.conversations.to_string(),
            figures.open.to_string(),
            figures.answered.to_string(),
            times(figures.first_answer_s()),
            times(figures.resolution_s()),
            figures.messages_in.to_string(),
            figures.messages_out.to_string(),
            ratings(figures.ratings),
        ]
    };
    let rows: Vec<[String; 10]> = rows.iter().map(cells).collect();
    let table = Columns::fitting(HEADER, &rows).table(HEADER, &rows);
    format!(
        "{table}FIRST ANSWER and RESOLUTION: the median, and what nine in ten do not exceed. RATINGS: satisfied, so-so, \
         not satisfied.\n"
    )
}

fn ratings(counts: [u32; 3]) -> String {
    if counts == [0; 3] {
        return "-".to_owned();
    }
    counts.map(|count| count.to_string()).join(", ")
}

/// The median and the 90th percentile.
fn times([median, p90]: [Option<i64>; 2]) -> String {
    match (median, p90) {
        (Some(median), Some(p90)) => format!("{}, {}", duration(median), duration(p90)),
        _ => "-".to_owned(),
    }
}

/// As `5s`, `3m`, `1h 5m` or `2d 3h`.
fn duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if minutes < 10 => format!("{minutes}m {}s", seconds % 60),
        () if hours == 0 => format!("{minutes}m"),
        () if days == 0 => format!("{hours}h {}m", minutes % 60),
        () => format!("{days}d {}h", hours % 24),
    }
}

/// One object a line.
pub(super) fn json(rows: &[ReportRow]) -> String {
    let object = |row: &ReportRow| {
        let texts = [json!(row.day.to_string()), json!(row.agent)];
        let values = texts.into_iter().chain(numbers(&row.figures).map(|number| json!(number)));
        let members = NAMES.iter().map(|name| (*name).to_owned()).zip(values);
        format!("{}\n", serde_json::Value::Object(members.collect()))
    };
    rows.iter().map(object).collect()
}

/// As RFC 4180 has it, with a line of names.
pub(super) fn csv(rows: &[ReportRow]) -> String {
    let line = |row: &ReportRow| {
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        let texts = [row.day.to_string(), quoted(&row.agent)];
        let cells: Vec<String> = texts.into_iter().chain(numbers(&row.figures).map(number)).collect();
        format!("{}\r\n", cells.join(","))
    };
    format!("{}\r\n{}", NAMES.join(","), rows.iter().map(line).collect::<String>())
}

/// A value that a spreadsheet reads as text. A UserID may contain anything printable.
fn quoted(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
    if is_plain {
        return text.to_owned();
    }
    // A spreadsheet would take the text for a formula.
    let guard = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn rows() -> Vec<ReportRow> {
        let figures = Figures {
            conversations: 3,
            messages_in: 5,
            messages_out: 4,
            ratings: [2, 1, 0],
            ..Figures::default()
        };
        vec![ReportRow { day: date(2026, 10, 1), agent: "=a\",b".to_owned(), figures }]
    }

    #[test]
    fn values_are_quoted_and_missing_ones_empty() {
        let text = csv(&rows());
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(
            lines[0].starts_with("day,agent,conversations,open,answered,first_answer_median_s"),
            "{text}"
        );
        assert_eq!(lines[1], "2026-10-01,\"'=a\"\",b\",3,0,0,,,,,5,4,2,1,0");
        let object: serde_json::Value = serde_json::from_str(&json(&rows())).unwrap();
        assert_eq!(object["first_answer_median_s"], serde_json::Value::Null);
        assert_eq!((&object["agent"], &object["messages_out"]), (&json!("=a\",b"), &json!(4)));
        assert_eq!(table(&[]), NONE);
        let line = table(&rows()).lines().nth(1).unwrap().to_owned();
        assert!(line.contains("2026-10-01") && line.ends_with("2, 1, 0"), "{line}");
    }

    #[test]
    fn durations_are_as_exact_as_they_are_long() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (61, "1m 1s"), (700, "11m"), (3_900, "1h 5m"), (97_200, "1d 3h")]
        {
            assert_eq!(duration(seconds), text);
        }
    }
}
