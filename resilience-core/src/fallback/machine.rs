//! Which answers are replaced. Pure.

use crate::{Class, Classification};

use super::event::Reason;

/// What a policy replaces, and whether it does so indeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) refusals: bool,
    pub(crate) timeouts: bool,
    pub(crate) failures: bool,
    pub(crate) dry_run: bool,
}

impl Rules {
    /// Why an answer of this meaning is to be replaced, if it is.
    #[inline]
    pub(crate) fn reason(self, means: &Classification) -> Option<Reason> {
        let (reason, is_caught) = if means.is_refused() {
            (Reason::Refused, self.refusals)
        } else if means.class() != Class::Failure {
            return None;
        } else if means.is_timed_out() {
            (Reason::TimedOut, self.timeouts)
        } else {
            (Reason::Failed, self.failures)
        };
        is_caught.then_some(reason)
    }

    /// In one word, for an atomic.
    pub(crate) fn to_bits(self) -> u32 {
        let Self { refusals, timeouts, failures, dry_run } = self;
        [refusals, timeouts, failures, dry_run].iter().rev().fold(0, |bits, &flag| bits << 1 | u32::from(flag))
    }

    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Self {
        let flag = |nth: u32| bits >> nth & 1 == 1;
        Self { refusals: flag(0), timeouts: flag(1), failures: flag(2), dry_run: flag(3) }
    }
}
