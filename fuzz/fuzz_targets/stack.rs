//! A stack of four under any interleaving of calls, answers, waits and callers who leave: it neither panics nor keeps
//! anything.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use resilience_core::Error;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::retry::{Backoff, Retry, RetryBudget};
use resilience_core::time::ManualTimer;
use resilience_core::timeout::Timeout;
use tower::{Layer, Service};

#[derive(Arbitrary, Debug)]
enum Step {
    Ready,
    Call,
    Poll(u8),
    Drop(u8),
    Clone,
    Pass(u16),
    Answer(bool),
    Busy(bool),
}

/// What the simulated server does next.
#[derive(Default)]
struct Server {
    busy: bool,
    answers: VecDeque<bool>,
    running: u32,
}

#[derive(Clone)]
struct Client(Rc<RefCell<Server>>);

struct Running(Rc<RefCell<Server>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.borrow_mut().running -= 1;
    }
}

impl Service<u32> for Client {
    type Response = u32;
    type Error = Error<()>;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Error<()>>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.0.borrow().busy { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.0.borrow_mut().running += 1;
        let running = Running(self.0.clone());
        Box::pin(poll_fn(move |_| match running.0.borrow_mut().answers.pop_front() {
            Some(true) => Poll::Ready(Ok(request)),
            Some(false) => Poll::Ready(Err(Error::Service(()))),
            None => Poll::Pending,
        }))
    }
}

fuzz_target!(|steps: Vec<Step>| {
    const VALID: &str = "the configuration is valid";
    let timer = ManualTimer::new();
    let millis = Duration::from_millis;
    let bulkhead = Bulkhead::builder().limit(2).queue(2).max_wait(millis(50)).timer(timer.clone()).build().expect(VALID);
    let breaker = CircuitBreaker::builder().consecutive_failures(3).open_for(millis(100)).half_open_for(millis(200));
    let breaker = breaker.timer(timer.clone()).build().expect(VALID);
    let budget = RetryBudget::builder().ratio(0.5).reserve(4).timer(timer.clone()).build().expect(VALID);
    let retry = Retry::builder().attempts(3).backoff(Backoff::exponential(millis(10), millis(100))).budget(budget.clone());
    let retry = retry.timer(timer.clone()).seed(7).build().expect(VALID);
    let timeout = Timeout::builder().limit(millis(300)).timer(timer.clone()).build().expect(VALID);

    let server = Rc::new(RefCell::new(Server::default()));
    let stack = bulkhead.layer().layer(Client(server.clone()));
    let stack = timeout.layer().layer(retry.layer().layer(breaker.layer().layer(stack)));
    let mut services = vec![(stack, false)];
    let mut calls: Vec<Pin<Box<_>>> = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());
    for step in steps.into_iter().take(300) {
        match step {
            Step::Ready => {
                for (service, is_ready) in &mut services {
                    *is_ready = matches!(service.poll_ready(cx), Poll::Ready(Ok(())));
                }
            }
            Step::Call => {
                for (service, is_ready) in &mut services {
                    if std::mem::take(is_ready) {
                        calls.push(Box::pin(service.call(1)));
                    }
                }
            }
            Step::Poll(at) if !calls.is_empty() => {
                let at = usize::from(at) % calls.len();
                if calls[at].as_mut().poll(cx).is_ready() {
                    drop(calls.swap_remove(at));
                }
            }
            Step::Drop(at) if !calls.is_empty() => {
                drop(calls.swap_remove(usize::from(at) % calls.len()));
            }
            Step::Poll(_) => {}
            Step::Drop(at) => {
                if services.len() > 1 {
                    drop(services.swap_remove(usize::from(at) % services.len()));
                }
            }
            Step::Clone if services.len() < 4 => services.push((services[0].0.clone(), false)),
            Step::Clone => {}
            Step::Pass(time) => timer.advance(millis(time.into())),
            Step::Answer(good) => server.borrow_mut().answers.push_back(good),
            Step::Busy(busy) => server.borrow_mut().busy = busy,
        }
        assert!(server.borrow().running <= 2, "more calls than slots");
        assert!(bulkhead.snapshot().in_flight <= 2);
    }
    drop((calls, services));
    assert_eq!(server.borrow().running, 0);
    let seen = bulkhead.snapshot();
    assert_eq!((seen.in_flight, seen.queued), (0, 0), "something was not given back");
});
