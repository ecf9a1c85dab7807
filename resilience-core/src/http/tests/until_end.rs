use std::cell::Cell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::bulkhead::Bulkhead;
use crate::circuit_breaker::{CircuitBreaker, State};
use crate::http::{End, Gate, Settle, Turn, UntilEndLayer};
use crate::{Classification, Error, Reason, Rejected};

type Failure = Error<&'static str>;

/// A gate that notes how each of its permits was settled; "dropped" if it was not.
#[derive(Clone, Default)]
struct Notes(Rc<std::cell::RefCell<Vec<&'static str>>>);

struct Note {
    notes: Notes,
    settled: bool,
}

impl Gate for Notes {
    type Permit = Note;
    type Waiting = ();

    fn poll_turn(&self, (): &mut (), _: &mut Context<'_>) -> Poll<Turn> {
        Poll::Ready(Turn::Inner)
    }

    fn admit(&self, (): ()) -> Result<Note, Rejected> {
        Ok(Note { notes: self.clone(), settled: false })
    }
}

impl Settle for Note {
    fn settle(mut self, meaning: Classification) {
        self.settled = true;
        self.notes.0.borrow_mut().push(meaning.class().label());
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.settled {
            self.notes.0.borrow_mut().push("dropped");
        }
    }
}

/// A body of these frames; knows its end beforehand, or does not.
#[derive(Debug, Default)]
struct Frames {
    frames: VecDeque<Result<Frame<Bytes>, &'static str>>,
    knows_its_end: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(self.frames.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.knows_its_end && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(7)
    }
}

fn data() -> Result<Frame<Bytes>, &'static str> {
    Ok(Frame::data(Bytes::from_static(b"a part")))
}

fn trailers() -> Result<Frame<Bytes>, &'static str> {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", "17".parse().unwrap());
    Ok(Frame::trailers(trailers))
}

/// Makes one frame, or an error.
type Make = fn() -> Result<Frame<Bytes>, &'static str>;

/// What is noted when a response with this status and these frames is read `reads` times, and then dropped.
fn noted(status: u16, frames: &[Make], knows_its_end: bool, reads: usize) -> Vec<&'static str> {
    let notes = Notes::default();
    let service = UntilEndLayer::new(notes.clone()).layer(service_fn(async |_: Request<()>| {
        let frames = frames.iter().map(|frame| frame()).collect();
        Ok::<_, Failure>(Response::builder().status(status).body(Frames { frames, knows_its_end }).unwrap())
    }));
    futures::executor::block_on(async {
        let mut body = service.oneshot(Request::new(())).await.unwrap().into_body();
        for _ in 0..reads {
            let _ = body.frame().await;
        }
    });
    notes.0.take()
}

/// CP7: the outcome is recorded when the body has ended or is dropped, and once. A layer that records with the head
/// calls a download that breaks off a success, as tower-resilience and seatbelt do.
#[test]
fn an_answer_is_settled_once_when_its_body_has_ended() {
    for knows_its_end in [false, true] {
        assert_eq!(noted(200, &[data, data], knows_its_end, 1), ["dropped"], "one part of two was read");
        assert_eq!(noted(200, &[data, data], knows_its_end, 3), ["success"]);
        assert_eq!(noted(200, &[data, data], knows_its_end, 9), ["success"], "asked again, it counts no more");
        assert_eq!(noted(200, &[data, trailers], knows_its_end, 2), ["success"], "nothing comes after trailers");
        assert_eq!(noted(200, &[data, || Err("reset")], knows_its_end, 2), ["failure"], "half an answer is none");
        assert_eq!(noted(200, &[data, || Err("reset"), || Err("again")], knows_its_end, 3), ["failure"]);
    }
    assert_eq!(noted(200, &[data, data], true, 2), ["success"], "who knows the length does not ask for more");
    assert_eq!(noted(200, &[], true, 0), ["success"], "nor does anybody ask an empty body");
    assert_eq!(noted(200, &[], false, 1), ["success"]);
}

