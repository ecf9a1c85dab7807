use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::*;
use crate::context::{self, Context, Deadline};
use crate::event::Sink;
use crate::time::{ManualTimer, SharedTimer, Sleep, Timer, Timestamp, WallTime};
use crate::{Elapsed, Error, Reason, Rejected};

const LIMIT: Duration = Duration::from_millis(500);

type Answer = Result<&'static str, Error<&'static str>>;

fn timeout(timer: &ManualTimer) -> Timeout {
    Timeout::builder().limit(LIMIT).timer(timer.clone()).build().unwrap()
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

/// A manual timer that notes each time it is asked.
#[derive(Clone, Default)]
struct Asked {
    timer: ManualTimer,
    clock: Arc<AtomicU32>,
    sleeps: Arc<AtomicU32>,
}

impl Timer for Asked {
    fn now(&self) -> Timestamp {
        self.clock.fetch_add(1, Ordering::Relaxed);
        self.timer.now()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep {
        self.sleeps.fetch_add(1, Ordering::Relaxed);
        self.timer.sleep_until(at)
    }

    fn wall(&self) -> WallTime {
        self.timer.wall()
    }
}

impl Asked {
    fn shared(&self) -> SharedTimer {
        (Arc::new(self.clone()) as Arc<dyn Timer>).into()
    }

    /// How often the clock was read and a timer made.
    fn counts(&self) -> (u32, u32) {
        (self.clock.load(Ordering::Relaxed), self.sleeps.load(Ordering::Relaxed))
    }
}

struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// TO1: at the limit exactly.
#[test]
fn a_call_ends_at_its_limit_and_not_a_nanosecond_before() {
    let timer = ManualTimer::new();
    let mut call = pin!(timeout(&timer).call(pending::<Answer>()));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT - Duration::from_nanos(1));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_nanos(1));
    assert_eq!(poll(call.as_mut()), Poll::Ready(Err(Elapsed::new(LIMIT).into())));
    assert_eq!(timer.sleepers(), 0);
}

#[tokio::test(start_paused = true)]
async fn paused_tokio_time_ends_a_call_at_its_limit() {
    let timer = SharedTimer::default();
    let start = timer.now();
    let mut service = TimeoutLayer::new(LIMIT).layer(service_fn(|(): ()| pending::<Answer>()));
    assert!(service.ready().await.unwrap().call(()).await.unwrap_err().is_elapsed());
    assert_eq!(timer.now() - start, LIMIT);
}

/// TO1, its end: an answer that is there when time is up is an answer.
#[test]
fn an_answer_in_the_poll_that_finds_time_up_wins() {
    let timer = ManualTimer::new();
    let answer = Cell::new(None);
    let mut call = pin!(timeout(&timer).call(poll_fn(|_| answer.take().map_or(Poll::Pending, Poll::Ready))));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT * 2);
    answer.set(Some(Answer::Ok("just in time")));
    assert_eq!(poll(call.as_mut()), Poll::Ready(Ok("just in time")));
    assert_eq!(timer.sleepers(), 0, "a finished call keeps no timer, even while its future is held");
}

/// TO1: the call is gone before the error can be seen.
#[test]
fn the_call_is_dropped_before_anybody_learns_that_it_is_late() {
    // A listener that frees capacity on `Elapsed`, or a caller who calls again, must find what the call held free.
    #[derive(Default)]
    struct Order(Mutex<Vec<&'static str>>);
    impl Sink for Order {
        fn on_event(&self, event: &crate::event::Event<'_>) {
            assert_eq!(event.fact::<Event>(), Some(&Event::Elapsed { limit: LIMIT }));
            self.0.lock().unwrap().push("told");
        }
    }
    let (timer, order) = (ManualTimer::new(), Arc::new(Order::default()));
    let timeout = Timeout::builder().limit(LIMIT).timer(timer.clone()).listener(order.clone()).build().unwrap();
    let held = OnDrop(|| order.0.lock().unwrap().push("dropped"));
    let mut call = pin!(timeout.call(async {
        let _held = held;
        pending::<Answer>().await
    }));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT);
    assert!(poll(call.as_mut()).is_ready());
    assert_eq!(*order.0.lock().unwrap(), ["dropped", "told"]);
}

