//! How long an opened circuit stays open.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::state::Opening;

/// A rule of the user's.
#[derive(Clone)]
pub(crate) struct Generator(pub(crate) Arc<dyn Fn(&Opening) -> Duration + Send + Sync>);

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generator")
    }
}

/// What the waits are made of.
#[derive(Clone, Debug)]
pub(crate) struct Waits {
    pub(crate) base: Duration,
    pub(crate) factor: f64,
    /// Above which no wait goes, whoever asks for it.
    pub(crate) at_most: Duration,
    /// The share of a wait that is drawn at random.
    pub(crate) jitter: f64,
    pub(crate) hints: bool,
    pub(crate) generator: Option<Generator>,
}

impl Waits {
    /// The wait by the built-in rule: `min(at_most, base * factor^attempt)`, less a random part of its jitter, but not less
    /// than the server asked for. `unit` is drawn from `0.0..1.0`.
    pub(crate) fn wait(&self, opening: &Opening, unit: f64) -> Duration {
        let exponent = i32::try_from(opening.attempt).unwrap_or(i32::MAX);
        // Exact where nothing grows: a float holds no nanosecond of a year.
        let grown =
            if self.factor == 1.0 || exponent == 0 { self.base } else { times(self.base, self.factor.powi(exponent)) };
        self.bounded(grown, opening, unit)
    }

    /// The wait by the user's rule, within the same bounds; by the built-in one if there is none, or if it panics.
    pub(crate) fn generated(&self, opening: &Opening, unit: f64) -> Duration {
        let Some(Generator(rule)) = &self.generator else { return self.wait(opening, unit) };
        match catch_unwind(AssertUnwindSafe(|| rule(opening))) {
            Ok(wait) => self.bounded(wait, opening, unit),
            Err(_) => self.wait(opening, unit),
        }
    }

    fn bounded(&self, wait: Duration, opening: &Opening, unit: f64) -> Duration {
        let capped = wait.min(self.at_most);
        let drawn = if self.jitter > 0.0 { times(capped, 1.0 - self.jitter * unit) } else { capped };
        let asked = opening.hint.filter(|_| self.hints).unwrap_or_default().min(self.at_most);
        // Not zero: a state that is over when it begins is none.
        drawn.max(asked).max(Duration::from_nanos(1))
    }
}

fn times(wait: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(wait.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
