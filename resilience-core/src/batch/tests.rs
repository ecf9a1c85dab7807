use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use testkit::wakes::Task;
use tokio::sync::oneshot;

use super::*;
use crate::Rejected;
use crate::time::ManualTimer;

mod batches;
mod drops;
mod machine;

const MILLI: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, PartialEq)]
enum Failed {
    Rejected(Rejected),
    Unanswered(Unanswered),
    Down,
    NoSuch(u32),
}

impl From<Rejected> for Failed {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl From<Unanswered> for Failed {
    fn from(unanswered: Unanswered) -> Self {
        Self::Unanswered(unanswered)
    }
}

type Answer = Result<u32, Failed>;
type Ends = Answers<u32, Failed>;

/// A destination whose batches are answered by hand.
#[derive(Clone, Default)]
struct Backend {
    sent: Rc<RefCell<Vec<Vec<u32>>>>,
    open: Rc<RefCell<Vec<oneshot::Sender<Ends>>>>,
    dropped: Rc<Cell<u32>>,
    panics: Rc<Cell<bool>>,
}

impl Backend {
    fn send(&self, requests: Vec<u32>) -> Sending {
        self.sent.borrow_mut().push(requests);
        let (end, call) = oneshot::channel();
        self.open.borrow_mut().push(end);
        Sending { call, backend: self.clone() }
    }

    /// Answers the oldest batch, each request with ten times itself.
    fn answer(&self) {
        let nth = self.sent.borrow().len() - self.open.borrow().len();
        let answers = self.sent.borrow()[nth].iter().map(|request| Ok(10 * request)).collect();
        self.end(Ok(answers));
    }

    fn end(&self, ends: Ends) {
        // Nobody may be left to hear it.
        let _ = self.open.borrow_mut().remove(0).send(ends);
    }

    fn sent(&self) -> Vec<Vec<u32>> {
        self.sent.borrow().clone()
    }
}

/// A batch on its way.
struct Sending {
    call: oneshot::Receiver<Ends>,
    backend: Backend,
}

impl Future for Sending {
    type Output = Ends;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Ends> {
        assert!(!self.backend.panics.get(), "no route");
        std::pin::Pin::new(&mut self.call).poll(cx).map(Result::unwrap)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.backend.dropped.set(self.backend.dropped.get() + 1);
    }
}

/// Batches of three within 10 ms.
fn threes(set: impl FnOnce(BatchBuilder) -> BatchBuilder) -> (Batch, ManualTimer) {
    let timer = ManualTimer::new();
    let builder = Batch::builder().size(3).delay(10 * MILLI).timer(timer.clone());
    (set(builder).build().unwrap(), timer)
}

fn over(batch: &Batch, backend: &Backend) -> Batched<u32, impl Dispatch<u32, Answer = u32, Error = Failed> + use<>> {
    let backend = backend.clone();
    batch.over(move |requests| backend.send(requests))
}
