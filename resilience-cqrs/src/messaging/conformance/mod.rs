//! The promises of [`Bus`], as tests for any bus.
//!
//! ```
//! use std::future::Future;
//! use resilience_cqrs::messaging::MemoryBus;
//! use resilience_cqrs::messaging::conformance::Carrier;
//!
//! struct Memory;
//!
//! impl Carrier for Memory {
//!     type Bus = MemoryBus;
//!
//!     fn with(&self, law: impl AsyncFnOnce(MemoryBus)) {
//!         // Waits take no time: the clock is tokio's, and paused.
//!         let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
//!         runtime.block_on(law(MemoryBus::new()));
//!     }
//! }
//!
//! mod memory_keeps_its_promises {
//!     // One `#[test]` for each law.
//!     resilience_cqrs::bus_conformance_tests!(super::Memory);
//! }
//! # fn main() {}
//! ```

mod deliveries;
mod order;
mod questions;
mod routes;

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::{Either, select};
use resilience_core::time::SharedTimer;

pub use self::deliveries::*;
pub use self::order::*;
pub use self::questions::*;
pub use self::routes::*;
use super::bus::{Bus, Subscribe, Subscription};
use super::delivery::Delivery;
use super::message::Message;

/// Runs laws on a bus.
pub trait Carrier {
    /// The bus.
    type Bus: Bus;

    /// Runs `law` on a bus, to its end. The bus may be shared with other laws; each uses names of its own.
    fn with(&self, law: impl AsyncFnOnce(Self::Bus));
}

/// One `#[test]` for each law of [`conformance`](crate::messaging::conformance), on the [`Carrier`] given.
#[macro_export]
macro_rules! bus_conformance_tests {
    ($carrier:expr) => {
        $crate::bus_conformance_tests! { @laws $carrier =>
            each_group_gets_each_message_and_one_consumer_of_it
            a_queue_keeps_what_is_sent_to_it_for_one_consumer
            what_came_while_nobody_consumed_is_there
            a_group_hears_what_its_filter_matches
            what_is_carried_arrives_as_it_was
            two_messages_with_one_id_are_one
            what_breaks_a_limit_is_refused
            what_is_dropped_comes_again_and_is_counted
            what_is_not_settled_in_time_comes_again
            what_is_extended_stays_where_it_is
            what_is_settled_does_not_come_again
            what_is_to_come_later_comes_later
            no_more_than_the_limit_is_unsettled
            a_key_is_in_order_one_at_a_time_whoever_consumes
            a_key_waits_for_what_is_to_come_again
            a_question_is_answered_by_one
            a_question_to_nobody_is_refused
            a_question_without_an_answer_ends_in_time
            a_question_goes_by_the_callers_deadline
        }
    };
    (@laws $carrier:expr => $($law:ident)*) => {
        $(
            #[test]
            fn $law() {
                $crate::messaging::conformance::Carrier::with(&$carrier, $crate::messaging::conformance::$law);
            }
        )*
    };
}

/// Longer than anything takes that comes at once, on whatever machine.
const SOON: Duration = Duration::from_secs(60);
/// How often something that is to take a certain time may take longer, before it is the bus and not the machine.
const TRIES: u32 = 5;
/// Long enough for something that must not come to come.
const A_WHILE: Duration = Duration::from_millis(400);

/// A name that no other law, and no other run, has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: it must be distinct, not ordered with anything.
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{}-{nth}", std::process::id(), SharedTimer::default().wall().as_unix_millis())
}

fn message(subject: &str, payload: &str) -> Message {
    Message::new(unique("m"), subject, payload.to_owned())
}

fn text(delivery: &Delivery) -> String {
    String::from_utf8_lossy(delivery.message.payload()).into_owned()
}

/// What comes soon.
#[track_caller]
fn soon<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let timer = SharedTimer::default();
        match select(pin!(work), pin!(timer.sleep(SOON))).await {
            Either::Left((output, _)) => output,
            Either::Right(_) => panic!("it should have come soon, at {caller}"),
        }
    }
}

/// The next delivery, soon.
async fn next(subscription: &mut impl Subscription) -> Delivery {
    soon(subscription.next()).await.expect("a delivery comes")
}

/// The next delivery to either of two consumers, soon.
async fn either<S: Subscription>(one: &mut S, two: &mut S) -> Delivery {
    let (one, two) = (pin!(one.next()), pin!(two.next()));
    soon(select(one, two)).await.factor_first().0.expect("a delivery comes")
}

/// What comes within a while, if anything does.
async fn within_a_while<F: Future>(work: F) -> Option<F::Output> {
    let timer = SharedTimer::default();
    match select(pin!(work), pin!(timer.sleep(A_WHILE))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Nothing comes for a while.
async fn nothing(subscription: &mut impl Subscription) {
    if let Some(delivery) = within_a_while(subscription.next()).await {
        panic!("nothing should have come: {delivery:?}");
    }
}

async fn pass(time: Duration) {
    SharedTimer::default().sleep(time).await;
}

async fn subscribe<B: Bus>(bus: &B, to: Subscribe) -> B::Subscription {
    soon(bus.subscribe(to)).await.expect("it can be subscribed to")
}

async fn publish<B: Bus>(bus: &B, message: Message) {
    let sent = soon(bus.publish(message)).await.expect("it can be published");
    assert!(!sent.duplicate);
}

async fn send<B: Bus>(bus: &B, message: Message) {
    let sent = soon(bus.send(message)).await.expect("it can be sent");
    assert!(!sent.duplicate);
}

fn at_once(deliveries: u32) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(deliveries - 1)
}
