//! A body that settles a permit when it ends.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::gate::Settle;
use crate::{Class, Classification};

/// How a body ended.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// With its head: there was nothing after it.
    Empty,
    /// With its last frame; trailers, if that was them.
    Complete(Option<&'a HeaderMap>),
    /// With an error.
    Failed,
}

/// Decides what a whole response means, once its body has ended.
///
/// Any `Fn(Classification, End<'_>) -> Classification` is one; the first argument is what the head meant.
pub trait ClassifyEnd {
    /// The meaning of the response.
    fn classify_end(&self, head: Classification, end: End<'_>) -> Classification;
}

impl<F: Fn(Classification, End<'_>) -> Classification> ClassifyEnd for F {
    fn classify_end(&self, head: Classification, end: End<'_>) -> Classification {
        self(head, end)
    }
}

/// The default: the head's meaning stands, unless what was a success broke off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByHead;

impl ClassifyEnd for ByHead {
    fn classify_end(&self, head: Classification, end: End<'_>) -> Classification {
        match end {
            End::Failed if matches!(head.class(), Class::Success | Class::Slow) => Classification::FAILURE,
            _ => head,
        }
    }
}

pin_project! {
    /// The body of a response whose permit is held until it ends; made by [`UntilEndService`](super::UntilEndService).
    ///
    /// The permit is settled once: at the last frame, at the first error, or when the body is dropped. Dropped before
    /// its end, a response whose head already was a failure, or said nothing, counts as that; a success that nobody
    /// read to its end counts as given up, as its policy rules it.
    pub struct UntilEndBody<B, P: Settle, T = ByHead> {
        #[pin]
        inner: B,
        began: bool,
        held: Held<P, T>,
    }
}

/// What is settled, once.
struct Held<P: Settle, T> {
    permit: Option<P>,
    head: Classification,
    classify: T,
}

impl<B: Body, P: Settle, T: ClassifyEnd> UntilEndBody<B, P, T> {
    pub(super) fn new(inner: B, permit: P, head: Classification, classify: T) -> Self {
        let mut held = Held { permit: Some(permit), head, classify };
        // Many clients never ask a body that says it is empty.
        if inner.is_end_stream() {
            held.settle(End::Empty);
        }
        Self { inner, began: false, held }
    }
}

impl<P: Settle, T: ClassifyEnd> Held<P, T> {
    fn settle(&mut self, end: End<'_>) {
        if let Some(permit) = self.permit.take() {
            permit.settle(self.classify.classify_end(self.head, end));
        }
    }
}

impl<P: Settle, T> Drop for Held<P, T> {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take()
            && self.head.class() != Class::Success
            && !std::thread::panicking()
        {
            permit.settle(self.head);
        }
    }
}

impl<B: Body, P: Settle, T: ClassifyEnd> Body for UntilEndBody<B, P, T> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = std::task::ready!(this.inner.as_mut().poll_frame(cx));
        let began = std::mem::replace(this.began, true);
        match &frame {
            None if !began => this.held.settle(End::Empty),
            None => this.held.settle(End::Complete(None)),
            Some(Err(_)) => this.held.settle(End::Failed),
            Some(Ok(frame)) if frame.is_trailers() => this.held.settle(End::Complete(frame.trailers_ref())),
            // Who knows the length does not ask for a frame after the last.
            Some(Ok(_)) if this.inner.is_end_stream() => this.held.settle(End::Complete(None)),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: fmt::Debug, P: Settle, T> fmt::Debug for UntilEndBody<B, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilEndBody")
            .field("inner", &self.inner)
            .field("settled", &self.held.permit.is_none())
            .finish_non_exhaustive()
    }
}
