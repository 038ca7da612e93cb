//! A table in Markdown, so that it can be kept as it is printed.

use std::fmt;

use serde::Serialize;

/// Rows of cells; the first row is the heading, the first column its rows' names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One with a heading.
    pub fn new<T: Into<String>>(heading: impl IntoIterator<Item = T>) -> Self {
        let mut table = Self::default();
        table.add(heading);
        table
    }

    /// Adds a row.
    pub fn add<T: Into<String>>(&mut self, row: impl IntoIterator<Item = T>) {
        // A bar would end the cell.
        let cell = |cell: T| cell.into().replace('|', "\\|").replace('\n', " ");
        self.rows.push(row.into_iter().map(cell).collect());
    }

    /// Whether it has nothing below its heading.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column| {
            let widths = self.rows.iter().map(|row| cell(row, column).chars().count());
            widths.max().unwrap_or(0).max(1)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            for (column, width) in widths.iter().copied().enumerate() {
                let cell = cell(row, column);
                match column {
                    0 => write!(f, "| {cell:<width$} |")?,
                    _ => write!(f, " {cell:>width$} |")?,
                }
            }
            writeln!(f)?;
            if number == 0 {
                for (column, width) in widths.iter().copied().enumerate() {
                    match column {
                        0 => write!(f, "|{:-<1$}|", "", width + 2)?,
                        _ => write!(f, "{:-<1$}:|", "", width + 1)?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["", "ms"]);
        assert!(table.is_empty());
        table.add(["a|b", "1.25"]);
        table.add(["ü"]);
        let text = "|      |   ms |\n|------|-----:|\n| a\\|b | 1.25 |\n| ü    |      |\n";
        assert_eq!(table.to_string(), text);
        assert!(!table.is_empty());
    }
}
