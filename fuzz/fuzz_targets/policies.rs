//! Whatever a builder is told, it says yes or names a field; and whatever a built policy goes through, it does not panic.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use futures::FutureExt;
use libfuzzer_sys::fuzz_target;
use resilience_core::bulkhead::{Bulkhead, Discipline};
use resilience_core::circuit_breaker::{Abandoned, CircuitBreaker, State};
use resilience_core::context::{Context, Criticality};
use resilience_core::rate_limit::RateLimiter;
use resilience_core::retry::budget::{Costs, Kind, Ratio, Rule, Share, Throttle};
use resilience_core::retry::{Backoff, Hint, Jitter, Retry, RetryBudget};
use resilience_core::time::{ManualTimer, Timer};
use resilience_core::timeout::Timeout;
use resilience_core::{Class, Classification, Error};

#[derive(Arbitrary, Debug)]
enum Settings {
    Breaker {
        consecutive: Option<u32>,
        rate: f64,
        window: Duration,
        minimum: u32,
        open_for: Duration,
        probes: u32,
        probe_rate: f64,
        half_open_for: Duration,
        abandoned: u8,
    },
    Bulkhead { limit: u32, queue: u32, max_wait: Option<Duration>, discipline: Order },
    RateLimiter { permits: u32, per: Duration, burst: Option<u32>, max_wait: Option<Duration> },
    Budget { rule: BudgetRule, floor: u32 },
    Retry { attempts: u32, curve: Curve, hint: HintKind, longest: Option<Duration>, limit: Duration },
}

#[derive(Arbitrary, Debug)]
enum Order {
    Fifo,
    AdaptiveLifo { interval: Duration, timeout: Duration },
    CoDel { target: Duration, interval: Duration },
    DeadlineFirst,
    Priority,
}

#[derive(Arbitrary, Debug)]
enum BudgetRule {
    Ratio { ratio: f64, reserve: u32, start: Option<u32> },
    Costs { capacity: u32, failure: u32, throttled: u32, timed_out: u32, reward: f64, gives_back: bool },
    Throttle { max_tokens: u32, ratio: f64 },
    Share { ratio: f64, floor: u32, counts_itself: bool },
}

#[derive(Arbitrary, Debug)]
struct Curve {
    kind: u8,
    base: Duration,
    cap: Duration,
    jitter: u8,
}

#[derive(Arbitrary, Debug)]
enum HintKind {
    Clamped,
    UpTo(Duration),
    Within(Duration),
    Exact,
    Ignored,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Begins something: a call, a permit, a reservation of so many.
    Begin(u32),
    /// Ends what was begun at this place, some way.
    End(u8, u8),
    /// Lets time pass, or not.
    Pass(Duration),
    /// Interferes by hand.
    Force(u8, u32, Duration),
}

fuzz_target!(|input: (Settings, Vec<Step>)| {
    let (settings, steps) = input;
    // Long histories find no more than these, and time is better spent on others.
    let steps = &steps[..steps.len().min(200)];
    let timer = ManualTimer::new();
    match settings {
        Settings::Breaker {
            consecutive, rate, window, minimum, open_for, probes, probe_rate, half_open_for, abandoned,
        } => {
            let mut builder = CircuitBreaker::builder().open_for(open_for).probes(probes).half_open_for(half_open_for);
            builder = builder.probe_failure_rate(probe_rate).timer(timer.clone());
            builder = builder.abandoned(match abandoned % 3 {
                0 => Abandoned::Ignore,
                1 => Abandoned::Failure,
                _ => Abandoned::WhenNothingElse,
            });
            builder = match consecutive {
                Some(failures) => builder.consecutive_failures(failures),
                None => builder.failure_rate(rate).window(window).minimum_calls(minimum),
            };
            if let Ok(breaker) = builder.build() {
                drive_breaker(&breaker, &timer, steps);
            }
        }
        Settings::Bulkhead { limit, queue, max_wait, discipline } => {
            let discipline = match discipline {
                Order::Fifo => Discipline::fifo(),
                Order::AdaptiveLifo { interval, timeout } => Discipline::AdaptiveLifo { interval, timeout },
                Order::CoDel { target, interval } => Discipline::codel(target, interval),
                Order::DeadlineFirst => Discipline::deadline_first(),
                Order::Priority => Discipline::priority(),
            };
            let mut builder = Bulkhead::builder().limit(limit).queue(queue).discipline(discipline).timer(timer.clone());
            if let Some(wait) = max_wait {
                builder = builder.max_wait(wait);
            }
            if let Ok(bulkhead) = builder.build() {
                drive_bulkhead(&bulkhead, &timer, steps);
            }
        }
        Settings::RateLimiter { permits, per, burst, max_wait } => {
            let mut builder = RateLimiter::builder().quota(permits, per).timer(timer.clone());
            if let Some(burst) = burst {
                builder = builder.burst(burst);
            }
            if let Some(wait) = max_wait {
                builder = builder.max_wait(wait);
            }
            if let Ok(limiter) = builder.build() {
                drive_limiter(&limiter, &timer, steps);
            }
        }
        Settings::Budget { rule, floor } => {
            let builder = RetryBudget::builder().rule(budget_rule(rule)).floor(floor).timer(timer.clone());
            if let Ok(budget) = builder.build() {
                drive_budget(&budget, &timer, steps);
            }
        }
        Settings::Retry { attempts, curve, hint, longest, limit } => {
            let mut builder = Retry::builder().attempts(attempts).backoff(backoff(&curve)).hint(hint_of(hint));
            builder = builder.timer(timer.clone());
            if let Some(longest) = longest {
                builder = builder.max_elapsed(longest);
            }
            let timeout = Timeout::builder().limit(limit).timer(timer.clone()).build();
            if let (Ok(retry), Ok(timeout)) = (builder.build(), timeout) {
                drive_retry(&retry, &timeout, &timer, steps);
            }
        }
    }
});

