//! When the limit changes: windows of calls, shown to a rule, and what the rule says to the gate.
//!
//! What rules leave to whoever feeds them is decided here. Calls that began before the limit was last lowered tell of the
//! time before and are left out, so that one congestion lowers it once. A lost call ends its window at once. The limit
//! grows only while at least half of it is used. And a rule that compares with an idle server's round trip gets it
//! measured anew, at half the limit: at the full one, the queue that is to be found would be taken for part of the path.

use std::time::Duration;

use super::event::Cause;
use super::rule::{Active, Chosen};
use super::window::{Shape, Window};
use crate::control::Sample;
use crate::rng::Rng;
use crate::time::Timestamp;

/// What a machine is set up with.
pub(super) struct Settings {
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) shape: Shape,
    pub(super) chosen: Chosen,
}

/// One call that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) rtt: Duration,
    /// Calls in flight when it began, itself included.
    pub(super) in_flight: u32,
    /// The [`epoch`](Machine::epoch) in which it began.
    pub(super) epoch: u32,
    pub(super) lost: bool,
}

/// The limit has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) cause: Cause,
}

pub(super) struct Machine {
    rule: Active,
    min: u32,
    max: u32,
    window: Window,
    /// What the rule says, within the bounds.
    ruled: u32,
    /// Whether the gate is held at half of that, and how many calls are still to be passed over then.
    probing: Option<u32>,
    epoch: u32,
    /// Calls since the idle server's round trip was last measured.
    calls: u64,
    /// The next measurement is due after so many calls for each of the limit.
    patience: f64,
    rng: Rng,
    last: Option<Sample>,
    samples: u64,
}

/// A measurement is due after 30 to 60 calls for each of the limit, if round trips have grown: it takes four round trips at
/// half the limit, so a standing doubt costs a few percent. Netflix has 15 to 30. Spread, so that the clients of one
/// server do not measure together.
const PATIENCE: f64 = 30.0;

/// How many times longer it takes if they have not, and there were some measurements already.
const CONTENT: f64 = 5.0;

impl Machine {
    pub(super) fn new(initial: u32, settings: Settings, rng: Rng) -> Self {
        let Settings { min, max, shape, chosen } = settings;
        let mut machine = Self {
            rule: Active::new(chosen, initial, min, max),
            min,
            max,
            window: Window::new(shape),
            ruled: initial.clamp(min, max),
            probing: None,
            epoch: 0,
            calls: 0,
            patience: 0.0,
            rng,
            last: None,
            samples: 0,
        };
        machine.measured();
        machine
    }

    /// Takes a call into account; whether the limit changes.
    pub(super) fn record(&mut self, ended: Ended, now: Timestamp) -> Option<Change> {
        let Ended { rtt, in_flight, epoch, lost } = ended;
        if epoch != self.epoch {
            return None;
        }
        self.calls = self.calls.saturating_add(1);
        match &mut self.probing {
            _ if lost => self.window.lose(rtt, in_flight),
            // Of the calls that began at once, the short ones end first: for two round trips, they are too many.
            Some(early @ 1..) => {
                *early -= 1;
                return None;
            }
            _ => self.window.add(rtt, in_flight, now, &mut self.rng),
        }
        let is_over = match self.probing {
            // Two round trips' worth, however long the window: it costs throughput.
            Some(_) => self.window.count() >= self.window.samples().max(self.ruled),
            None => self.window.is_over(now),
        };
        if lost || is_over { self.judge() } else { None }
    }

    /// Goes on with other settings; whether the limit changes, and the rule that had to go for that, if one had: it may be
    /// the user's, and is for the caller to drop outside of locks.
    pub(super) fn reconfigure(&mut self, settings: Settings) -> (Option<Change>, Option<Active>) {
        let from = self.limit();
        let Settings { min, max, shape, chosen } = settings;
        (self.min, self.max) = (min, max);
        self.ruled = self.ruled.clamp(min, max);
        let goes_on = matches!(chosen, Chosen::Rule(rule) if self.rule.set(rule, min, max));
        let gone = (!goes_on).then(|| {
            let rule = Active::new(chosen, self.ruled, min, max);
            std::mem::replace(&mut self.rule, rule)
        });
        self.probing = None;
        self.window.reshape(shape);
        (self.change(from, Cause::Reconfigured), gone)
    }

    /// What the gate should allow.
    pub(super) fn limit(&self) -> u32 {
        if self.probing.is_some() { (self.ruled / 2).max(self.min) } else { self.ruled }
    }

    /// Goes up whenever the limit goes down. Calls of an earlier one do not count.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn baseline(&self) -> Option<Duration> {
        self.rule.baseline()
    }

    pub(super) fn last(&self) -> Option<Sample> {
        self.last
    }

    /// Windows shown to the rule.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// A window is over.
    fn judge(&mut self) -> Option<Change> {
        let (from, before) = (self.limit(), self.ruled);
        let sample = self.sample();
        let was_probing = self.probing.take().is_some();
        let is_used = u64::from(sample.in_flight) * 2 >= u64::from(before);
        // A window without load is a measurement for free.
        let is_idle = !is_used && self.is_due(1.0);
        let is_unloaded = !sample.dropped && (was_probing || is_idle);
        if is_unloaded {
            self.measured();
        }
        let next = self.rule.sample(sample, is_unloaded).clamp(self.min, self.max);
        // Not used to the full => it says nothing about more, whatever a rule makes of it.
        self.ruled = if is_used || was_probing { next } else { next.min(before) };
        let has_grown_longer = self.ruled < before;
        let cause = match () {
            () if was_probing => Cause::Probed,
            () if sample.dropped => Cause::Loss,
            () if has_grown_longer => Cause::Queue,
            () => Cause::Room,
        };
        let times = if has_grown_longer || self.rule.is_in_doubt() { 1.0 } else { CONTENT };
        if is_used && !was_probing && !sample.dropped && self.is_due(times) {
            self.probing = Some(self.ruled);
            return self.change(from, Cause::Probing);
        }
        self.change(from, cause)
    }

    fn sample(&mut self) -> Sample {
        let shown = self.window.take();
        let lost = || {
            // A call refused by a busy server comes back sooner than an idle one's answer: it took at least as long as others.
            let known = self.last.map(|last| last.rtt).max(self.rule.baseline());
            shown.lost.max(known).unwrap_or_default()
        };
        let rtt = shown.answered.unwrap_or_else(lost);
        let sample = Sample { rtt, in_flight: shown.busiest, dropped: shown.lost.is_some() };
        self.last = Some(sample);
        self.samples += 1;
        sample
    }

    fn is_due(&self, times: f64) -> bool {
        self.rule.probes() && self.calls as f64 >= self.patience * times * f64::from(self.ruled)
    }

    fn measured(&mut self) {
        self.calls = 0;
        self.patience = PATIENCE * (1.0 + self.rng.unit());
    }

    fn change(&mut self, from: u32, cause: Cause) -> Option<Change> {
        let to = self.limit();
        if to < from {
            self.epoch = self.epoch.wrapping_add(1);
            self.window.clear();
        }
        (to != from).then_some(Change { from, to, cause })
    }
}
