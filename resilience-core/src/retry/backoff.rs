//! How long to wait before a retry: a curve, a jitter, a cap. Pure: random numbers come in as values.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ConfigError;

/// The longest wait of curves that do not name one: 20 s, the figure of the AWS SDKs.
const LONGEST: Duration = Duration::from_secs(20);

/// Delays read from an iterator, at most: a sequence is a table, not a stream.
const LONGEST_SEQUENCE: usize = 1024;

/// A series of delays: a curve that grows, a [`Jitter`] that spreads it, a cap nothing goes above.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::{Backoff, Jitter, Series};
///
/// let backoff = Backoff::exponential(Duration::from_millis(50), Duration::from_secs(20)).jitter(Jitter::None);
/// let mut series = Series::default();
/// let waits: Vec<_> = (0..3).map(|_| backoff.delay(&mut series, 0.5).as_millis()).collect();
/// assert_eq!(waits, [50, 100, 200]);
/// ```
///
/// Whatever curve and jitter yield, the delay is at least zero and at most [`cap`](Self::cap); no retry number and no
/// duration overflows.
#[derive(Clone)]
pub struct Backoff {
    curve: Curve,
    jitter: Jitter,
    /// Where the curve stops growing.
    limit: Duration,
    /// What no delay exceeds, jitter and the server's hints included.
    cap: Duration,
}

#[derive(Clone)]
enum Curve {
    Constant(Duration),
    Linear(Duration),
    Exponential { base: Duration, factor: f64 },
    Sequence(Arc<[Duration]>),
    Function(Arc<dyn Fn(u32) -> Duration + Send + Sync>),
}

impl Backoff {
    /// No wait at all. The next attempt still goes through the scheduler once.
    pub const fn none() -> Self {
        Self { curve: Curve::Constant(Duration::ZERO), jitter: Jitter::None, limit: Duration::ZERO, cap: LONGEST }
    }

    /// `delay` before every retry, spread by [`Jitter::Full`]. The cap is 20 s, or `delay` if that is longer.
    pub fn constant(delay: Duration) -> Self {
        Self::of(Curve::Constant(delay), delay, delay.max(LONGEST))
    }

    /// `step` before the first retry, twice that before the second, and so on up to `cap`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::retry::{Backoff, Jitter, Series};
    ///
    /// let ms = Duration::from_millis;
    /// let waits = |backoff: Backoff| {
    ///     let (backoff, mut series) = (backoff.jitter(Jitter::None), Series::default());
    ///     [(); 4].map(|()| backoff.delay(&mut series, 0.5).as_millis())
    /// };
    /// assert_eq!(waits(Backoff::constant(ms(100))), [100, 100, 100, 100]);
    /// assert_eq!(waits(Backoff::linear(ms(100), ms(250))), [100, 200, 250, 250]);
    /// assert_eq!(waits(Backoff::exponential(ms(100), ms(2000)).factor(3.0)), [100, 300, 900, 2000]);
    /// assert_eq!(waits(Backoff::sequence([ms(10), ms(500)])), [10, 500, 500, 500]);
    /// ```
    pub fn linear(step: Duration, cap: Duration) -> Self {
        Self::of(Curve::Linear(step), cap, cap)
    }

    /// `base` before the first retry, then twice as long each time up to `cap`; another [`factor`](Self::factor) than
    /// two can be set.
    pub fn exponential(base: Duration, cap: Duration) -> Self {
        Self::of(Curve::Exponential { base, factor: 2.0 }, cap, cap)
    }

    /// The delays of an iterator (the first 1,024 of them), the last repeated for ever.
    pub fn sequence(delays: impl IntoIterator<Item = Duration>) -> Self {
        let delays: Arc<[Duration]> = delays.into_iter().take(LONGEST_SEQUENCE).collect();
        let longest = delays.iter().copied().max().unwrap_or_default();
        Self::of(Curve::Sequence(delays), longest, longest.max(LONGEST))
    }

    /// `delay(n)` before retry `n`, which counts from 1, up to `cap`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::retry::{Backoff, Jitter, Series};
    ///
    /// let squares = Backoff::from_fn(|n| Duration::from_millis(u64::from(n * n)), Duration::from_millis(8)).jitter(Jitter::None);
    /// let mut series = Series::default();
    /// assert_eq!([(); 3].map(|()| squares.delay(&mut series, 0.0).as_millis()), [1, 4, 8]);
    /// ```
    pub fn from_fn(delay: impl Fn(u32) -> Duration + Send + Sync + 'static, cap: Duration) -> Self {
        Self::of(Curve::Function(Arc::new(delay)), cap, cap)
    }

