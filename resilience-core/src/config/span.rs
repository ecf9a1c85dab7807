//! Durations as people write them: "250ms", "5s", "1m30s".

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A duration in a configuration.
///
/// Written as whole numbers with units from `ns` to `d`, larger before smaller: `250ms`, `5s`, `1m30s`. No fractions:
/// what is meant by 0.1 of a second can be written exactly. `forever` is `Duration::MAX`. A bare number is refused,
/// since nobody remembers whether it was seconds or milliseconds.
///
/// ```
/// use std::time::Duration;
/// use resilience_core::config::Span;
///
/// assert_eq!("1m30s".parse(), Ok(Span(Duration::from_secs(90))));
/// assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1s500ms");
/// assert_eq!("15".parse::<Span>().unwrap_err().to_string(), "a duration needs a unit, as in \"250ms\" or \"5s\"");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// Why a text is not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpanError {
    /// There is nothing.
    Empty,
    /// A number is missing, or is none.
    Number,
    /// A unit is missing.
    NoUnit,
    /// There is no such unit.
    Unit,
    /// A unit comes twice, or after a smaller one.
    Order,
    /// It is longer than can be counted.
    TooLong,
}

/// Units from long to short, in nanoseconds.
const UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// What `Duration::MAX` is called.
const FOREVER: &str = "forever";

impl std::str::FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let mut rest = text.trim();
        match rest {
            "" => return Err(SpanError::Empty),
            FOREVER => return Ok(Self(Duration::MAX)),
            "0" => return Ok(Self(Duration::ZERO)),
            _ => {}
        }
        let (mut sum, mut next) = (Duration::ZERO, 0);
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let tail = tail.trim_start();
            let letters = tail.len() - tail.trim_start_matches(char::is_alphabetic).len();
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                return Err(SpanError::Number);
            }
            let number: u64 = number.parse().map_err(|_| SpanError::TooLong)?;
            if unit.is_empty() {
                return Err(if tail.is_empty() { SpanError::NoUnit } else { SpanError::Number });
            }
            let unit = if unit == "µs" || unit == "μs" { "us" } else { unit };
            let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or(SpanError::Unit)?;
            if at < next {
                return Err(SpanError::Order);
            }
            next = at + 1;
            sum = times(number, UNITS[at].1).and_then(|part| sum.checked_add(part)).ok_or(SpanError::TooLong)?;
            rest = tail.trim_start();
        }
        Ok(Self(sum))
    }
}

/// `number` units of `nanos` each.
fn times(number: u64, nanos: u64) -> Option<Duration> {
    const SECOND: u64 = 1_000_000_000;
    if nanos >= SECOND {
        return number.checked_mul(nanos / SECOND).map(Duration::from_secs);
    }
    let per_second = SECOND / nanos;
    // Below a second's worth, so that it fits whatever the unit.
    let rest = (number % per_second) * nanos;
    Some(Duration::new(number / per_second, rest as u32))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == Duration::MAX {
            return f.write_str(FOREVER);
        }
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let (mut seconds, mut nanos) = (self.0.as_secs(), u64::from(self.0.subsec_nanos()));
        for (unit, size) in UNITS {
            let (left, size) =
                if size >= 1_000_000_000 { (&mut seconds, size / 1_000_000_000) } else { (&mut nanos, size) };
            if *left >= size {
                write!(f, "{}{unit}", *left / size)?;
                *left %= size;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SpanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "a duration must not be empty",
            Self::Number => "a duration is made of whole numbers with units, as in \"1m30s\"",
            Self::NoUnit => "a duration needs a unit, as in \"250ms\" or \"5s\"",
            Self::Unit => "a duration's units are d, h, m, s, ms, us and ns",
            Self::Order => "a duration's units go from long to short, each once",
            Self::TooLong => "a duration that long cannot be counted; \"forever\" is the longest",
        })
    }
}

impl std::error::Error for SpanError {}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Span;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, as in \"250ms\" or \"5s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
