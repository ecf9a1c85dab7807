//! What an adaptive limit can be told.

use std::fmt;
use std::time::Duration;

use super::AdaptiveLimit;
use super::machine::Settings;
use super::reserve::Reserve;
use super::rule::{Chosen, Rule};
use super::window::{Figure, Shape};
use crate::bulkhead::{Bulkhead, BulkheadBuilder, Discipline};
use crate::context::Criticality;
use crate::control::Limit;
use crate::event::{Listeners, Sink};
use crate::rng::Rng;
use crate::time::SharedTimer;
use crate::{ConfigError, Name};

/// What a call counts as whose caller dropped it before the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Abandoned {
    /// As nothing: a caller that hangs up, a hedge that lost.
    #[default]
    Ignore,
    /// As lost, as where calls are dropped by a timeout outside.
    Loss,
}

/// Sets up an [`AdaptiveLimit`]; made by [`AdaptiveLimit::builder`].
///
/// ```
/// use resilience_core::adaptive_limit::AdaptiveLimit;
///
/// let error = AdaptiveLimit::builder().min(10).max(5).build().unwrap_err();
/// assert_eq!(error.to_string(), "min must be at most max");
/// ```
#[must_use]
pub struct AdaptiveLimitBuilder {
    name: Name,
    rule: Chosen,
    initial: Option<u32>,
    min: Option<u32>,
    max: u32,
    shape: Shape,
    abandoned: Abandoned,
    reserve: Reserve,
    queue: u32,
    max_wait: Option<Duration>,
    discipline: Discipline,
    dry_run: bool,
    seed: Option<u64>,
    timer: Option<SharedTimer>,
    listeners: Listeners,
}

/// A checked configuration.
pub(super) struct Config {
    pub(super) name: Name,
    pub(super) gate: Bulkhead,
    pub(super) initial: u32,
    pub(super) rng: Rng,
    pub(super) timer: SharedTimer,
    pub(super) listeners: Listeners,
    /// Whether the rule is one of this crate's.
    pub(super) is_own: bool,
    pub(super) change: Changeable,
}

/// The part of it that can be changed later.
pub(super) struct Changeable {
    pub(super) settings: Settings,
    pub(super) abandoned: Abandoned,
    pub(super) reserve: Reserve,
    pub(super) dry_run: bool,
    /// All of the gate but its limit.
    pub(super) gate: BulkheadBuilder,
}

impl AdaptiveLimitBuilder {
    pub(super) fn new() -> Self {
        let shape = Shape {
            least: Duration::from_millis(100),
            most: Duration::from_secs(1),
            samples: 10,
            figure: Figure::Percentile(0.5),
        };
        Self {
            name: Name::from_static("adaptive_limit"),
            rule: Chosen::Rule(Rule::VEGAS),
            initial: None,
            min: None,
            max: 1_000,
            shape,
            abandoned: Abandoned::default(),
            reserve: Reserve::default(),
            queue: 0,
            max_wait: None,
            discipline: Discipline::default(),
            dry_run: false,
            seed: None,
            timer: SharedTimer::preset(),
            listeners: Listeners::default(),
        }
    }

    /// The name in refusals and events. Default: `adaptive_limit`.
    pub fn name(mut self, name: impl Into<Name>) -> Self {
        self.name = name.into();
        self
    }

    /// Additive increase, multiplicative decrease: [`Rule::AIMD`].
    pub fn aimd(self) -> Self {
        self.rule(Rule::AIMD)
    }

    /// The queue, from the round trip against that of an idle server: [`Rule::VEGAS`]. The default.
    pub fn vegas(self) -> Self {
        self.rule(Rule::VEGAS)
    }

    /// The round trip against its long average: [`Rule::GRADIENT2`].
    pub fn gradient2(self) -> Self {
        self.rule(Rule::GRADIENT2)
    }

