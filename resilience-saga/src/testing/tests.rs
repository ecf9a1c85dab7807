use super::*;
use crate::{Cx, Effect, Saga, StepError, Unknown, saga};

async fn call(cx: Cx) -> Result<(), StepError> {
    cx.service::<Ledger>()?.call(&cx)
}

/// reserve -> charge -> fraud -> PIVOT -> ship || email
fn checkout() -> Saga<u32, ()> {
    saga("checkout", 1, |g, order| {
        let hold = g.step("reserve", order, |cx, _| call(cx)).undo(|cx, _| call(cx));
        let paid = g.step("charge", hold, |cx, ()| call(cx)).undo(|cx, _| call(cx));
        let _ = g.check("fraud", paid, |_, ()| async { Ok(()) });
        g.pivot();
        let _ = g.step("email", (), |cx, ()| call(cx)).retriable();
        g.step("ship", (), |cx, ()| call(cx)).retriable()
    })
    .unwrap()
}

/// p -> {a, b, c} -> j
fn fork(unknown: Unknown) -> Saga<(), ()> {
    saga("fork", 1, |g, start| {
        let p = g.step("p", start, |cx, ()| call(cx)).undo(|cx, _| call(cx)).unknown(unknown);
        let branches = ["a", "b", "c"];
        let branches = branches.map(|key| g.step(key, p, |cx, ()| call(cx)).undo(|cx, _| call(cx)).unknown(unknown));
        g.step("j", branches.to_vec(), |cx, _| call(cx)).undo(|cx, _| call(cx)).unknown(unknown)
    })
    .unwrap()
}

#[test]
fn a_checkout_survives_everything() {
    let survived = Torture::of(&checkout(), 7)
        .world(Ledger::new)
        .invariant(|ledger, end| ledger.balanced(end))
        .exhaustive()
        .unwrap();
    assert!(survived.schedules > 500, "{survived:?}");
    assert!(survived.completed > 100 && survived.compensated > 100, "{survived:?}");
}

#[test]
fn a_fork_survives_everything_whether_it_retries_or_compensates() {
    for unknown in [Unknown::RetrySameKey, Unknown::CompensateMaybe] {
        let survived = Torture::of(&fork(unknown), ())
            .world(Ledger::new)
            .invariant(|ledger, end| ledger.balanced(end))
            .exhaustive()
            .unwrap();
        assert!(survived.compensated > 300, "{survived:?}");
    }
}

#[test]
fn a_receiver_without_a_barrier_is_found_out_with_the_smallest_schedule() {
    #[derive(Default)]
    struct Naive(std::sync::atomic::AtomicI64);
    let careless = saga("careless", 1, |g, _: crate::Input<'_, ()>| {
        let add = |cx: Cx, by: i64| async move {
            cx.service::<Naive>()?.0.fetch_add(by, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, StepError>(())
        };
        g.step("add", (), move |cx, ()| add(cx, 1)).undo(move |cx, _: Effect<()>| add(cx, -1))
    })
    .unwrap();
    let failure = Torture::of(&careless, ())
        .world(Naive::default)
        .invariant(|world, end| {
            let left = world.0.load(std::sync::atomic::Ordering::Relaxed);
            let expected = i64::from(matches!(end, crate::Outcome::Completed(())));
            if left == expected { Ok(()) } else { Err(format!("{left} is left, not {expected}")) }
        })
        .exhaustive()
        .unwrap_err();
    assert_eq!(failure.schedule.to_string(), "add takes effect and its answer is lost");
    assert!(failure.to_string().contains("2 is left, not 1"), "{failure}");
}

#[test]
fn a_saga_that_never_ends_is_found_out() {
    let endless = saga("endless", 1, |g, _: crate::Input<'_, ()>| {
        g.pivot();
        g.step("again", (), |_, ()| async { Err::<(), _>(StepError::retry("never")) }).retriable()
    })
    .unwrap();
    let failure = Torture::of(&endless, ()).world(|| ()).exhaustive().unwrap_err();
    assert_eq!(failure.why, "it does not end");
}
