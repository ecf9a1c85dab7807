//! The audit: reads every store of a stopped run and says what holds and what does not.
//!
//! It trusts nobody's own account: orders are what the customers' record says, stock and money at first are what
//! `world.json` says, and each store is compared with the others.

mod books;
mod checks;

use std::collections::BTreeMap;
use std::path::Path;

use self::books::Books;
pub(crate) use self::checks::Check;
use crate::domain::{money, thousands};
use crate::policies::TAKEN_OVER;
use crate::problem::Problem;
use crate::runner::RunRecord;

/// What the audit found.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) checks: Vec<Check>,
    /// Orders by how they ended.
    pub(crate) outcomes: BTreeMap<String, u64>,
    pub(crate) revenue: u64,
    pub(crate) pieces_shipped: u64,
    pub(crate) skus_sold_out: usize,
}

impl Audit {
    /// Whether every check holds.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(Check::holds)
    }
}

/// Audits the stores in `dir`, whose processes have been stopped.
pub(crate) async fn audit(dir: &Path) -> Result<Audit, Problem> {
    let books = Books::read(dir).await?;
    let mut outcomes = BTreeMap::new();
    for kept in books.orders.values() {
        *outcomes.entry(kept.settlement.label()).or_default() += 1;
    }
    Ok(Audit {
        checks: checks::all(&books),
        outcomes,
        revenue: books.revenue(),
        pieces_shipped: books.shipments.iter().map(|line| u64::from(line.qty)).sum(),
        skus_sold_out: books.stock.iter().filter(|stock| stock.available == 0).count(),
    })
}

/// The audit as a table for the terminal.
pub(crate) fn table(run: &RunRecord, audit: &Audit, colours: bool) -> String {
    let paint = |colour: u8, text: &str| if colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() };
    let (green, red) = (|text: &str| paint(32, text), |text: &str| paint(31, text));
    let width = audit.checks.iter().map(|check| check.name.len()).max().unwrap_or_default();
    let mut text = String::from("\naudit\n");
    for check in &audit.checks {
        let verdict = if check.holds() { green("ok   ") } else { red("FALSE") };
        text += &format!("  {verdict}  {:<width$}  {} ({})\n", check.name, check.claim, thousands(check.examined));
        for violation in &check.violations {
            text += &format!("         {:<width$}  - {violation}\n", "");
        }
        let more = check.violated.saturating_sub(check.violations.len() as u64);
        if more > 0 {
            text += &format!("         {:<width$}  - and {} more\n", "", thousands(more));
        }
    }
    let outcomes = audit.outcomes.iter().map(|(how, count)| format!("{} {how}", thousands(*count)));
    text += &format!("\norders   {}\n", outcomes.collect::<Vec<_>>().join(" · "));
    text += &format!(
        "sold     {} pieces for {} · {} skus sold out\n",
        thousands(audit.pieces_shipped),
        money(audit.revenue),
        audit.skus_sold_out
    );
    if run.seconds > 0.0 {
        text += &format!(
            "speed    accepted within p50 {:.0} ms, p99 {:.0} ms · settled within p50 {:.0} ms, p99 {:.0} ms · {} kills in {:.0} s\n",
            run.latency_ms.p50,
            run.latency_ms.p99,
            run.checkout_ms.p50,
            run.checkout_ms.p99,
            run.kills.len(),
            run.seconds
        );
    }
    if !run.policies.is_empty() {
        let taken_over: u64 =
            run.counts.iter().filter(|(what, _)| what.ends_with(TAKEN_OVER)).map(|(_, count)| count).sum();
        let changes = match run.policies.len() {
            1 => "once".to_owned(),
            changes => format!("{changes} times"),
        };
        text += &format!("policies changed {changes} while running · taken over by {taken_over} running services\n");
    }
    text.push('\n');
    let failed: Vec<_> = audit.checks.iter().filter(|check| !check.holds()).map(|check| check.name).collect();
    text += &match failed.as_slice() {
        [] => green("The audit is clean: nothing lost, nothing done twice, nothing left half done."),
        failed => red(&format!("The audit FAILED: {}.", failed.join(", "))),
    };
    text
}