#[test]
fn a_head_that_says_it_all_counts_even_if_nobody_reads_the_body() {
    for (status, class) in [(503, "failure"), (404, "ignore")] {
        assert_eq!(noted(status, &[data], false, 0), [class]);
        assert_eq!(noted(status, &[data], false, 2), [class]);
        assert_eq!(noted(status, &[data, || Err("reset")], false, 2), [class]);
    }
    assert_eq!(noted(503, &[], true, 0), ["failure"]);
}

#[test]
fn an_error_without_a_head_settles_at_once_and_a_call_given_up_is_dropped() {
    let notes = Notes::default();
    let layer = UntilEndLayer::new(notes.clone());
    let mut service = layer.layer(service_fn(async |fail: Request<bool>| {
        if !*fail.body() {
            std::future::pending::<()>().await;
        }
        Err::<Response<Frames>, _>(Failure::Service("reset"))
    }));
    futures::executor::block_on(async {
        assert!(service.ready().await.unwrap().call(Request::new(true)).await.is_err());
        drop(service.ready().await.unwrap().call(Request::new(false)));
    });
    assert_eq!(notes.0.take(), ["failure", "dropped"]);
}

#[test]
fn the_end_may_say_more_than_the_head() {
    let notes = Notes::default();
    let by_checksum = |head: Classification, end: End<'_>| match end {
        End::Complete(Some(trailers)) if trailers.contains_key("checksum") => Classification::PERMANENT,
        _ => head,
    };
    let service = UntilEndLayer::new(notes.clone())
        .classify(|_: &Result<Response<Frames>, Failure>| Classification::SLOW)
        .classify_end(by_checksum)
        .layer(service_fn(async |trailing: Request<bool>| {
            let frames = if *trailing.body() { [data(), trailers()].into() } else { [data()].into() };
            Ok::<_, Failure>(Response::new(Frames { frames, knows_its_end: false }))
        }));
    futures::executor::block_on(async {
        for trailing in [true, false] {
            let response = service.clone().oneshot(Request::new(trailing)).await.unwrap();
            assert_eq!(response.body().size_hint().exact(), Some(7), "the body is otherwise what it was");
            response.into_body().collect().await.unwrap();
        }
    });
    assert_eq!(notes.0.take(), ["failure", "slow"]);
}

#[test]
fn a_breaker_opens_on_downloads_that_break_off() {
    let breaker = CircuitBreaker::builder().consecutive_failures(2).build().unwrap();
    let service = UntilEndLayer::new(breaker.clone()).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Failure>(Response::new(Frames { frames: [data(), Err("reset")].into(), knows_its_end: false }))
    }));
    futures::executor::block_on(async {
        for _ in 0..2 {
            let response = service.clone().oneshot(Request::new(())).await.unwrap();
            assert_eq!(breaker.state(), State::Closed);
            assert!(response.into_body().collect().await.is_err());
        }
        assert_eq!(breaker.state(), State::Open);
        let refused = service.oneshot(Request::new(())).await.unwrap_err();
        assert_eq!(breaker.snapshot().rejected, 1);
        assert!(matches!(refused, Error::Rejected(refused) if refused.reason() == Reason::Open));
    });
}

#[test]
fn a_slot_is_taken_until_the_download_is_over() {
    let bulkhead = Bulkhead::builder().limit(1).queue(1).build().unwrap();
    let answered = Cell::new(0);
    let service = UntilEndLayer::new(bulkhead.clone()).layer(service_fn(async |_: Request<()>| {
        answered.set(answered.get() + 1);
        Ok::<_, Failure>(Response::new(Frames { frames: [data(), data()].into(), knows_its_end: false }))
    }));
    futures::executor::block_on(async {
        let first = service.clone().oneshot(Request::new(())).await.unwrap();
        let mut second = std::pin::pin!(service.clone().oneshot(Request::new(())));
        assert!(futures::poll!(second.as_mut()).is_pending());
        let full = service.clone().oneshot(Request::new(())).await.unwrap_err();
        assert!(full.is_rejected());
        assert_eq!(answered.get(), 1, "neither was sent");
        drop(first);
        assert_eq!(second.await.unwrap().status(), StatusCode::OK);
        assert_eq!(bulkhead.snapshot().in_flight, 0, "the answer, body and all, was dropped");
    });
}
