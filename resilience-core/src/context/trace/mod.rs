//! The trace a call is part of, and the baggage of its trace, as the W3C defines them.
//!
//! This crate makes no spans: it passes a trace on, so that a call made through its layers does not break the trace of
//! whoever does make them. What is malformed is dropped, as the specifications ask, and is never an error: a broken
//! header of a stranger must not cost a request.

mod baggage;
mod state;

use std::fmt;

pub use self::baggage::Baggage;
pub use self::state::TraceState;

/// Which trace a call belongs to, and which span called: the [`traceparent`] header.
///
/// ```
/// use resilience_core::context::TraceParent;
///
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent = TraceParent::parse(text).unwrap();
/// assert!(parent.is_sampled());
/// assert_eq!(parent.to_string(), text);
/// assert_eq!(TraceParent::parse("00-00000000000000000000000000000000-b7ad6b7169203331-01"), None); // no trace at all
/// ```
///
/// [`traceparent`]: https://www.w3.org/TR/trace-context/#traceparent-header
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    parent_id: u64,
    flags: u8,
}

impl TraceParent {
    /// The length of the header's value.
    pub(crate) const LENGTH: usize = 55;
    /// What version 00 defines: sampled, and (level 2) random trace id. Others must not be passed on.
    const KNOWN_FLAGS: u8 = 0b11;

    /// The trace `trace_id`, called from the span `parent_id`; `None` if either is zero, which means "none" on the
    /// wire.
    pub const fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Option<Self> {
        if trace_id == 0 || parent_id == 0 {
            return None;
        }
        Some(Self { trace_id, parent_id, flags: sampled as u8 })
    }

    /// Reads a header's value; `None` if it is malformed.
    ///
    /// A version later than 00 is read by the fields it shares with 00, as the specification asks.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let (head, rest) = bytes.split_at_checked(Self::LENGTH)?;
        let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        let version = hex(&head[..2])?;
        let fits = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        if !dashes || !fits {
            return None;
        }
        let (trace_id, parent_id) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let flags = hex(&head[53..])? as u8 & Self::KNOWN_FLAGS;
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id: parent_id as u64, flags })
    }

    /// The trace.
    pub const fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The span that called.
    pub const fn parent_id(self) -> u64 {
        self.parent_id
    }

    /// Whether the caller may have recorded its span.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

/// Lower-case hexadecimal digits, at most 32; upper case is not allowed on this wire.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// The header's value, in version 00.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.parent_id, self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceParent({self})")
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
