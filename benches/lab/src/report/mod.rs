//! What came out: for the terminal, for the page, as charts.

mod charts;
mod table;

use std::path::{Path, PathBuf};
use std::{fs, io};

pub use self::charts::charts;
pub use self::table::{Table, figure};

use crate::measure::{Figures, Runs, Verdict, judge};
use crate::scenario::{Column, Measure, Scenario, Time};
use crate::sim::Run;

/// Versions of the rivals, as pinned in the manifest.
const VERSIONS: &str = "tower 0.5.3, tower-resilience 0.14.0, tower-batch-control 1.1.1, governor 0.10.4, failsafe 1.3.0, \
                        recloser 1.4.0";

/// The results of a scenario.
#[derive(Debug)]
pub struct Report<'a> {
    /// What was run.
    pub scenario: &'a Scenario,
    /// What came out for each variant, by the scenario's seed and by those that follow.
    pub seeds: &'a [Runs],
    /// How to run it again.
    pub command: &'a str,
}

impl Report<'_> {
    /// The verdict of each goal.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.scenario.goal.iter().map(|goal| judge(self.scenario, self.seeds, goal)).collect()
    }

    /// Whether every goal that could be judged is met.
    pub fn is_met(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.is_met() || *verdict == Verdict::NotRun)
    }

    /// What became of the callers, one row a variant and load.
    pub fn variants(&self) -> Table {
        let several = self.scenario.load.len() > 1;
        let mut columns = vec!["variant"];
        if several {
            columns.push("callers");
        }
        columns.extend(["answered", "refused", "late", "failed", "p50 ms", "p99 ms", "p99.9 ms", "sent per caller"]);
        columns.extend(self.scenario.column.iter().map(|column| &*column.say));
        let mut table = Table::new(&columns, if several { 2 } else { 1 });
        for (variant, run) in self.scenario.variant.iter().zip(self.runs()) {
            for (index, load) in self.scenario.load.iter().enumerate() {
                let mut row = vec![match variant.time {
                    Time::Virtual => variant.name.clone(),
                    Time::Wall => format!("{} (real clock)", variant.name),
                }];
                if several {
                    row.push(load.name.clone());
                }
                if let Some(run) = run {
                    let figures = Figures::new(self.scenario, run, Some(index));
                    row.extend(cells(&figures));
                    let figure = |column: &Column| shown(&column.measure, figures.of(&column.measure));
                    row.extend(self.scenario.column.iter().map(figure));
                } else {
                    row.extend((0..8 + self.scenario.column.len()).map(|_| "not run".to_owned()));
                }
                table.row(row);
            }
        }
        table
    }

    /// What was asked for, and what came out.
    pub fn goals(&self) -> Table {
        let seeds = format!("by {} seeds", self.seeds.len());
        let mut table = Table::new(&["goal", "variant", "bound", "result", &seeds, ""], 2);
        for (goal, verdict) in self.scenario.goal.iter().zip(self.verdicts()) {
            let mut row = vec![goal.say.clone(), goal.variant.clone()];
            let word = if verdict.is_met() { "met" } else { "**not met**" };
            match &verdict {
                Verdict::Judged(all) => {
                    let sign = if goal.at_least.is_some() { "≥" } else { "≤" };
                    let first = all.first().copied();
                    let figures = || all.iter().map(|judged| judged.figure);
                    let (low, high) = (figures().fold(f64::INFINITY, f64::min), figures().fold(0.0, f64::max));
                    let shown = |value| shown(&goal.measure, value);
                    row.push(format!("{sign} {}", first.map_or_else(String::new, |it| shown(it.bound))));
                    row.push(first.map_or_else(String::new, |it| shown(it.figure)));
                    let (low, high) = (shown(low), shown(high));
                    row.push(match all.len() {
                        1 => "–".into(),
                        _ if low == high => low,
                        _ => format!("{low} to {high}"),
                    });
                    row.push(word.into());
                }
                Verdict::NotRun => row.extend(["", "", "", "not run"].map(str::to_owned)),
            }
            table.row(row);
        }
        table
    }

    /// By the scenario's own seed.
    fn runs(&self) -> &[Option<Run>] {
        self.seeds.first().map_or(&[], Vec::as_slice)
    }

    /// The page of a scenario.
    pub fn page(&self) -> String {
        let scenario = self.scenario;
        let mut page = format!("# {}\n\n{}\n\n", scenario.title, scenario.about.trim());
        page.push_str(&format!("![Goodput and latency over time](lab-{}.svg)\n\n", scenario.name));
        page.push_str(&format!(
            "## Goals\n\n{}\n## Variants\n\n{}\n",
            self.goals().markdown(),
            self.variants().markdown()
        ));
        let notes: Vec<_> = scenario.variant.iter().filter(|variant| !variant.note.is_empty()).collect();
        if !notes.is_empty() {
            for variant in notes {
                page.push_str(&format!("- {}: {}\n", variant.name, variant.note));
            }
            page.push('\n');
        }
        page.push_str(
            "*Answered* is in time: before the caller's patience ended. *Late* is a timeout, the stack's or the caller's. \
             Times are of the answered. *Sent per caller* counts what reached a server.\n\n",
        );
        page.push_str(&format!(
            "## Run\n\nTables and charts: seed {}. {VERSIONS}.\n\n```text\n{}\n```\n",
            scenario.seed, self.command
        ));
        if scenario.variant.iter().any(|variant| variant.time == Time::Wall) {
            page.push_str(
                "\nRows marked *real clock* are of layers that read the operating system's clock and cannot be run in virtual \
                 time; they vary a little between runs. All others come out the same to the last bit.\n",
            );
        }
        page
    }

    /// Writes the page and the charts into `directory`.
    ///
    /// # Errors
    ///
    /// If a file cannot be written, or a chart not drawn.
    pub fn write(&self, directory: &Path) -> io::Result<[PathBuf; 2]> {
        fs::create_dir_all(directory)?;
        let page = directory.join(format!("lab-{}.md", self.scenario.name));
        let chart = directory.join(format!("lab-{}.svg", self.scenario.name));
        fs::write(&page, self.page())?;
        fs::write(&chart, charts(self.scenario, self.runs()).map_err(io::Error::other)?)?;
        Ok([page, chart])
    }
}

