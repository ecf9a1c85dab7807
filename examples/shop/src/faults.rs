//! The fault script: what goes wrong, when, and how often.

use std::path::Path;
use std::time::Duration;

use resilience_core::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::domain::{ServiceName, Victim};
use crate::problem::Problem;

/// The script used when none is given; `--print-faults` writes it.
pub(crate) const DEFAULT: &str = include_str!("../faults.toml");

/// A whole fault script.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Faults {
    /// Trouble inside the handlers of inventory.
    pub(crate) inventory: Trouble,
    /// Trouble inside the handlers of payments.
    pub(crate) payments: Trouble,
    /// Trouble inside the handlers of shipping.
    pub(crate) shipping: Trouble,
    /// `SIGKILL`s at set times.
    pub(crate) kill: Vec<Kill>,
    /// `SIGKILL`s at random times.
    pub(crate) random_kills: RandomKills,
    /// Changes of policies at set times.
    pub(crate) change: Vec<Change>,
}

/// A change of policies that the running services take over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Seconds after the first order.
    pub(crate) at: f64,
    /// What becomes what: paths in the policies file, and values.
    pub(crate) set: std::collections::BTreeMap<String, toml::Value>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (path, value)) in self.set.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{path} = {value}")?;
        }
        Ok(())
    }
}

/// What goes wrong in a service's handlers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trouble {
    /// Share of calls answered with status 500.
    pub(crate) fail: f64,
    /// Of those, the share that fails after its effect was committed: the caller cannot know.
    pub(crate) after_effect: f64,
    /// Milliseconds every call waits.
    pub(crate) delay_ms: u64,
    /// Share of calls that wait `slow_ms` on top.
    pub(crate) slow: f64,
    /// Milliseconds a slow call waits on top.
    pub(crate) slow_ms: u64,
}

/// One `SIGKILL` at a set time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kill {
    /// Whom.
    pub(crate) service: Victim,
    /// Seconds after the first order.
    pub(crate) at: f64,
    /// Seconds until it is started again.
    #[serde(default = "down")]
    pub(crate) down: f64,
}

/// `SIGKILL`s spread over the time in which orders arrive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RandomKills {
    /// How many.
    pub(crate) count: u32,
    /// Whom; each kill draws one.
    pub(crate) services: Vec<Victim>,
    /// Seconds until it is started again.
    pub(crate) down: f64,
}

impl Default for RandomKills {
    fn default() -> Self {
        Self { count: 0, services: vec![Victim::Payments, Victim::Orders], down: down() }
    }
}

const fn down() -> f64 {
    0.3
}

/// Longest wait a script may ask for, in seconds.
const MAX_SECONDS: f64 = 3_600.0;

impl Faults {
    /// The script in `path`, or the default one.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, Problem> {
        let Some(path) = path else {
            return Self::parse(DEFAULT).map_err(Problem::new);
        };
        let text = std::fs::read_to_string(path).map_err(|why| Problem::file("read the fault script", path, why))?;
        Self::parse(&text).map_err(|why| Problem::file("use the fault script", path, why))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let faults: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let message = error.message().lines().next().unwrap_or_default().to_owned();
            line.map_or(message.clone(), |line| format!("line {line}: {message}"))
        })?;
        faults.check()?;
        Ok(faults)
    }

    fn check(&self) -> Result<(), String> {
        if let Some(change) = self.change.iter().find(|change| !(0.0..=MAX_SECONDS).contains(&change.at)) {
            return Err(format!("a change is at {} s, it must be 0 to {MAX_SECONDS}", change.at));
        }
        for service in [ServiceName::Inventory, ServiceName::Payments, ServiceName::Shipping] {
            let trouble = self.trouble(service);
            for (field, share) in
                [("fail", trouble.fail), ("after_effect", trouble.after_effect), ("slow", trouble.slow)]
            {
                if !(0.0..=1.0).contains(&share) {
                    return Err(format!("{service}.{field} is {share}, it must be 0 to 1"));
                }
            }
            if trouble.fail > 0.95 {
                return Err(format!("{service}.fail is {}, above 0.95 no order would ever finish", trouble.fail));
            }
            for (field, millis) in [("delay_ms", trouble.delay_ms), ("slow_ms", trouble.slow_ms)] {
                if millis > 60_000 {
                    return Err(format!("{service}.{field} is {millis}, it must be at most 60000"));
                }
            }
        }
        let times = self.kill.iter().flat_map(|kill| [("kill.at", kill.at), ("kill.down", kill.down)]);
        for (field, seconds) in times.chain([("random_kills.down", self.random_kills.down)]) {
            if !(0.0..=MAX_SECONDS).contains(&seconds) {
                return Err(format!("{field} is {seconds}, it must be 0 to {MAX_SECONDS} seconds"));
            }
        }
        if self.random_kills.count > 0 && self.random_kills.services.is_empty() {
            return Err("random_kills.services is empty".into());
        }
        Ok(())
    }

    /// The trouble of one service; the orders service and the gateway have none of their own.
    pub(crate) fn trouble(&self, service: ServiceName) -> Trouble {
        match service {
            ServiceName::Inventory => self.inventory,
            ServiceName::Payments => self.payments,
            ServiceName::Shipping => self.shipping,
            ServiceName::Gateway | ServiceName::Orders => Trouble::default(),
        }
    }

    /// Replaces every kill by `count` random ones.
    pub(crate) fn only_random_kills(&mut self, count: u32) {
        self.kill.clear();
        self.random_kills.count = count;
    }

    /// Fits the script to the servers the run has: one it has not cannot be killed, one it has is drawn as well.
    pub(crate) fn for_servers(&mut self, servers: &[Victim]) {
        let is_there = |victim: &Victim| victim.service().is_some() || servers.contains(victim);
        self.kill.retain(|kill| is_there(&kill.service));
        self.random_kills.services.retain(is_there);
        self.random_kills.services.extend(servers);
        self.random_kills.services.sort_unstable();
        self.random_kills.services.dedup();
    }

    /// Every kill of a run whose orders arrive for `span`, in order of time.
    ///
    /// Random ones are drawn one from each of `count` equal slices of the span, so that fifty of them are never one heap.
    pub(crate) fn schedule(&self, span: Duration, seed: u64) -> Vec<Kill> {
        let mut rng = Rng::seeded(seed ^ 0x5161_C111_0FA5_7DAD);
        let mut kills = self.kill.clone();
        let RandomKills { count, services, down } = &self.random_kills;
        let slice = span.as_secs_f64() / f64::from((*count).max(1));
        for number in 0..*count {
            let at = slice * (f64::from(number) + rng.unit());
            let service = services[rng.below(services.len() as u64) as usize];
            kills.push(Kill { service, at, down: *down });
        }
        kills.sort_by(|a, b| a.at.total_cmp(&b.at));
        kills
    }
}

