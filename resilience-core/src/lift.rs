//! Where a stack's error type begins and ends.
//!
//! Policies need an error they can put a refusal into. [`LiftLayer`], innermost, turns the service's error `E` into
//! [`Error<E>`]; [`LowerLayer`], outermost, turns what is left into a response, which makes a server stack infallible
//! again, as axum wants it.

use std::any::Any;
use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::Error;

/// Turns a service's error `E` into [`Error<E>`]. Put it innermost, around the service itself.
///
/// ```
/// use resilience_core::LiftLayer;
/// use tower::{ServiceBuilder, service_fn};
///
/// let service = ServiceBuilder::new()
///     // policies go here
///     .layer(LiftLayer)
///     .service(service_fn(async |request: u32| Ok::<u32, std::io::Error>(request)));
/// # let _ = service;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct LiftLayer;

impl<S> Layer<S> for LiftLayer {
    type Service = LiftService<S>;

    fn layer(&self, inner: S) -> LiftService<S> {
        LiftService { inner }
    }
}

/// A service whose error is [`Error<S::Error>`](Error); made by [`LiftLayer`].
#[derive(Clone, Debug)]
pub struct LiftService<S> {
    inner: S,
}

impl<S, Req> Service<Req> for LiftService<S>
where
    S: Service<Req>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = LiftFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Error::Service)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        LiftFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The answer of a [`LiftService`].
    #[derive(Debug)]
    pub struct LiftFuture<F> {
        #[pin]
        inner: F,
    }
}

impl<F, T, E> Future for LiftFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    type Output = Result<T, Error<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().inner.poll(cx).map_err(Error::Service)
    }
}

/// Answers an error with a response, so that the stack cannot fail. Put it outermost.
///
/// ```
/// use std::convert::Infallible;
/// use resilience_core::{Error, LiftLayer, LowerLayer};
/// use tower::{ServiceBuilder, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(LowerLayer::new(|error: Error<Infallible>| match error {
///         Error::Rejected(refused) => format!("503 {refused}"),
///         Error::Elapsed(late) => format!("504 {late}"),
///         Error::Service(never) => match never {},
///     }))
///     // policies go here
///     .layer(LiftLayer)
///     .service(service_fn(async |name: &'static str| Ok::<String, Infallible>(format!("200 {name}"))));
/// # let _ = service;
/// ```
#[derive(Clone)]
pub struct LowerLayer<A> {
    answer: A,
}

impl<A> LowerLayer<A> {
    /// Answers errors with `answer`, a `Fn(S::Error) -> S::Response`.
    pub const fn new(answer: A) -> Self {
        Self { answer }
    }
}

impl<A> fmt::Debug for LowerLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowerLayer").finish_non_exhaustive()
    }
}

impl<S, A: Clone> Layer<S> for LowerLayer<A> {
    type Service = LowerService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        LowerService { inner, answer: self.answer.clone(), unready: Mutex::new(None) }
    }
}

/// A service that cannot fail; made by [`LowerLayer`].
///
/// An error of the inner service's readiness is not lost: it becomes the answer to the call that follows.
pub struct LowerService<S, A> {
    inner: S,
    answer: A,
    /// The inner service's readiness error, until the call it answers. Boxed as `Any` because a layer cannot name
    /// the error type of a service whose request type it does not know; made on that failure only. In a mutex that is
    /// never locked, so that the service is `Sync` as axum wants it, whatever the error is.
    unready: Mutex<Option<Box<dyn Any + Send>>>,
}

impl<S: Clone, A: Clone> Clone for LowerService<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), answer: self.answer.clone(), unready: Mutex::new(None) }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for LowerService<S, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowerService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<S, A, Req> Service<Req> for LowerService<S, A>
where
    S: Service<Req>,
    S::Error: Send + 'static,
    A: Fn(S::Error) -> S::Response + Clone,
{
    type Response = S::Response;
    type Error = Infallible;
    type Future = LowerFuture<S::Future, S::Response, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx).map(|ready| {
            let unready = ready.err().map(|error| Box::new(error) as Box<dyn Any + Send>);
            *self.unready.get_mut().unwrap_or_else(PoisonError::into_inner) = unready;
            Ok(())
        })
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let unready = self.unready.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        match unready.and_then(|error| error.downcast::<S::Error>().ok()) {
            Some(error) => LowerFuture::Answered { response: Some((self.answer)(*error)) },
            None => LowerFuture::Called { inner: self.inner.call(request), answer: self.answer.clone() },
        }
    }
}

pin_project! {
    /// The answer of a [`LowerService`].
    #[project = LowerProjection]
    pub enum LowerFuture<F, R, A> {
        /// The inner service was not ready, and that was answered.
        #[doc(hidden)]
        Answered { response: Option<R> },
        /// The inner service is at work.
        #[doc(hidden)]
        Called { #[pin] inner: F, answer: A },
    }
}

impl<F, R, A> fmt::Debug for LowerFuture<F, R, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LowerFuture").finish_non_exhaustive()
    }
}

impl<F, R, E, A> Future for LowerFuture<F, R, A>
where
    F: Future<Output = Result<R, E>>,
    A: Fn(E) -> R,
{
    type Output = Result<R, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            LowerProjection::Answered { response } => {
                Poll::Ready(Ok(response.take().expect("a future is not polled after it is done")))
            }
            LowerProjection::Called { inner, answer } => inner.poll(cx).map(|result| Ok(result.unwrap_or_else(answer))),
        }
    }
}

#[cfg(test)]
mod tests {
    use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

    use super::*;

    #[tokio::test]
    async fn a_lifted_and_lowered_stack_answers_an_error_with_a_response() {
        let mut service = ServiceBuilder::new()
            .layer(LowerLayer::new(|error: Error<&'static str>| format!("error: {error}")))
            .layer(LiftLayer)
            .service(service_fn(async |fail: bool| if fail { Err("broken") } else { Ok(String::from("fine")) }));
        assert_eq!(service.ready().await.unwrap().call(false).await, Ok("fine".into()));
        assert_eq!(service.ready().await.unwrap().call(true).await, Ok("error: broken".into()));
    }

    /// axum takes only services that are `Sync`, and the error of a stack need not be.
    #[test]
    fn a_lowered_stack_can_be_shared_whatever_its_error_is() {
        fn shareable<T: Clone + Send + Sync>(_: &T) {}
        let service = service_fn(async |(): ()| Err::<&str, _>(Error::Service(std::cell::Cell::new(0_u8))));
        let lowered = LowerLayer::new(|_: Error<std::cell::Cell<u8>>| "an answer").layer(service);
        shareable(&lowered);
    }

    #[tokio::test]
    async fn a_readiness_error_is_the_answer_to_the_next_call() {
        #[derive(Clone)]
        struct NeverReady;
        impl Service<()> for NeverReady {
            type Response = &'static str;
            type Error = &'static str;
            type Future = std::future::Ready<Result<&'static str, &'static str>>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
                Poll::Ready(Err("worn out"))
            }

            fn call(&mut self, (): ()) -> Self::Future {
                unreachable!("an unready service is not called")
            }
        }
        let service = LowerLayer::new(|error: &'static str| error).layer(NeverReady);
        assert_eq!(service.oneshot(()).await, Ok("worn out"));
    }
}
