//! What an experiment is, as a file says it.
//!
//! A scenario is a world (stations, loads, what goes wrong), the variants that are to be compared in it, and the goals by
//! which it is judged. `benches/lab/scenarios/` has those that ship; each field is documented here.

mod goal;
mod layers;
mod read;
mod rivals;

use std::collections::HashSet;

use resilience_core::config::Span;
use resilience_core::context::Criticality;
use serde::Deserialize;

pub use self::goal::{Calm, Column, Goal, Measure, Quantile, Recovery, Since, Window};
pub use self::layers::*;
pub use self::read::{Mistake, read};
pub use self::rivals::*;
use crate::sim::{Distribution, Fault};

/// A whole experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of its files: `lab-<name>.md`.
    pub name: String,
    /// A line for people.
    pub title: String,
    /// What it shows and why its figures are what they are; Markdown.
    pub about: String,
    /// Fixes everything that is random.
    pub seed: u64,
    /// By how many seeds goals are judged: this one and those that follow. One that is met by luck is met by one seed.
    #[serde(default = "lone")]
    pub seeds: u64,
    /// How long callers arrive.
    pub duration: Span,
    /// The calling process, if it has a bound of its own.
    pub process: Option<Process>,
    /// The servers.
    pub station: Vec<Station>,
    /// The callers.
    pub load: Vec<Load>,
    /// What is between the two, in so many variants.
    pub variant: Vec<Variant>,
    /// Figures for the table, beside those it always has.
    #[serde(default)]
    pub column: Vec<Column>,
    /// What must come out.
    pub goal: Vec<Goal>,
}

/// The process that all callers are in: a pool of threads or connections that every call holds one of, from first to
/// last. Callers wait for it in line.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Calls at once.
    pub slots: usize,
}

/// A server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Station {
    /// What loads call it.
    pub name: String,
    /// Calls served at once.
    pub workers: u32,
    /// Places in the line, first come, first served; without, there is no end to it.
    pub queue: Option<usize>,
    /// How long one service takes.
    pub service: Distribution,
    /// How much longer for each item of a batch beyond the first.
    #[serde(default)]
    pub per_item: Span,
    /// Calls it takes in a time; it refuses those beyond, at once.
    pub quota: Option<Rate>,
    /// Whether it throws away what has waited beyond its deadline, if the stack has set one.
    #[serde(default)]
    pub heeds_deadlines: bool,
    /// What goes wrong, and when.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// Others who use it.
    #[serde(default)]
    pub antagonist: Vec<Antagonist>,
}

/// Others' work on a station, for a while.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Antagonist {
    /// When it begins.
    pub from: Span,
    /// When it ends.
    pub to: Span,
    /// Jobs per second, at random.
    pub rate: f64,
    /// How long each takes.
    pub service: Distribution,
}

/// Callers of one kind: an open loop, so that they keep coming when nobody is served.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// What goals and tables call it.
    pub name: String,
    /// Whom it calls.
    pub station: String,
    /// Callers per second, at random (Poisson).
    pub rate: f64,
    /// How long a caller stays. An answer after that is none.
    pub patience: Span,
    /// How bad it is to refuse them.
    #[serde(default)]
    pub criticality: Important,
    /// How many different things they ask for.
    #[serde(default = "lone")]
    pub keys: u64,
    /// When more of them come.
    #[serde(default)]
    pub surge: Vec<Surge>,
}

/// A time in which more callers come.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Surge {
    /// When it begins.
    pub from: Span,
    /// When it ends.
    pub to: Span,
    /// So many times the rate.
    pub factor: f64,
}

/// How bad it is to refuse a call: the classes of [`Criticality`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Important {
    /// [`Criticality::Sheddable`]
    Sheddable,
    /// [`Criticality::SheddablePlus`]
    SheddablePlus,
    /// [`Criticality::Critical`]
    #[default]
    Critical,
    /// [`Criticality::CriticalPlus`]
    CriticalPlus,
}

/// One way to call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// What goals and tables call it.
    pub name: String,
    /// What the table says about it.
    #[serde(default)]
    pub note: String,
    /// The layers, outermost first. Each station has its own stack of them, which all who call it share.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// So many times the callers.
    #[serde(default = "whole")]
    pub rate_factor: f64,
    /// Whether the stations have their faults: without, it is what others are compared with.
    #[serde(default = "yes")]
    pub faults: bool,
    /// By which clock it lives.
    #[serde(default)]
    pub time: Time,
}

/// The clock of a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Time {
    /// Simulated: exact, and the same in every run.
    #[default]
    Virtual,
    /// The real one, for layers that read it themselves. Takes as long as the experiment, and varies a little.
    Wall,
}

const fn lone() -> u64 {
    1
}

const fn yes() -> bool {
    true
}

const fn whole() -> f64 {
    1.0
}

impl Scenario {
    /// The place of a load.
    pub fn load(&self, name: &str) -> Option<usize> {
        self.load.iter().position(|load| load.name == name)
    }

    /// The place of a station.
    pub fn station(&self, name: &str) -> Option<usize> {
        self.station.iter().position(|station| station.name == name)
    }

