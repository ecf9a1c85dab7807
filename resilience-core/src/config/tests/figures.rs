//! Hostile figures: whatever a file says, its policies are refused or work.

use std::time::Duration;

use proptest::prelude::*;

use super::given::*;
use crate::Error;
use crate::config::*;
use crate::rate_limit::distributed::LocalStore;
use crate::time::ManualTimer;

thread_local! {
    /// What was built for keys, in use still when the settings change.
    static KEYED: std::cell::RefCell<Vec<Box<dyn crate::registry::Managed>>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Some calls through a policy, with time passing between them.
async fn exercise(policy: &Policy, timer: &ManualTimer) {
    for step in [0, 1, 1_000_000, u64::MAX / 2, u64::MAX] {
        let call = async { if step % 2 == 0 { Ok(()) } else { Err(Error::Service("down")) } };
        match policy {
            Policy::Timeout(timeout) => drop(timeout.call(call).await),
            Policy::CircuitBreaker(breaker) => drop(breaker.call(call).await),
            Policy::KeyedCircuitBreaker(template) => {
                let breaker = template.build::<u64>().unwrap();
                for key in [step, 0, 1, 0] {
                    let class = if step % 2 == 0 { crate::Class::Success } else { crate::Class::Failure };
                    breaker.try_acquire(&key).map(|permit| permit.settle(class)).unwrap_or_default();
                }
                KEYED.with_borrow_mut(|kept| kept.push(Box::new(breaker)));
            }
            Policy::KeyedRateLimit(template) => {
                let limiter = template.build::<u64>().unwrap();
                for key in [step, 0, 1, 0] {
                    let _ = (limiter.try_acquire_n(&key, step as u32 % 7), limiter.available(&key));
                }
                KEYED.with_borrow_mut(|kept| kept.push(Box::new(limiter)));
            }
            Policy::Bulkhead(bulkhead) => drop(bulkhead.call(call).await),
            Policy::PartitionedBulkhead(bulkhead) => drop(bulkhead.call("a", call).await),
            Policy::AdaptiveLimit(limit) => drop(limit.call(call).await),
            Policy::ClientThrottle(shed) => {
                let class = if step % 2 == 0 { crate::Class::Success } else { crate::Class::Failure };
                shed.try_acquire().map(|permit| permit.settle(class)).unwrap_or_default();
            }
            Policy::AdmissionControl(shed) => drop(shed.try_acquire()),
            Policy::QueueShed(shed) => drop(shed.try_admit(Duration::from_nanos(step))),
            Policy::SignalShed(shed) => {
                shed.signal().set(f64::from_bits(step));
                let _ = (shed.try_admit(), shed.snapshot());
                shed.signal().set(0.99);
                let _ = shed.try_admit();
            }
            Policy::Batch(batch) => {
                let doubles = batch.over(async |numbers: Vec<u64>| {
                    Ok::<_, Error<crate::batch::Unanswered>>(numbers.into_iter().map(Ok).collect::<Vec<_>>())
                });
                let mut calls: Vec<_> = (0..3).map(|call| Box::pin(doubles.call(call ^ step))).collect();
                for call in &mut calls {
                    if futures::poll!(call.as_mut()).is_pending() {
                        timer.advance(Duration::from_nanos(step));
                    }
                }
            }
            Policy::Cache(template) => {
                let cache = template.build::<u64, u64, &str>(|cache| cache).unwrap();
                let _ = cache.get_or_load(step, async || Ok(step)).await;
                timer.advance(Duration::from_nanos(step));
                let _ = cache.get_or_load(step, async || Err("down")).await;
            }
            Policy::Chaos(template) => {
                let makes = |chaos: crate::chaos::ChaosBuilder<u64, u64, &'static str>| {
                    chaos.error(|_| "injected").response(|call| *call).behaviour(|_| async {})
                };
                let chaos = template.build(makes).unwrap();
                let mut call = Box::pin(chaos.call(&step, async { Ok(step) }));
                if futures::poll!(call.as_mut()).is_pending() {
                    timer.advance(Duration::from_nanos(step));
                    let _ = futures::poll!(call.as_mut());
                }
            }
            Policy::ClientRateLimit(limiter) => {
                limiter.answered(step % 3 == 0);
                let mut wait = Box::pin(limiter.acquire());
                if futures::poll!(wait.as_mut()).is_pending() {
                    timer.advance(Duration::from_secs(3600));
                    let _ = futures::poll!(wait.as_mut());
                }
            }
            Policy::DistributedRateLimit(template) => {
                let limiter = template.build(LocalStore::with_timer(timer.clone())).unwrap();
                for _ in 0..3 {
                    let _ = limiter.acquire().await;
                }
                let silent = template.build(NoStore).unwrap();
                let mut wait = Box::pin(silent.acquire());
                let _ = futures::poll!(wait.as_mut());
                timer.advance(Duration::from_nanos(step));
                let _ = silent.snapshot();
            }
            Policy::RateLimit(limiter) => drop(limiter.try_acquire_n(step as u32 % 7)),
            Policy::Fallback(fallback) => drop(fallback.run_or(call, ()).await),
            Policy::Hedge(hedge) => {
                drop(hedge.run(async |_| Ok::<_, Error<()>>(())).await);
                let mut run = Box::pin(hedge.run(async |attempt| match attempt {
                    3 => Err::<(), _>(Error::Service("down")),
                    _ => std::future::pending().await,
                }));
                for _ in 0..3 {
                    if futures::poll!(run.as_mut()).is_ready() {
                        break;
                    }
                    timer.advance(Duration::from_secs(3600));
                }
            }
            Policy::Retry(retry) => {
                let hinted = |_: &Result<(), &str>| crate::Classification::FAILURE.after(Duration::from_nanos(step));
                let mut run = Box::pin(retry.run_with(hinted, async |_| Err::<(), _>("down")));
                for _ in 0..3 {
                    if futures::poll!(run.as_mut()).is_ready() {
                        break;
                    }
                    timer.advance(Duration::from_secs(3600));
                }
            }
        }
        timer.advance(Duration::from_nanos(step));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// `Duration::MAX`, `u32::MAX` and NaN are refused or work; nothing that was accepted panics later, and neither does
    /// what replaces it while it is in use.
    #[test]
    fn no_figure_in_a_file_makes_a_policy_panic(before in policies(), after in policies()) {
        let timer = ManualTimer::new();
        let setup = Setup::new().timer(timer.clone());
        let alone = |policy: &PolicyConfig| PipelineConfig::default().with("it", policy.clone());
        if let Ok(pipeline) = alone(&before).build("p", &setup) {
            let policy = pipeline.policy("it").unwrap();
            futures::executor::block_on(exercise(policy, &timer));
            let _ = policy.reconfigure(&after);
            futures::executor::block_on(exercise(policy, &timer));
            for keyed in KEYED.take() {
                let _ = keyed.figures();
            }
        }
    }

    /// What a check accepts can be built, and what it refuses cannot.
    #[test]
    fn a_check_says_what_building_says(policy in policies()) {
        let pipeline = PipelineConfig::default().with("it", policy);
        let mut config = Config::default();
        config.pipelines.insert("p".into(), pipeline.clone());
        let setup = Setup::new().timer(ManualTimer::new());
        prop_assert_eq!(config.check().is_ok(), pipeline.build("p", &setup).is_ok());
    }

    /// Writing and reading changes no setting.
    #[test]
    fn a_configuration_survives_being_written(policy in policies()) {
        let pipeline = PipelineConfig::default().with("it", policy);
        // Through TOML, which has a way to write what is no number.
        let text = toml::to_string(&pipeline).unwrap();
        let read: PipelineConfig = toml::from_str(&text).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{pipeline:?}"));
        // Through JSON, what can work: it has no way to write what is no number, and nothing that can work is none.
        let mut config = Config::default();
        config.pipelines.insert("p".into(), pipeline);
        if config.check().is_ok() {
            prop_assert_eq!(Config::from_json(&serde_json::to_string(&config).unwrap()).unwrap(), config);
        }
    }
}
