//! What a layer asks of the service it wraps: to be called, and nothing else.

use std::cell::Cell;
use std::fmt;
use std::future::{Ready, ready as now};
use std::marker::PhantomData;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use super::{Failure, Subject, call};
use crate::wakes::Task;

/// A service that can be called and nothing else: no `Clone`, no `Send`, no `Sync`, not `'static`.
pub struct Bare<'a, E> {
    calls: &'a Cell<u32>,
    error: PhantomData<E>,
}

impl<E> Service<u32> for Bare<'_, E> {
    type Response = u32;
    type Error = E;
    type Future = Ready<Result<u32, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.calls.set(self.calls.get() + 1);
        now(Ok(request))
    }
}

impl<E> fmt::Debug for Bare<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bare").field("calls", &self.calls.get()).finish()
    }
}

/// Whoever has a service without `Clone`, or on one thread, can use the layer too.
pub fn a_service_that_can_only_be_called_is_enough<L, E>(subject: impl Fn() -> Subject<L, E>)
where
    E: Failure,
    L: for<'a> Layer<Bare<'a, E>, Service: Service<u32, Response = u32, Error = E>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime with nothing but time needs no resources");
    let _inside = runtime.enter();
    let calls = Cell::new(0);
    {
        let mut service = subject().layer.layer(Bare { calls: &calls, error: PhantomData });
        assert_eq!(Task::new(call(&mut service, 7)).run(), Poll::Ready(Ok(7)));
    }
    assert_eq!(calls.get(), 1);
}
