//! One statement for many sets of parameters, made from the statement for one.
//!
//! The server runs it once for all sets, which it gets as one array for each parameter. Must never change what the
//! statement does with each of them.

use tokio_postgres::types::Type;

/// The statement that answers `sql` for each set of parameters. Its last column is the number of the set, from 1.
///
/// `OFFSET 0` keeps the server from merging it into a plan of its own, which could read a whole index.
pub(super) fn select(sql: &str, types: &[Type]) -> String {
    let (sets, names) = sets(types);
    format!(
        "SELECT q.*, b.n FROM {sets} WITH ORDINALITY AS b({names}, n) CROSS JOIN LATERAL ({} OFFSET 0) AS q",
        with_columns(sql)
    )
}

/// The statement that does what `sql` does, an `INSERT … VALUES` or an `UPDATE` with one `WHERE`, with each set of
/// parameters. `None` for any other statement.
pub(super) fn change(sql: &str, types: &[Type]) -> Option<String> {
    let (sets, names) = sets(types);
    let from = format!("FROM {sets} AS b({names})");
    if sql.starts_with("INSERT ") {
        let (head, rest) = sql.split_once("VALUES (")?;
        let (values, tail) = rest.split_at(closing(rest)?);
        Some(format!("{head}SELECT {} {from}{}", with_columns(values), with_columns(tail.get(1..)?)))
    } else if sql.starts_with("UPDATE ") {
        let (head, condition) = sql.split_once("WHERE ")?;
        Some(format!("{}{from} WHERE {}", with_columns(head), with_columns(condition)))
    } else {
        None
    }
}

/// The sets of parameters as rows, and the names of their columns.
fn sets(types: &[Type]) -> (String, String) {
    let join = |each: fn((usize, &Type)) -> String| (1..).zip(types).map(each).collect::<Vec<_>>().join(", ");
    let arrays = join(|(number, ty)| format!("${number}::{}[]", ty.name()));
    (format!("unnest({arrays})"), join(|(number, _)| format!("p{number}")))
}

/// Where the bracket that is open at the beginning of `sql` closes.
fn closing(sql: &str) -> Option<usize> {
    let mut open = 1;
    sql.char_indices().find_map(|(at, c)| {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            _ => {}
        }
        (open == 0).then_some(at)
    })
}

/// The statement with columns instead of the parameters `$1`, `$2`, ….
fn with_columns(sql: &str) -> String {
    sql.replace('$', "b.p")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_for_many_sets_are_made_from_those_for_one() {
        let types = [Type::TEXT, Type::INT8];
        assert_eq!(
            select("SELECT a FROM t WHERE b = $1 AND c = $2", &types),
            "SELECT q.*, b.n FROM unnest($1::text[], $2::int8[]) WITH ORDINALITY AS b(p1, p2, n) \
             CROSS JOIN LATERAL (SELECT a FROM t WHERE b = b.p1 AND c = b.p2 OFFSET 0) AS q"
        );
        assert_eq!(
            change(
                "INSERT INTO t (a, b) VALUES ($1, coalesce((SELECT 1), $2)) ON CONFLICT (a) DO NOTHING",
                &types
            )
            .as_deref(),
            Some(
                "INSERT INTO t (a, b) SELECT b.p1, coalesce((SELECT 1), b.p2) \
                 FROM unnest($1::text[], $2::int8[]) AS b(p1, p2) ON CONFLICT (a) DO NOTHING"
            )
        );
        assert_eq!(
            change("UPDATE t SET a = $2 WHERE b = $1", &types).as_deref(),
            Some("UPDATE t SET a = b.p2 FROM unnest($1::text[], $2::int8[]) AS b(p1, p2) WHERE b = b.p1")
        );
        assert_eq!(change("DELETE FROM t WHERE b = $1", &types), None);
    }
}
