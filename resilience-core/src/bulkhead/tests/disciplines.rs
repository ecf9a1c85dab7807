//! Disciplines at work: who is served, who is refused and why, with slots that are never lost on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use super::{figures, full};
use crate::bulkhead::*;
use crate::context::{Context, Criticality};
use crate::rng::Rng;
use crate::time::{ManualTimer, Timer};
use crate::{Reason, Rejected};

pub(super) const SHEDDABLE: Criticality = Criticality::Sheddable;
pub(super) const CRITICAL: Criticality = Criticality::Critical;

pub(super) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn bulkhead(queue: u32, discipline: Discipline, timer: &ManualTimer) -> Bulkhead {
    Bulkhead::builder().limit(1).queue(queue).discipline(discipline).timer(timer.clone()).build().unwrap()
}

pub(super) fn level(criticality: Criticality) -> Context {
    Context::new().with_criticality(criticality)
}

/// Somebody who asked for a slot; woken or not.
pub(super) struct Caller {
    acquire: Acquire,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls(AtomicU32);

impl Wake for Calls {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Caller {
    pub(super) fn new(bulkhead: &Bulkhead) -> Self {
        Self { acquire: bulkhead.acquire(), calls: Arc::default() }
    }

    /// One that has taken its place.
    fn queued(bulkhead: &Bulkhead, context: &Context) -> Self {
        let mut caller = Self::new(bulkhead);
        assert!(context.run(|| caller.poll()).is_pending(), "there was a place");
        caller
    }

    pub(super) fn poll(&mut self) -> Poll<Result<Permit, Rejected>> {
        let waker = Waker::from(self.calls.clone());
        Pin::new(&mut self.acquire).poll(&mut TaskContext::from_waker(&waker))
    }

    fn is_called(&self) -> bool {
        self.calls.0.load(Ordering::Relaxed) > 0
    }

    /// What it was called for.
    fn collect(mut self) -> Result<Permit, Rejected> {
        assert!(self.is_called(), "not called");
        match self.poll() {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("called for nothing"),
        }
    }

