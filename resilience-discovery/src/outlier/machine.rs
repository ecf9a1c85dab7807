//! The bookkeeping of a detector. Time and chance come in as values.

use std::collections::BTreeMap;

use resilience_core::ConfigError;
use resilience_core::time::Timestamp;

use super::rules::{FailurePercentage, Judged, Rules, Spread, SuccessRate};

/// How a call ended, as far as its endpoint is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The endpoint answered.
    Success,
    /// The endpoint failed.
    Failure,
}

/// Finds outliers among the endpoints with keys `K`; the [module](super) explains it.
#[derive(Clone, Debug)]
pub struct Detector<K> {
    rules: Rules,
    hosts: BTreeMap<K, Host>,
}

/// One endpoint, as a detector sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Host {
    /// Good answers since the last sweep.
    pub successes: u64,
    /// Failures since the last sweep.
    pub failures: u64,
    /// Failures in a row.
    pub in_a_row: u32,
    /// Ejections for which it has not yet made up by being well.
    pub multiplier: u32,
    /// Since when it is ejected, if it is.
    pub ejected_at: Option<Timestamp>,
}

/// What a sweep changed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sweep<K> {
    /// Who is left out from now on.
    pub ejected: Vec<K>,
    /// Who is back.
    pub returned: Vec<K>,
    /// How many were found and left in, because so many are out already or enforcement spared them. What gRPC counts as
    /// unenforced (A91).
    pub spared: usize,
    /// The success rates of those with enough calls, if there were enough of them.
    pub spread: Option<Spread>,
}

impl Host {
    fn calls(&self) -> u64 {
        self.successes.saturating_add(self.failures)
    }

    fn success_rate(&self) -> f64 {
        self.successes as f64 / self.calls() as f64
    }

    fn eject(&mut self, rules: &Rules, now: Timestamp) {
        self.ejected_at = Some(now);
        if rules.grows(self.multiplier) {
            self.multiplier = self.multiplier.saturating_add(1);
        }
        self.in_a_row = 0;
    }
}

impl<K: Ord + Clone> Detector<K> {
    /// A detector that knows no endpoints yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for an interval, base or count of zero, and for a percentage that is none.
    pub fn new(rules: Rules) -> Result<Self, ConfigError> {
        rules.check()?;
        Ok(Self { rules, hosts: BTreeMap::new() })
    }

    /// An endpoint there is from now on; one that is known keeps what is known of it.
    pub fn insert(&mut self, key: K) {
        self.hosts.entry(key).or_default();
    }

    /// An endpoint is gone, and forgotten.
    pub fn remove(&mut self, key: &K) {
        self.hosts.remove(key);
    }

