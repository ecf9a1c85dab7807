//! The stack every call between services goes through, outermost first: total time limit, retries within a budget,
//! circuit breaker, bulkhead, time limit of an attempt, balancer over what discovery knows.

use std::path::Path;
use std::time::Duration;

use resilience_core::bulkhead::Bulkhead;
use resilience_core::config::Pipeline;
use resilience_core::timeout::Timeout;
use resilience_core::{Classification, ConfigError, LiftLayer, LiftService};
use resilience_discovery::{Balance, Discovery, FileSource};
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use super::transport::Transport;
use super::{Answer, CallError, Outgoing};
use crate::domain::ServiceName;
use crate::problem::Problem;
use crate::runner::endpoints;
use crate::stats::Stats;

/// A whole stack, its type put away.
pub(super) type Stack = BoxCloneSyncService<Outgoing, Answer, CallError>;

/// How often an endpoints file is looked at. A restarted service is found within this much, plus the breaker's wait.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for any endpoint to be known.
const NO_ENDPOINT: Duration = Duration::from_millis(500);

/// The stack from one service to another: the policies of `pipeline`, in the one order that is right.
pub(super) fn between(
    pipeline: &Pipeline,
    to: ServiceName,
    endpoints: &Path,
    stats: &Stats,
) -> Result<Stack, ConfigError> {
    let service = ServiceBuilder::new()
        .option_layer(pipeline.timeout("total").map(Timeout::layer))
        .option_layer(pipeline.retry("retry").map(|retry| retry.layer().classify(meaning)))
        .option_layer(pipeline.circuit_breaker("circuit_breaker").map(|breaker| breaker.layer().classify(meaning)))
        .option_layer(pipeline.bulkhead("bulkhead").map(Bulkhead::layer))
        .option_layer(pipeline.timeout("attempt").map(Timeout::layer))
        .service(balance(pipeline.name().to_owned(), to, endpoints, stats)?);
    Ok(Stack::new(service))
}

/// The stack of a customer: patient, and no more. Who sends again is the customer, when told to.
pub(super) fn customer(endpoints: &Path, stats: &Stats) -> Result<Stack, ConfigError> {
    let limit = Timeout::builder().name("customer").limit(Duration::from_secs(5)).build()?;
    let balance = balance("customer".to_owned(), ServiceName::Gateway, endpoints, stats)?;
    Ok(Stack::new(ServiceBuilder::new().layer(limit.layer()).service(balance)))
}

fn balance(
    name: String,
    to: ServiceName,
    endpoints: &Path,
    stats: &Stats,
) -> Result<Balance<LiftService<Transport>, Outgoing>, ConfigError> {
    let source = FileSource::builder(endpoints::file(endpoints, to)).interval(LOOK).build()?;
    let discovery = Discovery::builder()
        .name(name.clone())
        .debounce(Duration::from_millis(10))
        .backoff(Duration::from_millis(50), Duration::from_secs(1))
        .listener(stats.clone())
        .build(source)?;
    Balance::builder().name(name).wait(NO_ENDPOINT).listener(stats.clone()).build(&discovery, |endpoint| {
        let transport = Transport::new(&endpoint.address().to_string());
        tower::Layer::layer(&LiftLayer, transport)
    })
}

/// What an answer says about the service, and whether to ask again. Every request here carries its idempotency key, so
/// repeating one is always allowed.
fn meaning(answer: &Result<Answer, CallError>) -> Classification {
    match answer {
        Ok(answer) if answer.status.is_server_error() => match answer.retry_after {
            Some(wait) => Classification::FAILURE.after(wait),
            None => Classification::FAILURE,
        },
        // "Out of stock" is the work of a healthy service; a mistake of ours says nothing about it.
        Ok(answer) if answer.status.is_success() || answer.status == axum::http::StatusCode::CONFLICT => {
            Classification::SUCCESS
        }
        Ok(_) => Classification::IGNORE,
        Err(error) if error.is_rejected() => Classification::IGNORE,
        Err(_) => Classification::FAILURE,
    }
}

/// Settings are constants, so a wrong one is a mistake in this file; it is reported all the same.
pub(crate) fn misconfigured(error: ConfigError) -> Problem {
    Problem::new(format!("a policy is misconfigured: {error}"))
}
