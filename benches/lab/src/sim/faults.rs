//! What is wrong with a server, and when: a schedule known beforehand, so that the end of a service can be computed.

use std::time::Duration;

use resilience_core::config::Span;
use serde::Deserialize;

/// A window in which a station is not itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it begins.
    pub from: Span,
    /// When it is repaired.
    pub to: Span,
    /// What it is.
    pub kind: Kind,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Every call is refused at once, as by a host without the process.
    Refuse,
    /// Calls are taken, and nothing gets done: a stalled disk, a lock, a pause of the whole process.
    Hang,
    /// Everything takes so many times as long.
    Slow(f64),
    /// This share of calls is served, and answered with an error.
    Errors(f64),
    /// It has so many times its workers: half of the instances are gone, or as many were added. Who works, ends his work.
    Workers(f64),
    /// Answers take so much longer to reach the caller, and no worker is busy with that: another route.
    Delay(Span),
    /// It takes so many times its quota.
    Quota(f64),
}

/// The faults of one station.
#[derive(Clone, Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// The windows may overlap: the slowest pace holds.
    pub fn new(faults: &[Fault]) -> Self {
        Self(faults.to_vec())
    }

    /// Whether calls are refused.
    pub fn refuses(&self, at: Duration) -> bool {
        self.now(at).any(|kind| matches!(kind, Kind::Refuse))
    }

    /// The share of calls that fail.
    pub fn errors(&self, at: Duration) -> f64 {
        self.now(at).map(|kind| if let Kind::Errors(share) = kind { share } else { 0.0 }).fold(0.0, f64::max)
    }

    /// So many times the workers.
    pub fn workers(&self, at: Duration) -> f64 {
        self.now(at).map(|kind| if let Kind::Workers(factor) = kind { factor } else { 1.0 }).product()
    }

    /// So many times the quota.
    pub fn quota(&self, at: Duration) -> f64 {
        self.now(at).map(|kind| if let Kind::Quota(factor) = kind { factor } else { 1.0 }).product()
    }

    /// How much later answers arrive.
    pub fn delay(&self, at: Duration) -> Duration {
        self.now(at).map(|kind| if let Kind::Delay(Span(delay)) = kind { delay } else { Duration::ZERO }).sum()
    }

    /// When the number of workers changes.
    pub fn shifts(&self) -> Vec<Duration> {
        let shifts = self.0.iter().filter(|fault| matches!(fault.kind, Kind::Workers(_)));
        let mut shifts: Vec<_> = shifts.flat_map(|fault| [fault.from.0, fault.to.0]).collect();
        shifts.sort_unstable();
        shifts
    }

    /// When work that is begun at `start` is done, if it takes `work` at full pace.
    pub fn finish(&self, start: Duration, work: Duration) -> Duration {
        let (mut at, mut left) = (start, work.as_secs_f64());
        loop {
            let pace = self.pace(at);
            let Some(change) = self.next_change(at) else { return at + seconds(left / pace) };
            let done = (change - at).as_secs_f64() * pace;
            // A pace of zero does nothing for a while, and is never the last.
            if pace > 0.0 && done >= left {
                return at + seconds(left / pace);
            }
            left -= done;
            at = change;
        }
    }

    fn pace(&self, at: Duration) -> f64 {
        let of = |kind| match kind {
            Kind::Hang => 0.0,
            Kind::Slow(factor) => 1.0 / factor,
            Kind::Refuse | Kind::Errors(_) | Kind::Workers(_) | Kind::Delay(_) | Kind::Quota(_) => 1.0,
        };
        self.now(at).map(of).fold(1.0, f64::min)
    }

    fn now(&self, at: Duration) -> impl Iterator<Item = Kind> {
        self.0.iter().filter(move |fault| fault.from.0 <= at && at < fault.to.0).map(|fault| fault.kind)
    }

    /// Where the next window begins or ends.
    fn next_change(&self, at: Duration) -> Option<Duration> {
        self.0.iter().flat_map(|fault| [fault.from.0, fault.to.0]).filter(|edge| *edge > at).min()
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_stands_still_in_a_hang_and_crawls_in_a_slow_window() {
        let s = Duration::from_secs;
        let fault = |from, to, kind| Fault { from: Span(s(from)), to: Span(s(to)), kind };
        let faults = Faults::new(&[fault(10, 20, Kind::Hang), fault(30, 40, Kind::Slow(5.0))]);
        assert_eq!(faults.finish(s(1), s(2)), s(3));
        assert_eq!(faults.finish(s(9), s(2)), s(21)); // one second before, one after
        assert_eq!(faults.finish(s(12), s(2)), s(22));
        assert_eq!(faults.finish(s(30), s(1)), s(35));
        assert_eq!(faults.finish(s(30), s(4)), s(42)); // ten slow seconds do two
        assert_eq!(faults.finish(s(40), s(4)), s(44));
    }
}