fn budget_rule(rule: BudgetRule) -> Rule {
    match rule {
        BudgetRule::Ratio { ratio, reserve, start } => Rule::Ratio(Ratio { ratio, reserve, start }),
        BudgetRule::Costs { capacity, failure, throttled, timed_out, reward, gives_back } => {
            Rule::Costs(Costs { capacity, failure, throttled, timed_out, reward, gives_back })
        }
        BudgetRule::Throttle { max_tokens, ratio } => Rule::Throttle(Throttle { max_tokens, ratio }),
        BudgetRule::Share { ratio, floor, counts_itself } => Rule::Share(Share { ratio, floor, counts_itself }),
    }
}

fn backoff(curve: &Curve) -> Backoff {
    let backoff = match curve.kind % 3 {
        0 => Backoff::constant(curve.base),
        1 => Backoff::linear(curve.base, curve.cap),
        _ => Backoff::exponential(curve.base, curve.cap),
    };
    backoff.jitter(match curve.jitter % 5 {
        0 => Jitter::None,
        1 => Jitter::Full,
        2 => Jitter::Equal,
        3 => Jitter::Decorrelated,
        _ => Jitter::PollyV2,
    })
}

fn hint_of(hint: HintKind) -> Hint {
    match hint {
        HintKind::Clamped => Hint::Clamped,
        HintKind::UpTo(longest) => Hint::UpTo(longest),
        HintKind::Within(more) => Hint::Within(more),
        HintKind::Exact => Hint::Exact,
        HintKind::Ignored => Hint::Ignored,
    }
}

fn class(of: u8) -> Class {
    [Class::Success, Class::Failure, Class::Slow, Class::Ignore][usize::from(of % 4)]
}

fn drive_breaker(breaker: &CircuitBreaker, timer: &ManualTimer, steps: &[Step]) {
    let mut permits = Vec::new();
    for step in steps {
        match step {
            Step::Begin(_) => permits.extend(breaker.try_acquire()),
            Step::End(at, how) if !permits.is_empty() => {
                let permit = permits.swap_remove(usize::from(*at) % permits.len());
                // One in five is given up.
                if how % 5 != 0 {
                    permit.settle(class(*how));
                }
            }
            Step::End(..) => {}
            Step::Pass(time) => timer.advance(*time),
            Step::Force(0, _, wait) => breaker.open_for(*wait),
            Step::Force(1, ..) => breaker.isolate(),
            Step::Force(..) => breaker.close(),
        }
        let seen = breaker.snapshot();
        assert!(seen.failures <= seen.calls);
        assert!(seen.until.is_none() || matches!(seen.state, State::Open | State::HalfOpen));
    }
}