#[test]
fn a_call_answered_at_once_reads_no_clock_and_makes_no_timer() {
    let asked = Asked::default();
    let timeout = Timeout::builder().limit(LIMIT).timer(asked.shared()).build().unwrap();
    // Three of them, as in a stack: total, per attempt, and one nobody needed.
    let mut service = ServiceBuilder::new()
        .layer(timeout.layer())
        .layer(timeout.layer())
        .layer(timeout.layer())
        .service(service_fn(|(): ()| ready(Answer::Ok("at once"))));
    assert_eq!(poll(pin!(service.call(()))), Poll::Ready(Ok("at once")));
    assert_eq!(asked.counts(), (0, 0));
}

#[test]
fn a_call_that_waits_reads_the_clock_once_and_makes_one_timer_however_often_it_is_polled() {
    let asked = Asked::default();
    let timeout = Timeout::builder().limit(LIMIT).timer(asked.shared()).build().unwrap();
    let timer = asked.shared();
    let mut call = pin!(timeout.call(poll_fn(|_| {
        // A layer inside asks for the deadline, too: its answer is used outside.
        assert!(context::deadline(&timer).is_some());
        Poll::<Answer>::Pending
    })));
    for _ in 0..10 {
        assert!(poll(call.as_mut()).is_pending());
    }
    assert_eq!(asked.counts(), (1, 1));
}

/// TO5: `Duration::MAX` is a limit like any other.
#[test]
fn a_limit_without_end_sets_no_timer_and_does_not_panic() {
    let asked = Asked::default();
    let timeout = Timeout::builder().limit(Duration::MAX).timer(asked.shared()).build().unwrap();
    let mut call = pin!(timeout.call(pending::<Answer>()));
    assert!(poll(call.as_mut()).is_pending());
    asked.timer.advance(Duration::MAX);
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(asked.counts(), (0, 0));
}

/// TO5: work for a caller who is gone is not begun.
#[test]
fn a_call_after_its_deadline_is_refused_and_never_sent() {
    let timer = ManualTimer::new();
    let sent = Cell::new(0);
    let mut service = timeout(&timer).layer().layer(service_fn(|(): ()| {
        sent.set(sent.get() + 1);
        ready(Answer::Ok("sent"))
    }));
    let call = Context::new().with_deadline(timer.now()).run(|| service.call(()));
    assert_eq!(poll(pin!(call)), Poll::Ready(Err(Rejected::new("timeout", Reason::Deadline).into())));
    assert_eq!(sent.get(), 0);
    let call = Context::new().with_deadline(timer.now() + Duration::from_nanos(1)).run(|| service.call(()));
    assert_eq!(poll(pin!(call)), Poll::Ready(Ok("sent")));
}

/// TO2 inside the process; over the wire it is `each_attempt_is_sent_with_the_time_that_is_left_and_its_number`.
#[test]
fn inside_two_timeouts_the_smaller_remaining_time_is_seen() {
    // An outer limit of 100 ms leaves an inner one of 500 ms nothing but those 100 ms.
    let timer = ManualTimer::new();
    let shared = SharedTimer::from(timer.clone());
    let outer = |limit| Timeout::builder().limit(limit).timer(timer.clone()).build().unwrap();
    for (limits, seen) in [([100, 500], 100), ([500, 100], 100), ([100, 100], 100)] {
        let service = ServiceBuilder::new()
            .layer(outer(Duration::from_millis(limits[0])).layer())
            .layer(outer(Duration::from_millis(limits[1])).layer())
            .service(service_fn(async |(): ()| {
                let left = context::deadline(&shared).and_then(|deadline| deadline.remaining(timer.now()));
                Ok::<_, Error<()>>(left)
            }));
        let answer = poll(pin!(service.oneshot(())));
        assert_eq!(answer, Poll::Ready(Ok(Some(Duration::from_millis(seen)))), "limits {limits:?}");
    }
    assert_eq!(context::deadline(&shared), None, "the context ends with the call");
}