    fn of(curve: Curve, limit: Duration, cap: Duration) -> Self {
        Self { curve, jitter: Jitter::Full, limit, cap }
    }

    /// How the delays are spread; [`Jitter::Full`] unless set.
    #[must_use]
    pub fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// What an exponential curve grows by, 2 unless set; at least 1. No other curve has a factor.
    #[must_use]
    pub fn factor(mut self, by: f64) -> Self {
        if let Curve::Exponential { factor, .. } = &mut self.curve {
            *factor = by;
        }
        self
    }

    /// Sets what no delay exceeds, apart from where the curve stops growing.
    ///
    /// gRPC spreads its longest interval by a fifth in both directions: `exponential(100 ms, 1 s)` with
    /// `Jitter::Around(0.2)` and a cap of 1.2 s.
    #[must_use]
    pub fn capped(mut self, cap: Duration) -> Self {
        self.cap = cap;
        self
    }

    /// What no delay exceeds.
    pub const fn cap(&self) -> Duration {
        self.cap
    }

    /// The next delay of a series. `unit` is a random number in `[0, 1)`; each delay takes one.
    pub fn delay(&self, series: &mut Series, unit: f64) -> Duration {
        series.retry = series.retry.saturating_add(1);
        let nanos = match self.jitter {
            Jitter::None => self.nanos(series.retry),
            Jitter::Full => self.nanos(series.retry) * unit,
            Jitter::Equal => self.nanos(series.retry) * (0.5 + 0.5 * unit),
            Jitter::Around(share) => self.nanos(series.retry) * (1.0 - share + 2.0 * share * unit),
            Jitter::Decorrelated => {
                let base = self.nanos(1);
                let previous = if series.retry == 1 { base } else { series.memory };
                let next = base + (previous * 3.0 - base).max(0.0) * unit;
                series.memory = next.min(as_nanos(self.limit));
                series.memory
            }
            Jitter::PollyV2 => {
                let t = f64::from(series.retry - 1) + unit;
                let reached = t.exp2() * (4.0 * t).sqrt().tanh();
                let before = std::mem::replace(&mut series.memory, reached);
                ((reached - before) * self.nanos(1) / 1.4).min(as_nanos(self.limit))
            }
        };
        from_nanos(nanos).min(self.cap)
    }

    /// The curve at retry `n`, in nanoseconds and not above the limit. Floats, because they saturate.
    fn nanos(&self, n: u32) -> f64 {
        let nanos = match &self.curve {
            Curve::Constant(delay) => as_nanos(*delay),
            Curve::Linear(step) => as_nanos(*step) * f64::from(n),
            // Zero times infinity is not a number, but zero times anything is no wait.
            Curve::Exponential { base, .. } if base.is_zero() => 0.0,
            Curve::Exponential { base, factor } => as_nanos(*base) * factor.powf(f64::from(n - 1)),
            Curve::Sequence(delays) => {
                let last = delays.len().saturating_sub(1);
                delays.get(last.min(n as usize - 1)).copied().map_or(0.0, as_nanos)
            }
            Curve::Function(delay) => as_nanos(delay(n)),
        };
        nanos.min(as_nanos(self.limit))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let start = match &self.curve {
            Curve::Exponential { factor, .. } if !(factor.is_finite() && *factor >= 1.0) => {
                return Err(ConfigError::new("backoff.factor", "must be a finite number of at least 1"));
            }
            Curve::Sequence(delays) if delays.is_empty() => {
                return Err(ConfigError::new("backoff.sequence", "must have at least one delay"));
            }
            Curve::Exponential { base, .. } => *base,
            Curve::Linear(step) => *step,
            Curve::Constant(_) | Curve::Sequence(_) | Curve::Function(_) => Duration::ZERO,
        };
        if start > self.limit {
            return Err(ConfigError::new("backoff.base", "must not exceed the cap"));
        }
        match self.jitter {
            Jitter::Around(share) if !(0.0..=1.0).contains(&share) => {
                Err(ConfigError::new("backoff.jitter", "must spread by a share between 0 and 1"))
            }
            _ => Ok(()),
        }
    }
}

