//! What a run shows while it goes on: bars and figures in a terminal, plain lines anywhere else.

use std::io::{IsTerminal, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::sample::Sample;

/// Samples between two plain lines.
const PLAIN_EVERY: u64 = 4;

/// Where the figures go.
pub(crate) enum Live {
    Terminal(Box<Bars>),
    Plain { seen: u64 },
}

pub(crate) struct Bars {
    all: MultiProgress,
    orders: ProgressBar,
    lines: [ProgressBar; 4],
}

impl Live {
    /// A view of `orders` orders, fit for what standard output is.
    pub(crate) fn new(orders: u64) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Plain { seen: 0 };
        }
        let all = MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::stdout());
        let bar = all.add(ProgressBar::new(orders));
        let style = "  {prefix:<10}{bar:36.green/black} {pos:>6} of {len} orders settled  {elapsed}";
        bar.set_style(style_of(style).progress_chars("━━╌"));
        bar.set_prefix("checkout");
        let lines = ["orders", "speed", "policies", "services"].map(|name| {
            let line = all.add(ProgressBar::no_length());
            line.set_style(style_of("  {prefix:<10.dim}{msg}"));
            line.set_prefix(name);
            line
        });
        Self::Terminal(Box::new(Bars { all, orders: bar, lines }))
    }

    pub(crate) fn show(&mut self, sample: &Sample) {
        match self {
            Self::Terminal(bars) => bars.show(sample),
            Self::Plain { seen } => {
                if seen.is_multiple_of(PLAIN_EVERY) {
                    say(&plain(sample));
                }
                *seen += 1;
            }
        }
    }

    /// A line that stays.
    pub(crate) fn note(&self, text: &str) {
        match self {
            Self::Terminal(bars) => drop(bars.all.println(format!("  {text}"))),
            Self::Plain { .. } => say(text),
        }
    }

    /// Shows the last sample and leaves it there.
    pub(crate) fn finish(mut self, sample: &Sample) {
        match &mut self {
            Self::Terminal(bars) => {
                bars.show(sample);
                bars.orders.abandon();
                bars.lines.iter().for_each(ProgressBar::abandon);
                // The last line was drawn without an end.
                say("");
            }
            Self::Plain { .. } => say(&plain(sample)),
        }
    }
}

/// A line to standard output; that nobody reads it must not end the run.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}

impl Bars {
    fn show(&mut self, sample: &Sample) {
        self.orders.set_position(sample.completed + sample.cancelled + sample.refused);
        let messages = [orders(sample), speed(sample), policies(sample), services(sample)];
        for (line, message) in self.lines.iter().zip(messages) {
            line.set_message(message);
            line.tick();
        }
    }
}

fn style_of(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn orders(sample: &Sample) -> String {
    format!(
        "{} sent · {} accepted · {} completed · {} undone ({} out of stock) · {} sagas in flight",
        sample.sent, sample.accepted, sample.completed, sample.cancelled, sample.stock_outs, sample.in_flight
    )
}

fn speed(sample: &Sample) -> String {
    format!(
        "{:.0} completed/s · accepted within p50 {} p99 {} · {} sent again",
        sample.goodput,
        millis(sample.p50),
        millis(sample.p99),
        sample.resent
    )
}

fn policies(sample: &Sample) -> String {
    format!("{} · {} retries · {} refused", breakers(sample), sample.retries, sample.rejected)
}

fn services(sample: &Sample) -> String {
    let crashes = if sample.crashes > 0 { format!(" · {} CRASHED", sample.crashes) } else { String::new() };
    format!("{} of 5 up · {} kills{crashes}", sample.up, sample.kills)
}

/// Breakers that are not closed, by name; or that all are.
fn breakers(sample: &Sample) -> String {
    let open: Vec<_> = sample.breakers.iter().filter(|(_, state)| *state != "closed").collect();
    if open.is_empty() {
        return "breakers closed".to_owned();
    }
    let named: Vec<_> = open.iter().map(|(name, state)| format!("{name} {state}")).collect();
    format!("breakers: {}", named.join(", "))
}

fn plain(sample: &Sample) -> String {
    format!(
        "{:>6.1} s  sent {} accepted {} completed {} undone {} in flight {}  {:.0}/s  p50 {} p99 {}  {}  retries {} \
         refused {}  stock-outs {}  kills {}",
        sample.at,
        sample.sent,
        sample.accepted,
        sample.completed,
        sample.cancelled,
        sample.in_flight,
        sample.goodput,
        millis(sample.p50),
        millis(sample.p99),
        breakers(sample),
        sample.retries,
        sample.rejected,
        sample.stock_outs,
        sample.kills,
    )
}

fn millis(time: Option<f64>) -> String {
    match time {
        None => "-".to_owned(),
        Some(time) if time < 10.0 => format!("{time:.1} ms"),
        Some(time) if time < 1_000.0 => format!("{time:.0} ms"),
        Some(time) => format!("{:.1} s", time / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_breakers_that_are_not_closed_are_named() {
        let mut sample = Sample::default();
        sample.breakers.insert("orders-payments".into(), "closed".into());
        assert!(plain(&sample).contains("breakers closed"));
        sample.breakers.insert("orders-payments".into(), "open".into());
        assert!(plain(&sample).contains("orders-payments open"));
    }
}
