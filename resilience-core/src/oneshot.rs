//! A call that waits for readiness inside, for layers whose own readiness must not depend on it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    /// Makes a service ready, and calls it. The service goes with the call, and not with its answer.
    #[must_use = "futures do nothing unless polled"]
    pub struct Oneshot<S, Req>
    where
        S: Service<Req>,
    {
        #[pin]
        stage: Stage<S, Req, S::Future>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<S, Req, F> {
        Readying { service: S, request: Option<Req> },
        Calling { #[pin] call: F },
    }
}

impl<S: Service<Req>, Req> Oneshot<S, Req> {
    pub(crate) fn new(service: S, request: Req) -> Self {
        Self { stage: Stage::Readying { service, request: Some(request) } }
    }

    /// Whether the service was called.
    pub(crate) fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Calling { .. })
    }
}

impl<S: Service<Req>, Req> Future for Oneshot<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut stage = self.project().stage;
        loop {
            match stage.as_mut().project() {
                StageProjection::Readying { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request.take().expect("a request is sent once");
                    let call = service.call(request);
                    stage.set(Stage::Calling { call });
                }
                StageProjection::Calling { call } => return call.poll(cx),
            }
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for Oneshot<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Oneshot").field("is_sent", &self.is_sent()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::convert::Infallible;
    use std::future::{Pending, pending};
    use std::rc::Rc;

    use testkit::wakes::Task;

    use super::*;

    /// And what it holds while it is there.
    struct Holds(#[allow(dead_code)] Rc<()>);

    impl Service<()> for Holds {
        type Response = ();
        type Error = Infallible;
        type Future = Pending<Result<(), Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            pending()
        }
    }

    #[test]
    fn a_service_that_was_called_is_not_held_until_the_answer() {
        // A clone of a client may be a handle on a connection, and a clone of a limit a place at the gate.
        let held = Rc::new(());
        let mut call = Task::new(Oneshot::new(Holds(held.clone()), ()));
        assert_eq!(Rc::strong_count(&held), 2);
        assert!(call.run().is_pending());
        assert_eq!(Rc::strong_count(&held), 1);
    }
}
