//! Figures of all kinds, the odd ones often.

use std::time::Duration;

use proptest::prelude::*;

// Boxed strategies: by value, those of a whole policy are too large for the stack of a test.
use crate::chaos::Faults;
use crate::config::*;

fn spans() -> BoxedStrategy<Option<Span>> {
    let some = prop_oneof![
        Just(Duration::MAX),
        Just(Duration::ZERO),
        Just(Duration::from_nanos(1)),
        Just(Duration::from_nanos(u64::MAX)),
        (0..10_000_u64).prop_map(Duration::from_millis),
        any::<(u64, u32)>().prop_map(|(seconds, nanos)| Duration::new(seconds, nanos % 1_000_000_000)),
    ];
    proptest::option::of(some.prop_map(Span)).boxed()
}

fn counts() -> BoxedStrategy<Option<u32>> {
    proptest::option::of(prop_oneof![Just(u32::MAX), Just(0), Just(1), 0..100_u32, any::<u32>()]).boxed()
}

fn ratios() -> BoxedStrategy<Option<f64>> {
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.0, f64::MIN_POSITIVE, f64::MAX, 1.0];
    proptest::option::of(prop_oneof![proptest::sample::select(odd.to_vec()), 0.0..1.0, any::<f64>()]).boxed()
}

fn backoffs() -> BoxedStrategy<Option<BackoffConfig>> {
    let curves = [
        None,
        Some(Curve::None),
        Some(Curve::Constant),
        Some(Curve::Linear),
        Some(Curve::Exponential),
        Some(Curve::Sequence),
    ];
    let jitters = prop_oneof![
        Just(None),
        Just(Some(JitterConfig::Decorrelated)),
        Just(Some(JitterConfig::PollyV2)),
        ratios().prop_map(|share| share.map(JitterConfig::Around)),
    ];
    let delays = proptest::option::of(proptest::collection::vec(spans().prop_map(Option::unwrap_or_default), 0..4));
    let parts = (proptest::sample::select(curves.to_vec()), spans(), spans(), ratios(), delays, jitters);
    proptest::option::of(parts.prop_map(|(curve, base, cap, factor, delays, jitter)| BackoffConfig {
        curve,
        base,
        cap,
        factor,
        delays,
        jitter,
    }))
    .boxed()
}

fn budgets() -> BoxedStrategy<BudgetConfig> {
    let figure = || ratios().prop_map(Option::unwrap_or_default);
    let count = || counts().prop_map(Option::unwrap_or_default);
    let rules = prop_oneof![
        4 => Just(None),
        1 => Just(Some(BudgetRule::Aws21)),
        1 => (count(), figure()).prop_map(|(max_tokens, ratio)| Some(BudgetRule::Throttle { max_tokens, ratio })),
        1 => (figure(), count()).prop_map(|(ratio, floor)| Some(BudgetRule::Share { ratio, floor, counts_itself: true })),
        1 => (spans(), count(), figure()).prop_map(|(ttl, min_per_second, ratio)| {
            Some(BudgetRule::Leaky { ttl: ttl.unwrap_or_default(), min_per_second, ratio })
        }),
    ];
    (ratios(), counts(), counts(), counts(), rules)
        .prop_map(|(ratio, reserve, start, floor, rule)| BudgetConfig { ratio, reserve, start, floor, rule })
        .boxed()
}

fn retries() -> BoxedStrategy<RetryConfig> {
    let hints = prop_oneof![
        Just(None),
        Just(Some(HintConfig::Exact)),
        spans().prop_map(|span| span.map(HintConfig::UpTo)),
        spans().prop_map(|span| span.map(HintConfig::Within)),
    ];
    let budget =
        proptest::option::of(prop_oneof![Just(BudgetChoice::Unlimited), budgets().prop_map(BudgetChoice::Own)]);
    let parts = (proptest::option::of(0..5_u32), backoffs(), backoffs(), hints, spans(), budget, any::<Option<u64>>());
    parts
        .prop_map(|(attempts, backoff, throttled_backoff, hint, max_elapsed, budget, seed)| RetryConfig {
            attempts,
            backoff,
            throttled_backoff,
            hint,
            max_elapsed,
            long_poll: None,
            dry_run: None,
            budget,
            seed,
        })
        .boxed()
}

