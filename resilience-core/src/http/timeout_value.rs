//! How the time a call has left is written in a header: as what remains, never as a point in time.

use std::fmt;
use std::time::Duration;

/// The most a `grpc-timeout` may have: "positive integer as ASCII string of at most 8 digits".
const GRPC_DIGITS: u64 = 99_999_999;
/// The most milliseconds that are written: ten digits, as in the Connect protocol; 115 days.
const MILLIS: u64 = 9_999_999_999;

/// The units of `grpc-timeout`, finest first, with their length in nanoseconds.
const UNITS: [(char, u64); 6] =
    [('n', 1), ('u', 1_000), ('m', 1_000_000), ('S', 1_000_000_000), ('M', 60_000_000_000), ('H', 3_600_000_000_000)];

/// Milliseconds, rounded down: the receiver must not believe that it has longer than it has.
pub(super) fn millis(left: Duration) -> u64 {
    u64::try_from(left.as_millis()).unwrap_or(MILLIS).min(MILLIS)
}

/// Reads milliseconds: one to ten digits and nothing else.
pub(super) fn parse_millis(text: &[u8]) -> Option<Duration> {
    digits(text, 10).map(Duration::from_millis)
}

/// The value of a `grpc-timeout` header: in the finest unit that fits, rounded down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrpcTimeout(pub(super) Duration);

impl fmt::Display for GrpcTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        for (unit, length) in UNITS {
            if nanos / length <= GRPC_DIGITS {
                return write!(f, "{}{unit}", nanos / length);
            }
        }
        write!(f, "{GRPC_DIGITS}H")
    }
}

impl GrpcTimeout {
    /// Reads a header's value; `None` if it is malformed.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let (unit, number) = text.split_last()?;
        let (_, length) = UNITS.iter().find(|(name, _)| *name == char::from(*unit))?;
        let number = digits(number, 8)?;
        Some(Self(Duration::from_nanos(number.saturating_mul(*length))))
    }
}

/// A number of one to `longest` digits, without a sign.
pub(super) fn digits(text: &[u8], longest: usize) -> Option<u64> {
    if text.is_empty() || text.len() > longest {
        return None;
    }
    text.iter().try_fold(0_u64, |value, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_wire_never_says_more_than_is_left() {
        for (left, text) in [
            (Duration::ZERO, "0n"),
            (Duration::from_nanos(99_999_999), "99999999n"),
            (Duration::from_nanos(100_000_999), "100000u"),
            (Duration::from_millis(100_000), "100000m"),
            (Duration::from_secs(2), "2000000u"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "1666666M"),
            (Duration::MAX, "5124095H"),
        ] {
            assert_eq!(GrpcTimeout(left).to_string(), text);
        }
        assert_eq!(millis(Duration::from_micros(1_999)), 1);
        assert_eq!(millis(Duration::MAX), MILLIS);
    }

    #[test]
    fn a_malformed_timeout_is_none() {
        for text in ["", "1", "m", "123456789m", "-1m", "+1m", "1 m", "1ms", "1h", "1.5S", "m1"] {
            assert_eq!(GrpcTimeout::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(GrpcTimeout::parse(b"99999999H").unwrap().0, Duration::from_nanos(u64::MAX), "584 years will do");
        for text in ["", "-1", "+1", "1 ", "12345678901", "1m"] {
            assert_eq!(parse_millis(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_millis(b"0000000250"), Some(Duration::from_millis(250)));
    }

    proptest! {
        #[test]
        fn what_is_read_back_is_at_most_what_was_left_and_nearly_all_of_it(nanos: u64) {
            let left = Duration::from_nanos(nanos);
            let read = GrpcTimeout::parse(GrpcTimeout(left).to_string().as_bytes()).unwrap().0;
            prop_assert!(read <= left && left - read <= left / 10_000, "{read:?} of {left:?}");
        }

        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            let _ = GrpcTimeout::parse(&bytes);
            let _ = parse_millis(&bytes);
        }
    }
}