    /// Counts a call. True if it ejects its endpoint at once, by failures in a row.
    ///
    /// ```
    /// use resilience_core::time::Timestamp;
    /// use resilience_discovery::outlier::{Detector, Outcome, Rules};
    ///
    /// let mut detector = Detector::new(Rules::envoy())?;
    /// detector.insert("a");
    /// let mut fail = || detector.record(&"a", Outcome::Failure, Timestamp::ORIGIN);
    /// assert_eq!([fail(), fail(), fail(), fail(), fail()], [false, false, false, false, true]);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn record(&mut self, key: &K, outcome: Outcome, now: Timestamp) -> bool {
        let (ejected, hosts) = (self.ejected().count(), self.hosts.len());
        let Some(host) = self.hosts.get_mut(key) else { return false };
        match outcome {
            Outcome::Success => {
                host.successes = host.successes.saturating_add(1);
                host.in_a_row = 0;
                return false;
            }
            Outcome::Failure => {
                host.failures = host.failures.saturating_add(1);
                host.in_a_row = host.in_a_row.saturating_add(1);
            }
        }
        let too_many = self.rules.consecutive.is_some_and(|limit| host.in_a_row >= limit);
        let ejects = too_many && host.ejected_at.is_none() && self.rules.cap.allows(ejected, hosts);
        if ejects {
            host.eject(&self.rules, now);
        }
        ejects
    }

    /// Takes the counts since the last sweep, ejects outliers and lets back in whose time is over.
    ///
    /// `draw` gives numbers in `[0, 1)`; it is asked once for each endpoint that is about to be ejected.
    pub fn sweep(&mut self, now: Timestamp, mut draw: impl FnMut() -> f64) -> Sweep<K> {
        let counted: Vec<(K, Host)> = self.hosts.iter().map(|(key, host)| (key.clone(), *host)).collect();
        for host in self.hosts.values_mut() {
            (host.successes, host.failures) = (0, 0);
        }
        let mut sweep = Sweep { ejected: Vec::new(), returned: Vec::new(), spared: 0, spread: None };
        if let Some(rule) = self.rules.success_rate {
            let bad;
            (bad, sweep.spread) = below_the_others(rule, &counted);
            self.eject(bad, rule.enforcement, now, &mut draw, &mut sweep);
        }
        if let Some(rule) = self.rules.failure_percentage {
            self.eject(failing(rule, &counted), rule.enforcement, now, &mut draw, &mut sweep);
        }
        self.forgive(now, &mut sweep);
        sweep
    }

    /// Whether calls should go elsewhere.
    pub fn is_ejected(&self, key: &K) -> bool {
        self.hosts.get(key).is_some_and(|host| host.ejected_at.is_some())
    }

    /// Who is ejected, in the order of their keys.
    pub fn ejected(&self) -> impl Iterator<Item = &K> {
        self.hosts.iter().filter(|(_, host)| host.ejected_at.is_some()).map(|(key, _)| key)
    }

    /// What is known of an endpoint.
    pub fn host(&self, key: &K) -> Option<Host> {
        self.hosts.get(key).copied()
    }

    /// The rules it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    fn eject(
        &mut self,
        bad: Vec<K>,
        enforcement: f64,
        now: Timestamp,
        draw: &mut impl FnMut() -> f64,
        sweep: &mut Sweep<K>,
    ) {
        for key in bad {
            let (ejected, hosts) = (self.ejected().count(), self.hosts.len());
            let Some(host) = self.hosts.get_mut(&key) else { continue };
            // Found by both algorithms, or out already => nothing to do: an ejection counts once.
            if host.ejected_at.is_some() {
                continue;
            }
            if self.rules.cap.allows(ejected, hosts) && 100.0 * draw() < enforcement {
                host.eject(&self.rules, now);
                sweep.ejected.push(key);
            } else {
                sweep.spared += 1;
            }
        }
    }

    /// Who is well makes up for an ejection; who has been out for long enough is back.
    fn forgive(&mut self, now: Timestamp, sweep: &mut Sweep<K>) {
        for (key, host) in &mut self.hosts {
            match host.ejected_at {
                None => host.multiplier = host.multiplier.saturating_sub(1),
                // Strictly after, as in A50.
                Some(since) if now > since + self.rules.lasts(host.multiplier) => {
                    // What was still in flight when it was ejected says nothing about what it is now.
                    (host.ejected_at, host.in_a_row) = (None, 0);
                    sweep.returned.push(key.clone());
                }
                Some(_) => {}
            }
        }
    }
}

/// Those with enough calls, if there are enough of them.
fn voluminous<K: Clone>(counted: &[(K, Host)], volume: u64, min_hosts: usize) -> Vec<(K, Host)> {
    // An endpoint without a call has no rate, whatever volume is asked for.
    let with_calls = counted.iter().filter(|(_, host)| host.calls() >= volume.max(1));
    let enough: Vec<(K, Host)> = with_calls.cloned().collect();
    if enough.len() < min_hosts { Vec::new() } else { enough }
}

fn below_the_others<K: Clone>(rule: SuccessRate, counted: &[(K, Host)]) -> (Vec<K>, Option<Spread>) {
    let hosts = voluminous(counted, rule.volume, rule.min_hosts);
    if hosts.is_empty() {
        return (Vec::new(), None);
    }
    let rates: Vec<f64> = hosts.iter().map(|(_, host)| host.success_rate()).collect();
    let spread = Spread::of(&rates);
    let required = spread.required(rule.stdev_factor);
    let bad = hosts.into_iter().filter(|(_, host)| host.success_rate() < required).map(|(key, _)| key).collect();
    (bad, Some(spread))
}

fn failing<K: Clone>(rule: FailurePercentage, counted: &[(K, Host)]) -> Vec<K> {
    let is_bad = |host: &Host| {
        let percent = 100.0 * host.failures as f64 / host.calls() as f64;
        match rule.judged {
            Judged::Above => percent > rule.threshold,
            Judged::AtOrAbove => percent >= rule.threshold,
        }
    };
    let hosts = voluminous(counted, rule.volume, rule.min_hosts);
    hosts.into_iter().filter(|(_, host)| is_bad(host)).map(|(key, _)| key).collect()
}
