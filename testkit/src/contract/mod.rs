//! The laws every tower layer keeps, as one named test each.
//!
//! A layer is subject to them whatever it does besides: it calls the instance it polled ready, gives back all it holds
//! when it is dropped, wakes whoever waits for it, refuses without troubling the service it protects, and passes what
//! is not its own business unchanged. The tests run by hand ([`Task`](crate::wakes::Task)) over a
//! [`StrictService`], inside a tokio runtime whose time stands still, so a layer may make timers but none fires.
//!
//! A test file names its [`Subject`] and gets a module of tests:
//!
//! ```
//! use testkit::contract::{Subject, contract_tests};
//! # use tower_layer::Identity;
//!
//! fn identity() -> Subject<Identity, &'static str> {
//!     Subject::new(Identity::new(), || "broken")
//! }
//!
//! contract_tests! { mod identity_laws for identity, also undemanding }
//! # fn main() {}
//! ```
//!
//! | group | laws | for |
//! |---|---|---|
//! | (always) | [`readiness`], [`calls`], [`cancellation`] | every layer |
//! | `refusal` | [`refusal`] | layers that refuse calls; declare how with [`Subject::refusing`] |
//! | `undemanding` | [`undemanding`] | layers that hand the call on at once, and so need not clone what they wrap |

pub mod calls;
pub mod cancellation;
pub mod readiness;
pub mod refusal;
pub mod undemanding;

use std::fmt;
use std::future::poll_fn;

use tower_layer::Layer;
use tower_service::Service;

use crate::probe::{Probe, StrictService};

pub use crate::contract_tests;

/// The service the laws are tried on: it echoes the request unless the law says otherwise.
pub type Inner<E> = StrictService<u32, u32, E>;

/// An error the laws can compare.
pub trait Failure: PartialEq + fmt::Debug + Send + 'static {}

impl<E: PartialEq + fmt::Debug + Send + 'static> Failure for E {}

/// What makes a layer subject to the laws: over a service that may be cloned and sent, it makes one that may be too.
pub trait Lawful<E: Failure>:
    Layer<Inner<E>, Service: Service<u32, Response = u32, Error = E, Future: Send> + Clone + Send>
{
}

impl<E: Failure, L> Lawful<E> for L where
    L: Layer<Inner<E>, Service: Service<u32, Response = u32, Error = E, Future: Send> + Clone + Send>
{
}

/// Ends what a [`Refuse`] began.
pub type Relent = Box<dyn FnOnce()>;

/// Makes the policy refuse every call from now on.
pub type Refuse = Box<dyn Fn() -> Relent>;

/// A layer, and what the laws must know of it.
///
/// Configure it so that it does nothing of its own accord during the test: a timeout long enough, room for two calls
/// at once, and no repetition of an answer that is [`failure`](Self::new).
pub struct Subject<L, E> {
    layer: L,
    failure: Box<dyn Fn() -> E>,
    holding: Box<dyn Fn() -> usize>,
    refuse: Option<Refuse>,
    is_refusal: Box<dyn Fn(&E) -> bool>,
}

impl<L, E> Subject<L, E> {
    /// A layer over services that fail with `failure`.
    pub fn new(layer: L, failure: impl Fn() -> E + 'static) -> Self {
        Self {
            layer,
            failure: Box::new(failure),
            holding: Box::new(|| 0),
            refuse: None,
            is_refusal: Box::new(|_| false),
        }
    }

    /// How much the layer holds for calls under way (slots, probes, tokens); none under way must mean 0.
    #[must_use]
    pub fn holding(mut self, holding: impl Fn() -> usize + 'static) -> Self {
        self.holding = Box::new(holding);
        self
    }

    /// How to make it refuse, what ends that, and how its refusals are told from the service's errors.
    #[must_use]
    pub fn refusing<R: FnOnce() + 'static>(
        mut self,
        refuse: impl Fn() -> R + 'static,
        is_refusal: impl Fn(&E) -> bool + 'static,
    ) -> Self {
        self.refuse = Some(Box::new(move || Box::new(refuse())));
        self.is_refusal = Box::new(is_refusal);
        self
    }
}

