//! `report.html`: the audit and the charts in one file that needs nothing else.

mod charts;

use std::fmt::Write;

use crate::audit::Audit;
use crate::domain::{Victim, money, thousands};
use crate::runner::directory::RunFiles;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn html(run: &RunFiles, audit: &Audit) -> String {
    let record = &run.record;
    let mut page = String::with_capacity(64 * 1024);
    let verdict = if audit.holds() { ("good", "The audit is clean") } else { ("bad", "The audit failed") };
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>shop: {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1><span class=\"{}\">{}</span></h1>\n",
        verdict.1, verdict.0, verdict.1
    );
    let _ = writeln!(page, "<p class=\"lead\">{}</p>", escape(&lead(run, audit)));
    tiles(&mut page, run, audit);
    checks(&mut page, audit);
    if run.samples.len() > 1 {
        page.push_str("<h2>The run</h2>\n");
        for (title, note, chart) in charts::all(run) {
            let _ = writeln!(page, "<figure>\n<figcaption><b>{title}</b> {note}</figcaption>\n{chart}\n</figure>");
        }
    }
    outcomes(&mut page, audit);
    counts(&mut page, run);
    let _ = writeln!(page, "<footer>seed {} · {} orders a second asked for</footer>", record.seed, record.rate);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn lead(run: &RunFiles, audit: &Audit) -> String {
    let record = &run.record;
    let ends = match audit.checks.iter().filter(|check| !check.holds()).map(|check| check.name).collect::<Vec<_>>() {
        failed if failed.is_empty() => "Nothing was lost, nothing done twice, nothing left half done.".to_owned(),
        failed => format!("These checks do not hold: {}.", failed.join(", ")),
    };
    let kills: Vec<_> = Victim::ALL
        .into_iter()
        .filter_map(|name| match record.kills.iter().filter(|(_, killed)| *killed == name).count() {
            0 => None,
            1 => Some(format!("{name} once")),
            2 => Some(format!("{name} twice")),
            count => Some(format!("{name} {count} times")),
        })
        .collect();
    let kills =
        if kills.is_empty() { "nobody was killed".to_owned() } else { format!("SIGKILL hit {}", kills.join(", ")) };
    let cut = if record.interrupted { " It was ended by hand." } else { "" };
    format!("{} orders in {:.0} s; {kills}.{cut} {ends}", thousands(record.orders as u64), record.seconds)
}

fn tiles(page: &mut String, run: &RunFiles, audit: &Audit) {
    let record = &run.record;
    let completed = audit.outcomes.get("completed").copied().unwrap_or_default();
    let all: u64 = audit.outcomes.values().sum();
    let goodput = if record.seconds > 0.0 { completed as f64 / record.seconds } else { 0.0 };
    let tiles = [
        (thousands(completed), "orders completed".to_owned()),
        (thousands(all - completed), "orders undone".to_owned()),
        (format!("{goodput:.0}/s"), "completed, over the whole run".to_owned()),
        (millis(record.latency_ms.p50), format!("to acceptance, p50 (p99 {})", millis(record.latency_ms.p99))),
        (millis(record.checkout_ms.p50), format!("to settlement, p50 (p99 {})", millis(record.checkout_ms.p99))),
        (record.kills.len().to_string(), "kills".to_owned()),
        (money(audit.revenue), "revenue".to_owned()),
        (audit.skus_sold_out.to_string(), "skus sold out".to_owned()),
    ];
    page.push_str("<div class=\"tiles\">\n");
    for (figure, label) in tiles {
        let _ = writeln!(page, "<div><b>{figure}</b><span>{label}</span></div>");
    }
    page.push_str("</div>\n");
}

fn checks(page: &mut String, audit: &Audit) {
    page.push_str(
        "<h2>Audit</h2>\n<table>\n<tr><th></th><th>check</th><th>claim</th><th class=\"n\">looked at</th></tr>\n",
    );
    for check in &audit.checks {
        let (class, word) = if check.holds() { ("good", "holds") } else { ("bad", "false") };
        let mut claim = escape(check.claim);
        for violation in &check.violations {
            let _ = write!(claim, "<br><span class=\"bad\">{}</span>", escape(violation));
        }
        if check.violated > check.violations.len() as u64 {
            let _ = write!(claim, "<br><span class=\"bad\">{} in all</span>", thousands(check.violated));
        }
        let _ = writeln!(
            page,
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{claim}</td><td class=\"n\">{}</td></tr>",
            check.name,
            thousands(check.examined)
        );
    }
    page.push_str("</table>\n");
}

fn outcomes(page: &mut String, audit: &Audit) {
    page.push_str("<h2>How orders ended</h2>\n<table>\n");
    let all = audit.outcomes.values().sum::<u64>().max(1);
    for (how, count) in &audit.outcomes {
        let share = *count as f64 / all as f64 * 100.0;
        let class = if how == "completed" { "bar" } else { "bar undone" };
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"wide\"><div class=\"{class}\" style=\"width:{share:.2}%\"></div></td></tr>",
            escape(how),
            thousands(*count)
        );
    }
    page.push_str("</table>\n");
}

fn counts(page: &mut String, run: &RunFiles) {
    if run.record.counts.is_empty() {
        return;
    }
    page.push_str("<h2>What was counted</h2>\n<details><summary>Every count of every service</summary>\n<p class=\"note\">As last read from each process; what a killed one counted in its last half second is missing.</p>\n<table>\n");
    for (what, count) in &run.record.counts {
        let (service, what) = what.split_once(' ').unwrap_or(("", what));
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td><code>{}</code></td><td class=\"n\">{}</td></tr>",
            escape(service),
            escape(what),
            thousands(*count)
        );
    }
    page.push_str("</table>\n</details>\n");
}

fn millis(millis: f64) -> String {
    if millis >= 1_000.0 { format!("{:.1} s", millis / 1e3) } else { format!("{millis:.0} ms") }
}

/// Text as HTML: ids come from an orders file.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_cannot_become_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
