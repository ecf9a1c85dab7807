//! Each discipline beside a plain list that is searched from end to end.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{LANES, Left, Place, Queue, Ticket, Turn};
use crate::Reason;
use crate::bulkhead::Discipline;
use crate::context::Criticality;
use crate::time::Timestamp;

const LEVELS: [Criticality; LANES] =
    [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::Critical, Criticality::CriticalPlus];

const INTERVAL: u64 = 100;
const TARGET: u64 = 5;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many milliseconds after the origin.
fn at(millis: u64) -> Timestamp {
    Timestamp::ORIGIN + ms(millis)
}

fn disciplines() -> impl Strategy<Value = Discipline> {
    prop_oneof![
        Just(Discipline::fifo()),
        Just(Discipline::adaptive_lifo()),
        Just(Discipline::codel(ms(TARGET), ms(INTERVAL))),
        Just(Discipline::deadline_first()),
        Just(Discipline::priority()),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// With a deadline after so long, if any.
    Arrive(Criticality, Option<u64>),
    Displace(Criticality),
    Next,
    Leave(usize),
    Collect(usize),
    Pass(u64),
    Change(Discipline),
}

fn steps() -> impl Strategy<Value = Step> {
    let level = || prop::sample::select(LEVELS.to_vec());
    prop_oneof![
        8 => (level(), prop::option::of(0..60u64)).prop_map(|(level, deadline)| Step::Arrive(level, deadline)),
        1 => level().prop_map(Step::Displace),
        5 => Just(Step::Next),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Collect),
        4 => (0..40u64).prop_map(Step::Pass),
        1 => disciplines().prop_map(Step::Change),
    ]
}

/// Somebody who waits, as the list knows it.
#[derive(Clone, Copy, Debug)]
struct Who {
    id: u32,
    arrived: u64,
    deadline: u64,
    level: Criticality,
}

/// The rules, in plain words.
struct Model {
    discipline: Discipline,
    waiting: Vec<Who>,
    /// When the queue was last empty.
    empty_at: u64,
    codel: Standing,
}

/// Whether the shortest wait of the last interval was too long.
#[derive(Default)]
struct Standing {
    ends: u64,
    shortest: Option<u64>,
    stands: bool,
}

impl Model {
    fn arrive(&mut self, who: Who) -> Option<u64> {
        if self.waiting.is_empty() {
            self.empty_at = who.arrived;
            self.codel = Standing { ends: who.arrived + INTERVAL, ..Standing::default() };
        }
        self.waiting.push(who);
        match self.discipline {
            Discipline::AdaptiveLifo { .. } if who.arrived - self.empty_at > INTERVAL => Some(TARGET),
            Discipline::AdaptiveLifo { .. } => Some(INTERVAL),
            _ => None,
        }
    }

    fn next(&mut self, now: u64) -> Option<(u32, Option<Reason>)> {
        let mut all = self.waiting.iter().enumerate();
        let (first, _) = match self.discipline {
            Discipline::AdaptiveLifo { .. } if now - self.empty_at > INTERVAL => all.next_back(),
            Discipline::DeadlineFirst => all.min_by_key(|(_, who)| who.deadline),
            Discipline::Priority => all.min_by_key(|(_, who)| std::cmp::Reverse(who.level)),
            _ => self.waiting.iter().enumerate().next(),
        }?;
        let who = self.waiting.remove(first);
        let reason = match self.discipline {
            Discipline::DeadlineFirst if who.deadline <= now => Some(Reason::Deadline),
            Discipline::CoDel { .. } if self.codel.refuses(now - who.arrived, now) => Some(Reason::QueueDelay),
            _ => None,
        };
        Some((who.id, reason))
    }

    fn displace(&mut self, level: Criticality) -> Option<u32> {
        if self.discipline != Discipline::Priority {
            return None;
        }
        let least = self.waiting.iter().map(|who| who.level).min().filter(|least| *least < level)?;
        let newest = self.waiting.iter().rposition(|who| who.level == least)?;
        Some(self.waiting.remove(newest).id)
    }

    fn change(&mut self, discipline: Discipline, now: u64) {
        let mut line = std::mem::take(&mut self.waiting);
        match self.discipline {
            Discipline::DeadlineFirst => line.sort_by_key(|who| who.deadline),
            Discipline::Priority => line.sort_by_key(|who| std::cmp::Reverse(who.level)),
            _ => {}
        }
        let blank = |who: Who| Who { arrived: now, deadline: u64::MAX, level: Criticality::Critical, ..who };
        self.waiting = line.into_iter().map(blank).collect();
        self.discipline = discipline;
        self.empty_at = now;
        self.codel = Standing { ends: now + INTERVAL, ..Standing::default() };
    }
}

