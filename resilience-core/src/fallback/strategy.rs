//! What a fallback answers with.

use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::oneshot::Oneshot;
use crate::retry::Replay;

/// What a fallback answers with; cloned for each call that falls back.
///
/// The ready-made ones are made by [`Fallback::value`](super::Fallback::value) and its neighbours; one of your own is
/// put to use by [`Fallback::layer`](super::Fallback::layer).
pub trait Strategy<Req, T, E> {
    /// The answer in the making.
    type Future: Future<Output = Result<T, E>>;

    /// An answer in place of `original`; `None` if it takes a copy of the request and there is none.
    fn answer(self, request: Option<Req>, original: &Result<T, E>) -> Option<Self::Future>;
}

/// Always the same answer.
#[derive(Clone, Copy, Debug)]
pub struct Value<T>(pub(super) T);

impl<Req, T, E> Strategy<Req, T, E> for Value<T> {
    type Future = Ready<Result<T, E>>;

    fn answer(self, _: Option<Req>, _: &Result<T, E>) -> Option<Self::Future> {
        Some(ready(Ok(self.0)))
    }
}

/// An answer made of the failure, at once.
#[derive(Clone, Copy)]
pub struct FromAnswer<F>(pub(super) F);

impl<F, Req, T, E> Strategy<Req, T, E> for FromAnswer<F>
where
    F: FnOnce(&Result<T, E>) -> T,
{
    type Future = Ready<Result<T, E>>;

    fn answer(self, _: Option<Req>, original: &Result<T, E>) -> Option<Self::Future> {
        Some(ready(Ok(self.0(original))))
    }
}

/// An answer made of the failure, in time, or not at all.
#[derive(Clone, Copy)]
pub struct Function<F>(pub(super) F);

impl<F, Fut, Req, T, E> Strategy<Req, T, E> for Function<F>
where
    F: FnOnce(&Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn answer(self, _: Option<Req>, original: &Result<T, E>) -> Option<Fut> {
        Some(self.0(original))
    }
}

/// An answer made of request and failure, in time, or not at all.
#[derive(Clone, Copy)]
pub struct FromRequest<F>(pub(super) F);

impl<F, Fut, Req, T, E> Strategy<Req, T, E> for FromRequest<F>
where
    F: FnOnce(Req, &Result<T, E>) -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Future = Fut;

    fn answer(self, request: Option<Req>, original: &Result<T, E>) -> Option<Fut> {
        request.map(|request| self.0(request, original))
    }
}

/// The answer of another service.
#[derive(Clone, Copy, Debug)]
pub struct Backup<B>(pub(super) B);

impl<B: Service<Req>, Req> Strategy<Req, B::Response, B::Error> for Backup<B> {
    type Future = BackupFuture<B, Req>;

    fn answer(self, request: Option<Req>, _: &Result<B::Response, B::Error>) -> Option<Self::Future> {
        request.map(|request| BackupFuture { call: Oneshot::new(self.0, request) })
    }
}

pin_project! {
    /// The answer of a backup, which gets ready first.
    #[must_use = "futures do nothing unless polled"]
    pub struct BackupFuture<B, Req>
    where
        B: Service<Req>,
    {
        #[pin]
        call: Oneshot<B, Req>,
    }
}

impl<B: Service<Req>, Req> Future for BackupFuture<B, Req> {
    type Output = Result<B::Response, B::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().call.poll(cx)
    }
}

/// Copies no request: for strategies that do without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotKept;

impl<Req> Replay<Req> for NotKept {
    fn replay(&self, _: &Req) -> Option<Req> {
        None
    }
}

impl<B: Service<Req>, Req> fmt::Debug for BackupFuture<B, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupFuture").field("sent", &self.call.is_sent()).finish_non_exhaustive()
    }
}

macro_rules! opaque {
    ($($strategy:ident)+) => {
        $(
            impl<F> fmt::Debug for $strategy<F> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($strategy)).finish_non_exhaustive()
                }
            }
        )+
    };
}
opaque! { FromAnswer Function FromRequest }
