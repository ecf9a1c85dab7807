//! Futures run by hand: polled when they were woken and only then.
//!
//! An executor hides two kinds of mistakes. It polls for reasons of its own, so a future that forgot to register its
//! waker still finishes; and it polls again at once when asked, so a future that wakes itself in a circle merely looks
//! busy. A [`Task`] does neither: what nobody wakes stays where it is, and every poll is counted.
//!
//! ```
//! use testkit::wakes::Task;
//!
//! let (sender, receiver) = tokio::sync::oneshot::channel();
//! let mut task = Task::new(receiver);
//! assert!(task.run().is_pending());
//! sender.send(7).unwrap();
//! assert!(task.run().is_ready());
//! assert_eq!((task.polls(), task.wakes()), (2, 1));
//! ```

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// More polls than this without an end are a circle.
const TOO_MANY: usize = 1_000;

/// A waker that counts. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Wakes(Arc<Count>);

#[derive(Debug, Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Pairs with the load in `count`: whoever sees the wake-up sees what led to it.
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl Wakes {
    /// No wake-up so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The waker whose wake-ups are counted here.
    pub fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    /// How often it was woken.
    pub fn count(&self) -> usize {
        self.0.0.load(Ordering::Acquire)
    }
}

/// A future with a waker of its own, run by hand.
pub struct Task<F> {
    future: Pin<Box<F>>,
    wakes: Wakes,
    answered: usize,
    earlier: usize,
    polls: usize,
    fresh: bool,
}

impl<F: Future> Task<F> {
    /// A task that was not polled yet.
    pub fn new(future: F) -> Self {
        Self { future: Box::pin(future), wakes: Wakes::new(), answered: 0, earlier: 0, polls: 0, fresh: true }
    }

    /// Polls once, woken or not.
    pub fn poll(&mut self) -> Poll<F::Output> {
        self.fresh = false;
        self.polls += 1;
        self.answered = self.wakes.count();
        self.future.as_mut().poll(&mut Context::from_waker(&self.wakes.waker()))
    }

    /// Polls as an executor with nothing else to do would: at first, and then as long as there is a new wake-up.
    ///
    /// # Panics
    ///
    /// When the future wakes itself without end.
    pub fn run(&mut self) -> Poll<F::Output> {
        let start = self.polls;
        while self.fresh || self.is_woken() {
            if let Poll::Ready(output) = self.poll() {
                return Poll::Ready(output);
            }
            assert!(self.polls - start < TOO_MANY, "polled {TOO_MANY} times, and it still wakes itself");
        }
        Poll::Pending
    }

    /// Moves the future to another task: it is polled once with a new waker, and the old one leads nowhere.
    pub fn run_elsewhere(&mut self) -> Poll<F::Output> {
        self.earlier += self.wakes.count();
        self.wakes = Wakes::new();
        self.fresh = true;
        self.run()
    }
}

impl<F> Task<F> {
    /// Whether there was a wake-up since the last poll.
    pub fn is_woken(&self) -> bool {
        self.wakes.count() > self.answered
    }

    /// How often it was polled.
    pub fn polls(&self) -> usize {
        self.polls
    }

    /// How often it was woken.
    pub fn wakes(&self) -> usize {
        self.earlier + self.wakes.count()
    }
}

impl<F> fmt::Debug for Task<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("polls", &self.polls).field("wakes", &self.wakes()).finish_non_exhaustive()
    }
}

/// Polls a future once with a waker that does nothing.
pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_registers_no_waker_stays_where_it_is() {
        let mut polls = 0;
        let mut task = Task::new(std::future::poll_fn(|_| {
            polls += 1;
            if polls == 1 { Poll::Pending } else { Poll::Ready(()) }
        }));
        assert!(task.run().is_pending());
        assert!(task.run().is_pending(), "nobody woke it");
        assert!(task.poll().is_ready());
    }

    #[test]
    #[should_panic(expected = "still wakes itself")]
    fn a_future_that_wakes_itself_in_a_circle_is_caught() {
        let _ = Task::new(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }))
        .run();
    }

    #[test]
    fn a_wake_up_of_the_old_waker_does_not_reach_a_moved_task() {
        let mut kept = None;
        let mut task = Task::new(std::future::poll_fn(|cx| {
            kept.get_or_insert_with(|| cx.waker().clone()).wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(task.poll().is_pending());
        assert!(task.run_elsewhere().is_pending());
        assert_eq!((task.polls(), task.is_woken()), (2, false));
    }
}
