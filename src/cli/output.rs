//! Results: text on stdout, and tables with aligned columns.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use anyhow::Context as _;

use super::Error;

/// Writes `text` to stdout and flushes it.
pub(super) fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Error::ClosedPipe),
        written => Ok(written.context("cannot write the result")?),
    }
}

/// Puts untrusted text on one line: replaces control characters with spaces.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The width of each column of a table, in characters.
#[derive(Debug)]
pub(super) struct Columns(Vec<usize>);

impl Columns {
    /// Makes the columns wide enough for the header and `rows`.
    pub fn fitting<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> Self {
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].len()]).max().unwrap_or_default()
        };
        Self((0..N).map(width).collect())
    }

    /// Formats one line, including its line break.
    pub fn line<const N: usize>(&self, cells: [&str; N]) -> String {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&self.0) {
            let cell = one_line(cell);
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:<width$}  ");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }

    /// Formats the header and every row.
    pub fn table<const N: usize>(&self, header: [&str; N], rows: &[[String; N]]) -> String {
        let mut table = self.line(header);
        table.push_str(&self.lines(rows));
        table
    }

    /// Formats every row as one line.
    pub fn lines<const N: usize>(&self, rows: &[[String; N]]) -> String {
        rows.iter().map(|row| self.line(row.each_ref().map(String::as_str))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["1".to_owned(), "wait\ning".to_owned()], ["1000".to_owned(), String::new()]];
        let columns = Columns::fitting(["ID", "STATE"], &rows);
        let table = columns.table(["ID", "STATE"], &rows);
        assert_eq!(table, "ID    STATE\n1     wait ing\n1000\n");
    }
}