    fn refusal(self) -> Rejected {
        self.collect().map(drop).unwrap_err()
    }
}

#[test]
fn a_long_queue_that_drains_is_a_burst_and_codel_refuses_nobody() {
    // LS1, the other half: it is not the length of a queue that is wrong, and not one long wait.
    let timer = ManualTimer::new();
    let bulkhead = bulkhead(64, Discipline::codel(ms(5), ms(100)), &timer);
    for _ in 0..20 {
        let mut held = bulkhead.try_acquire().unwrap();
        let burst: Vec<_> = (0..9).map(|_| Caller::queued(&bulkhead, &Context::new())).collect();
        for caller in burst {
            timer.advance(ms(10));
            drop(held);
            held = caller.collect().unwrap();
        }
        drop(held);
        timer.advance(ms(10));
    }
    assert_eq!(bulkhead.snapshot().totals.queue_delay, 0);
}

#[test]
fn a_call_that_codel_refuses_says_so_and_when_to_come_back_and_its_slot_goes_on() {
    let timer = ManualTimer::new();
    let bulkhead = bulkhead(64, Discipline::codel(ms(5), ms(100)), &timer);
    let mut held = bulkhead.try_acquire().unwrap();
    let mut line: std::collections::VecDeque<_> = (0..24).map(|_| Caller::queued(&bulkhead, &Context::new())).collect();
    // The queue stands for a whole interval, with waits of 20 ms and more.
    for _ in 0..6 {
        timer.advance(ms(20));
        drop(held);
        held = line.pop_front().unwrap().collect().unwrap();
    }
    // Now everybody has waited for too long: all of them are refused with one release, and the slot is free.
    drop(held);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
    let refused = Rejected::new("bulkhead", Reason::QueueDelay).with_retry_after(ms(100));
    assert!(line.into_iter().all(|caller| caller.refusal() == refused));
    assert_eq!(bulkhead.snapshot().totals.queue_delay, 18);
    assert_eq!(refused.to_string(), "refused by bulkhead: everybody waits too long in the queue, retry after 100ms");
}

#[test]
fn the_order_is_reversed_while_the_queue_stands_and_turns_back_when_it_was_empty() {
    let timer = ManualTimer::new();
    let standing = Discipline::AdaptiveLifo { interval: ms(100), timeout: ms(50) };
    let bulkhead = bulkhead(8, standing, &timer);
    let queued = || Caller::queued(&bulkhead, &Context::new());
    let mut held = bulkhead.try_acquire().unwrap();
    // A burst: in order.
    let (first, second) = (queued(), queued());
    timer.advance(ms(90));
    drop(held);
    held = first.collect().unwrap();
    assert!(!second.is_called());
    // Never empty since: the newest first, and those who come wait for 50 ms at most.
    let (third, mut fourth) = (queued(), queued());
    timer.advance(ms(11));
    let newest = queued();
    drop(held);
    held = newest.collect().unwrap();
    timer.advance(ms(49));
    assert!(fourth.poll().is_pending(), "it came before the queue stood, and may wait for 100 ms");
    drop(held);
    held = fourth.collect().unwrap();
    assert_eq!(second.refusal().reason(), Reason::QueueTimeout);
    drop(third);
    // Empty for a moment: in order again.
    assert_eq!(figures(&bulkhead), (1, 1, 0));
    let (first, second) = (queued(), queued());
    drop(held);
    drop(first.collect().unwrap());
    drop(second.collect().unwrap());
    assert_eq!((figures(&bulkhead), timer.sleepers()), ((1, 0, 0), 0));
}

#[test]
fn the_longest_wait_is_the_shorter_of_the_users_and_the_disciplines() {
    for max_wait in [ms(20), ms(200)] {
        let timer = ManualTimer::new();
        let builder = Bulkhead::builder().limit(1).queue(1).discipline(Discipline::adaptive_lifo());
        let bulkhead = builder.max_wait(max_wait).timer(timer.clone()).build().unwrap();
        let _held = bulkhead.try_acquire().unwrap();
        let mut waits = Caller::queued(&bulkhead, &Context::new());
        let longest = max_wait.min(ms(100));
        timer.advance(longest - ms(1));
        assert!(waits.poll().is_pending());
        timer.advance(ms(1));
        assert_eq!(waits.refusal().reason(), Reason::QueueTimeout);
    }
}

#[test]
fn the_nearest_deadline_is_next_and_one_that_has_passed_gets_a_refusal_and_no_slot() {
    let timer = ManualTimer::new();
    let bulkhead = bulkhead(8, Discipline::deadline_first(), &timer);
    let within = |millis| Caller::queued(&bulkhead, &Context::new().with_deadline(timer.now() + ms(millis)));
    let held = bulkhead.try_acquire().unwrap();
    let patient = Caller::queued(&bulkhead, &Context::new());
    let (late, soon, too_late, also_late) = (within(300), within(200), within(100), within(300));
    timer.advance(ms(100));
    drop(held);
    assert_eq!(too_late.refusal(), Rejected::new("bulkhead", Reason::Deadline));
    let mut served = soon.collect().unwrap();
    for next in [late, also_late, patient] {
        assert!(!next.is_called());
        drop(served);
        served = next.collect().unwrap();
    }
    drop(served);
    assert_eq!((figures(&bulkhead), timer.sleepers()), ((1, 0, 0), 0));
}

#[test]
fn a_slot_finds_the_one_who_is_still_wanted_behind_a_thousand_who_are_not() {
    // More than are given up while the lock is held once; by a release, and by a limit that is raised.
    let timer = ManualTimer::new();
    for raise in [false, true] {
        let bulkhead = bulkhead(1_002, Discipline::deadline_first(), &timer);
        let held = bulkhead.try_acquire().unwrap();
        let late = Context::new().with_deadline(timer.now() + ms(1));
        let late: Vec<_> = (0..1_000).map(|_| Caller::queued(&bulkhead, &late)).collect();
        let wanted = Caller::queued(&bulkhead, &Context::new());
        timer.advance(ms(1));
        if raise {
            bulkhead.resize(700).unwrap();
            assert_eq!(figures(&bulkhead), (700, 2, 0));
        }
        drop(held);
        assert!(late.into_iter().all(|caller| caller.refusal().reason() == Reason::Deadline));
        drop(wanted.collect().unwrap());
        assert_eq!(bulkhead.snapshot().in_flight, 0);
    }
}

#[test]
fn a_more_critical_call_displaces_the_newest_of_the_least_critical_and_never_its_equal() {
    let timer = ManualTimer::new();
    let bulkhead = bulkhead(3, Discipline::priority(), &timer);
    let queued = |criticality| Caller::queued(&bulkhead, &level(criticality));
    let held = bulkhead.try_acquire().unwrap();
    let (old, plus, new) = (queued(SHEDDABLE), queued(Criticality::SheddablePlus), queued(SHEDDABLE));
    let first = queued(CRITICAL);
    assert_eq!(new.refusal(), Rejected::new("bulkhead", Reason::Displaced));
    assert!(!old.is_called() && !plus.is_called() && !first.is_called());
    let second = queued(CRITICAL);
    assert_eq!(old.refusal().reason(), Reason::Displaced);
    let vital = queued(Criticality::CriticalPlus);
    assert_eq!(plus.refusal().reason(), Reason::Displaced);
    // Nobody below is left.
    let refusal = |criticality| match level(criticality).run(|| Caller::new(&bulkhead).poll()) {
        Poll::Ready(answer) => answer.map(drop).unwrap_err(),
        Poll::Pending => panic!("it waits"),
    };
    assert_eq!((refusal(CRITICAL), refusal(SHEDDABLE)), (full(1, 3), full(1, 3)));
    let totals = Totals { queued: 6, displaced: 3, full: 2, ..Totals::default() };
    assert_eq!(bulkhead.snapshot().totals, totals);
    let mut served = held;
    for next in [vital, first, second] {
        drop(served);
        served = next.collect().unwrap();
    }
    drop(served);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_place_is_not_lost_when_the_waker_of_the_displaced_panics() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker of somebody else's");
        }
    }
    let bulkhead = bulkhead(1, Discipline::priority(), &ManualTimer::new());
    let held = bulkhead.try_acquire().unwrap();
    let waker = Waker::from(Arc::new(Panics));
    let mut displaced = bulkhead.acquire();
    let poll = |acquire: &mut Acquire| Pin::new(acquire).poll(&mut TaskContext::from_waker(&waker));
    assert!(level(SHEDDABLE).run(|| poll(&mut displaced)).is_pending());
    let mut caller = Caller::new(&bulkhead);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| caller.poll().is_pending())).unwrap_err();
    drop(caller);
    drop(held);
    assert_eq!(figures(&bulkhead), (1, 0, 0), "the slot was not given to one who is gone");
}

