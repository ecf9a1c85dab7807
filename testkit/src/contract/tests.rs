//! The laws are tried on layers that break them: a law that nothing can break proves nothing.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use tower_layer::{Identity, Layer};
use tower_service::Service;

use super::{Inner, Subject, calls, cancellation, readiness, refusal};

type Error = &'static str;

/// One way to get it wrong, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    CallsAFreshClone,
    ReadiesAnotherInstance,
    LeaksAReadyService,
    DropsTheReadyWaker,
    KeepsTheFirstReadyWaker,
    WrapsReadinessErrors,
    TakesASlotForWaiting,
    DropsTheWaker,
    KeepsTheFirstWaker,
    GivesUpWhenPolledOften,
    AnswersTheLastRequest,
    NeedsItsService,
    PollsInACircle,
    ReleasesOnlyWithAnAnswer,
    GuardsOnlyOncePolled,
    WrapsErrors,
    CallsTwice,
    SwallowsPanics,
    RefusesInReadiness,
    RefusesWhenReady,
    RefusesAfterTheCall,
    KeepsTheSlotOfTheRefused,
    ForgetsAReadyService,
    ForgetsWhyItWasReady,
    RefusesEachByItself,
    NeverRelents,
}

#[derive(Clone, Default)]
struct Policy {
    refusing: Arc<AtomicBool>,
    held: Arc<AtomicUsize>,
    last: Arc<AtomicU32>,
}

struct Slot(Policy);

