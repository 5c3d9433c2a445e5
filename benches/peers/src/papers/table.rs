//! Results as data: tables and figures, printed for people and serialised for machines.
//!
//! Every number has its unit in the column, so that neither a reader nor a program guesses. What was not measured says why,
//! and what a paper does not tell is left out: an empty cell is never a zero.

use serde::Serialize;
use std::fmt::Write;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Microseconds,
    Bytes,
    /// Shown without a unit.
    Count,
    PerSecond,
    Ratio,
    Percent,
    Cycles,
}

#[derive(Clone, Debug, Serialize)]
pub struct Column {
    pub name: String,
    pub unit: Unit,
}

pub fn column(name: &str, unit: Unit) -> Column {
    Column {
        name: name.to_owned(),
        unit,
    }
}

/// Where a row's numbers come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// As printed in the paper, measured on the authors' machines.
    Paper,
    /// In this run, on this machine.
    Measured,
    /// Why not.
    NotMeasured(String),
    /// What is to be reached.
    Target,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub origin: Origin,
    /// For each column; `None` where there is nothing to tell.
    pub cells: Vec<Option<f64>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Table {
    pub name: &'static str,
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Row>,
    /// What a reader has to know of how it was measured.
    pub notes: Vec<String>,
}

impl Table {
    pub fn new(name: &'static str, title: &str, columns: Vec<Column>) -> Table {
        Table {
            name,
            title: title.to_owned(),
            columns,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn row(&mut self, name: &str, origin: Origin, cells: Vec<Option<f64>>) {
        assert_eq!(cells.len(), self.columns.len(), "{name}");
        self.rows.push(Row {
            name: name.to_owned(),
            origin,
            cells,
        });
    }

    pub fn measured(&mut self, name: &str, cells: &[f64]) {
        let cells = cells.iter().copied().map(Some).collect();
        self.row(name, Origin::Measured, cells);
    }

    pub fn missing(&mut self, name: &str, why: &str) {
        let cells = vec![None; self.columns.len()];
        self.row(name, Origin::NotMeasured(why.to_owned()), cells);
    }

    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// As text, a column as wide as its widest cell.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<Vec<String>> = Vec::new();
        let mut head = vec![String::new()];
        head.extend(self.columns.iter().map(|column| column.name.clone()));
        lines.push(head);
        for row in &self.rows {
            let name = match row.origin {
                Origin::Paper => format!("{} (paper)", row.name),
                Origin::Target => format!("{} (target)", row.name),
                Origin::Measured | Origin::NotMeasured(_) => row.name.clone(),
            };
            let mut line = vec![name];
            if let Origin::NotMeasured(_) = row.origin {
                line.push("not measured".to_owned());
            } else {
                let cells = row.cells.iter().zip(&self.columns);
                line.extend(cells.map(|(cell, column)| {
                    cell.map_or("-".to_owned(), |value| format(value, column.unit))
                }));
            }
            lines.push(line);
        }
        let width = |at: usize| {
            let cells = lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..=self.columns.len()).map(width).collect();
        let mut text = format!("\n{}\n", self.title);
        for line in &lines {
            for (at, cell) in line.iter().enumerate() {
                // Writing to a string does not fail.
                let _ = match at {
                    0 => write!(text, "  {cell:width$}", width = widths[0]),
                    _ => write!(text, "  {cell:>width$}", width = widths[at]),
                };
            }
            text.push('\n');
        }
        for row in &self.rows {
            if let Origin::NotMeasured(why) = &row.origin {
                let _ = writeln!(text, "  {}: not measured: {why}", row.name);
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "  * {note}");
        }
        text
    }
}

/// A number with a unit of a size that reads well.
fn format(value: f64, unit: Unit) -> String {
    let scaled = |steps: &[(f64, &str)]| {
        let step = steps.iter().rev().find(|step| value.abs() >= step.0);
        let (scale, name) = step.unwrap_or(&steps[0]);
        let number = value / scale;
        let decimals = match number.abs() {
            number if number >= 100.0 => 0,
            number if number >= 10.0 => 1,
            _ => 2,
        };
        format!("{number:.decimals$}{name}")
    };
    match unit {
        Unit::Microseconds => scaled(&[(1e-3, " ns"), (1.0, " us"), (1e3, " ms"), (1e6, " s")]),
        Unit::Bytes => scaled(&[
            (1.0, " B"),
            (1024.0, " KiB"),
            (1048576.0, " MiB"),
            (1073741824.0, " GiB"),
        ]),
        Unit::Count | Unit::PerSecond if value < 10_000.0 && value.fract() == 0.0 => {
            format!("{value}")
        }
        Unit::Count | Unit::PerSecond => {
            scaled(&[(1.0, ""), (1e3, " K"), (1e6, " M"), (1e9, " G")])
        }
        Unit::Cycles => scaled(&[(1.0, ""), (1e3, " K"), (1e6, " M"), (1e9, " G")]),
        Unit::Ratio => format!("{value:.2}"),
        Unit::Percent => format!("{value:.3} %"),
    }
}

/// An axis of a figure; all are logarithmic or start at zero.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    pub name: String,
    pub logarithmic: bool,
}

pub fn axis(name: &str, logarithmic: bool) -> Axis {
    Axis {
        name: name.to_owned(),
        logarithmic,
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    pub name: &'static str,
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// All that a piece gives.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Findings {
    pub tables: Vec<Table>,
    pub figures: Vec<Figure>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_a_unit_of_their_size() {
        assert_eq!(format(0.43, Unit::Microseconds), "430 ns");
        assert_eq!(format(3200.0, Unit::Microseconds), "3.20 ms");
        assert_eq!(format(2.8e6, Unit::Microseconds), "2.80 s");
        assert_eq!(format(12_698.0, Unit::Bytes), "12.4 KiB");
        assert_eq!(format(650.0, Unit::Cycles), "650");
        assert_eq!(format(251e6, Unit::Cycles), "251 M");
        assert_eq!(format(0.0, Unit::Count), "0");
    }

    #[test]
    fn what_was_not_measured_says_why_and_shows_no_number() {
        let mut table = Table::new("t", "T", vec![column("cold", Unit::Microseconds)]);
        table.missing("container", "crun is not installed");
        let text = table.to_text();
        assert!(text.contains("container: not measured: crun is not installed"));
        assert!(!text.contains('0'), "{text}");
    }
}