#[test]
fn a_limit_that_is_raised_serves_in_the_order_of_the_discipline_and_loses_no_slot_to_the_given_up() {
    let timer = ManualTimer::new();
    let bulkhead = bulkhead(8, Discipline::deadline_first(), &timer);
    let within = |millis| Caller::queued(&bulkhead, &Context::new().with_deadline(timer.now() + ms(millis)));
    let _held = bulkhead.try_acquire().unwrap();
    let (last, first, second) = (within(900), within(300), within(600));
    let (gone, also_gone) = (within(10), within(20));
    timer.advance(ms(20));
    bulkhead.resize(3).unwrap();
    assert_eq!(figures(&bulkhead), (3, 3, 1));
    assert_eq!((gone.refusal().reason(), also_gone.refusal().reason()), (Reason::Deadline, Reason::Deadline));
    let _served = (first.collect().unwrap(), second.collect().unwrap());
    assert!(!last.is_called());
    bulkhead.resize(9).unwrap();
    drop(last.collect().unwrap());
    assert_eq!(figures(&bulkhead), (9, 3, 0));
}

#[test]
fn ten_thousand_random_cancels_keep_the_order_of_the_others_under_every_discipline() {
    // BH4 with disciplines: whoever leaves from anywhere, some after they were given a slot, the rest is served in the
    // order a sort would put it in, each once, with nobody left asleep beside a free slot.
    let timer = ManualTimer::new();
    let hour = Duration::from_secs(3600);
    let lifo = Discipline::AdaptiveLifo { interval: hour, timeout: hour };
    for discipline in [lifo, Discipline::codel(hour, hour), Discipline::deadline_first(), Discipline::priority()] {
        let mut rng = Rng::seeded(7);
        let bulkhead = bulkhead(64, discipline, &timer);
        let mut held = Some(bulkhead.try_acquire().unwrap());
        let mut waiting: Vec<(u64, Caller)> = Vec::new();
        let mut cancels = 0;
        while cancels < 10_000 {
            match rng.below(4) {
                0 | 1 if waiting.len() < 64 => {
                    let rank = rng.below(4);
                    let criticality = [Criticality::CriticalPlus, CRITICAL, Criticality::SheddablePlus, SHEDDABLE];
                    let deadline = timer.now() + hour + ms(rank);
                    let context = level(criticality[rank as usize]).with_deadline(deadline);
                    let ordered = matches!(discipline, Discipline::DeadlineFirst | Discipline::Priority);
                    waiting.push((if ordered { rank } else { 0 }, Caller::queued(&bulkhead, &context)));
                }
                2 if !waiting.is_empty() => {
                    drop(held.take());
                    let first = (0..waiting.len()).min_by_key(|at| waiting[*at].0).unwrap();
                    let (_, next) = waiting.remove(first);
                    assert!(next.is_called() && waiting.iter().all(|(_, waiter)| !waiter.is_called()));
                    if rng.below(3) == 0 {
                        // Given a slot, but gone: somebody else has it now, or nobody.
                        cancels += 1;
                        drop(next);
                        let called = waiting.iter().position(|(_, waiter)| waiter.is_called());
                        held = match called {
                            Some(at) => Some(waiting.remove(at).1.collect().unwrap()),
                            None => Some(bulkhead.try_acquire().unwrap()),
                        };
                    } else {
                        held = Some(next.collect().unwrap());
                    }
                }
                3 if !waiting.is_empty() => {
                    drop(waiting.remove(rng.below(waiting.len() as u64) as usize));
                    cancels += 1;
                }
                _ => {}
            }
            assert_eq!(figures(&bulkhead), (1, 1, waiting.len() as u32));
        }
    }
}

