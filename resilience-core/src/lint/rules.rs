//! The lints. Each looks at the layers, outermost first, and says which it objects to.

use std::time::Duration;

use super::{Finding, Layer, Lint};

/// Pairs of patterns of which the first must not be outside of the second.
const ORDERS: [(Lint, &str, &str); 11] = [
    (Lint::NestedRetries, "retry", "retry"),
    (Lint::RetryInsideHedge, "hedge", "retry"),
    (Lint::BreakerOutsideRetry, "circuit_breaker", "retry"),
    (Lint::BreakerInsideHedge, "hedge", "circuit_breaker"),
    (Lint::ThrottleOutsideRetry, "client_throttle", "retry"),
    (Lint::ThrottleOutsideRetry, "client_rate_limit", "retry"),
    (Lint::ThrottleOutsideRetry, "admission_control", "retry"),
    (Lint::FallbackInside, "retry", "fallback"),
    (Lint::FallbackInside, "circuit_breaker", "fallback"),
    (Lint::CacheInsideRetry, "retry", "cache"),
    (Lint::CacheInsideBreaker, "circuit_breaker", "cache"),
];

pub(super) fn all(stack: &str, layers: &[Layer]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut tell = |lint, outer: &Layer, inner: Option<&Layer>| {
        let inner = inner.map(|inner| inner.name.clone());
        found.push(Finding { stack: stack.to_owned(), lint, outer: outer.name.clone(), inner });
    };
    for (at, outer) in layers.iter().enumerate() {
        let (outside, inside) = (&layers[..at], &layers[at + 1..]);
        for inner in inside {
            for (lint, _, _) in ORDERS.iter().filter(|(_, a, b)| applies(outer, a) && applies(inner, b)) {
                tell(*lint, outer, Some(inner));
            }
            if holds_slots(outer) && inner.is("circuit_breaker") {
                tell(Lint::BreakerInsideBulkhead, outer, Some(inner));
            }
            if holds_slots(outer) && inner.retries() {
                tell(Lint::BulkheadOutsideRetry, outer, Some(inner));
            }
            if (holds_slots(outer) || outer.pattern.ends_with("rate_limit")) && inner.is("cache") {
                tell(Lint::CacheInsideLimit, outer, Some(inner));
            }
            if holds_slots(outer) && (inner.is("queue_shed") || inner.is("signal_shed")) {
                tell(Lint::ShedInsideBulkhead, outer, Some(inner));
            }
            if let (Some(outer_limit), Some(inner_limit)) = (outer.limit, inner.limit)
                && inner_limit >= outer_limit
                && outer_limit != Duration::MAX
            {
                tell(Lint::AttemptTimeoutTooLong, outer, Some(inner));
            }
        }
        if outer.makes_faults {
            tell(Lint::ChaosIsOn, outer, None);
        }
        // Whatever reacts to faults; the nearest is enough to be told of.
        if outer.is("chaos")
            && let Some(inner) = inside.iter().find(|inner| !inner.is("chaos"))
        {
            tell(Lint::ChaosOutside, outer, Some(inner));
        }
        if applies(outer, "hedge") && !outer.has_budget {
            tell(Lint::HedgeWithoutBudget, outer, None);
        }
        if outer.retries() {
            retry(outer, outside, inside, &mut tell);
        }
    }
    found
}

/// Whether it is a limit on calls at once, of whichever kind.
fn holds_slots(layer: &Layer) -> bool {
    ["bulkhead", "partitioned_bulkhead", "adaptive_limit"].iter().any(|pattern| layer.is(pattern))
}

/// Whether a lint that names `pattern` means this layer: a retry or a hedge of one attempt is none.
fn applies(layer: &Layer, pattern: &str) -> bool {
    layer.is(pattern) && (!(layer.is("retry") || layer.is("hedge")) || layer.attempts > 1)
}

fn retry<'a>(
    retry: &'a Layer,
    outside: &'a [Layer],
    inside: &'a [Layer],
    tell: &mut impl FnMut(Lint, &'a Layer, Option<&'a Layer>),
) {
    if !retry.has_budget {
        tell(Lint::RetryWithoutBudget, retry, None);
    }
    let timed = |layer: &&Layer| layer.is("timeout");
    // The nearest of each.
    let (total, attempt) = (outside.iter().rev().find(timed), inside.iter().find(timed));
    if total.is_none() {
        tell(Lint::NoTotalTimeout, retry, None);
    }
    let Some(attempt) = attempt else {
        tell(Lint::NoAttemptTimeout, retry, None);
        return;
    };
    if let (Some(total), Some(limit)) = (total.and_then(|total| total.limit), attempt.limit)
        && retry.attempts < u32::MAX
        && limit < total
        && limit.saturating_mul(retry.attempts) > total
    {
        tell(Lint::AttemptsDoNotFit, retry, Some(attempt));
    }
    // What queues inside of the attempt's timeout.
    let behind = inside.iter().skip_while(|layer| !timed(layer));
    for queue in behind.filter(|layer| layer.has_queue) {
        tell(Lint::QueueInsideAttemptTimeout, attempt, Some(queue));
    }
}
