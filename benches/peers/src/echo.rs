//! The bare services under the layers: what is left when every policy is taken away.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{BoxError, Service};

/// A request that fails; any other is answered with itself.
pub const FAIL: u64 = u64::MAX;

/// How a failing echo fails.
pub trait Fault: Sized {
    /// The failure.
    fn fault() -> Self;
}

impl Fault for BoxError {
    fn fault() -> Self {
        "fault".into()
    }
}

/// The plainest error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

impl Fault for Broken {
    fn fault() -> Self {
        Self
    }
}

/// The error of our stack over an echo that fails as [`Broken`].
pub type Failure = resilience_core::Error<Broken>;

impl Fault for Failure {
    fn fault() -> Self {
        Self::Service(Broken)
    }
}

impl Fault for Infallible {
    fn fault() -> Self {
        unreachable!("an infallible echo is never asked to fail")
    }
}

/// Answers at once.
#[derive(Debug)]
pub struct Echo<E>(PhantomData<fn() -> E>);

/// Answers when polled again, having woken its task itself.
#[derive(Debug)]
pub struct EchoPending<E>(PhantomData<fn() -> E>);

impl<E> Echo<E> {
    /// An echo that fails with `E`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> EchoPending<E> {
    /// An echo that fails with `E`.
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<E> Clone for Echo<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<E> Clone for EchoPending<E> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

fn answer<E: Fault>(request: u64) -> Result<u64, E> {
    if request == FAIL { Err(E::fault()) } else { Ok(request) }
}

impl<E: Fault> Service<u64> for Echo<E> {
    type Response = u64;
    type Error = E;
    type Future = Ready<Result<u64, E>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        ready(answer(request))
    }
}

impl<E: Fault> Service<u64> for EchoPending<E> {
    type Response = u64;
    type Error = E;
    type Future = PendingOnce<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u64) -> Self::Future {
        PendingOnce { request, polled: false, error: PhantomData }
    }
}

/// Answers each of a list of requests with itself, at once.
#[derive(Clone, Copy, Debug)]
pub struct Listed;

impl Service<Vec<u64>> for Listed {
    type Response = Vec<Result<u64, Self::Error>>;
    type Error = resilience_core::Error<resilience_core::batch::Unanswered>;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, requests: Vec<u64>) -> Self::Future {
        ready(Ok(requests.into_iter().map(Ok).collect()))
    }
}

/// The future of [`EchoPending`].
#[derive(Debug)]
pub struct PendingOnce<E> {
    request: u64,
    polled: bool,
    error: PhantomData<fn() -> E>,
}

impl<E: Fault> Future for PendingOnce<E> {
    type Output = Result<u64, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polled {
            return Poll::Ready(answer(self.request));
        }
        self.polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Sends `count` failing requests, one after the other.
pub fn fail<S: Service<u64>>(service: &mut S, count: usize) {
    futures::executor::block_on(async {
        for _ in 0..count {
            if std::future::poll_fn(|cx| service.poll_ready(cx)).await.is_ok() {
                let _ = service.call(FAIL).await;
            }
        }
    });
}