fn drive_bulkhead(bulkhead: &Bulkhead, timer: &ManualTimer, steps: &[Step]) {
    let (mut permits, mut waiting) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Begin(kind) => {
                // From the number: how critical, and with which deadline.
                let level = [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::Critical][*kind as usize % 3];
                let deadline = timer.now() + Duration::from_nanos(u64::from(*kind) << (kind % 32));
                let context = Context::new().with_criticality(level).with_deadline(deadline);
                let mut acquire = Box::pin(context.scope(bulkhead.acquire()));
                match acquire.as_mut().now_or_never() {
                    Some(result) => permits.extend(result),
                    None => waiting.push(acquire),
                }
            }
            Step::End(at, how) if how % 2 == 0 && !permits.is_empty() => {
                drop(permits.swap_remove(usize::from(*at) % permits.len()));
            }
            Step::End(at, _) if !waiting.is_empty() => {
                let at = usize::from(*at) % waiting.len();
                match waiting[at].as_mut().now_or_never() {
                    Some(result) => {
                        permits.extend(result);
                        drop(waiting.swap_remove(at));
                    }
                    None => drop(waiting.swap_remove(at)),
                }
            }
            Step::End(..) => {}
            Step::Pass(time) => timer.advance(*time),
            Step::Force(_, limit, _) => drop(bulkhead.resize(*limit)),
        }
        let seen = bulkhead.snapshot();
        assert!(seen.queued == 0 || seen.in_flight >= seen.limit, "somebody waits while a slot is free: {seen:?}");
    }
    drop((permits, waiting));
    let seen = bulkhead.snapshot();
    assert_eq!((seen.in_flight, seen.queued), (0, 0), "something was not given back");
}

fn drive_limiter(limiter: &RateLimiter, timer: &ManualTimer, steps: &[Step]) {
    let mut reservations = Vec::new();
    for step in steps {
        match step {
            Step::Begin(permits) => reservations.extend(limiter.reserve(*permits)),
            Step::End(at, _) if !reservations.is_empty() => {
                drop(reservations.swap_remove(usize::from(*at) % reservations.len()));
            }
            Step::End(_, permits) => drop(limiter.try_acquire_n(u32::from(*permits))),
            Step::Pass(time) => timer.advance(*time),
            Step::Force(burst, permits, per) => drop(limiter.set_quota(*permits, *per, u32::from(*burst))),
        }
        let _ = limiter.snapshot();
    }
}

fn drive_budget(budget: &RetryBudget, timer: &ManualTimer, steps: &[Step]) {
    let (mut permits, mut requests) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Begin(kind) => {
                requests.push(budget.request());
                let kind = [Kind::Failure, Kind::Throttled, Kind::TimedOut][*kind as usize % 3];
                permits.extend(budget.withdraw(kind));
            }
            Step::End(at, how) => {
                if !requests.is_empty() {
                    drop(requests.swap_remove(usize::from(*at) % requests.len()));
                }
                if !permits.is_empty() {
                    let mut permit = permits.swap_remove(usize::from(*at) % permits.len());
                    match how % 3 {
                        0 => permit.spend(),
                        1 => permit.succeeded(),
                        _ => {}
                    }
                }
            }
            Step::Pass(time) => timer.advance(*time),
            Step::Force(..) => budget.succeeded(),
        }
        assert!(!(budget.snapshot().available < 0.0), "a budget in debt");
    }
}

fn drive_retry(retry: &Retry, timeout: &Timeout, timer: &ManualTimer, steps: &[Step]) {
    let mut answers = steps.iter().filter_map(|step| match step {
        Step::Begin(wait) => Some(Classification::FAILURE.after(Duration::from_nanos(u64::from(*wait) << 20))),
        Step::End(_, how) => Some(match how % 4 {
            0 => Classification::SUCCESS,
            1 => Classification::PERMANENT,
            2 => Classification::TIMED_OUT,
            _ => Classification::FAILURE,
        }),
        _ => None,
    });
    let judge = move |_: &Result<(), ()>| answers.next().unwrap_or(Classification::SUCCESS);
    let judge = std::cell::RefCell::new(judge);
    let classify = |answer: &Result<(), ()>| (judge.borrow_mut())(answer);
    let run = retry.run_with(classify, async |_| Err::<(), ()>(()));
    let mut call = Box::pin(timeout.call(async { run.await.map_err(Error::Service) }));
    for step in steps {
        if call.as_mut().now_or_never().is_some() {
            return;
        }
        if let Step::Pass(time) = step {
            timer.advance(*time);
        }
    }
}