impl Standing {
    fn refuses(&mut self, wait: u64, now: u64) -> bool {
        match self.shortest {
            Some(shortest) if now <= self.ends => {
                self.shortest = Some(shortest.min(wait));
                self.stands && wait > 2 * TARGET
            }
            // The first of an interval says how long the waits of the last one were, and is never turned away.
            Some(shortest) => {
                *self = Self { ends: now + INTERVAL, shortest: Some(wait), stands: shortest > TARGET };
                false
            }
            None => {
                self.shortest = Some(wait);
                false
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn each_discipline_does_what_a_search_through_a_list_does(
        discipline in disciplines(), steps in proptest::collection::vec(steps(), 0..300),
    ) {
        let mut queue = Queue::new(discipline);
        let codel = Standing::default();
        let mut model = Model { discipline, waiting: Vec::new(), empty_at: 0, codel };
        // Where everybody is who has not collected, and what became of those who do not wait any more.
        let mut places: Vec<(u32, Place, Option<Left<u32>>)> = Vec::new();
        let (mut now, mut came, mut most) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Arrive(level, deadline) => {
                    let deadline = deadline.map(|wait| now + wait);
                    let who = Who { id: came, arrived: now, deadline: deadline.unwrap_or(u64::MAX), level };
                    let ticket = Ticket {
                        now: at(now),
                        deadline: deadline.map_or(Timestamp::NEVER, at),
                        criticality: level,
                    };
                    let taken = queue.push(came, ticket);
                    prop_assert_eq!(taken.patience, model.arrive(who).map(ms));
                    places.push((came, taken.place, None));
                    came += 1;
                }
                Step::Displace(level) => {
                    let displaced = queue.displace(level);
                    prop_assert_eq!(displaced, model.displace(level));
                    if let Some(place) = places.iter_mut().find(|(id, ..)| Some(*id) == displaced) {
                        place.2 = Some(Left::GivenUp(Reason::Displaced));
                    }
                }
                Step::Next => {
                    let expected = model.next(now);
                    let (turn, left) = match expected {
                        None => (None, None),
                        Some((id, None)) => (Some(Turn::Served(id)), Some(Left::Served)),
                        Some((id, Some(reason))) => (Some(Turn::GivenUp(id)), Some(Left::GivenUp(reason))),
                    };
                    prop_assert_eq!(queue.next(at(now), false), turn);
                    let id = expected.map(|(id, _)| id);
                    if let Some(place) = places.iter_mut().find(|(known, ..)| Some(*known) == id) {
                        place.2 = left;
                    }
                }
                Step::Leave(pick) if !model.waiting.is_empty() => {
                    let who = model.waiting.remove(pick % model.waiting.len());
                    let index = places.iter().position(|(id, ..)| *id == who.id).unwrap();
                    let (_, place, _) = places.remove(index);
                    prop_assert_eq!(queue.waiter(&place), Some(&mut who.id.clone()));
                    prop_assert_eq!(queue.remove(place), Left::Waiting(who.id));
                }
                Step::Collect(pick) if !places.is_empty() => {
                    let index = pick % places.len();
                    if places[index].2.is_some() {
                        let (_, place, left) = places.remove(index);
                        prop_assert_eq!(queue.waiter(&place), None);
                        prop_assert_eq!(queue.remove(place), left.unwrap());
                    }
                }
                Step::Pass(time) => now += time,
                Step::Change(discipline) => {
                    queue.set_discipline(discipline, at(now));
                    model.change(discipline, now);
                    prop_assert_eq!(queue.discipline(), discipline);
                }
                Step::Leave(_) | Step::Collect(_) => {}
            }
            most = most.max(places.len());
            prop_assert!(queue.capacity() <= most, "nodes are used again");
            let by_level = model.discipline == Discipline::Priority;
            let least = model.waiting.iter().map(|who| if by_level { who.level as u8 } else { 0 }).min();
            if model.discipline != Discipline::DeadlineFirst {
                prop_assert_eq!(queue.least(), least.unwrap_or(LANES as u8));
            }
        }
        // In a dry run everybody is served.
        while let Some((_, _)) = model.next(now) {
            prop_assert!(matches!(queue.next(at(now), true), Some(Turn::Served(_))));
        }
        prop_assert_eq!(queue.next(at(now), true), None);
    }
}

#[test]
fn a_burst_after_a_quiet_hour_is_not_judged_by_the_hour_before() {
    // folly's rule remembers the shortest wait of the last interval it saw, however long ago. A queue that was empty in
    // between does not stand, and nobody is refused before a whole interval of it has been seen.
    let mut queue = Queue::new(Discipline::codel(ms(TARGET), ms(INTERVAL)));
    let mut wait = |arrived: u64, taken_up: u64| {
        queue.push(arrived, Ticket::blank(at(arrived)));
        queue.next(at(taken_up), false)
    };
    let hour = 3_600_000;
    assert_eq!(wait(0, 50), Some(Turn::Served(0)));
    for step in 0..8 {
        assert_eq!(wait(hour + step, hour + step + 20), Some(Turn::Served(hour + step)), "step {step}");
    }
}

#[test]
fn times_at_the_end_of_time_upset_no_discipline() {
    let longest = Duration::MAX;
    let all = [
        Discipline::AdaptiveLifo { interval: longest, timeout: longest },
        Discipline::codel(longest, longest),
        Discipline::codel(Duration::from_nanos(1), Duration::from_nanos(1)),
        Discipline::deadline_first(),
        Discipline::priority(),
    ];
    for discipline in all {
        let mut queue = Queue::new(discipline);
        for now in [Timestamp::NEVER, Timestamp::ORIGIN, Timestamp::NEVER] {
            let ticket = Ticket { deadline: now, ..Ticket::blank(now) };
            queue.push(0, ticket);
            queue.push(1, ticket);
            assert!(queue.next(now, false).is_some(), "{discipline:?}");
        }
    }
}