fn breakers() -> BoxedStrategy<CircuitBreakerConfig> {
    let slow =
        (spans(), ratios()).prop_map(|(threshold, rate)| Some(SlowCallsConfig { threshold: threshold?, rate: rate? }));
    let ramp = (ratios(), ratios(), spans())
        .prop_map(|(first, second, stage)| Some(RampConfig { shares: vec![first?, second?], stage: stage? }));
    let profile =
        prop_oneof![9 => Just(None), 1 => Just(Some(ProfileConfig::Polly)), 1 => Just(Some(ProfileConfig::Gobreaker))];
    let more = (counts(), slow, ramp, profile, ratios(), spans(), ratios(), counts(), any::<Option<bool>>());
    (counts(), ratios(), spans(), counts(), spans(), counts(), ratios(), spans(), more)
        .prop_map(|it| CircuitBreakerConfig {
            count_window: it.8.0,
            slow_calls: it.8.1,
            ramp: it.8.2,
            profile: it.8.3,
            open_factor: it.8.4,
            open_at_most: it.8.5,
            open_jitter: it.8.6,
            probe_successes: it.8.7,
            dry_run: it.8.8,
            consecutive_failures: it.0,
            failure_rate: it.1,
            window: it.2,
            minimum_calls: it.3,
            open_for: it.4,
            probes: it.5,
            probe_failure_rate: it.6,
            half_open_for: it.7,
            ..CircuitBreakerConfig::default()
        })
        .boxed()
}

fn disciplines() -> BoxedStrategy<Option<DisciplineConfig>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(DisciplineConfig::Fifo)),
        1 => Just(Some(DisciplineConfig::DeadlineFirst)),
        1 => Just(Some(DisciplineConfig::Priority)),
        1 => (spans(), spans()).prop_map(|(interval, timeout)| {
            Some(DisciplineConfig::AdaptiveLifo { interval, timeout })
        }),
        1 => (spans(), spans()).prop_map(|(target, interval)| {
            Some(DisciplineConfig::CoDel { target: target?, interval: interval? })
        }),
    ]
    .boxed()
}

fn hedges() -> BoxedStrategy<HedgeConfig> {
    let quantiles = (ratios(), counts(), counts(), spans(), spans(), spans()).prop_map(
        |(quantile, window, samples, before, least, most)| {
            let quantile = QuantileConfig::new(quantile?);
            Some(DelayConfig::Quantile(QuantileConfig { window, samples, before, least, most, ..quantile }))
        },
    );
    let delays = prop_oneof![
        Just(None),
        spans().prop_map(|span| span.map(DelayConfig::Fixed)),
        proptest::collection::vec(spans().prop_map(Option::unwrap_or_default), 0..4)
            .prop_map(|delays| Some(DelayConfig::Schedule(delays))),
        quantiles,
    ];
    let budget =
        proptest::option::of(prop_oneof![Just(BudgetChoice::Unlimited), budgets().prop_map(BudgetChoice::Own)]);
    (proptest::option::of(0..12_u32), delays, budget, any::<Option<bool>>())
        .prop_map(|(attempts, delay, budget, dry_run)| HedgeConfig { attempts, delay, budget, dry_run })
        .boxed()
}

fn fallbacks() -> BoxedStrategy<FallbackConfig> {
    any::<[Option<bool>; 4]>()
        .prop_map(|[refusals, timeouts, failures, dry_run]| FallbackConfig { refusals, timeouts, failures, dry_run })
        .boxed()
}

fn rules() -> BoxedStrategy<Option<RuleConfig>> {
    prop_oneof![
        1 => Just(None),
        1 => (ratios(), spans()).prop_map(|(backoff, timeout)| Some(RuleConfig::Aimd { backoff, timeout })),
        1 => (ratios(), counts(), counts()).prop_map(|(smoothing, alpha, beta)| {
            Some(RuleConfig::Vegas { smoothing, alpha, beta })
        }),
        1 => (ratios(), counts(), ratios(), counts()).prop_map(|(tolerance, queue, smoothing, windows)| {
            Some(RuleConfig::Gradient2 { tolerance, queue, smoothing, windows })
        }),
    ]
    .boxed()
}

fn by_criticality() -> BoxedStrategy<ByCriticality> {
    let some =
        (ratios(), ratios(), ratios(), ratios()).prop_map(|(sheddable, sheddable_plus, critical, critical_plus)| {
            ByCriticality { sheddable, sheddable_plus, critical, critical_plus }
        });
    prop_oneof![2 => Just(ByCriticality::default()), 1 => some].boxed()
}

