use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn timeout(name: &str, seconds: u64) -> Layer {
    Layer { limit: Some(Duration::from_secs(seconds)), ..Layer::new("timeout", name) }
}

fn retry() -> Layer {
    Layer { attempts: 3, ..Layer::new("retry", "retry") }
}

fn plain(pattern: &'static str) -> Layer {
    Layer::new(pattern, pattern)
}

fn found(layers: &[Layer]) -> Vec<&'static str> {
    let stack = layers.iter().fold(Stack::new("s"), Stack::layer);
    stack.findings().iter().map(|finding| finding.lint.name()).collect()
}

/// The order this crate recommends, and around `retry` whatever a test is about.
fn around(outside: Layer, inside: Layer) -> Vec<Layer> {
    vec![timeout("total", 9), outside, retry(), inside, timeout("attempt", 1)]
}

#[test]
fn the_recommended_order_has_nothing_wrong() {
    let queue = Layer { has_queue: true, ..plain("bulkhead") };
    let recommended = [
        plain("signal_shed"),
        plain("queue_shed"),
        plain("fallback"),
        plain("cache"),
        timeout("total", 9),
        retry(),
        plain("circuit_breaker"),
        plain("rate_limit"),
        plain("hedge"),
        queue,
        timeout("attempt", 1),
    ];
    assert_eq!(found(&recommended), [""; 0]);
    assert_eq!(found(&[]), [""; 0]);
    // Forever inside forever is two limits that are none.
    let forever = Layer { limit: Some(Duration::MAX), ..plain("timeout") };
    assert_eq!(found(&[forever.clone(), forever]), [""; 0]);
}

#[test]
fn each_wrong_order_is_found_and_its_reverse_is_not() {
    for (outer, inner, lint) in [
        (plain("circuit_breaker"), retry(), "breaker-outside-retry"),
        (plain("bulkhead"), retry(), "bulkhead-outside-retry"),
        (plain("adaptive_limit"), retry(), "bulkhead-outside-retry"),
        (plain("partitioned_bulkhead"), retry(), "bulkhead-outside-retry"),
        (plain("hedge"), retry(), "retry-inside-hedge"),
        (plain("client_throttle"), retry(), "throttle-outside-retry"),
        (plain("keyed_circuit_breaker"), retry(), "breaker-outside-retry"),
        (plain("admission_control"), retry(), "throttle-outside-retry"),
        (plain("client_rate_limit"), retry(), "throttle-outside-retry"),
        (retry(), plain("fallback"), "fallback-inside"),
        (retry(), plain("cache"), "cache-inside-retry"),
    ] {
        let timed =
            |outer: &Layer, inner: &Layer| found(&[timeout("t", 9), outer.clone(), inner.clone(), timeout("a", 1)]);
        assert_eq!(timed(&outer, &inner), [lint]);
        assert_eq!(timed(&inner, &outer), [""; 0], "{lint}");
    }
    for (outer, inner, lint) in [
        ("hedge", "circuit_breaker", "breaker-inside-hedge"),
        ("bulkhead", "circuit_breaker", "breaker-inside-bulkhead"),
        ("partitioned_bulkhead", "circuit_breaker", "breaker-inside-bulkhead"),
        ("adaptive_limit", "circuit_breaker", "breaker-inside-bulkhead"),
        ("bulkhead", "queue_shed", "shed-inside-bulkhead"),
        ("adaptive_limit", "signal_shed", "shed-inside-bulkhead"),
        ("circuit_breaker", "fallback", "fallback-inside"),
        ("bulkhead", "keyed_circuit_breaker", "breaker-inside-bulkhead"),
        ("hedge", "keyed_circuit_breaker", "breaker-inside-hedge"),
        ("keyed_circuit_breaker", "cache", "cache-inside-breaker"),
        ("keyed_rate_limit", "cache", "cache-inside-limit"),
        ("circuit_breaker", "cache", "cache-inside-breaker"),
        ("partitioned_bulkhead", "cache", "cache-inside-limit"),
        ("rate_limit", "cache", "cache-inside-limit"),
        ("distributed_rate_limit", "cache", "cache-inside-limit"),
    ] {
        assert_eq!(found(&[plain(outer), plain(inner)]), [lint]);
        assert_eq!(found(&[plain(inner), plain(outer)]), [""; 0], "{lint}");
    }
    assert_eq!(found(&around(plain("other"), retry())), ["nested-retries"; 1]);
}

