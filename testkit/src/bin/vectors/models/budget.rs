//! Budgets that all requests of a client share: Finagle's, Envoy's, failsafe-go's.

use resilience_core::retry::budget::{Kind, Leaky, Permit, Request, RetryBudget, Rule, Share};
use resilience_core::time::ManualTimer;
use serde_json::json;

use super::{Model, Observed, observed, unknown};
use crate::case::{Fields, Step, seconds};

/// Finagle's leaky deposits, each step with a budget of its own on a clock that stands.
struct Finagle(Fields);

pub(crate) fn finagle(setup: &Fields) -> Result<Box<dyn Model>, String> {
    Ok(Box::new(Finagle(setup.clone())))
}

impl Model for Finagle {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let number = |key: &str| step.number(key).or(self.0.number(key)).ok_or(format!("{key} is missing"));
        let rule = Leaky {
            ttl: seconds(number("ttl_s")?),
            min_per_second: number("min_per_s")? as u32,
            ratio: number("pct")?,
        };
        let builder = RetryBudget::builder().rule(Rule::Leaky(rule)).timer(ManualTimer::new());
        let budget = builder.build().map_err(|error| error.to_string())?;
        let at_first = budget.snapshot().available;
        number("deposits")?;
        let deposits = step.count("deposits", self.0.count("deposits", 0)?)? as usize;
        let _requests: Vec<Request> = (0..deposits).map(|_| budget.request()).collect();
        let balance = budget.snapshot().available;
        match step.op() {
            "balance" => {}
            "run" => {
                let granted = std::iter::from_fn(|| budget.withdraw(Kind::Failure)).take(10 * deposits);
                let granted: Vec<Permit> = granted.collect();
                let retries = granted.len();
                return Ok(observed([("initial_balance", json!(at_first)), ("retries", json!(retries))]));
            }
            _ => return Err(unknown(step)),
        }
        Ok(observed([("initial_balance", json!(at_first)), ("balance", json!(balance))]))
    }
}

/// Retries in flight as a share of the requests in flight.
struct InFlight(Share);

pub(crate) fn envoy(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let ratio = setup.number("budget_pct").unwrap_or(20.0) / 100.0;
    let floor = setup.number("min_retry_concurrency").unwrap_or(3.0) as u32;
    Ok(Box::new(InFlight(Share { ratio, floor, ..Share::ENVOY })))
}

pub(crate) fn failsafe(setup: &Fields) -> Result<Box<dyn Model>, String> {
    let ratio = setup.number("max_rate").unwrap_or(0.2);
    let floor = setup.number("min_concurrency").unwrap_or(3.0) as u32;
    Ok(Box::new(InFlight(Share { ratio, floor, ..Share::FAILSAFE })))
}

impl InFlight {
    fn budget(&self) -> Result<RetryBudget, String> {
        RetryBudget::builder().rule(Rule::Share(self.0)).build().map_err(|error| error.to_string())
    }
}

impl Model for InFlight {
    fn step(&mut self, step: &Step) -> Result<Observed, String> {
        let budget = self.budget()?;
        let number = |key: &str| step.need_number(key).and_then(|_| Ok(step.count(key, 0)? as usize));
        match step.op() {
            "max_retries" => {
                let active = number("active")? + step.count("pending", 0)? as usize;
                let _requests: Vec<Request> = (0..active).map(|_| budget.request()).collect();
                let granted: Vec<Permit> =
                    std::iter::from_fn(|| budget.withdraw(Kind::Failure)).take(100_000).collect();
                Ok(observed([("limit", json!(granted.len()))]))
            }
            "try" => {
                let (executions, retries) = (number("executions")?, number("retries_inflight")?);
                if retries > 10_000 {
                    return Err(format!("{retries} retries are more than can be put in flight"));
                }
                // Enough requests for that many retries to be granted, of which only some stay.
                let crowd = executions.max(retries * 1000);
                let mut requests: Vec<Request> = (0..crowd).map(|_| budget.request()).collect();
                let granted: Vec<Permit> =
                    std::iter::from_fn(|| budget.withdraw(Kind::Failure)).take(retries).collect();
                if granted.len() < retries {
                    return Err(format!("only {} retries could be put in flight", granted.len()));
                }
                requests.truncate(executions);
                let ok = budget.withdraw(Kind::Failure).is_some();
                Ok(observed([("ok", json!(ok))]))
            }
            _ => Err(unknown(step)),
        }
    }
}