impl Trouble {
    /// What happens to one call.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Fate {
        let slow = if rng.unit() < self.slow { self.slow_ms } else { 0 };
        let fails = rng.unit() < self.fail;
        let after = rng.unit() < self.after_effect;
        Fate {
            wait: Duration::from_millis(self.delay_ms + slow),
            fail_before: fails && !after,
            fail_after: fails && after,
        }
    }
}

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) wait: Duration,
    /// It fails, and nothing was done.
    pub(crate) fail_before: bool,
    /// It fails, and everything was done.
    pub(crate) fail_after: bool,
}

/// The parts of a script one service is told on its command line, as JSON.
pub(crate) fn to_argument(trouble: &Trouble) -> String {
    serde_json::to_string(trouble).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_script_parses_and_does_what_the_readme_says() {
        let faults = Faults::load(None).unwrap();
        assert_eq!(faults.payments.fail, 0.3);
        assert!(faults.inventory.delay_ms > 0);
        for service in [Victim::Payments, Victim::Orders] {
            assert!(faults.kill.iter().any(|kill| kill.service == service), "{service}");
        }
    }

    #[test]
    fn a_bad_script_is_one_sentence_with_its_line() {
        assert_eq!(Faults::parse("[payments]\nfail = 1.5\n").unwrap_err(), "payments.fail is 1.5, it must be 0 to 1");
        let unknown = Faults::parse("[payments]\n\nfial = 0.5\n").unwrap_err();
        assert!(unknown.starts_with("line 3: unknown field `fial`"), "{unknown}");
        let nobody = Faults::parse("[[kill]]\nservice = \"bank\"\nat = 1.0\n").unwrap_err();
        assert!(nobody.starts_with("line 2: unknown variant `bank`"), "{nobody}");
    }

    #[test]
    fn fifty_kills_are_spread_over_the_run_and_the_same_for_the_same_seed() {
        let mut faults = Faults::load(None).unwrap();
        faults.only_random_kills(50);
        let span = Duration::from_secs(30);
        let kills = faults.schedule(span, 3);
        assert_eq!(kills, faults.schedule(span, 3));
        assert_eq!(kills.len(), 50);
        assert!(kills.windows(2).all(|pair| pair[0].at <= pair[1].at && pair[1].at - pair[0].at < 1.2));
        assert!(kills.last().unwrap().at < 30.0);
    }

    #[test]
    fn a_server_is_killed_in_the_runs_that_have_it() {
        let script = "[[kill]]\nservice = \"postgres\"\nat = 1.0\n\n[[kill]]\nservice = \"orders\"\nat = 2.0\n";
        let victims = |servers: &[Victim]| {
            let mut faults = Faults::parse(script).unwrap();
            faults.for_servers(servers);
            let kills = faults.schedule(Duration::from_secs(5), 1);
            (kills.iter().map(|kill| kill.service).collect::<Vec<_>>(), faults.random_kills.services)
        };
        assert_eq!(victims(&[]), (vec![Victim::Orders], vec![Victim::Orders, Victim::Payments]));
        let three = vec![Victim::Orders, Victim::Payments, Victim::Postgres];
        assert_eq!(victims(&[Victim::Postgres]), (vec![Victim::Postgres, Victim::Orders], three));
    }

    #[test]
    fn a_third_of_the_calls_fails_half_of_them_after_the_effect() {
        let trouble = Faults::load(None).unwrap().payments;
        let mut rng = Rng::seeded(1);
        let fates: Vec<_> = (0..10_000).map(|_| trouble.draw(&mut rng)).collect();
        let before = fates.iter().filter(|fate| fate.fail_before).count();
        let after = fates.iter().filter(|fate| fate.fail_after).count();
        assert!((1_350..1_650).contains(&before), "{before}");
        assert!((1_350..1_650).contains(&after), "{after}");
    }
}