#[test]
fn a_retry_lacks_what_it_lacks() {
    assert_eq!(found(&[retry(), timeout("attempt", 1)]), ["no-total-timeout"]);
    assert_eq!(found(&[timeout("total", 9), retry()]), ["no-attempt-timeout"]);
    assert_eq!(found(&[retry()]), ["no-total-timeout", "no-attempt-timeout"]);
    let unbounded = Layer { has_budget: false, ..retry() };
    assert_eq!(found(&[timeout("total", 9), unbounded.clone(), timeout("attempt", 1)]), ["retry-without-budget"]);
    // One attempt is no retry.
    let once = Layer { attempts: 1, ..unbounded };
    assert_eq!(found(&[plain("bulkhead"), once.clone(), once]), [""; 0]);
}

#[test]
fn a_hedge_without_a_budget_is_found_unless_it_is_none() {
    let unbounded = Layer { has_budget: false, ..plain("hedge") };
    assert_eq!(found(std::slice::from_ref(&unbounded)), ["hedge-without-budget"]);
    let breaker = plain("circuit_breaker");
    assert_eq!(found(&[Layer { attempts: 1, ..unbounded }, breaker]), [""; 0]);
}

#[test]
fn chaos_that_is_on_or_tries_nothing_out_is_found() {
    let on = Layer { makes_faults: true, ..plain("chaos") };
    assert_eq!(found(&[plain("circuit_breaker"), plain("chaos")]), [""; 0]);
    assert_eq!(found(&[plain("circuit_breaker"), on.clone()]), ["chaos-is-on"]);
    assert_eq!(found(&[on, plain("circuit_breaker")]), ["chaos-is-on", "chaos-outside"]);
    assert_eq!(found(&[plain("chaos"), plain("chaos")]), [""; 0]);
}

#[test]
fn limits_that_cannot_matter_are_found() {
    let timed = |total, attempt| found(&[timeout("total", total), retry(), timeout("attempt", attempt)]);
    assert_eq!(timed(3, 1), [""; 0]);
    assert_eq!(timed(2, 1), ["attempts-do-not-fit"]);
    assert_eq!(timed(2, 2), ["attempt-timeout-too-long"]);
    assert_eq!(timed(2, 3), ["attempt-timeout-too-long"]);
    // Of a retry whose attempts nobody told, nobody can say that they do not fit.
    assert_eq!(found(&[timeout("total", 9), plain("retry"), timeout("attempt", 1)]), [""; 0]);
    let queue = Layer { has_queue: true, ..plain("bulkhead") };
    let total = timeout("total", 9);
    assert_eq!(
        found(&[total.clone(), retry(), timeout("attempt", 1), queue.clone()]),
        ["queue-inside-attempt-timeout"]
    );
    assert_eq!(found(&[total.clone(), retry(), timeout("attempt", 1), plain("bulkhead")]), [""; 0]);
    assert_eq!(found(&[total, retry(), queue, timeout("attempt", 1)]), [""; 0]);
}

#[test]
fn every_lint_is_documented_as_it_speaks_and_found_by_its_name() {
    let docs = include_str!("mod.rs");
    for lint in Lint::ALL {
        let row = format!("//! | `{}` | {} | {} |\n", lint.name(), lint.reason(), lint.fix());
        assert!(docs.contains(&row), "{row}");
        assert!(docs.contains(&format!("    /// `{}`\n", lint.name())));
        assert_eq!(Lint::named(lint.name()), Some(lint));
    }
    assert_eq!(Lint::named("no-such-lint"), None);
}

proptest! {
    /// Whatever is stacked, the linter ends, and to take a layer away that lacks nothing never makes new mistakes of
    /// order.
    #[test]
    fn any_stack_can_be_linted(picks in proptest::collection::vec((0..9_usize, any::<Option<u64>>(), any::<u32>()), 0..8)) {
        const PATTERNS: [&str; 9] =
            ["timeout", "retry", "hedge", "circuit_breaker", "bulkhead", "adaptive_limit", "fallback", "cache", "queue_shed"];
        let layers: Vec<Layer> = picks.iter().map(|(pattern, limit, attempts)| Layer {
            limit: limit.map(Duration::from_nanos).filter(|_| *pattern == 0),
            attempts: *attempts,
            ..plain(PATTERNS[*pattern])
        }).collect();
        let all = found(&layers);
        for gone in 0..layers.len() {
            let mut fewer = layers.clone();
            if fewer.remove(gone).is("timeout") {
                continue;
            }
            prop_assert!(found(&fewer).len() <= all.len());
        }
    }
}
