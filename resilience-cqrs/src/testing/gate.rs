//! Where appends wait until a test lets them go.

use std::fmt;

use tokio::sync::watch;

/// How many hold it shut, and how many wait in front.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    holds: watch::Sender<usize>,
    waiting: watch::Sender<usize>,
}

impl Gate {
    pub(super) fn hold(&self) -> Held {
        self.holds.send_modify(|holds| *holds += 1);
        Held { gate: self.clone() }
    }

    pub(super) async fn pass(&self) {
        let mut holds = self.holds.subscribe();
        if *holds.borrow() == 0 {
            return;
        }
        let _waiting = Waiting::begin(&self.waiting);
        // The sender is borrowed for as long as this future lives, so there is always an answer.
        let _ = holds.wait_for(|holds| *holds == 0).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { holds: watch::Sender::new(0), waiting: watch::Sender::new(0) }
    }
}

/// One that waits, until it goes on or goes away.
struct Waiting<'g>(&'g watch::Sender<usize>);

impl<'g> Waiting<'g> {
    fn begin(waiting: &'g watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Holds the appends of a [`FaultyStore`](super::FaultyStore) back until it is dropped.
#[must_use = "appends go on as soon as this is dropped"]
pub struct Held {
    gate: Gate,
}

impl Held {
    /// Waits until so many appends wait here.
    pub async fn arrived(&self, appends: usize) {
        let mut waiting = self.gate.waiting.subscribe();
        // The sender lives in `self`, so there is always an answer.
        let _ = waiting.wait_for(|waiting| *waiting >= appends).await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.holds.send_modify(|holds| *holds -= 1);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("waiting", &*self.gate.waiting.borrow()).finish()
    }
}
