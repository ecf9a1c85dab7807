//! Figures as Markdown.

use std::fmt::Write as _;

use super::{Figures, Kind};

/// A Markdown table, filled row by row.
#[derive(Debug, Default)]
pub struct Table(String);

impl Table {
    /// Starts with the column names; the first column is text, the others are numbers.
    pub fn new(columns: &[&str]) -> Self {
        let mut text = format!("| {} |\n|---|", columns.join(" | "));
        text.push_str(&"--:|".repeat(columns.len() - 1));
        text.push('\n');
        Self(text)
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[String]) {
        let _ = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    /// The finished text.
    pub fn into_text(self) -> String {
        self.0
    }
}

/// Three significant digits, and thin groups above a thousand.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v < 0.005 => "0".into(),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        v if v < 1_000.0 => format!("{value:.0}"),
        _ => grouped(value.round() as i64),
    }
}

fn grouped(value: i64) -> String {
    let digits = value.abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    if value < 0 { format!("-{text}") } else { text }
}

/// One table a group, floors first as they were listed.
pub fn layers_table(figures: &[Figures]) -> String {
    let mut text = String::new();
    let mut groups: Vec<&str> = Vec::new();
    for figure in figures {
        if !groups.contains(&figure.group) {
            groups.push(figure.group);
        }
    }
    for group in groups {
        let rows: Vec<_> = figures.iter().filter(|figure| figure.group == group).collect();
        let floor = rows.first().and_then(|row| median(&row.one));
        let mut table = Table::new(&[
            "case",
            "ns/call 1T",
            "min",
            "own cost",
            "2T ns/call",
            "2T min",
            "2T / 1T throughput",
            "instr/call",
            "allocs",
            "bytes",
            "future B",
        ]);
        for row in rows {
            table.row(&cells(row, floor));
        }
        let _ = write!(text, "### {group}\n\n{}\n", table.into_text());
    }
    text
}

fn cells(row: &Figures, floor: Option<f64>) -> Vec<String> {
    let name = match row.kind {
        Kind::Ours => format!("**{}**", row.name),
        Kind::Floor => format!("floor: {}", row.name),
        Kind::Peer => row.name.clone(),
    };
    if let Some(why) = row.wrong {
        let mut cells = vec![name, format!("{why}: no figure")];
        cells.resize(11, "-".into());
        return cells;
    }
    let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), figure);
    let (one, two) = (median(&row.one), median(&row.two));
    let own = one.zip(floor).filter(|_| row.kind != Kind::Floor).map(|(one, floor)| one - floor);
    let ratio = one.zip(two).map(|(one, two)| format!("{:.2}x", 2.0 * one / two));
    vec![
        name,
        or_dash(one),
        or_dash(row.one.first().copied()),
        or_dash(own),
        or_dash(two),
        or_dash(row.two.first().copied()),
        ratio.unwrap_or_else(|| "-".into()),
        or_dash(row.instructions),
        figure(row.allocations),
        figure(row.bytes),
        row.future_bytes.map_or_else(|| "-".into(), |bytes| bytes.to_string()),
    ]
}

fn median(sorted: &[f64]) -> Option<f64> {
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[n / 2]),
        n => Some((sorted[n / 2 - 1] + sorted[n / 2]) / 2.0),
    }
}