fn adaptive_limits() -> BoxedStrategy<AdaptiveLimitConfig> {
    let window = (spans(), spans()).prop_map(|(least, most)| Some(WindowConfig { least: least?, most: most? }));
    let figure = prop_oneof![
        Just(None),
        Just(Some(FigureConfig::Mean)),
        ratios().prop_map(|share| share.map(FigureConfig::Percentile)),
    ];
    let more = (counts(), spans(), disciplines(), any::<Option<bool>>(), any::<Option<bool>>());
    (rules(), counts(), counts(), counts(), window, counts(), figure, by_criticality(), more)
        .prop_map(|it| AdaptiveLimitConfig {
            rule: it.0,
            initial: it.1,
            min: it.2,
            max: it.3,
            window: it.4,
            samples: it.5,
            figure: it.6,
            reserve: it.7,
            queue: it.8.0,
            max_wait: it.8.1,
            discipline: it.8.2,
            abandoned_is_lost: it.8.3,
            dry_run: it.8.4,
        })
        .boxed()
}

/// Limits that find themselves, and what sheds load.
fn loads() -> BoxedStrategy<PolicyConfig> {
    let cohort = || proptest::sample::select(vec![None, Some(CohortConfig::Random), Some(CohortConfig::Correlation)]);
    let throttle = (ratios(), ratios(), ratios(), ratios(), any::<Option<u64>>());
    let throttle = throttle.prop_map(|(k, pad, most, aggression, min_requests)| {
        // What TOML can say.
        let min_requests = min_requests.map(|requests| requests >> 1);
        ThrottleConfig { k, pad, most, aggression, min_requests }
    });
    prop_oneof![
        2 => adaptive_limits().prop_map(PolicyConfig::AdaptiveLimit),
        1 => (throttle, spans(), any::<Option<bool>>()).prop_map(|(rule, window, dry_run)| {
            PolicyConfig::ClientThrottle(ClientThrottleConfig { rule, window, dry_run })
        }),
        1 => (ratios(), ratios(), ratios(), ratios(), spans(), cohort(), any::<Option<bool>>()).prop_map(
            |(success_rate, aggression, min_rate, most, window, cohort, dry_run)| {
                let config = AdmissionControlConfig { success_rate, aggression, min_rate, most, window, cohort, dry_run };
                PolicyConfig::AdmissionControl(config)
            }
        ),
        1 => (spans(), spans(), by_criticality(), cohort(), any::<Option<bool>>()).prop_map(
            |(target, interval, patience, cohort, dry_run)| {
                PolicyConfig::QueueShed(QueueShedConfig { target, interval, patience, cohort, dry_run })
            }
        ),
        1 => (ratios(), ratios(), spans(), cohort(), any::<Option<bool>>()).prop_map(
            |(from, most, fresh_for, cohort, dry_run)| {
                PolicyConfig::SignalShed(SignalShedConfig { from, most, fresh_for, cohort, dry_run })
            }
        ),
    ]
    .boxed()
}

fn batches() -> BoxedStrategy<BatchConfig> {
    (counts(), any::<Option<u32>>(), spans(), counts(), counts(), any::<Option<bool>>())
        .prop_map(|(size, weight, delay, keys, limit, dry_run)| BatchConfig {
            size: size.map(|size| size as usize),
            weight: weight.map(u64::from),
            delay,
            keys: keys.map(|keys| keys as usize),
            limit,
            dry_run,
        })
        .boxed()
}

fn caches() -> BoxedStrategy<CacheConfig> {
    let windows = (spans(), spans(), spans(), spans());
    (counts(), windows, ratios(), any::<Option<bool>>())
        .prop_map(|(capacity, windows, jitter, dry_run)| CacheConfig {
            capacity: capacity.map(u64::from),
            ttl: windows.0,
            stale_while_revalidate: windows.1,
            stale_if_error: windows.2,
            jitter,
            pause_after_failure: windows.3,
            dry_run,
        })
        .boxed()
}

fn faults() -> BoxedStrategy<Faults> {
    let shares = (ratios(), ratios(), ratios(), ratios());
    (shares, spans(), spans())
        .prop_map(|(shares, least, most)| Faults {
            delay: shares.0.unwrap_or_default(),
            delay_for: (least.unwrap_or_default().0, most.unwrap_or_default().0),
            error: shares.1.unwrap_or_default(),
            response: shares.2.unwrap_or_default(),
            behaviour: shares.3.unwrap_or_default(),
        })
        .boxed()
}