impl<L: fmt::Debug, E> fmt::Debug for Subject<L, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// A subject with a probe under it, while a law is tried.
struct Stage<L, E> {
    subject: Subject<L, E>,
    probe: Probe<u32, u32, E>,
}

impl<L: Lawful<E>, E: Failure> Stage<L, E> {
    /// Tries a law, and then what holds after each of them.
    fn try_law(subject: impl Fn() -> Subject<L, E>, law: impl FnOnce(&Self)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime with nothing but time needs no resources");
        let _inside = runtime.enter();
        let stage = Self { subject: subject(), probe: Probe::new(Ok) };
        law(&stage);
        assert_eq!(stage.probe.violations(), [""; 0], "tower's contract was broken");
        let Self { subject, probe } = stage;
        assert_eq!((subject.holding)(), 0, "the layer still holds something although every call is over");
        drop(subject);
        let left = probe.counts();
        assert_eq!((left.instances, left.in_flight, left.reserved), (0, 0, 0), "something outlived the stack");
    }

    fn service(&self) -> L::Service {
        self.subject.layer.layer(self.probe.service())
    }

    fn failure(&self) -> E {
        (self.subject.failure)()
    }

    fn holding(&self) -> usize {
        (self.subject.holding)()
    }
}

/// Waits until the service is ready, and no longer.
async fn ready<S: Service<u32>>(service: &mut S) -> Result<(), S::Error> {
    poll_fn(|cx| service.poll_ready(cx)).await
}

/// One call as tower wants it: readiness first, on the same instance.
async fn call<S: Service<u32>>(service: &mut S, request: u32) -> Result<S::Response, S::Error> {
    ready(service).await?;
    service.call(request).await
}

/// A module of tests, one for each law its subject is under; see the [module](self).
#[macro_export]
macro_rules! contract_tests {
    (mod $name:ident for $subject:path $(, also $($group:ident)+)? $(,)?) => {
        mod $name {
            #[allow(unused_imports)] // Which names a subject's path needs depends on the subject.
            use super::*;

            $crate::contract_tests! { @laws $subject; readiness
                only_the_instance_polled_ready_is_called
                readiness_is_reserved_once
                a_ready_service_that_is_dropped_gives_its_readiness_back
                a_clone_does_not_share_readiness
                late_readiness_wakes_the_caller
                a_caller_that_moved_is_woken_where_it_is_now
                failed_readiness_passes_unchanged
            }
            $crate::contract_tests! { @laws $subject; calls
                one_call_reaches_the_service_once
                the_services_error_passes_unchanged
                a_late_answer_wakes_the_caller
                waiting_is_not_busy
                polls_nobody_asked_for_do_no_harm
                answers_are_not_mixed_up
                an_answering_task_that_moved_is_woken_where_it_is_now
            }
            $crate::contract_tests! { @laws $subject; cancellation
                a_call_dropped_in_flight_gives_everything_back
                a_call_never_polled_gives_everything_back
                a_call_dropped_while_the_service_is_not_ready_gives_everything_back
                a_call_that_panics_gives_everything_back
                a_service_dropped_before_its_calls_does_not_take_them_along
            }
            $($($crate::contract_tests! { @group $subject; $group })+)?
        }
    };
    (@group $subject:path; refusal) => {
        $crate::contract_tests! { @laws $subject; refusal
            a_refusal_does_not_reach_the_service
            a_refusal_does_not_wait_for_the_service
            a_refusal_is_an_answer_and_not_a_worn_out_service
            clones_refuse_together
            a_refused_call_holds_nothing
            a_refusal_after_readiness_leaves_nothing_reserved
            a_call_admitted_after_all_waits_for_the_service
            it_admits_again_when_the_reason_is_gone
        }
    };
    (@group $subject:path; undemanding) => {
        $crate::contract_tests! { @laws $subject; undemanding
            a_service_that_can_only_be_called_is_enough
        }
    };
    (@laws $subject:path; $group:ident $($law:ident)+) => {
        $(
            #[test]
            fn $law() {
                $crate::contract::$group::$law($subject);
            }
        )+
    };
}

#[cfg(test)]
mod tests;
