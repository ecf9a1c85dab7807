//! How a call went, for whoever made it.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::event::Reason;

thread_local! {
    /// What the retry that ended last said, while a `Reported` future is being polled.
    static NOTED: Cell<Option<Report>> = const { Cell::new(None) };
}

/// How many attempts a call took, and why there were no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Attempts made.
    pub attempts: u32,
    /// Why the last failure was not retried; `None` if the last attempt did not fail.
    pub gave_up: Option<Reason>,
}

/// Awaits `call`, and tells how its retries went beside its output.
///
/// The error type does not change through the stack, so the reason for giving up is not in the error. It is here, through
/// any number of layers, and for [`Retry::run`](super::Retry::run) alike. `None` means that no retry had anything to do:
/// the first attempt answered. Of nested retries, the outermost that had something to do reports. What runs on another
/// task (behind a buffer) is not seen.
///
/// ```
/// use resilience_core::Error;
/// use resilience_core::retry::{self, Backoff, Reason, Retry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), resilience_core::ConfigError> {
/// let retry = Retry::builder().attempts(2).backoff(Backoff::none()).build()?;
/// let (answer, report) = retry::report(retry.run(async |_| Err::<(), _>(Error::Service("down")))).await;
/// assert_eq!(answer, Err(Error::Service("down")));
/// let report = report.unwrap();
/// assert_eq!((report.attempts, report.gave_up), (2, Some(Reason::Attempts)));
/// # Ok(())
/// # }
/// ```
pub fn report<F: Future>(call: F) -> Reported<F> {
    Reported { call, noted: None }
}

pub(super) fn note(report: Report) {
    NOTED.set(Some(report));
}

pin_project! {
    /// A call that tells how its retries went; made by [`report`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct Reported<F> {
        #[pin]
        call: F,
        noted: Option<Report>,
    }
}

impl<F: Future> Future for Reported<F> {
    type Output = (F::Output, Option<Report>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outside = Outside(NOTED.replace(*this.noted));
        let poll = this.call.poll(cx);
        *this.noted = NOTED.get();
        drop(outside);
        poll.map(|output| (output, *this.noted))
    }
}

/// What was noted around this poll; put back when it ends, a panic included.
struct Outside(Option<Report>);

impl Drop for Outside {
    fn drop(&mut self) {
        NOTED.set(self.0);
    }
}
