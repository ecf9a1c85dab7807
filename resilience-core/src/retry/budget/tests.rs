//! The rules, and the object that applies them.

use std::sync::Barrier;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::ManualTimer;

fn spend(budget: &RetryBudget, kind: Kind) -> bool {
    budget.withdraw(kind).map(|mut permit| permit.spend()).is_some()
}

fn drain(budget: &RetryBudget) -> u32 {
    let mut granted = 0;
    while spend(budget, Kind::Failure) {
        granted += 1;
    }
    granted
}

fn of(rule: Rule) -> RetryBudget {
    RetryBudget::builder().rule(rule).build().unwrap()
}

#[test]
fn six_tenths_of_a_hundred_requests_are_exactly_sixty() {
    // RT5: tower rounds the ratio to a fraction of small integers, and 0.6 becomes 1 (tower-rs/tower#857).
    for (ratio, granted) in [(0.6, 60), (0.1, 10), (0.25, 25), (1.0, 100), (0.0, 0)] {
        let budget = RetryBudget::builder().ratio(ratio).reserve(1000).start(0).build().unwrap();
        for _ in 0..100 {
            drop(budget.request());
        }
        assert_eq!(drain(&budget), granted, "ratio {ratio}");
    }
}

#[test]
fn the_last_token_goes_to_one_of_sixty_four() {
    // RT6: a check and a decrement in two steps give it to all who check in between.
    for _ in 0..50 {
        let budget = RetryBudget::builder().reserve(1).build().unwrap();
        let start = Barrier::new(64);
        let granted: usize = std::thread::scope(|scope| {
            let ask = || {
                start.wait();
                usize::from(spend(&budget, Kind::Failure))
            };
            let threads: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(granted, 1);
        assert_eq!((budget.snapshot().withdrawn, budget.snapshot().refused), (1, 63));
    }
}

#[test]
fn a_full_bucket_is_not_written_to() {
    // The line is shared by every request of the process: one write each, and two threads are slower than one.
    let writes = std::cell::Cell::new(0);
    let rule = Word::ratio(&Ratio::default()).unwrap();
    let word = AtomicU64::new(rule.start());
    for input in [Input::Request, Input::Success, Input::Done, Input::Failure] {
        let granted = update(&word, |before| {
            let after = rule.step(before, input)?;
            writes.set(writes.get() + u32::from(after != before));
            Some(after)
        });
        assert!(granted);
    }
    assert_eq!(writes.get(), 0);
    assert!(RetryBudget::builder().build().unwrap().is_full(), "and the rule is not even asked");
}

#[test]
fn a_permit_dropped_unspent_is_refunded_and_a_spent_one_is_not() {
    let budget = RetryBudget::builder().ratio(0.0).reserve(2).build().unwrap();
    drop(budget.withdraw(Kind::Failure));
    assert_eq!(budget.snapshot().available, 2.0);
    assert!(spend(&budget, Kind::Failure));
    assert_eq!(budget.snapshot().available, 1.0);
}

#[test]
fn an_empty_bucket_grants_its_floor_by_the_second() {
    let timer = ManualTimer::new();
    let budget = RetryBudget::builder().ratio(0.0).reserve(3).floor(2).timer(timer.clone()).build().unwrap();
    assert_eq!(drain(&budget), 5, "the reserve and a second's worth of the floor");
    timer.advance(Duration::from_millis(499));
    assert_eq!(drain(&budget), 0);
    timer.advance(Duration::from_millis(1));
    assert_eq!(drain(&budget), 1);
    timer.advance(Duration::from_secs(3600));
    assert_eq!(drain(&budget), 2, "what was not used in an hour is not saved up");
    timer.advance(Duration::from_millis(500));
    drop(budget.withdraw(Kind::Failure));
    assert_eq!(drain(&budget), 1, "a refund goes back to where it came from");
}

#[test]
fn aws_charges_by_kind_and_pays_the_last_price_back() {
    let budget = of(Rule::Costs(Costs { capacity: 100, failure: 5, timed_out: 10, ..Costs::AWS_2_0 }));
    assert!(spend(&budget, Kind::TimedOut));
    let mut last = budget.withdraw(Kind::TimedOut).unwrap();
    last.spend();
    last.succeeded();
    assert_eq!(budget.snapshot().available, 90.0);
    budget.succeeded();
    assert_eq!(budget.snapshot().available, 91.0);
    assert!(spend(&budget, Kind::Failure));
    assert_eq!(budget.snapshot().available, 86.0);
}

#[test]
fn a_price_above_the_balance_is_refused_and_takes_nothing() {
    let budget = of(Rule::Costs(Costs { capacity: 20, ..Costs::AWS_2_1 }));
    assert!(spend(&budget, Kind::Failure));
    assert!(!spend(&budget, Kind::Failure));
    assert_eq!(budget.snapshot().available, 6.0);
    assert!(budget.may_withdraw(), "for a throttled failure");
    assert!(spend(&budget, Kind::Throttled));
    assert!(!budget.may_withdraw());
}

#[test]
fn envoy_and_failsafe_bound_retries_by_what_is_in_flight() {
    // Envoy: the larger of a fifth of what is active and three. failsafe-go: refuses above a fifth, not at it.
    for (active, envoy, failsafe) in
        [(0, 3, 3), (2, 3, 3), (10, 3, 3), (15, 3, 4), (25, 5, 6), (29, 5, 6), (100, 20, 21)]
    {
        for (rule, limit) in [(Share::ENVOY, envoy), (Share::FAILSAFE, failsafe)] {
            let budget = of(Rule::Share(rule));
            let requests: Vec<_> = (0..active).map(|_| budget.request()).collect();
            let permits: Vec<_> = std::iter::from_fn(|| budget.withdraw(Kind::Failure)).collect();
            assert_eq!(permits.len(), limit, "{active} active, {rule:?}");
            drop((requests, permits));
            assert!(budget.withdraw(Kind::Failure).is_some());
        }
    }
}

#[test]
fn finagle_forgets_deposits_and_withdrawals_after_their_time() {
    let timer = ManualTimer::new();
    let leaky = |ttl, min_per_second, ratio| {
        let rule = Rule::Leaky(Leaky { ttl: Duration::from_secs(ttl), min_per_second, ratio });
        RetryBudget::builder().rule(rule).timer(timer.clone()).build().unwrap()
    };
    assert_eq!([drain(&leaky(1, 10, 0.0)), drain(&leaky(2, 5, 0.0))], [10, 10]);
    let generous = leaky(60, 0, 2.0);
    for _ in 0..10_000 {
        drop(generous.request());
    }
    assert_eq!(generous.snapshot().available, 20_000.0);

    let budget = leaky(10, 1, 0.5);
    assert_eq!(drain(&budget), 10);
    timer.advance(Duration::from_secs(5));
    for _ in 0..4 {
        drop(budget.request());
    }
    assert_eq!(drain(&budget), 2);
    timer.advance(Duration::from_secs(5));
    assert_eq!(
        budget.snapshot().available,
        10.0,
        "the first withdrawals expired, deposit and second withdrawal cancel"
    );
    for _ in 0..2 {
        timer.advance(Duration::from_secs(3600));
        assert_eq!(drain(&budget), 10);
    }
}

#[test]
fn what_cannot_work_is_refused_with_its_field() {
    let field = |builder: RetryBudgetBuilder| builder.build().map(drop).map_err(|error| error.field());
    let builder = RetryBudget::builder;
    for ratio in [f64::NAN, f64::INFINITY, -0.1, 1000.1] {
        assert_eq!(field(builder().ratio(ratio)), Err("ratio"));
    }
    assert_eq!(field(builder().reserve(1).start(2)), Err("start"));
    assert_eq!(field(builder().rule(Rule::Ratio(Ratio::default())).reserve(1)), Err("rule"));
    assert_eq!(field(builder().rule(Rule::Costs(Costs { failure: 0, ..Costs::BROOKER }))), Err("costs"));
    assert_eq!(field(builder().rule(Rule::Costs(Costs { reward: -1.0, ..Costs::BROOKER }))), Err("reward"));
    assert_eq!(field(builder().rule(Rule::Throttle(Throttle { max_tokens: 0, ratio: 0.1 }))), Err("max_tokens"));
    for ttl in [Duration::ZERO, Duration::from_millis(999), Duration::from_secs(61), Duration::MAX] {
        assert_eq!(field(builder().rule(Rule::Leaky(Leaky { ttl, ..Leaky::default() }))), Err("ttl"));
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Request,
    Succeeded,
    Failed,
    Withdraw(Kind),
    Abandon,
    Spend,
    Recover,
    Advance(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kinds = prop_oneof![Just(Kind::Failure), Just(Kind::Throttled), Just(Kind::TimedOut)];
    let step = prop_oneof![
        4 => Just(Step::Request),
        2 => Just(Step::Succeeded),
        2 => Just(Step::Failed),
        6 => kinds.prop_map(Step::Withdraw),
        1 => Just(Step::Abandon),
        2 => Just(Step::Spend),
        2 => Just(Step::Recover),
        1 => (0u64..3_000).prop_map(Step::Advance),
    ];
    proptest::collection::vec(step, 0..200)
}

fn rules() -> impl Strategy<Value = Rule> {
    prop_oneof![
        (0.0..3.0, 0u32..50).prop_map(|(ratio, reserve)| Rule::Ratio(Ratio { ratio, reserve, start: None })),
        (1u32..200).prop_map(|capacity| Rule::Costs(Costs { capacity, ..Costs::AWS_2_1 })),
        (1u32..50, 0.0..2.0).prop_map(|(max_tokens, ratio)| Rule::Throttle(Throttle { max_tokens, ratio })),
        (0.0..2.0, 0u32..5, any::<bool>()).prop_map(|(ratio, floor, counts_itself)| Rule::Share(Share {
            ratio,
            floor,
            counts_itself
        })),
        (1u64..60, 0u32..20, 0.0..2.0).prop_map(|(ttl, min_per_second, ratio)| {
            Rule::Leaky(Leaky { ttl: Duration::from_secs(ttl), min_per_second, ratio })
        }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no token from nowhere, and dropping what is held restores what was taken.
    #[test]
    fn a_budget_never_gives_more_than_it_got(rule in rules(), steps in steps()) {
        let timer = ManualTimer::new();
        let budget = RetryBudget::builder().rule(rule).timer(timer.clone()).build().unwrap();
        let full = budget.snapshot().available;
        let mut held = Vec::new();
        let (mut requests, mut spent) = (0u32, 0u32);
        for step in steps {
            match step {
                Step::Request => { requests += 1; drop(budget.request()); }
                Step::Succeeded => budget.succeeded(),
                Step::Failed => budget.failed(),
                Step::Withdraw(kind) => {
                    let (hint, before) = (budget.may_withdraw(), budget.snapshot().available);
                    let permit = budget.withdraw(kind);
                    prop_assert!(hint || permit.is_none(), "a refusal that was hinted must be one");
                    prop_assert!(permit.is_some() || budget.snapshot().available == before);
                    held.extend(permit);
                }
                Step::Abandon => drop(held.pop()),
                Step::Spend => if let Some(mut permit) = held.pop() { spent += 1; permit.spend(); },
                Step::Recover => if let Some(permit) = held.pop() { spent += 1; permit.succeeded(); },
                Step::Advance(millis) => timer.advance(Duration::from_millis(millis)),
            }
            if !matches!(rule, Rule::Share(_) | Rule::Leaky(_)) {
                prop_assert!((0.0..=full).contains(&budget.snapshot().available));
            }
            if let Rule::Ratio(Ratio { ratio, reserve, .. }) = rule {
                let most = f64::from(reserve) + ratio * f64::from(requests) + 1e-3;
                prop_assert!(f64::from(spent) + held.len() as f64 <= most);
            }
        }
        let before = budget.snapshot().available;
        let taken = std::iter::from_fn(|| budget.withdraw(Kind::Failure)).take(50).collect::<Vec<_>>();
        drop(taken);
        prop_assert_eq!(budget.snapshot().available, before);
    }
}

#[test]
fn a_request_pays_in_once_however_many_layers_count_it() {
    // RT16. A retry inside a hedge saw a request where the hedge had seen one already, and another in each hedge: the
    // ratio that was set was not the ratio that held.
    let budget = RetryBudget::builder().ratio(1.0).reserve(100).start(0).build().unwrap();
    let other = RetryBudget::builder().ratio(1.0).reserve(100).start(0).build().unwrap();
    let available = || (budget.snapshot().available, other.snapshot().available);
    let outer = budget.request();
    outer.within(|| drop((budget.request(), other.request())));
    assert_eq!(available(), (1.0, 1.0));
    drop(budget.request()); // the note is gone with the call
    assert_eq!(available(), (2.0, 1.0));
    // What is sent as a further attempt is no request, whoever sends it; the client's own number is not ours.
    let second = crate::context::Context::new().with_attempt(2);
    second.run(|| drop(budget.request()));
    assert_eq!(available(), (2.0, 1.0));
    second.received().run(|| drop(budget.request()));
    assert_eq!(available(), (3.0, 1.0));
}