impl Slot {
    fn take(policy: &Policy) -> Self {
        policy.held.fetch_add(1, Ordering::SeqCst);
        Self(policy.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Gate {
    flaw: Flaw,
    policy: Policy,
}

impl Layer<Inner<Error>> for Gate {
    type Service = Gated;

    fn layer(&self, inner: Inner<Error>) -> Gated {
        let policy = if self.flaw == Flaw::RefusesEachByItself { Policy::default() } else { self.policy.clone() };
        Gated { inner: Some(inner), flaw: self.flaw, policy, is_ready: false, first: None, alive: Arc::default() }
    }
}

struct Gated {
    inner: Option<Inner<Error>>,
    flaw: Flaw,
    policy: Policy,
    is_ready: bool,
    first: Option<Waker>,
    alive: Arc<()>,
}

impl Clone for Gated {
    fn clone(&self) -> Self {
        let policy = self.policy.clone();
        Self { inner: self.inner.clone(), flaw: self.flaw, policy, is_ready: false, first: None, alive: Arc::default() }
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if self.flaw == Flaw::LeaksAReadyService && self.is_ready {
            std::mem::forget(self.inner.take());
        }
    }
}

impl Service<u32> for Gated {
    type Response = u32;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let refusing = self.policy.refusing.load(Ordering::SeqCst);
        if refusing && self.flaw == Flaw::RefusesInReadiness {
            return Poll::Ready(Err("refused"));
        }
        let waker =
            choose(self.flaw, &mut self.first, cx.waker(), Flaw::DropsTheReadyWaker, Flaw::KeepsTheFirstReadyWaker);
        let inner = self.inner.as_mut().unwrap();
        let polled = inner.poll_ready(&mut Context::from_waker(&waker));
        if polled.is_pending() && self.flaw == Flaw::TakesASlotForWaiting {
            std::mem::forget(Slot::take(&self.policy));
        }
        match polled {
            Poll::Pending if refusing && self.flaw != Flaw::RefusesWhenReady => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) if self.flaw == Flaw::WrapsReadinessErrors => Poll::Ready(Err("wrapped")),
            polled => {
                self.is_ready = matches!(polled, Poll::Ready(Ok(())));
                polled
            }
        }
    }

    fn call(&mut self, request: u32) -> Self::Future {
        let flaw = self.flaw;
        let policy = self.policy.clone();
        if policy.refusing.load(Ordering::SeqCst) {
            if flaw == Flaw::KeepsTheSlotOfTheRefused {
                std::mem::forget(Slot::take(&policy));
            }
            if flaw == Flaw::RefusesAfterTheCall {
                drop(self.inner.as_mut().unwrap().call(request));
            }
            if flaw == Flaw::NeverRelents {
                self.policy = Policy { refusing: Arc::new(AtomicBool::new(true)), ..policy };
            }
            if flaw == Flaw::ForgetsAReadyService && self.is_ready {
                let fresh = self.inner.clone();
                std::mem::forget(std::mem::replace(&mut self.inner, fresh));
            }
            return Box::pin(async { Err("refused") });
        }
        let fresh = self.inner.clone().unwrap();
        let ready = std::mem::take(&mut self.is_ready) || flaw == Flaw::ForgetsWhyItWasReady;
        let mut inner = match flaw {
            Flaw::CallsAFreshClone | Flaw::ReadiesAnotherInstance => fresh,
            _ => self.inner.replace(fresh).unwrap(),
        };
        policy.last.store(request, Ordering::SeqCst);
        let service = Arc::downgrade(&self.alive);
        let mut slot = Some(Slot::take(&policy));
        if matches!(flaw, Flaw::ReleasesOnlyWithAnAnswer | Flaw::GuardsOnlyOncePolled) {
            std::mem::forget(slot.take());
        }
        Box::pin(async move {
            if flaw == Flaw::GuardsOnlyOncePolled {
                slot = Some(Slot(policy.clone()));
            }
            if !ready || flaw == Flaw::ReadiesAnotherInstance {
                poll_fn(|cx| inner.poll_ready(cx)).await?;
            }
            if flaw == Flaw::CallsTwice {
                let _ = inner.call(request).await;
                poll_fn(|cx| inner.poll_ready(cx)).await?;
            }
            let answer = drive(flaw, inner.call(request)).await;
            let last = policy.last.load(Ordering::SeqCst);
            if flaw == Flaw::ReleasesOnlyWithAnAnswer {
                drop(Slot(policy));
            }
            drop(slot);
            match flaw {
                Flaw::WrapsErrors => answer.map_err(|_| "wrapped"),
                Flaw::AnswersTheLastRequest => answer.map(|_| last),
                Flaw::NeedsItsService if service.upgrade().is_none() => Err("the service is gone"),
                _ => answer,
            }
        })
    }
}

async fn drive(flaw: Flaw, answer: impl Future<Output = Result<u32, Error>>) -> Result<u32, Error> {
    let mut answer = std::pin::pin!(answer);
    let (mut first, mut polls) = (None, 0);
    poll_fn(|cx| {
        let waker = choose(flaw, &mut first, cx.waker(), Flaw::DropsTheWaker, Flaw::KeepsTheFirstWaker);
        let cx = &mut Context::from_waker(&waker);
        polls += 1;
        let polled = match flaw {
            Flaw::SwallowsPanics => catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx)))
                .unwrap_or(Poll::Ready(Err("the service panicked"))),
            Flaw::GivesUpWhenPolledOften if polls > 10 => Poll::Ready(Err("polled too often")),
            _ => answer.as_mut().poll(cx),
        };
        if polled.is_pending() && flaw == Flaw::PollsInACircle {
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await
}

/// The waker to hand on: the caller's, unless the flaw is to hand on none or the first there was.
fn choose(flaw: Flaw, first: &mut Option<Waker>, waker: &Waker, drops: Flaw, keeps_first: Flaw) -> Waker {
    let first = first.get_or_insert_with(|| waker.clone());
    match flaw {
        flaw if flaw == drops => Waker::noop().clone(),
        flaw if flaw == keeps_first => first.clone(),
        _ => waker.clone(),
    }
}

fn gate(flaw: Flaw) -> impl Fn() -> Subject<Gate, Error> {
    move || {
        let policy = Policy::default();
        let (holding, refusing) = (policy.held.clone(), policy.refusing.clone());
        Subject::new(Gate { flaw, policy }, || "broken").holding(move || holding.load(Ordering::SeqCst)).refusing(
            move || {
                refusing.store(true, Ordering::SeqCst);
                let refusing = refusing.clone();
                move || refusing.store(false, Ordering::SeqCst)
            },
            |error| *error == "refused",
        )
    }
}

fn identity() -> Subject<Identity, Error> {
    Subject::new(Identity::new(), || "broken")
}

fn sound_gate() -> Subject<Gate, Error> {
    gate(Flaw::None)()
}

super::contract_tests! { mod identity_keeps_the_laws for identity, also undemanding }
super::contract_tests! { mod a_sound_gate_keeps_the_laws for sound_gate, also refusal }

/// Tries each law on the flaw it is there to find.
macro_rules! finds {
    ($($group:ident::$law:ident: $flaw:ident;)+) => { $(
        #[test]
        fn $law() {
            $group::$law(gate(Flaw::None));
            let tried = catch_unwind(AssertUnwindSafe(|| $group::$law(gate(Flaw::$flaw))));
            assert!(tried.is_err(), "{:?} was not found", Flaw::$flaw);
        }
    )+ };
}

finds! {
    readiness::only_the_instance_polled_ready_is_called: ReadiesAnotherInstance;
    readiness::readiness_is_reserved_once: CallsAFreshClone;
    readiness::a_ready_service_that_is_dropped_gives_its_readiness_back: LeaksAReadyService;
    readiness::a_clone_does_not_share_readiness: CallsAFreshClone;
    readiness::late_readiness_wakes_the_caller: DropsTheReadyWaker;
    readiness::a_caller_that_moved_is_woken_where_it_is_now: KeepsTheFirstReadyWaker;
    readiness::failed_readiness_passes_unchanged: WrapsReadinessErrors;
    calls::one_call_reaches_the_service_once: CallsTwice;
    calls::the_services_error_passes_unchanged: WrapsErrors;
    calls::a_late_answer_wakes_the_caller: DropsTheWaker;
    calls::polls_nobody_asked_for_do_no_harm: GivesUpWhenPolledOften;
    calls::answers_are_not_mixed_up: AnswersTheLastRequest;
    calls::waiting_is_not_busy: PollsInACircle;
    calls::an_answering_task_that_moved_is_woken_where_it_is_now: KeepsTheFirstWaker;
    cancellation::a_call_dropped_in_flight_gives_everything_back: ReleasesOnlyWithAnAnswer;
    cancellation::a_call_never_polled_gives_everything_back: GuardsOnlyOncePolled;
    cancellation::a_call_dropped_while_the_service_is_not_ready_gives_everything_back: TakesASlotForWaiting;
    cancellation::a_service_dropped_before_its_calls_does_not_take_them_along: NeedsItsService;
    cancellation::a_call_that_panics_gives_everything_back: SwallowsPanics;
    refusal::a_refusal_does_not_reach_the_service: RefusesAfterTheCall;
    refusal::a_refusal_does_not_wait_for_the_service: RefusesWhenReady;
    refusal::a_refusal_is_an_answer_and_not_a_worn_out_service: RefusesInReadiness;
    refusal::clones_refuse_together: RefusesEachByItself;
    refusal::a_refused_call_holds_nothing: KeepsTheSlotOfTheRefused;
    refusal::a_refusal_after_readiness_leaves_nothing_reserved: ForgetsAReadyService;
    refusal::a_call_admitted_after_all_waits_for_the_service: ForgetsWhyItWasReady;
    refusal::it_admits_again_when_the_reason_is_gone: NeverRelents;
}
