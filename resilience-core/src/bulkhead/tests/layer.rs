use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn, ready};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Answer, bulkhead, figures, full, poll};
use crate::Error;
use crate::bulkhead::*;

#[test]
fn a_panic_and_a_dropped_call_give_the_permit_back_after_the_call_is_gone() {
    // BH5: a slot lost with each panic is a service that stops a few bugs later.
    struct Watches(Bulkhead);
    impl Drop for Watches {
        fn drop(&mut self) {
            assert_eq!(self.0.snapshot().in_flight, 1, "the permit went before what it guards");
        }
    }
    let bulkhead = bulkhead(1, 0);
    let watches = Watches(bulkhead.clone());
    let mut dropped = Box::pin(bulkhead.call(async {
        let _watches = watches;
        pending::<Answer>().await
    }));
    assert!(poll(dropped.as_mut()).is_pending());
    drop(dropped);
    assert_eq!(figures(&bulkhead), (1, 0, 0));

    let panics = bulkhead.call(poll_fn(|_| -> Poll<Answer> { std::panic::resume_unwind(Box::new("inside")) }));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll(pin!(panics))));
    assert!(result.is_err());
    assert_eq!(figures(&bulkhead), (1, 0, 0));

    let mut service = bulkhead
        .layer()
        .layer(service_fn(|(): ()| -> std::future::Ready<Answer> { std::panic::resume_unwind(Box::new("in call")) }));
    assert!(poll(pin!(service.ready())).is_ready());
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.call(()))).is_err());
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_service_that_was_ready_and_is_dropped_gives_back_and_its_clone_has_nothing() {
    // BH5: whoever was ready and never called held a slot, too.
    let bulkhead = bulkhead(1, 0);
    let mut service = bulkhead.layer().layer(service_fn(|(): ()| ready(Answer::Ok("done"))));
    assert!(poll(pin!(service.ready())).is_ready());
    assert_eq!(figures(&bulkhead), (1, 1, 0));
    let mut clone = service.clone();
    assert!(poll(pin!(clone.ready())).is_ready());
    assert_eq!(poll(pin!(clone.call(()))), Poll::Ready(Err(full(1, 0).into())));
    drop(service);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_caller_in_the_queue_holds_no_permit_of_the_inner_service() {
    // BH3. One call runs, one waits, over an inner service with two permits of its own: one of those must be left.
    let outer = bulkhead(1, 1);
    let inner = bulkhead(2, 0);
    let service = outer.layer().layer(inner.layer().layer(service_fn(|(): ()| pending::<Answer>())));
    let (mut first, mut second) = (Box::pin(service.clone().oneshot(())), Box::pin(service.oneshot(())));
    assert!(poll(first.as_mut()).is_pending());
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!(figures(&outer), (1, 1, 1));
    assert_eq!(figures(&inner), (2, 1, 0));
    drop(first);
    assert!(poll(second.as_mut()).is_pending());
    assert_eq!((figures(&outer), figures(&inner)), ((1, 1, 0), (2, 1, 0)));
}

#[test]
fn a_refusal_does_not_wait_for_the_inner_service_and_is_looked_at_again() {
    let bulkhead = bulkhead(1, 0);
    let asked = Cell::new(0);
    let inner =
        tower::util::MapErr::new(NotReady(&asked), |never: std::convert::Infallible| -> Error<()> { match never {} });
    let mut service = bulkhead.layer().layer(inner);
    let held = bulkhead.try_acquire().unwrap();
    assert!(poll(pin!(service.ready())).is_ready());
    assert_eq!(asked.get(), 0, "the inner service has no part in a refusal");
    drop(held);
    assert!(poll(pin!(service.ready())).is_pending(), "admitted now, and the inner service is asked");
    assert_eq!(asked.get(), 1);
}

/// Never ready, and counts how often it is asked.
struct NotReady<'a>(&'a Cell<u32>);

impl Service<()> for NotReady<'_> {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), std::convert::Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.set(self.0.get() + 1);
        Poll::Pending
    }

    fn call(&mut self, (): ()) -> Self::Future {
        unreachable!("an unready service is not called")
    }
}

#[test]
fn an_inner_service_that_breaks_down_keeps_no_permit() {
    struct Broken;
    impl Service<()> for Broken {
        type Response = ();
        type Error = Error<&'static str>;
        type Future = std::future::Ready<Result<(), Self::Error>>;

        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Err(Error::Service("broken")))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            unreachable!("an unready service is not called")
        }
    }
    let bulkhead = bulkhead(1, 0);
    let mut service = bulkhead.layer().layer(Broken);
    assert_eq!(poll(pin!(service.ready())).map_ok(|_| ()), Poll::Ready(Err(Error::Service("broken"))));
    assert_eq!(figures(&bulkhead), (1, 0, 0), "no call will come that could give it back");
}

#[test]
fn a_waiting_service_that_is_dropped_leaves_the_queue() {
    let bulkhead = bulkhead(1, 1);
    let held = bulkhead.try_acquire().unwrap();
    let mut service = bulkhead.layer().layer(service_fn(|(): ()| ready(Answer::Ok("done"))));
    assert!(poll(pin!(service.ready())).is_pending());
    let clone = service.clone();
    assert_eq!(figures(&bulkhead), (1, 1, 1), "a clone has no place of its own");
    drop(service);
    drop(clone);
    assert_eq!(figures(&bulkhead), (1, 1, 0));
    drop(held);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_call_without_readiness_keeps_the_limit() {
    let bulkhead = bulkhead(1, 1);
    let mut service = bulkhead.layer().layer(service_fn(|(): ()| pending::<Answer>()));
    let first = service.call(());
    assert_eq!(poll(pin!(service.call(()))), Poll::Ready(Err(full(1, 0).into())));
    drop(first);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

/// Neither `Clone` nor `Send` nor `Sync`, called with what is not `Send`, answered by a future that is not `Send`.
#[test]
fn services_need_not_be_clone_or_send_or_sync() {
    struct Local(Rc<RefCell<Vec<u32>>>);
    impl Service<Rc<u32>> for Local {
        type Response = Rc<u32>;
        type Error = Error<()>;
        type Future = Pin<Box<dyn Future<Output = Result<Rc<u32>, Error<()>>>>>;

        fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Rc<u32>) -> Self::Future {
            self.0.borrow_mut().push(*request);
            Box::pin(ready(Ok(request)))
        }
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut service = bulkhead(1, 0).layer().layer(Local(seen.clone()));
    assert!(poll(pin!(ServiceExt::<Rc<u32>>::ready(&mut service))).is_ready());
    assert_eq!(poll(pin!(service.call(Rc::new(7)))), Poll::Ready(Ok(Rc::new(7))));
    assert_eq!(*seen.borrow(), [7]);
}
