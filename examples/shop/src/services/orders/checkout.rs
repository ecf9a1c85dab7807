//! The checkout, as a saga: reserve, charge, screen; then past the point of no return ship and confirm.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use resilience_saga::{Backoff, Cx, DefinitionError, Effect, Saga, StepError, saga};
use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::domain::{Order, ServiceName, money};
use crate::policies::Policies;
use crate::problem::Problem;
use crate::services::inventory::{OfOrder, Reserve};
use crate::services::payments::Charge;
use crate::services::shipping::Ship;

/// Most an order may cost, in cents, to pass the screening.
const SCREEN: u64 = 60_000;
/// Attempts at a step before it is given up and undone. The client has retried within each of them already.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(8).unwrap();
/// Attempts at an undo before an operator is asked: minutes, so that no outage of this shop's kind exhausts them.
const UNDO_ATTEMPTS: NonZeroU32 = NonZeroU32::new(400).unwrap();
/// Waits between attempts. Short beside a production system's, as the outages here are.
fn waits() -> Backoff {
    Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1))
}

/// The services a checkout calls.
#[derive(Clone, Debug)]
pub(super) struct Partners {
    inventory: Client,
    payments: Client,
    shipping: Client,
}

impl Partners {
    pub(super) fn find(endpoints: &Path, policies: &Policies) -> Result<Self, Problem> {
        let client = |to| Client::new(to, endpoints, policies);
        Ok(Self {
            inventory: client(ServiceName::Inventory)?,
            payments: client(ServiceName::Payments)?,
            shipping: client(ServiceName::Shipping)?,
        })
    }
}

/// The definition. Its version grows with every change of steps, edges, pivot or undos.
///
/// Stock before money: a refusal for want of stock then needs no refund. The screening comes last before the pivot
/// since it can refuse without anybody's help.
pub(super) fn definition() -> Result<Saga<Order, ()>, DefinitionError> {
    saga("checkout", 1, |g, order| {
        let reserved = g
            .step("reserve", order, async |cx: Cx, order: Order| {
                ask(&cx, |to| &to.inventory, "/reserve", &Reserve::from(&order)).await
            })
            .undo_with(order, async |cx: Cx, _: Effect<()>, order: Order| {
                ask(&cx, |to| &to.inventory, "/release", &of(&order)).await
            })
            .retry(ATTEMPTS, waits())
            .undo_retry(UNDO_ATTEMPTS, waits());
        let charged = g
            .step("charge", order, async |cx: Cx, order: Order| {
                ask(&cx, |to| &to.payments, "/charge", &Charge::from(&order)).await
            })
            .undo_with(order, async |cx: Cx, _: Effect<()>, order: Order| {
                ask(&cx, |to| &to.payments, "/refund", &of(&order)).await
            })
            .retry(ATTEMPTS, waits())
            .undo_retry(UNDO_ATTEMPTS, waits())
            .after(reserved);
        let _screened = g.check("screen", order, async |_: Cx, order: Order| screen(&order)).after(charged);
        g.pivot();
        let shipped = g
            .step("ship", order, async |cx: Cx, order: Order| {
                ask(&cx, |to| &to.shipping, "/ship", &Ship::from(&order)).await
            })
            .retriable()
            .backoff(waits());
        g.step("confirm", order, async |cx: Cx, order: Order| {
            ask(&cx, |to| &to.inventory, "/confirm", &of(&order)).await
        })
        .retriable()
        .backoff(waits())
        .after(shipped)
    })
}

fn of(order: &Order) -> OfOrder {
    OfOrder { order_id: order.order_id.clone() }
}

fn screen(order: &Order) -> Result<(), StepError> {
    match order.total() {
        total if total <= SCREEN => Ok(()),
        total => Err(StepError::rejected(format_args!("screened out: {} is above {}", money(total), money(SCREEN)))),
    }
}

/// What a participant says when it refuses.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Refusal {
    refused: String,
}

/// Asks a participant; the key of this step and its owner's number go along in the context.
///
/// Everything but a clear yes or no is `Unknown`, even a refusal by our own stack: it speaks for the last attempt the
/// client made, and an earlier one may have been sent and have taken effect.
async fn ask(cx: &Cx, to: fn(&Partners) -> &Client, path: &str, body: &impl Serialize) -> Result<(), StepError> {
    let partners = cx.service::<Partners>()?;
    let asked_to_wait = match to(&partners).ask(path, body).await {
        Ok(answer) if answer.status.is_success() => return Ok(()),
        Ok(answer) if answer.status == StatusCode::CONFLICT => {
            let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(StepError::rejected(refusal.refused));
        }
        Ok(answer) => (StepError::unknown(format_args!("{path} answered {}", answer.status)), answer.retry_after),
        Err(error) => (StepError::unknown(&error), error.retry_after()),
    };
    Err(match asked_to_wait {
        (error, Some(wait)) => error.after(wait),
        (error, None) => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound_and_money_is_taken_after_stock() {
        let chart = definition().unwrap().to_mermaid();
        for edge in ["s0 --> s1", "s1 --> s2", "pivot --> s3", "s3 --> s4"] {
            assert!(chart.contains(edge), "{edge} is not in\n{chart}");
        }
    }
}