impl Default for Backoff {
    /// Exponential from 100 ms to 20 s with full jitter.
    ///
    /// The first wait is long enough for a restarted connection or a moved leader and short beside a person's
    /// patience; the cap is that of the AWS SDKs.
    fn default() -> Self {
        Self::exponential(Duration::from_millis(100), LONGEST)
    }
}

impl fmt::Debug for Backoff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Backoff");
        match &self.curve {
            Curve::Constant(delay) => s.field("constant", delay),
            Curve::Linear(step) => s.field("linear", step),
            Curve::Exponential { base, factor } => s.field("exponential", base).field("factor", factor),
            Curve::Sequence(delays) => s.field("sequence", delays),
            Curve::Function(_) => s.field("function", &"..."),
        };
        s.field("jitter", &self.jitter).field("cap", &self.cap).finish()
    }
}

/// How delays are spread, so that clients that failed together do not come back together.
///
/// With `d` the curve's value, `u` uniform in `[0, 1)`:
///
/// | jitter | delay | from |
/// |---|---|---|
/// | `None` | `d` | |
/// | `Full` | `d * u` | Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 |
/// | `Equal` | `d / 2 + d / 2 * u` | the same |
/// | `Decorrelated` | `base + (3 * previous - base) * u`, not above the curve's limit | the same |
/// | `PollyV2` | `(f(t) - f(previous t)) * base / 1.4`, `f(t) = 2^t * tanh(sqrt(4t))`, `t = retry - 1 + u` | Polly 8, `DecorrelatedJitterBackoffV2` |
/// | `Around(s)` | `d * (1 - s + 2s * u)` | gRPC (0.2), Polly's linear (0.25), Resilience4j (0.5) |
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::{Backoff, Jitter, Series};
///
/// let spread = |jitter| {
///     let backoff = Backoff::constant(Duration::from_millis(100)).jitter(jitter);
///     [0.0, 0.5].map(|unit| backoff.delay(&mut Series::default(), unit).as_millis())
/// };
/// assert_eq!(spread(Jitter::Full), [0, 50]); // some come back at once: they are what spreads the rest
/// assert_eq!(spread(Jitter::Equal), [50, 75]);
/// assert_eq!(spread(Jitter::Around(0.2)), [80, 100]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Jitter {
    /// The curve as it is. For tests, or where one client is the only one.
    None,
    /// Anything from zero to the curve. The default: it spreads a crowd best for the work it costs.
    #[default]
    Full,
    /// At least half of the curve.
    Equal,
    /// From the base to three times the previous delay.
    Decorrelated,
    /// Polly's smooth decorrelated jitter, with a median that follows the exponential curve.
    PollyV2,
    /// The curve, this share of it more or less.
    Around(f64),
}

/// Where a session is in its series of delays.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::retry::{Backoff, Jitter, Series};
///
/// let backoff = Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60)).jitter(Jitter::None);
/// let mut kept = Series::after(3, Duration::from_secs(4)); // as read back by a job that outlived its process
/// assert_eq!(backoff.delay(&mut kept, 0.5), Duration::from_secs(8));
/// assert_eq!(kept.retries(), 4);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Series {
    /// Delays drawn so far.
    retry: u32,
    /// What the jitter remembers of the last delay: its nanoseconds, or the value of Polly's curve.
    memory: f64,
}

impl Series {
    /// The series after `retries` delays, the last of which was `previous`.
    ///
    /// [`Jitter::PollyV2`] remembers more than the delay; a series of its own must be continued, not made.
    pub fn after(retries: u32, previous: Duration) -> Self {
        Self { retry: retries, memory: as_nanos(previous) }
    }

    /// Delays drawn so far.
    pub const fn retries(&self) -> u32 {
        self.retry
    }
}

fn as_nanos(duration: Duration) -> f64 {
    duration.as_nanos() as f64
}

/// `Duration::MAX` for whatever is too long or not a number.
fn from_nanos(nanos: f64) -> Duration {
    // Casts from floats saturate; 2^64 itself is the first value that does not fit.
    if nanos < u64::MAX as f64 { Duration::from_nanos(nanos.round() as u64) } else { Duration::MAX }
}
