//! One table, for people at a terminal and for Markdown.

/// Rows under column names. Its first columns are text, the others numbers.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    text: usize,
}

impl Table {
    /// Columns, of which so many are text.
    pub fn new(columns: &[&str], text: usize) -> Self {
        Self { rows: vec![columns.iter().map(|name| (*name).to_owned()).collect()], text }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// With columns of equal width.
    pub fn terminal(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let space = " ".repeat(width - cell.chars().count());
                let (before, after) = if column < self.text { ("", &*space) } else { (&*space, "") };
                line.push_str(&format!("{before}{cell}{after}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text.replace("**", "")
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<_> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
            if index == 0 {
                let columns = row.len().saturating_sub(self.text);
                text.push_str(&format!("|{}{}\n", "---|".repeat(self.text), "--:|".repeat(columns)));
            }
        }
        text
    }
}

/// Three significant digits, thin groups above a thousand.
pub fn figure(value: f64) -> String {
    match value {
        whole if whole.fract() == 0.0 && whole.abs() < 1_000.0 => format!("{whole:.0}"),
        small if small.abs() < 10.0 => format!("{small:.2}"),
        medium if medium.abs() < 100.0 => format!("{medium:.1}"),
        large => {
            let digits = format!("{large:.0}");
            let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
            groups.join("\u{202f}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_aligned() {
        assert_eq!(figure(0.0), "0");
        assert_eq!(figure(1.234), "1.23");
        assert_eq!(figure(12.34), "12.3");
        assert_eq!(figure(1_234_567.0), "1\u{202f}234\u{202f}567");
        let mut table = Table::new(&["variant", "lost"], 1);
        table.row(vec!["a".into(), "12".into()]);
        assert_eq!(table.terminal(), "variant  lost\na          12\n");
        assert_eq!(table.markdown(), "| variant | lost |\n|---|--:|\n| a | 12 |\n");
    }
}
