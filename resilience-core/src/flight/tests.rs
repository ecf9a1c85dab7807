//! Whoever comes, goes and is polled, in whatever order: as a list of what should be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use proptest::prelude::*;

use super::{Flights, Joined, Leader, Turn, Waiter};

#[derive(Clone, Copy, Debug)]
enum Step {
    Join,
    /// The nth of those who are there.
    Leave(usize),
    Poll(usize),
    Land(usize),
    Overtake,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Join),
        3 => (0..8_usize).prop_map(Step::Leave),
        4 => (0..8_usize).prop_map(Step::Poll),
        2 => (0..8_usize).prop_map(Step::Land),
        1 => Just(Step::Overtake),
    ]
}

struct Told(AtomicBool);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Somebody who asked, and the number of the flight it is on.
struct Caller {
    on: usize,
    /// Whether it was woken since it was last polled.
    told: Arc<Told>,
    part: Part,
}

enum Part {
    Leads(Leader<u8, u32>),
    Waits(Waiter<u8, u32>),
}

impl Caller {
    fn leads(&self) -> bool {
        matches!(self.part, Part::Leads(_))
    }
}

proptest! {
    #[test]
    fn one_leads_somebody_is_awake_to_and_what_was_overtaken_is_not_kept(steps in prop::collection::vec(step(), 1..80)) {
        let flights = Flights::<u8, u32>::new();
        let (mut callers, mut landed, mut kept) = (Vec::<Caller>::new(), Vec::<Option<u32>>::new(), None::<u32>);
        // The flight under way that newcomers join.
        let mut current: Option<usize> = None;
        for (outcome, step) in (0..).zip(steps) {
            let is_led = |callers: &[Caller], on| callers.iter().any(|caller| caller.on == on && caller.leads());
            match step {
                Step::Join => {
                    let told = Arc::new(Told(AtomicBool::new(false)));
                    let waker = Waker::from(told.clone());
                    match (flights.join(&1, &waker, || kept), current) {
                        (Joined::Landed(found), None) => prop_assert_eq!(Some(found), kept),
                        (Joined::Leader(leader), on) => {
                            prop_assert!(on.map_or(kept.is_none(), |on| !is_led(&callers, on)));
                            let on = on.unwrap_or_else(|| { landed.push(None); landed.len() - 1 });
                            current = Some(on);
                            callers.push(Caller { on, told, part: Part::Leads(leader) });
                        }
                        (Joined::Waiter(waiter), Some(on)) => {
                            prop_assert!(is_led(&callers, on));
                            callers.push(Caller { on, told, part: Part::Waits(waiter) });
                        }
                        _ => prop_assert!(false, "joined what is not there, or found what is not kept"),
                    }
                }
                Step::Leave(nth) => if nth < callers.len() {
                    let on = callers.remove(nth).on;
                    if current == Some(on) && !callers.iter().any(|caller| caller.on == on) {
                        current = None;
                    }
                },
                Step::Poll(nth) => if let Some(Caller { on, told, part: Part::Waits(waiter) }) = callers.get(nth) {
                    told.0.store(false, Ordering::Relaxed);
                    let waker = Waker::from(told.clone());
                    match waiter.poll(&mut Context::from_waker(&waker)) {
                        Poll::Ready(Turn::Landed(outcome)) => {
                            prop_assert_eq!(Some(outcome), landed[*on]);
                            callers.remove(nth);
                        }
                        Poll::Ready(Turn::Lead(leader)) => {
                            prop_assert!(landed[*on].is_none() && !is_led(&callers, *on));
                            callers[nth].part = Part::Leads(leader);
                        }
                        Poll::Pending => prop_assert!(is_led(&callers, *on)),
                    }
                },
                Step::Land(nth) => if callers.get(nth).is_some_and(Caller::leads) {
                    let Caller { on, part: Part::Leads(leader), .. } = callers.remove(nth) else { unreachable!() };
                    let was_kept = leader.land(outcome, |_| kept = Some(outcome)).is_some();
                    prop_assert_eq!(was_kept, current == Some(on));
                    landed[on] = Some(outcome);
                    current = current.filter(|current| *current != on);
                },
                Step::Overtake => {
                    flights.overtake(&1, || kept = None);
                    current = None;
                }
            }
            prop_assert_eq!(flights.len(), usize::from(current.is_some()));
            for (on, landed) in landed.iter().enumerate() {
                let mut on_it = callers.iter().filter(|caller| caller.on == on).peekable();
                let leaders = callers.iter().filter(|caller| caller.on == on && caller.leads()).count();
                prop_assert!(leaders <= 1);
                if landed.is_some() {
                    prop_assert!(on_it.all(|caller| caller.told.0.load(Ordering::Relaxed)), "left asleep");
                } else if on_it.peek().is_some() && leaders == 0 {
                    prop_assert!(on_it.any(|caller| caller.told.0.load(Ordering::Relaxed)), "nobody will lead");
                }
            }
        }
        callers.clear();
        prop_assert_eq!(flights.len(), 0);
    }
}
