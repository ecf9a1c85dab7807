use std::cell::{Cell, RefCell};
use std::future::{pending, ready};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use testkit::wakes::Task;

use super::*;
use crate::time::ManualTimer;

mod behind;
mod drops;
mod life;
mod machine;
mod settings;
mod single_flight;
mod stale;
#[cfg(feature = "tower")]
mod tower;
mod writes;

type Prices = Cache<u32, u32, &'static str>;

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

fn prices(ttl: impl Into<Ttl>) -> (Prices, ManualTimer) {
    built(|builder| builder.ttl(ttl))
}

fn built(
    set: impl FnOnce(CacheBuilder<u32, u32, &'static str>) -> CacheBuilder<u32, u32, &'static str>,
) -> (Prices, ManualTimer) {
    let timer = ManualTimer::new();
    (set(Cache::builder().timer(timer.clone())).build().unwrap(), timer)
}

/// A backend whose answers are given by hand.
#[derive(Clone, Default)]
struct Backend {
    calls: Rc<Cell<u32>>,
    open: Rc<RefCell<Vec<tokio::sync::oneshot::Sender<Answer>>>>,
}

type Answer = Result<u32, &'static str>;

impl Backend {
    /// A call that is answered when the test says so.
    fn call(&self) -> impl Future<Output = Answer> + use<> {
        self.calls.set(self.calls.get() + 1);
        let (answer, call) = tokio::sync::oneshot::channel();
        self.open.borrow_mut().push(answer);
        async { call.await.unwrap() }
    }

    fn answer(&self, answer: Answer) {
        // The caller may be gone.
        let _ = self.open.borrow_mut().remove(0).send(answer);
    }

    fn calls(&self) -> u32 {
        self.calls.get()
    }
}

/// One caller, not polled yet.
fn ask(cache: &Prices, backend: &Backend) -> Task<impl Future<Output = Answer> + use<>> {
    let backend = backend.clone();
    Task::new(cache.get_or_load(1, move || backend.call()))
}

/// One caller whose call is answered at once.
fn fetch(cache: &Prices, answer: Answer) -> Answer {
    match Task::new(cache.get_or_load(1, move || ready(answer))).run() {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("nothing to wait for"),
    }
}

/// One caller who must be served without a call.
fn served(cache: &Prices) -> Answer {
    match Task::new(cache.get_or_load(1, || -> std::future::Pending<Answer> { panic!("a call was made") })).run() {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}
