//! The defaults that the pages name are those that the builders have.
//!
//! Each row of a page's table stands here beside what the builder says of itself in `Debug`. A default that is changed
//! without its page does not pass, nor does a page that is changed without its default, or a row that nobody has looked up.
#![cfg(all(feature = "tower", feature = "tokio", not(loom)))]

use std::fmt::Debug;

use resilience_core::adaptive_limit::AdaptiveLimit;
use resilience_core::batch::Batch;
use resilience_core::bulkhead::Bulkhead;
use resilience_core::bulkhead::partitioned::PartitionedBulkhead;
use resilience_core::chaos::Chaos;
use resilience_core::circuit_breaker::CircuitBreaker;
use resilience_core::fallback::Fallback;
use resilience_core::health::Check;
use resilience_core::hedge::Hedge;
use resilience_core::lease::{Fence, Ownership};
use resilience_core::load_shed::{AdmissionControl, ClientThrottle, QueueShed, SignalShed};
use resilience_core::rate_limit::distributed::LocalStore;
use resilience_core::rate_limit::{ClientRateLimiter, DistributedRateLimiter, RateLimiter};
use resilience_core::retry::budget::Ratio;
use resilience_core::retry::{Retry, RetryBudget};
use resilience_core::timeout::Timeout;

/// An option and its default as the page has them, and the default as the builder shows it: empty for what no builder
/// knows, a layer's choice or a rule that follows from other settings.
type Row = (&'static str, &'static str, &'static str);

const OFF: &str = "dry_run: false";
const TOKIO: &str = "timer: Some(TokioTimer)";

macro_rules! page {
    ($path:literal) => {
        ($path, include_str!(concat!("../src/", $path, "/mod.rs")))
    };
}

fn check((page, text): (&str, &str), builder: &dyn Debug, rows: &[Row]) {
    let shown = format!("{builder:?}");
    let told = table(text);
    for (option, default, field) in rows {
        let found = told.iter().find(|(told, _)| told == option);
        let (_, told) = found.unwrap_or_else(|| panic!("{page}: no row of `{option}` among {told:?}"));
        assert!(
            told.starts_with(default) && has(told, default),
            "{page}: `{option}` is said to be {told}, not {default}"
        );
        assert!(has(&shown, field), "{page}: `{option}` is {default}, that is `{field}`, but not in {shown}");
    }
    let unchecked: Vec<_> = told.iter().filter(|(told, _)| rows.iter().all(|(option, ..)| told != option)).collect();
    assert!(unchecked.is_empty(), "{page}: {unchecked:?} is not looked up");
}

/// Whether it is in there, and does not just begin something longer: `3` is not in `30`.
fn has(text: &str, part: &str) -> bool {
    let goes_on = |end: usize| text[end..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '.');
    part.is_empty() || text.match_indices(part).any(|(at, _)| !goes_on(at + part.len()))
}

/// The options and defaults of a page's table.
fn table(text: &str) -> Vec<(String, String)> {
    let section = text.lines().skip_while(|line| *line != "//! # Defaults").skip(1);
    let section = section.take_while(|line| !line.starts_with("//! # "));
    let rows = section.filter_map(|line| line.strip_prefix("//! | ")).skip(1);
    rows.filter_map(|row| row.split_once(" | ")).map(|(option, rest)| (name(option), first(rest))).collect()
}

/// What is in `code`, or all of it.
fn name(cell: &str) -> String {
    let coded: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    if coded.is_empty() { cell.trim().into() } else { coded.join(", ") }
}

fn first(cells: &str) -> String {
    cells.split(" |").next().unwrap_or_default().trim().into()
}

#[test]
fn what_breaks_and_what_repeats_is_set_as_its_page_says() {
    check(
        page!("circuit_breaker"),
        &CircuitBreaker::builder(),
        &[
            ("failure_rate", "0.5", " rate: 0.5"),
            ("window", "30 s", "window: Time(30s)"),
            ("minimum_calls", "20", "minimum: 20"),
            ("open_for", "5 s", "open_for: 5s"),
            ("probes", "3", "probes: 3"),
            ("probe_failure_rate", "0.5", "probe_failure_rate: 0.5"),
            ("half_open_for", "10 s", "half_open_for: 10s"),
            ("undecided", "opens", "undecided: Open"),
            ("open_factor, open_jitter", "1, 0", "open_factor: 1.0, open_at_most: None, open_jitter: 0.0"),
            ("open_at_most", "1 min", ""),
            ("honour_hints", "yes", "hints: true"),
            ("slow_calls, ramp", "off", "slow: None"),
            ("abandoned", "when nothing else", "abandoned: WhenNothingElse"),
            (
                "evaluate, late, ignored",
                "everything, dropped, neutral",
                "evaluate: Everything, late: Dropped, ignored: Neutral",
            ),
            ("max_keys", "65,536", "max_keys: 65536"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("retry"),
        &Retry::builder(),
        &[
            ("attempts", "3 in all", "attempts: 3"),
            ("backoff", "exponential, 100 ms to 20 s", "exponential: 100ms, factor: 2.0, jitter: Full, cap: 20s"),
            ("jitter", "[`Full`]", "jitter: Full"),
            ("budget", "one of its own: 0.1 retries a request, 100 saved up", "budget: Own"),
            ("hint", "between the backoff and its cap", "hint: Clamped"),
            ("max_elapsed", "none", "max_elapsed: None"),
            ("dry_run", "off", OFF),
            ("classify", "[`ByResult`]", ""),
            ("replay", "by `Clone`", ""),
        ],
    );
    check(
        page!("retry/budget"),
        &(RetryBudget::builder(), Ratio::default()),
        &[
            ("ratio", "0.1", "Ratio { ratio: 0.1"),
            ("reserve", "100", "reserve: 100"),
            ("start", "full", "start: None }"),
            ("floor", "0 a second", "floor: 0"),
            ("rule", "[`Ratio`]", "rule: None"),
        ],
    );
    let hedge = Hedge::builder().build().unwrap();
    let budget = hedge.budget().map(|budget| budget.snapshot().available);
    check(
        page!("hedge"),
        &(Hedge::builder(), ("attempts", hedge.attempts()), ("saved", budget)),
        &[
            ("attempts", "2 in all", "(\"attempts\", 2)"),
            (
                "delay",
                "the 95th percentile of recent calls, none before 100 are known",
                "quantile: 0.95, window: 1000, samples: 100, before: None",
            ),
            ("budget", "one of its own: 0.1 hedges a call, 10 saved up", "(\"saved\", Some(10.0))"),
            ("dry_run", "off", OFF),
            ("classify", "[`ByResult`]", ""),
            ("replay", "by `Clone`", ""),
        ],
    );
    check(
        page!("fallback"),
        &Fallback::builder(),
        &[
            ("refusals", "replaced", "refusals: true"),
            ("timeouts", "replaced", "timeouts: true"),
            ("failures", "replaced", "failures: true"),
            ("dry_run", "off", OFF),
            ("classify", "[`ByResult`]", ""),
            ("replay", "by `Clone`", ""),
            ("both fail", "[`Joined`]", ""),
        ],
    );
}

#[test]
fn what_limits_is_set_as_its_page_says() {
    check(
        page!("timeout"),
        &Timeout::builder(),
        &[
            ("limit", "none", "limit: None"),
            ("reconfigurable", "off", "reconfigurable: false"),
            ("dry_run", "off", OFF),
            ("name", "`timeout`", "name: \"timeout\""),
            ("timer", "tokio's", TOKIO),
            ("TimeoutLayer::limit_by", "the one limit for all", ""),
            ("TimeoutLayer::covers_readiness", "off", ""),
            ("TimeoutLayer::detached", "off", ""),
        ],
    );
    check(
        page!("bulkhead"),
        &Bulkhead::builder(),
        &[
            ("limit", "none", "limit: None"),
            ("queue", "0", "queue: 0"),
            ("max_wait", "none", "max_wait: None"),
            ("discipline", "`fifo`", "discipline: Fifo"),
            ("dry_run", "off", OFF),
            ("name", "`bulkhead`", "name: \"bulkhead\""),
            ("timer", "tokio's", TOKIO),
        ],
    );
    check(
        page!("bulkhead/partitioned"),
        &PartitionedBulkhead::<u32>::builder(),
        &[
            ("limit", "none", "limit: None"),
            ("share", "none", "shares: []"),
            ("others", "0", "others: 0.0"),
            ("dry_run", "off", OFF),
            ("name", "`bulkhead`", "name: \"bulkhead\""),
            ("timer", "tokio's", TOKIO),
        ],
    );
    let limit = AdaptiveLimit::builder().build().unwrap().snapshot().limit;
    check(
        page!("adaptive_limit"),
        &(AdaptiveLimit::builder(), ("limit", limit)),
        &[
            ("rule", "[`Rule::VEGAS`]", "rule: Vegas"),
            ("initial", "20", "(\"limit\", 20)"),
            ("min", "3", "min: None"),
            ("max", "1,000", "max: 1000"),
            ("window", "100 ms to 1 s", "least: 100ms, most: 1s"),
            ("samples", "10", "samples: 10"),
            ("figure", "the median", "figure: Percentile(0.5)"),
            ("abandoned", "as nothing", "abandoned: Ignore"),
            ("reserve", "a tenth for `SheddablePlus`, a fifth for `Critical`", "Reserve([0.0, 0.1, 0.2, 0.0])"),
            ("queue", "0", "queue: 0"),
            ("max_wait", "none", "max_wait: None"),
            ("discipline", "`fifo`", "discipline: Fifo"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("rate_limit"),
        &RateLimiter::builder(),
        &[
            ("quota", "none", "quota: None"),
            ("burst", "the quota's permits", "burst: None"),
            ("max_wait", "zero", "max_wait: 0ns"),
            ("max_keys", "1,048,576", "max_keys: 1048576"),
            ("dry_run", "off", OFF),
            ("name", "`rate_limit`", "name: \"rate_limit\""),
            ("timer", "tokio's", TOKIO),
        ],
    );
    check(
        page!("rate_limit/client"),
        &ClientRateLimiter::builder(),
        &[("max_wait", "20 s", "max_wait: 20s"), ("dry_run", "off", OFF)],
    );
    check(
        page!("rate_limit/distributed"),
        &DistributedRateLimiter::builder(LocalStore::new()),
        &[
            ("quota", "none", "quota: None"),
            ("burst", "the quota's permits", "burst: None"),
            ("handful", "a hundredth of the burst", "handful: None"),
            ("keep_for", "the quota's time", "keep_for: None"),
            ("patience", "50 ms", "patience: 50ms"),
            ("when_unavailable", "admit", "when_unavailable: Admit"),
            ("dry_run", "off", OFF),
        ],
    );
}

#[test]
fn what_sheds_is_set_as_its_page_says() {
    check(
        page!("load_shed"),
        &ClientThrottle::builder(),
        &[
            ("rule", "[`Throttle::SRE`]", "k: 2.0, pad: 1.0, most: 1.0, aggression: 1.0, min_requests: 0"),
            ("window", "2 min", "window: 120s"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("load_shed/admission"),
        &AdmissionControl::builder(),
        &[
            ("success_rate", "0.95", "success_rate: 0.95"),
            ("aggression", "1", "aggression: 1.0"),
            ("most", "0.8", "most: 0.8"),
            ("min_rate", "5 calls a second", "min_rate: 5.0"),
            ("window", "30 s", "window: 30s"),
            ("cohort", "by chance", "cohort: Random"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("load_shed/queue"),
        &QueueShed::builder(),
        &[
            ("target", "5 ms", "target: 5ms"),
            ("interval", "100 ms", "interval: 100ms"),
            ("patience", "2, 4, 40 and 40 targets", "patience: [2.0, 4.0, 40.0, 40.0]"),
            ("cohort", "by chance", "cohort: Random"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("load_shed/signal"),
        &SignalShed::builder(),
        &[
            ("from", "0.8", "from: 0.8"),
            ("most", "1", "most: 1.0"),
            ("fresh_for", "30 s", "fresh_for: 30s"),
            ("cohort", "by chance", "cohort: Random"),
            ("dry_run", "off", OFF),
        ],
    );
}

#[test]
fn whatever_else_has_settings_has_them_as_its_page_says() {
    check(
        page!("batch"),
        &Batch::builder(),
        &[
            ("size", "100", "size: 100"),
            ("delay", "2 ms", "delay: 2ms"),
            ("weight", "any", "weight: 18446744073709551615"),
            ("limit", "10,000 calls that wait", "limit: 10000"),
            ("group_by", "all together", ""),
            ("keys", "1,000", "keys: 1000"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("chaos"),
        &Chaos::<u32, u32, u32>::builder(),
        &[
            ("faults", "none", "delay: 0.0, delay_for: (0ns, 0ns), error: 0.0, response: 0.0, behaviour: 0.0"),
            ("script", "none", "script: None"),
            ("seed", "from the system", "seed: None"),
            ("enabled", "on", "enabled: true"),
            ("only", "all requests", "only: false"),
            ("dry_run", "off", OFF),
        ],
    );
    check(
        page!("health"),
        &Check::new("database", || async { Ok::<(), std::io::Error>(()) }),
        &[
            ("weight", "critical", "critical: true"),
            ("probe", "readiness", "probe: Readiness"),
            ("timeout", "1 s", "timeout: 1s"),
            ("min_interval", "1 s", "min_interval: 1s"),
            ("grace", "zero", "grace: 0ns"),
        ],
    );
    check(
        page!("lease"),
        &(Fence::builder(), Ownership::builder()),
        &[
            ("Fence", "refused", "optional: false"),
            ("Fence, max_resources", "65,536", "max_resources: 65536"),
            ("Fence, dry_run", "off", OFF),
            ("name", "`fence`, `ownership`", "name: \"ownership\""),
        ],
    );
}

#[cfg(feature = "cache")]
#[test]
fn a_cache_is_set_as_its_page_says() {
    check(
        page!("cache"),
        &resilience_core::cache::Cache::<u32, u32, u32>::builder(),
        &[
            ("capacity", "10,000 answers", "capacity: 10000"),
            ("ttl", "60 s, never stale", "fresh: 60s, while_revalidate: 0ns, if_error: 0ns"),
            ("negative_ttl", "no error is kept", "negative_ttl: false"),
            ("own_errors", "none", "own_errors: false"),
            ("jitter", "0", "jitter: 0.0"),
            ("pause_after_failure", "1 s", "pause_after_failure: 1s"),
            ("dry_run", "off", OFF),
        ],
    );
}

#[cfg(feature = "http")]
#[test]
fn what_http_says_is_taken_as_its_page_says() {
    use resilience_core::http::{ByStatus, Headers};
    check(
        page!("http"),
        &(Headers::default(), ByStatus::default()),
        &[
            ("Headers", "see there", "timeout: \"resilience-timeout-ms\""),
            ("Headers::at_the_edge", "off", "believes_strangers: true"),
            ("ByStatus::client_error", "ignored", "client_error: Classification { class: Ignore"),
            ("ByStatus::rate_limited", "failure", "rate_limited: Classification { class: Failure"),
            ("Classify, ClassifyEnd", "[`ByStatus`], [`ByHead`]", ""),
            ("an answer dropped before its end", "given up", ""),
        ],
    );
}
