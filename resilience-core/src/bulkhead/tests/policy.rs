use std::collections::VecDeque;
use std::future::{pending, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use super::{Answer, bulkhead, figures, full, poll};
use crate::bulkhead::*;
use crate::context::Context;
use crate::event::Sink;
use crate::rng::Rng;
use crate::time::{ManualTimer, SharedTimer, Timer};
use crate::{Error, Reason, Rejected};

/// A waiter that counts how often it is called.
struct Waiter {
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

impl Waiter {
    /// One that has taken its place.
    fn queued(bulkhead: &Bulkhead) -> Self {
        let mut waiter = Self { acquire: bulkhead.acquire(), calls: Arc::default() };
        assert!(waiter.poll().is_pending());
        waiter
    }

    fn poll(&mut self) -> Poll<Result<Permit, Rejected>> {
        let waker = Waker::from(self.calls.clone());
        Pin::new(&mut self.acquire).poll(&mut TaskContext::from_waker(&waker))
    }

    fn calls(&self) -> u32 {
        self.calls.0.load(Ordering::Relaxed)
    }

    fn collect(mut self) -> Permit {
        match self.poll() {
            Poll::Ready(Ok(permit)) => permit,
            other => panic!("no permit: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_tasks_never_run_more_than_the_limit_at_once() {
    // BH1: one permit given twice is a database with one connection too many; one not given back, one too few for ever.
    #[derive(Default)]
    struct Turns {
        taken: AtomicU32,
        released: AtomicU32,
    }
    impl Sink for Turns {
        fn on_event(&self, event: &crate::event::Event<'_>) {
            let counter = match event.fact::<Event>() {
                Some(Event::Admitted { .. }) => &self.taken,
                Some(Event::Released { .. }) => &self.released,
                _ => return,
            };
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
    let turns = Arc::new(Turns::default());
    let bulkhead = Bulkhead::builder().limit(10).queue(10_000).listener(turns.clone()).build().unwrap();
    let (running, peak) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let tasks: Vec<_> = (0..10_000)
        .map(|_| {
            let (running, peak) = (running.clone(), peak.clone());
            let call = bulkhead.call(async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Error<()>>(())
            });
            tokio::spawn(call)
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(peak.load(Ordering::SeqCst), 10);
    assert_eq!(figures(&bulkhead), (10, 0, 0));
    assert_eq!((turns.taken.load(Ordering::SeqCst), turns.released.load(Ordering::SeqCst)), (10_000, 10_000));
}

#[test]
fn beyond_slots_and_queue_a_caller_is_refused_at_once_with_the_figures() {
    // BH2: tower-resilience queues without bound, and calls what does not fit a timeout.
    let bulkhead = bulkhead(1, 2);
    let mut calls: Vec<_> = (0..5).map(|_| Box::pin(bulkhead.call(pending::<Answer>()))).collect();
    let polls: Vec<_> = calls.iter_mut().map(|call| poll(call.as_mut())).collect();
    let refused = Poll::Ready(Err(Error::Rejected(full(1, 2))));
    assert_eq!(polls, [Poll::Pending, Poll::Pending, Poll::Pending, refused.clone(), refused]);
    assert_eq!(figures(&bulkhead), (1, 1, 2));
    assert_eq!(bulkhead.snapshot().totals, Totals { queued: 2, full: 2, ..Totals::default() });
    drop(calls);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_slot_for_which_somebody_waits_is_not_free_for_a_newcomer() {
    let bulkhead = bulkhead(1, 1);
    let held = bulkhead.try_acquire().unwrap();
    let waiter = Waiter::queued(&bulkhead);
    drop(held);
    assert_eq!(bulkhead.try_acquire().unwrap_err(), full(1, 0), "the slot has an owner who has yet to collect it");
    assert_eq!(waiter.calls(), 1);
    drop(waiter.collect());
    assert!(bulkhead.try_acquire().is_ok());
}

#[test]
fn a_waiter_is_called_once_however_often_it_looks() {
    let bulkhead = bulkhead(1, 1);
    let held = bulkhead.try_acquire().unwrap();
    let mut waiter = Waiter::queued(&bulkhead);
    for _ in 0..10 {
        assert!(waiter.poll().is_pending());
    }
    assert_eq!(waiter.calls(), 0);
    drop(held);
    assert_eq!(waiter.calls(), 1);
}

#[test]
fn a_waiter_that_moved_to_another_task_is_called_there() {
    let bulkhead = bulkhead(1, 1);
    let held = bulkhead.try_acquire().unwrap();
    let mut waiter = Waiter::queued(&bulkhead);
    let old = std::mem::take(&mut waiter.calls);
    assert!(waiter.poll().is_pending());
    drop(held);
    assert_eq!((old.0.load(Ordering::Relaxed), waiter.calls()), (0, 1));
}

#[test]
fn cancelled_heads_pass_on_and_ten_thousand_random_cancels_keep_the_order() {
    // BH4. Waiters leave from anywhere, some after they were given a slot and before they could collect it. The rest must be
    // served in the order of their arrival, each exactly once, with nobody left asleep beside a free slot.
    let mut rng = Rng::seeded(42);
    let bulkhead = bulkhead(3, 64);
    let mut held: VecDeque<Permit> = (0..3).map(|_| bulkhead.try_acquire().unwrap()).collect();
    let mut waiting: VecDeque<Waiter> = VecDeque::new();
    let mut cancels = 0;
    while cancels < 10_000 {
        match rng.below(4) {
            0 | 1 if waiting.len() < 64 => waiting.push_back(Waiter::queued(&bulkhead)),
            2 => {
                held.pop_front();
                if let Some(head) = waiting.front() {
                    assert_eq!(head.calls(), 1, "the freed slot went to the head");
                    assert!(waiting.iter().skip(1).all(|waiter| waiter.calls() == 0));
                    let head = waiting.pop_front().unwrap();
                    if rng.below(3) == 0 {
                        // Given a slot, but gone: the next one has it now.
                        cancels += 1;
                        drop(head);
                        if let Some(next) = waiting.pop_front() {
                            held.push_back(next.collect());
                        }
                    } else {
                        held.push_back(head.collect());
                    }
                }
                while held.len() < 3 && waiting.is_empty() {
                    held.push_back(bulkhead.try_acquire().unwrap());
                }
            }
            _ if !waiting.is_empty() => {
                let at = rng.below(waiting.len() as u64) as usize;
                drop(waiting.remove(at));
                cancels += 1;
            }
            _ => {}
        }
        assert_eq!(figures(&bulkhead), (3, held.len() as u32, waiting.len() as u32));
    }
}

#[test]
fn an_answer_frees_the_slot_even_while_its_future_is_held() {
    let bulkhead = bulkhead(1, 0);
    let mut call = pin!(bulkhead.call(ready(Answer::Ok("done"))));
    assert_eq!(poll(call.as_mut()), Poll::Ready(Ok("done")));
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn a_lowered_limit_takes_no_permit_and_gives_none_and_a_raised_one_wakes_exactly_who_fits() {
    // BH6: ten run when the limit falls to two. Nobody is admitted before they are fewer than that.
    let bulkhead = bulkhead(10, 20);
    let mut held: Vec<_> = (0..10).map(|_| bulkhead.try_acquire().unwrap()).collect();
    bulkhead.resize(2).unwrap();
    let waiters: Vec<_> = (0..12).map(|_| Waiter::queued(&bulkhead)).collect();
    while held.len() > 2 {
        held.pop();
        assert_eq!(bulkhead.snapshot().in_flight, held.len() as u32);
        assert!(waiters.iter().all(|waiter| waiter.calls() == 0), "served with {} in flight", held.len());
    }
    bulkhead.resize(10).unwrap();
    let calls: Vec<_> = waiters.iter().map(Waiter::calls).collect();
    assert_eq!(calls, [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
    assert_eq!(figures(&bulkhead), (10, 10, 4));
    assert_eq!(bulkhead.resize(0).unwrap_err().field(), "limit");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_the_longest_wait_and_leaves_no_place_taken() {
    let bulkhead = Bulkhead::builder().limit(1).queue(1).max_wait(Duration::from_millis(30)).build().unwrap();
    let _held = bulkhead.try_acquire().unwrap();
    let (timer, start) = (SharedTimer::default(), SharedTimer::default().now());
    let refused = bulkhead.acquire().await.unwrap_err();
    assert_eq!(refused, Rejected::new("bulkhead", Reason::QueueTimeout));
    assert_eq!(timer.now() - start, Duration::from_millis(30));
    assert_eq!(figures(&bulkhead), (1, 1, 0));
    assert_eq!(bulkhead.snapshot().totals, Totals { queued: 1, queue_timeout: 1, ..Totals::default() });
}

#[test]
fn a_slot_given_in_the_moment_the_wait_ends_is_taken_and_not_wasted() {
    let timer = ManualTimer::new();
    let builder = Bulkhead::builder().limit(1).queue(1).timer(timer.clone());
    let bulkhead = builder.max_wait(Duration::from_secs(1)).build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let waiter = Waiter::queued(&bulkhead);
    timer.advance(Duration::from_secs(1));
    drop(held);
    drop(waiter.collect());
    assert_eq!((figures(&bulkhead), timer.sleepers()), ((1, 0, 0), 0));
}

#[test]
fn a_wait_ends_with_the_deadline_of_the_call_if_that_is_earlier() {
    let timer = ManualTimer::new();
    let builder = Bulkhead::builder().limit(1).queue(1).timer(timer.clone());
    let bulkhead = builder.max_wait(Duration::from_secs(1)).build().unwrap();
    let _held = bulkhead.try_acquire().unwrap();
    let context = Context::new().with_deadline(timer.now() + Duration::from_millis(10));
    let mut acquire = pin!(context.scope(bulkhead.acquire()));
    assert!(poll(acquire.as_mut()).is_pending());
    timer.advance(Duration::from_millis(10));
    let Poll::Ready(Err(refused)) = poll(acquire.as_mut()) else { panic!("still waiting") };
    assert_eq!(refused.reason(), Reason::Deadline);
}

#[test]
fn a_wait_inside_a_timeout_counts_as_time_of_the_call() {
    // The timeout has only noted "within a second"; the queue resolves it, and the two then agree on the moment.
    let timer = ManualTimer::new();
    let bulkhead = Bulkhead::builder().limit(1).queue(1).timer(timer.clone()).build().unwrap();
    let limit = Duration::from_secs(1);
    let timeout = crate::timeout::Timeout::builder().limit(limit).timer(timer.clone()).build().unwrap();
    let _held = bulkhead.try_acquire().unwrap();
    let mut call = pin!(timeout.call(bulkhead.call(pending::<Answer>())));
    assert!(poll(call.as_mut()).is_pending());
    timer.advance(limit);
    let Poll::Ready(Err(Error::Rejected(refused))) = poll(call.as_mut()) else { panic!("it was never sent") };
    assert_eq!(refused.reason(), Reason::Deadline);
    assert_eq!(timer.sleepers(), 0);
}

#[test]
fn a_waker_that_uses_the_bulkhead_does_not_meet_its_lock() {
    // A waker may be the last owner of a task, and that task may hold a place or a permit of this very bulkhead.
    struct Reenters(Bulkhead, Mutex<Option<Acquire>>);
    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_acquire();
            drop(self.1.lock().unwrap().take());
        }
    }
    impl Drop for Reenters {
        fn drop(&mut self) {
            let _ = self.0.try_acquire();
            let _ = self.0.resize(1);
        }
    }
    let bulkhead = bulkhead(1, 3);
    let held = bulkhead.try_acquire().unwrap();
    let mut other = bulkhead.acquire();
    assert!(poll(Pin::new(&mut other)).is_pending());
    let waker = Waker::from(Arc::new(Reenters(bulkhead.clone(), Mutex::new(Some(other)))));
    let mut acquire = bulkhead.acquire();
    assert!(Pin::new(&mut acquire).poll(&mut TaskContext::from_waker(&waker)).is_pending());
    drop(waker);
    assert!(poll(Pin::new(&mut acquire)).is_pending(), "the old waker is dropped here");
    let waker = Waker::from(Arc::new(Reenters(bulkhead.clone(), Mutex::default())));
    assert!(Pin::new(&mut acquire).poll(&mut TaskContext::from_waker(&waker)).is_pending());
    drop((waker, held));
    drop(acquire);
    assert_eq!(figures(&bulkhead), (1, 0, 0));
}

#[test]
fn listeners_hear_each_turn_with_its_time_and_without_them_no_clock_is_read() {
    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);
    impl Sink for Heard {
        fn on_event(&self, event: &crate::event::Event<'_>) {
            self.0.lock().unwrap().extend(event.fact::<Event>().copied());
        }
    }
    let (timer, heard) = (ManualTimer::new(), Arc::new(Heard::default()));
    let builder = Bulkhead::builder().limit(1).queue(1).timer(timer.clone()).listener(heard.clone());
    let bulkhead = builder.build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let waiter = Waiter::queued(&bulkhead);
    let refused = bulkhead.try_acquire().unwrap_err();
    timer.advance(Duration::from_secs(2));
    drop(held);
    drop(waiter.collect());
    bulkhead.resize(3).unwrap();
    let (none, two) = (Duration::ZERO, Duration::from_secs(2));
    let expected = [
        Event::Admitted { waited: none },
        Event::Queued { queued: 1, discipline: Discipline::fifo() },
        Event::Rejected { reason: refused.reason() },
        Event::Released { held: two },
        Event::Admitted { waited: two },
        Event::Released { held: none },
        Event::Resized { limit: 3 },
    ];
    assert_eq!(*heard.0.lock().unwrap(), expected);

    // Without a listener: a timer that cannot be asked.
    struct NoClock;
    impl Timer for NoClock {
        fn now(&self) -> crate::time::Timestamp {
            unreachable!("no clock is read")
        }
        fn sleep_until(&self, _: crate::time::Timestamp) -> crate::time::Sleep {
            unreachable!("no timer is made")
        }
        fn wall(&self) -> crate::time::WallTime {
            unreachable!("no clock is read")
        }
    }
    let bulkhead = Bulkhead::builder().limit(1).queue(1).timer(Arc::new(NoClock) as Arc<dyn Timer>).build().unwrap();
    let held = bulkhead.try_acquire().unwrap();
    let waiter = Waiter::queued(&bulkhead);
    drop(bulkhead.try_acquire().unwrap_err());
    drop(held);
    drop(waiter.collect());
}

#[test]
fn a_bulkhead_that_cannot_work_is_refused_when_built() {
    let field = |builder: BulkheadBuilder| builder.build().unwrap_err().field();
    assert_eq!(field(Bulkhead::builder()), "limit");
    assert_eq!(field(Bulkhead::builder().limit(0)), "limit");
    assert_eq!(field(Bulkhead::builder().limit(4_194_304)), "limit");
    assert_eq!(field(Bulkhead::builder().limit(1).queue(1_048_576)), "queue");
    assert_eq!(field(Bulkhead::builder().limit(1).queue(1).max_wait(Duration::ZERO)), "max_wait");
    assert_eq!(field(Bulkhead::builder().limit(1).max_wait(Duration::from_secs(1))), "max_wait");
    assert!(Bulkhead::builder().limit(4_194_303).queue(1_048_575).build().is_ok());
}