fn cells(figures: &Figures<'_>) -> Vec<String> {
    let (whole, ends) = (figures.whole(), figures.ends(figures.whole()));
    let share = |count: usize| percent(count as f64 / ends.callers.max(1) as f64);
    let millis = |q| figures.latency(q, whole).map_or_else(|| "–".to_owned(), |it| figure(it.as_secs_f64() * 1e3));
    vec![
        share(ends.answered),
        share(ends.refused),
        share(ends.late),
        share(ends.failed),
        millis(0.5),
        millis(0.99),
        millis(0.999),
        figure(figures.sent(whole) as f64 / ends.callers.max(1) as f64),
    ]
}

/// A share as per cent; never rounded to all or nothing.
fn percent(share: f64) -> String {
    match share * 100.0 {
        all if all == 100.0 || all == 0.0 => format!("{all:.0} %"),
        some if some > 99.9 => "99.9 %".into(),
        some if some < 0.1 => "< 0.1 %".into(),
        some => format!("{some:.1} %"),
    }
}

/// A figure in its own unit.
fn shown(measure: &Measure, value: f64) -> String {
    if value.is_infinite() {
        return "never".into();
    }
    match measure {
        Measure::Goodput(_) => percent(value),
        Measure::Lost(_) | Measure::Sent(_) | Measure::Throttled(_) | Measure::Stale(_) => figure(value),
        Measure::Throughput(_) => format!("{}/s", figure(value)),
        Measure::SentPerCaller(_) => format!("{value:.3}"),
        Measure::Latency(_) => format!("{} ms", figure(value * 1e3)),
        Measure::Recovery(_) | Measure::Calm(_) | Measure::FirstRefusal(_) | Measure::LastRefusal(_) => {
            if value < 1.0 {
                format!("{} ms", figure(value * 1e3))
            } else {
                format!("{} s", figure(value))
            }
        }
    }
}