    /// One of these with constants of your own.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rule = Chosen::Rule(rule);
        self
    }

    /// A rule of your own, or another of [`control`](crate::control).
    ///
    /// What it says is kept within [`min`](Self::min) and [`max`](Self::max), and does not grow while less than half of
    /// the limit is used. Begin it with the limit of [`initial`](Self::initial).
    ///
    /// It is asked under the lock of the limit, by whoever's call ends a window, and for each snapshot: it should be quick,
    /// and must neither wait nor use the limit it is the rule of. A limit that was built without one cannot get one later.
    ///
    /// ```
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    /// use resilience_core::control::Gradient;
    ///
    /// let limit = AdaptiveLimit::builder().initial(50).custom(Gradient::new(50)).build()?;
    /// assert_eq!(limit.snapshot().limit, 50);
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn custom(mut self, rule: impl Limit + Send + 'static) -> Self {
        self.rule = Chosen::Custom(Box::new(rule));
        self
    }

    /// The limit to begin with. Default: 20, Netflix's, or the nearest within the bounds.
    pub fn initial(mut self, initial: u32) -> Self {
        self.initial = Some(initial);
        self
    }

    /// The least limit. Default: 3, Envoy's: from fewer calls at once, nothing can be learned.
    pub fn min(mut self, min: u32) -> Self {
        self.min = Some(min);
        self
    }

    /// The highest limit, at most 4,194,303. Default: 1,000.
    pub fn max(mut self, max: u32) -> Self {
        self.max = max;
        self
    }

    /// How long a window of calls lasts: twice their round trip, but at least and at most so long. Default: 100 ms to 1 s.
    ///
    /// The limit changes at most once a window, but at once when a call is lost.
    pub fn window(mut self, least: Duration, most: Duration) -> Self {
        (self.shape.least, self.shape.most) = (least, most);
        self
    }

    /// How many calls a window holds at least; it lasts longer if they are not there. Default: 10.
    pub fn samples(mut self, samples: u32) -> Self {
        self.shape.samples = samples;
        self
    }

    /// What stands for the round trips of a window. Default: the median, as a single long call does not move it.
    pub fn figure(mut self, figure: Figure) -> Self {
        self.shape.figure = figure;
        self
    }

    /// What a call counts as whose caller dropped it before the answer. Default: as nothing.
    pub fn abandoned(mut self, abandoned: Abandoned) -> Self {
        self.abandoned = abandoned;
        self
    }

    /// Keeps a share of the limit for calls at least that critical. Default: 0.1 for `SheddablePlus` and 0.2 for `Critical`.
    ///
    /// Shares add up: by default a `Sheddable` call is let in up to 70 % of the limit, a `SheddablePlus` call up to 80 %,
    /// others up to the limit. So what is marked as the least critical is refused first, and nothing changes where
    /// nothing is marked. Calls that may not use the whole limit are refused rather than queued.
    ///
    /// ```
    /// use resilience_core::adaptive_limit::AdaptiveLimit;
    /// use resilience_core::context::{Context, Criticality};
    ///
    /// let limit = AdaptiveLimit::builder().initial(10).reserve(Criticality::Critical, 0.5).build()?;
    /// let crawl = Context::new().with_criticality(Criticality::Sheddable);
    /// let crawling: Vec<_> = std::iter::from_fn(|| crawl.run(|| limit.try_acquire().ok())).collect();
    /// assert_eq!(crawling.len(), 4); // of 10, half is for critical calls, and a tenth for those between
    /// assert!(limit.try_acquire().is_ok());
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn reserve(mut self, criticality: Criticality, share: f64) -> Self {
        self.reserve.set(criticality, share);
        self
    }

    /// Calls that may wait, at most 1,048,575. Default: 0, who finds no slot is refused at once.
    pub fn queue(mut self, queue: u32) -> Self {
        self.queue = queue;
        self
    }

    /// How long a call may wait. Default: until its deadline, and without one for as long as it takes.
    pub fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }

    /// Who of those who wait is next, and who is given up; see [bulkheads](crate::bulkhead). Default: first come, first
    /// served.
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// Decides, counts and tells, and refuses nothing. Default: off.
    ///
    /// The limit is found as ever, from calls that nobody limits: where the server is overloaded, it goes down to
    /// [`min`](Self::min).
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Measures at the same times in each run. Default: drawn itself.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The clock. Default: tokio's, if the feature `tokio` is on. Read when a call begins and when it ends.
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// Adds a listener for [`Event`](super::Event)s.
    pub fn listener(mut self, sink: impl Sink) -> Self {
        self.listeners.add(sink);
        self
    }

    /// The limit.
    ///
    /// # Errors
    ///
    /// If the bounds are inverted, zero or above 4,194,303, `initial` is outside of them, the window or a constant of the
    /// rule makes no sense, the reserves leave nothing, the queue is as a [bulkhead](crate::bulkhead) would refuse it, or
    /// there is no `timer`.
    pub fn build(self) -> Result<AdaptiveLimit, ConfigError> {
        let timer = self.timer.clone().ok_or(ConfigError::new("timer", "must be set without the feature `tokio`"))?;
        let listeners = self.listeners.bound("adaptive_limit", &self.name);
        let rng = self.seed.map_or_else(Rng::from_entropy, Rng::seeded);
        let name = self.name.clone();
        let (initial, change) = self.checked()?;
        let gate = change.gate.clone().name(name.clone()).limit(initial).timer(timer.clone()).build()?;
        let is_own = matches!(change.settings.chosen, Chosen::Rule(_));
        Ok(AdaptiveLimit::new(Config { name, gate, initial, rng, timer, listeners, is_own, change }))
    }

    /// The initial limit, and all that can be changed later.
    pub(super) fn checked(self) -> Result<(u32, Changeable), ConfigError> {
        let min = self.min.unwrap_or_else(|| MIN.min(self.max));
        if min == 0 {
            return Err(ConfigError::new("min", "must be above zero"));
        }
        if self.max > MAX {
            return Err(ConfigError::new("max", "must be at most 4194303"));
        }
        if min > self.max {
            return Err(ConfigError::new("min", "must be at most max"));
        }
        let initial = self.initial.unwrap_or_else(|| INITIAL.clamp(min, self.max));
        if !(min..=self.max).contains(&initial) {
            return Err(ConfigError::new("initial", "must be within min and max"));
        }
        if let Chosen::Rule(rule) = &self.rule {
            rule.check()?;
        }
        self.shape.check()?;
        self.reserve.check()?;
        let mut gate = Bulkhead::builder().queue(self.queue).discipline(self.discipline).dry_run(self.dry_run);
        if let Some(max_wait) = self.max_wait {
            gate = gate.max_wait(max_wait);
        }
        let settings = Settings { min, max: self.max, shape: self.shape, chosen: self.rule };
        let Self { abandoned, reserve, dry_run, .. } = self;
        Ok((initial, Changeable { settings, abandoned, reserve, dry_run, gate }))
    }
}

const INITIAL: u32 = 20;
const MIN: u32 = 3;
/// What a bulkhead can count.
const MAX: u32 = (1 << 22) - 1;

impl fmt::Debug for AdaptiveLimitBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut builder = f.debug_struct("AdaptiveLimitBuilder");
        match &self.rule {
            Chosen::Rule(rule) => builder.field("rule", rule),
            Chosen::Custom(_) => builder.field("rule", &"custom"),
        };
        builder.field("name", &self.name).field("initial", &self.initial).field("min", &self.min);
        builder.field("max", &self.max).field("shape", &self.shape).field("abandoned", &self.abandoned);
        builder.field("reserve", &self.reserve).field("queue", &self.queue).field("max_wait", &self.max_wait);
        builder.field("discipline", &self.discipline).field("dry_run", &self.dry_run).finish_non_exhaustive()
    }
}
