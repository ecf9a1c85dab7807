//! The laws every engine of [`Leases`] keeps, as tests that run on yours.
//!
//! An engine says how it is made and how its time passes; [`lease_conformance_tests!`](crate::lease_conformance_tests)
//! makes a test of each law. The laws block and use threads, so no runtime is needed, and an engine may bring its own.
//!
//! ```
//! use std::time::Duration;
//! use resilience_core::lease::conformance::Engine;
//! use resilience_core::lease::MemoryLeases;
//! use resilience_core::time::ManualTimer;
//!
//! #[derive(Default)]
//! struct Memory(ManualTimer);
//!
//! impl Engine for Memory {
//!     type Leases = MemoryLeases;
//!
//!     fn fresh(&self) -> MemoryLeases {
//!         MemoryLeases::new(self.0.clone())
//!     }
//!
//!     fn pass(&self, time: Duration) {
//!         self.0.advance(time);
//!     }
//! }
//!
//! resilience_core::lease_conformance_tests!(Memory::default());
//! # fn main() {}
//! ```

mod laws;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use super::{Lease, Leases};

pub use self::laws::*;

/// How to make engines of one kind, and how their time passes.
pub trait Engine: Sync {
    /// The engine.
    type Leases: Leases;

    /// An engine without leases, that shares nothing with any other.
    fn fresh(&self) -> Self::Leases;

    /// Lets time pass, for owners and engine alike. An engine with a clock of its own waits, or winds it.
    fn pass(&self, time: Duration);

    /// How long the laws' leases are. Default: ten seconds; an engine that has to wait says less.
    fn ttl(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Runs a future to its end. Default: on this thread, without a runtime.
    fn run<F: Future + Send>(&self, work: F) -> F::Output {
        block_on(work)
    }
}

/// Makes a test of each law of [`conformance`](crate::lease::conformance), for an engine that is an expression.
#[macro_export]
macro_rules! lease_conformance_tests {
    ($engine:expr) => {
        $crate::lease_conformance_tests! { $engine;
            a_resource_has_one_owner_at_a_time
            of_many_who_ask_at_once_one_is_granted
            a_lease_is_over_when_its_time_is
            a_renewed_lease_keeps_its_token_and_lives_on
            tokens_grow_with_each_owner_however_the_last_one_ended
            an_owner_that_comes_back_gets_a_new_token_and_its_former_self_is_out
            a_zombie_can_neither_renew_nor_release
            a_lease_that_is_over_is_lost_even_if_nobody_took_it
            a_released_lease_is_free_at_once_and_released_once
            resources_do_not_meet
            a_lease_for_ever_is_no_overflow
        }
    };
    ($engine:expr; $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                $crate::lease::conformance::$law(&$engine);
            }
        )*
    };
}

/// One engine on trial: its calls, waited for.
struct Trial<'a, E: Engine> {
    engine: &'a E,
    leases: E::Leases,
}

impl<'a, E: Engine> Trial<'a, E> {
    fn new(engine: &'a E) -> Self {
        Self { engine, leases: engine.fresh() }
    }

    fn ask(&self, resource: &str, owner: &str) -> Option<Lease> {
        self.ask_for(resource, owner, self.engine.ttl())
    }

    fn ask_for(&self, resource: &str, owner: &str, ttl: Duration) -> Option<Lease> {
        let answer = self.engine.run(self.leases.acquire(resource, owner, ttl));
        answer.expect("the engine can be asked").granted()
    }

    #[track_caller]
    fn granted(&self, resource: &str, owner: &str) -> Lease {
        let lease = self.ask(resource, owner).expect("nobody else has it");
        assert_eq!((lease.resource(), lease.owner()), (resource, owner));
        lease
    }

    fn renew(&self, lease: &Lease) -> Option<Lease> {
        self.engine.run(self.leases.renew(lease, self.engine.ttl())).expect("the engine can be asked")
    }

    fn release(&self, lease: &Lease) -> bool {
        self.engine.run(self.leases.release(lease)).expect("the engine can be asked")
    }

    fn pass(&self, time: Duration) {
        self.engine.pass(time);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(work: F) -> F::Output {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}