#[test]
fn a_later_attempt_inside_a_total_limit_gets_what_is_left_of_it() {
    let timer = ManualTimer::new();
    let shared = SharedTimer::from(timer.clone());
    let attempt = timeout(&timer); // 500 ms each
    let total = Timeout::builder().limit(Duration::from_millis(800)).timer(timer.clone()).build().unwrap();
    let start = timer.now();
    let deadlines = RefCell::new(Vec::new());
    let mut call = pin!(total.call(async {
        let once = || {
            attempt.call(poll_fn(|_| {
                deadlines.borrow_mut().extend(context::deadline(&shared).map(Deadline::timestamp));
                Poll::<Answer>::Pending
            }))
        };
        assert!(once().await.unwrap_err().is_elapsed());
        once().await
    }));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(LIMIT);
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_millis(300));
    assert!(poll(call.as_mut()).is_ready());
    let mut seen = deadlines.take();
    seen.dedup();
    assert_eq!(seen, [start + LIMIT, start + Duration::from_millis(800)]);
}

#[test]
fn a_deadline_set_by_the_server_ends_the_call_before_the_limit() {
    let timer = ManualTimer::new();
    let context = Context::new().with_deadline(timer.now() + Duration::from_millis(20));
    let timeout = timeout(&timer);
    let mut call = pin!(context.scope(async { timeout.call(pending::<Answer>()).await }));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(Duration::from_millis(20));
    assert_eq!(poll(call.as_mut()), Poll::Ready(Err(Elapsed::new(LIMIT).into())));
}

#[test]
fn a_panic_inside_stays_a_panic_and_leaves_the_context_as_it_was() {
    let timer = ManualTimer::new();
    let call = timeout(&timer).call(poll_fn(|_| -> Poll<Answer> { std::panic::resume_unwind(Box::new("inside")) }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(pin!(call))));
    assert_eq!(result.unwrap_err().downcast_ref(), Some(&"inside"));
    assert_eq!(context::deadline(&timer.into()), None);
}

#[test]
fn a_dropped_call_leaves_no_timer_behind() {
    let timer = ManualTimer::new();
    let mut call = Box::pin(timeout(&timer).call(pending::<Answer>()));
    assert!(poll(call.as_mut()).is_pending());
    assert_eq!(timer.sleepers(), 1);
    drop(call);
    assert_eq!(timer.sleepers(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_eats_the_whole_budget_of_its_task_is_still_ended() {
    // Tokio's timers answer "pending" to a task without budget. A call that is busy with ready channels at each of its
    // polls would never be found late.
    let clock = tokio::spawn(async {
        loop {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    });
    let mut polls = 0;
    let timeout = Timeout::builder().limit(Duration::from_secs(1)).build().unwrap();
    let call = timeout.call(poll_fn(|cx| {
        polls += 1;
        assert!(polls < 10_000, "still not ended");
        while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
        Poll::<Answer>::Pending
    }));
    assert!(call.await.unwrap_err().is_elapsed());
    clock.abort();
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_polled_when_made_and_when_late_and_never_between() {
    let polls = Cell::new(0);
    let timeout = Timeout::builder().limit(LIMIT).build().unwrap();
    let call = timeout.call(poll_fn(|_| {
        polls.set(polls.get() + 1);
        Poll::<Answer>::Pending
    }));
    assert!(call.await.is_err());
    assert_eq!(polls.get(), 2);
}

#[test]
fn a_timeout_that_cannot_work_is_refused_when_built() {
    let field = |builder: TimeoutBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(Timeout::builder()), "limit");
    assert_eq!(field(Timeout::builder().limit(Duration::ZERO)), "limit");
}

/// Neither `Clone` nor `Send` nor `Sync`, called with what is not `Send`, answered by a future that is not `Send`.
#[test]
fn services_need_not_be_clone_or_send_or_sync() {
    struct Local(Rc<Cell<u32>>);
    impl Service<Rc<u32>> for Local {
        type Response = Rc<u32>;
        type Error = Error<()>;
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<Rc<u32>, Error<()>>>>>;

        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Rc<u32>) -> Self::Future {
            self.0.set(self.0.get() + *request);
            Box::pin(ready(Ok(request)))
        }
    }
    let sum = Rc::new(Cell::new(0));
    let mut service = TimeoutLayer::new(LIMIT).layer(Local(sum.clone()));
    assert_eq!(poll(pin!(service.call(Rc::new(7)))), Poll::Ready(Ok(Rc::new(7))));
    assert_eq!(sum.get(), 7);
}

mod detached;
mod limits;
mod readiness;
