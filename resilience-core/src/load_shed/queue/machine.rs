//! How overloaded a queue is: how many calls to refuse, and after what wait nobody should be served any more.
//!
//! Two rules. CoDel says whether the queue stands: whether even the luckiest call of an interval waited for longer than the
//! target. A controller says how many calls to refuse so that it does not: it counts up while that wait is too long or
//! grows, and down while it is not, as PIE does (RFC 8033) and for the reason that CoDel alone does not do here: the calls
//! it refuses do not slow down because of it, as TCP does, so it swings between refusing nobody and everybody.

use std::time::Duration;

use crate::control::CoDel;
use crate::time::Timestamp;

/// What a call has to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Verdict {
    /// Whether the queue stands, and the call waited for longer than the target.
    pub(super) is_late: bool,
    /// The share of all calls to refuse.
    pub(super) ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Machine {
    codel: CoDel,
    target: Duration,
    interval: Duration,
    ends: Timestamp,
    /// The shortest wait in this interval, and in the one before.
    least: Option<Duration>,
    before: Duration,
    ratio: f64,
}

/// A queue whose wait grows by a tenth of an interval each interval gets a tenth more than is done. A third of that at a
/// time is as much as the delay of the measurement allows.
const GROWTH: f64 = 0.33;
/// The weight of how much too long the wait is, in intervals.
const EXCESS: f64 = 0.06;
/// What remains of the share after an interval in which somebody did not wait for half the target.
const RELIEF: f64 = 0.9;

impl Machine {
    pub(super) fn new(target: Duration, interval: Duration) -> Self {
        let (ends, least, before) = (Timestamp::ORIGIN, None, Duration::ZERO);
        Self { codel: codel(target, interval), target, interval, ends, least, before, ratio: 0.0 }
    }

    /// Goes on with another target and interval, from the next interval on.
    pub(super) fn set(&mut self, target: Duration, interval: Duration) {
        if (target, interval) != (self.target, self.interval) {
            (self.target, self.interval, self.codel) = (target, interval, codel(target, interval));
        }
    }

    #[cfg(all(test, loom))]
    pub(super) fn goes_by(&self) -> (Duration, Duration) {
        (self.target, self.interval)
    }

    /// A call is taken up after it waited for so long.
    pub(super) fn take_up(&mut self, waited: Duration, now: Timestamp) -> Verdict {
        if now >= self.ends {
            self.close(now);
        }
        self.least = Some(self.least.map_or(waited, |least| least.min(waited)));
        let is_late = self.codel.is_overloaded(waited, now.since(Timestamp::ORIGIN));
        Verdict { is_late, ratio: self.ratio }
    }

    /// The share of all calls to refuse, as last found.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// The shortest wait of the last interval.
    pub(super) fn wait(&self) -> Duration {
        self.before
    }

    /// An interval is over.
    fn close(&mut self, now: Timestamp) {
        // In intervals without a call, nobody waited.
        let idle = now.since(self.ends).as_secs_f64() / self.interval.as_secs_f64();
        if idle >= 1.0 {
            self.codel = codel(self.target, self.interval);
        }
        let wait = self.least.take().unwrap_or(Duration::ZERO);
        let in_intervals = |wait: Duration| wait.as_secs_f64() / self.interval.as_secs_f64();
        if wait < self.target / 2 {
            self.ratio *= RELIEF;
        } else {
            let excess = in_intervals(wait) - in_intervals(self.target);
            let growth = in_intervals(wait) - in_intervals(self.before);
            self.ratio += EXCESS * excess + GROWTH * growth;
        }
        self.ratio = (self.ratio * RELIEF.powf(idle.floor())).clamp(0.0, 1.0);
        if self.ratio < LEAST {
            self.ratio = 0.0;
        }
        (self.before, self.ends) = (wait, now + self.interval);
    }
}

/// The rule, at the end of an interval in which nobody waited. By itself it judges its first interval, and one before an
/// idle while, by a single call.
fn codel(target: Duration, interval: Duration) -> CoDel {
    // The patience of calls differs, so the single bound of the rule is the least of them.
    let mut codel = CoDel::new(interval, target, 1);
    codel.is_overloaded(Duration::ZERO, Duration::ZERO);
    codel
}

/// A smaller share is none.
const LEAST: f64 = 0.001;