#[test]
fn a_new_discipline_takes_over_who_waits_in_the_order_they_stood_in() {
    let timer = ManualTimer::new();
    let settings = || Bulkhead::builder().limit(1).queue(4);
    let bulkhead = settings().discipline(Discipline::priority()).timer(timer.clone()).build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let lesser = Caller::queued(&bulkhead, &level(SHEDDABLE));
    let greater = Caller::queued(&bulkhead, &level(CRITICAL));
    bulkhead.reconfigure(settings().discipline(Discipline::deadline_first())).unwrap();
    assert_eq!(bulkhead.snapshot().discipline, Discipline::DeadlineFirst);
    let hasty = Caller::queued(&bulkhead, &Context::new().with_deadline(timer.now() + ms(5)));
    let mut served = held;
    for next in [hasty, greater, lesser] {
        drop(served);
        served = next.collect().unwrap();
    }
    drop(served);
    assert_eq!(
        bulkhead.reconfigure(settings().queue(0).discipline(Discipline::priority())).unwrap_err().field(),
        "discipline"
    );
}

#[test]
fn a_trial_that_begins_refuses_nobody_who_waits_under_any_discipline() {
    let timer = ManualTimer::new();
    let settings = || Bulkhead::builder().limit(1).queue(4).discipline(Discipline::deadline_first());
    let bulkhead = settings().timer(timer.clone()).build().unwrap();
    let _held = bulkhead.try_acquire().unwrap();
    let late = Caller::queued(&bulkhead, &Context::new().with_deadline(timer.now() + ms(1)));
    timer.advance(ms(1));
    bulkhead.reconfigure(settings().dry_run(true)).unwrap();
    assert!(late.collect().is_ok());
}

#[test]
fn a_discipline_whose_times_cannot_work_is_refused_when_built() {
    let rule = |discipline| {
        let built = Bulkhead::builder().limit(1).queue(1).discipline(discipline).build();
        built.map(drop).unwrap_err().to_string()
    };
    let (none, ten, most) = (Duration::ZERO, ms(10), Duration::MAX);
    let lifo = |interval, timeout| rule(Discipline::AdaptiveLifo { interval, timeout });
    assert_eq!(lifo(none, none), "discipline must have an interval and a timeout above zero");
    assert_eq!(lifo(ten, most), "discipline must have a timeout no longer than its interval");
    assert_eq!(rule(Discipline::codel(none, ten)), "discipline must have a target and an interval above zero");
    assert_eq!(rule(Discipline::codel(most, ten)), "discipline must have a target no longer than its interval");
    let unordered = Bulkhead::builder().limit(1).discipline(Discipline::adaptive_lifo()).build();
    assert_eq!(unordered.map(drop).unwrap_err().to_string(), "discipline needs a queue to order");
    let longest = Discipline::AdaptiveLifo { interval: most, timeout: most };
    assert!(Bulkhead::builder().limit(1).queue(1).discipline(longest).build().is_ok());
}