    /// The place of a variant.
    pub fn variant(&self, name: &str) -> Option<usize> {
        self.variant.iter().position(|variant| variant.name == name)
    }

    /// What cannot be: path and rule of the first mistake.
    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |path: String, rule: &str| Err((path, rule.to_owned()));
        let plain = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if !plain(&self.name) {
            return wrong("name".into(), "must be of lower-case letters, digits and hyphens: it names files");
        }
        let second = Span(std::time::Duration::from_secs(1));
        let day = Span(std::time::Duration::from_secs(86_400));
        if !(1..=100).contains(&self.seeds) {
            return wrong("seeds".into(), "must be from 1 to 100");
        }
        if !(second..=day).contains(&self.duration) {
            return wrong("duration".into(), "must be from 1s to 1d");
        }
        let lists = [
            ("station", self.station.iter().map(|it| &it.name).collect::<Vec<_>>()),
            ("load", self.load.iter().map(|it| &it.name).collect()),
            ("variant", self.variant.iter().map(|it| &it.name).collect()),
        ];
        for (list, names) in lists {
            if names.is_empty() {
                return wrong(list.into(), "must not be empty");
            }
            let mut seen = HashSet::new();
            if let Some(at) = names.iter().position(|name| !seen.insert(*name)) {
                return wrong(format!("{list}[{at}].name"), "is taken already");
            }
        }
        if self.process.as_ref().is_some_and(|process| process.slots == 0) {
            return wrong("process.slots".into(), "must be above zero");
        }
        self.check_stations()?;
        self.check_loads()?;
        for (at, variant) in self.variant.iter().enumerate() {
            if !positive(variant.rate_factor) {
                return wrong(format!("variant[{at}].rate_factor"), "must be above zero");
            }
            if variant.time == Time::Virtual
                && let Some(layer) = variant.layers.iter().position(Layer::reads_the_real_clock)
            {
                return wrong(
                    format!("variant[{at}].layers[{layer}]"),
                    "reads the real clock itself, so the variant needs time = \"wall\"",
                );
            }
        }
        self.goal
            .iter()
            .enumerate()
            .try_for_each(|(at, goal)| goal.check(self).map_err(|(field, rule)| (format!("goal[{at}].{field}"), rule)))
    }

    fn check_stations(&self) -> Result<(), (String, String)> {
        for (at, station) in self.station.iter().enumerate() {
            let wrong = |field: &str, rule: &str| Err((format!("station[{at}].{field}"), rule.to_owned()));
            if station.workers == 0 {
                return wrong("workers", "must be above zero");
            }
            station.service.check().map_err(|rule| (format!("station[{at}].service"), rule))?;
            if station.quota.is_some_and(|quota| quota.per.0.is_zero()) {
                return wrong("quota.per", "must be above zero");
            }
            for (nth, fault) in station.fault.iter().enumerate() {
                if fault.from >= fault.to {
                    return wrong(&format!("fault[{nth}].to"), "must be after `from`");
                }
                let sane = match fault.kind {
                    crate::sim::Kind::Slow(factor) => factor.is_finite() && factor >= 1.0,
                    crate::sim::Kind::Errors(share) => (0.0..=1.0).contains(&share),
                    crate::sim::Kind::Workers(factor) | crate::sim::Kind::Quota(factor) => {
                        (0.0..=1_000.0).contains(&factor)
                    }
                    crate::sim::Kind::Refuse | crate::sim::Kind::Hang | crate::sim::Kind::Delay(_) => true,
                };
                if !sane {
                    let rule = "slow must be at least 1, errors from 0 to 1, workers and quota from 0 to 1000";
                    return wrong(&format!("fault[{nth}].kind"), rule);
                }
            }
            for (nth, antagonist) in station.antagonist.iter().enumerate() {
                if !positive(antagonist.rate) {
                    return wrong(&format!("antagonist[{nth}].rate"), "must be above zero");
                }
                let path = format!("station[{at}].antagonist[{nth}].service");
                antagonist.service.check().map_err(|rule| (path, rule))?;
            }
        }
        Ok(())
    }

    fn check_loads(&self) -> Result<(), (String, String)> {
        for (at, load) in self.load.iter().enumerate() {
            let wrong = |field: &str, rule: &str| Err((format!("load[{at}].{field}"), rule.to_owned()));
            if self.station(&load.station).is_none() {
                return wrong("station", "is not the name of a station");
            }
            if !positive(load.rate) || load.rate > 1e6 {
                return wrong("rate", "must be above zero and at most a million a second");
            }
            if load.patience.0.is_zero() || load.patience > Span(std::time::Duration::from_secs(3_600)) {
                return wrong("patience", "must be above zero and at most an hour");
            }
            for (nth, surge) in load.surge.iter().enumerate() {
                if !positive(surge.factor) {
                    return wrong(&format!("surge[{nth}].factor"), "must be above zero");
                }
            }
        }
        Ok(())
    }
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

impl From<Important> for Criticality {
    fn from(important: Important) -> Self {
        match important {
            Important::Sheddable => Self::Sheddable,
            Important::SheddablePlus => Self::SheddablePlus,
            Important::Critical => Self::Critical,
            Important::CriticalPlus => Self::CriticalPlus,
        }
    }
}