fn chaos() -> BoxedStrategy<ChaosConfig> {
    let calm = prop_oneof![Just(Faults::NONE), Just(Faults::OUTAGE), faults()].boxed();
    let phase = (any::<Option<u32>>(), spans(), calm.clone()).prop_map(|(calls, lasting, faults)| PhaseConfig {
        calls: calls.map(u64::from),
        lasting: lasting.filter(|_| calls.is_none()),
        faults,
    });
    (any::<[Option<bool>; 3]>(), calm, proptest::collection::vec(phase, 0..3), any::<Option<u32>>())
        .prop_map(|([enabled, repeats, dry_run], faults, script, seed)| ChaosConfig {
            enabled,
            faults,
            script,
            repeats,
            seed: seed.map(u64::from),
            dry_run,
        })
        .boxed()
}

fn rates() -> BoxedStrategy<PolicyConfig> {
    let quotas = (counts(), spans()).prop_map(|(permits, per)| Some(Quota { permits: permits?, per: per? }));
    let when =
        proptest::sample::select(vec![None, Some(WhenUnavailableConfig::Admit), Some(WhenUnavailableConfig::Refuse)]);
    prop_oneof![
        (quotas.clone(), counts(), counts(), any::<Option<bool>>()).prop_map(|(quota, burst, max_keys, dry_run)| {
            let max_keys = max_keys.map(|keys| keys as usize);
            PolicyConfig::KeyedRateLimit(KeyedRateLimitConfig { quota, burst, max_keys, dry_run })
        }),
        (spans(), any::<Option<bool>>()).prop_map(|(max_wait, dry_run)| {
            PolicyConfig::ClientRateLimit(ClientRateLimitConfig { max_wait, dry_run })
        }),
        (quotas, counts(), counts(), spans(), spans(), when, any::<Option<bool>>()).prop_map(
            |(quota, burst, handful, keep_for, patience, when_unavailable, dry_run)| {
                let some =
                    DistributedRateLimitConfig { quota, burst, handful, keep_for, patience, when_unavailable, dry_run };
                PolicyConfig::DistributedRateLimit(some)
            }
        ),
    ]
    .boxed()
}

pub(super) fn policies() -> BoxedStrategy<PolicyConfig> {
    let quotas = (counts(), spans()).prop_map(|(permits, per)| Some(Quota { permits: permits?, per: per? }));
    prop_oneof![
        (spans(), any::<Option<bool>>())
            .prop_map(|(limit, dry_run)| PolicyConfig::Timeout(TimeoutConfig { limit, dry_run })),
        (counts(), counts(), spans(), disciplines(), any::<Option<bool>>()).prop_map(
            |(limit, queue, max_wait, discipline, dry_run)| {
                PolicyConfig::Bulkhead(BulkheadConfig { limit, queue, max_wait, discipline, dry_run })
            }
        ),
        (
            counts(),
            proptest::collection::btree_map("[a-d]", any::<f64>().boxed(), 0..4),
            ratios(),
            any::<Option<bool>>()
        )
            .prop_map(|(limit, shares, others, dry_run)| {
                PolicyConfig::PartitionedBulkhead(PartitionedBulkheadConfig { limit, shares, others, dry_run })
            }),
        (quotas, counts(), spans(), any::<Option<bool>>()).prop_map(|(quota, burst, max_wait, dry_run)| {
            PolicyConfig::RateLimit(RateLimitConfig { quota, burst, max_wait, dry_run })
        }),
        loads(),
        batches().prop_map(PolicyConfig::Batch),
        caches().prop_map(PolicyConfig::Cache),
        chaos().prop_map(PolicyConfig::Chaos),
        rates(),
        breakers().prop_map(PolicyConfig::CircuitBreaker),
        (breakers(), counts()).prop_map(|(each, max_keys)| {
            let max_keys = max_keys.map(|keys| keys as usize);
            PolicyConfig::KeyedCircuitBreaker(KeyedCircuitBreakerConfig { max_keys, ..each.into() })
        }),
        retries().prop_map(PolicyConfig::Retry),
        hedges().prop_map(PolicyConfig::Hedge),
        fallbacks().prop_map(PolicyConfig::Fallback),
    ]
    .boxed()
}
