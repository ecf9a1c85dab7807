use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::bulkhead::Discipline;
use crate::time::Timestamp;

mod disciplines;

/// What the word must say, in plain numbers.
#[derive(Clone, Debug, Default)]
struct Model {
    limit: u32,
    in_flight: u32,
    waiting: u32,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Arrive,
    Release,
    Leave,
    Resize(u32),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Arrive),
        3 => Just(Step::Release),
        1 => Just(Step::Leave),
        1 => (1..12u32).prop_map(Step::Resize),
    ]
}

const QUEUE: u32 = 4;

impl Model {
    /// Starts waiters while there are both a slot and a waiter.
    fn settle(&mut self) -> u32 {
        let before = self.in_flight;
        while self.waiting > 0 && self.in_flight < self.limit {
            self.waiting -= 1;
            self.in_flight += 1;
        }
        self.in_flight - before
    }

    fn arrive(&mut self) -> bool {
        if self.waiting == 0 && self.in_flight < self.limit {
            self.in_flight += 1;
        } else if self.waiting < QUEUE {
            self.waiting += 1;
        } else {
            return false;
        }
        true
    }
}

proptest! {
    #[test]
    fn the_word_does_what_plain_numbers_do(
        limit in 1..12u32, steps in proptest::collection::vec(steps(), 0..200),
    ) {
        let mut word = Word::new(limit);
        let mut model = Model { limit, ..Model::default() };
        for step in steps {
            match step {
                Step::Arrive => {
                    let next = word.admit().or_else(|| word.enqueue(QUEUE));
                    prop_assert_eq!(next.is_some(), model.arrive());
                    word = next.unwrap_or(word);
                }
                Step::Release if model.in_flight > 0 => {
                    model.in_flight -= 1;
                    let served = model.settle();
                    word = match word.release() {
                        Release::Freed(next) => { prop_assert_eq!(served, 0); next }
                        Release::HandedOver(next) => { prop_assert_eq!(served, 1); next }
                    };
                }
                Step::Leave if model.waiting > 0 => {
                    model.waiting -= 1;
                    word = word.leave();
                }
                Step::Resize(limit) => {
                    model.limit = limit;
                    let (next, granted) = word.resize(limit, limit);
                    prop_assert_eq!(granted, model.settle());
                    word = next;
                }
                Step::Release | Step::Leave => {}
            }
            prop_assert_eq!(
                (word.limit(), word.in_flight(), word.waiting()),
                (model.limit, model.in_flight, model.waiting)
            );
            prop_assert!(word.waiting() == 0 || word.in_flight() >= word.limit(), "somebody waits for a free slot");
        }
    }

    /// Beside a queue that shifts its elements: cancels in random places, and places collected late.
    #[test]
    fn the_queue_serves_in_order_whoever_leaves(choices in proptest::collection::vec((0..4u8, any::<u16>()), 0..500)) {
        let mut queue = Queue::new(Discipline::fifo());
        let mut waiting: VecDeque<(u32, Place)> = VecDeque::new();
        let mut served: Vec<Place> = Vec::new();
        let (mut next, mut most) = (0, 0);
        for (choice, pick) in choices {
            match choice {
                0 | 1 => {
                    waiting.push_back((next, queue.push(next, Ticket::blank(Timestamp::ORIGIN)).place));
                    next += 1;
                }
                2 => match waiting.pop_front() {
                    Some((first, place)) => {
                        prop_assert_eq!(queue.waiter(&place), Some(&mut first.clone()));
                        prop_assert_eq!(queue.next(Timestamp::ORIGIN, false), Some(Turn::Served(first)));
                        prop_assert_eq!(queue.waiter(&place), None);
                        if pick % 2 == 0 {
                            served.push(place);
                        } else {
                            prop_assert_eq!(queue.remove(place), Left::Served, "there is nobody to take back");
                        }
                    }
                    None => prop_assert_eq!(queue.next(Timestamp::ORIGIN, false), None),
                },
                _ if !waiting.is_empty() => {
                    let (who, place) = waiting.remove(pick as usize % waiting.len()).unwrap();
                    prop_assert_eq!(queue.remove(place), Left::Waiting(who));
                }
                _ => if let Some(place) = served.pop() {
                    prop_assert_eq!(queue.remove(place), Left::Served);
                }
            }
            most = most.max(waiting.len() + served.len());
            prop_assert!(queue.capacity() <= most, "nodes are used again");
        }
    }
}

#[test]
fn the_fields_do_not_run_into_each_other_at_their_limits() {
    let mut word = Word::new(MAX_LIMIT);
    assert_eq!((word.limit(), word.in_flight(), word.waiting()), (MAX_LIMIT, 0, 0));
    word = Word::from_bits(word.bits() + u64::from(MAX_LIMIT));
    assert_eq!((word.limit(), word.in_flight(), word.waiting()), (MAX_LIMIT, MAX_LIMIT, 0));
    assert_eq!(word.admit(), None);
    word = Word::from_bits(word.bits() + u64::from(MAX_QUEUE) * WAITING_ONE);
    assert_eq!((word.limit(), word.in_flight(), word.waiting()), (MAX_LIMIT, MAX_LIMIT, MAX_QUEUE));
    assert_eq!(word.enqueue(MAX_QUEUE), None);
    let (lowered, granted) = word.resize(1, 1);
    assert_eq!((lowered.limit(), lowered.in_flight(), lowered.waiting(), granted), (1, MAX_LIMIT, MAX_QUEUE, 0));
}

#[test]
fn a_limit_on_trial_counts_who_is_too_many_within_the_boundaries_of_its_word() {
    let mut word = Word::new(2);
    for running in 1..=5_u32 {
        word = word.admit().or_else(|| word.overfill()).unwrap();
        assert_eq!((word.in_flight(), word.excess()), (running, running.saturating_sub(2)));
    }
    let last = Word::from_bits(Word::new(2).bits() + u64::from(MAX_LIMIT) - 1);
    let full = last.overfill().unwrap();
    assert_eq!((full.in_flight(), full.limit(), full.excess()), (MAX_LIMIT, 2, MAX_LIMIT - 2));
    assert_eq!(full.overfill(), None, "one more would run into the limit");
}
