//! Whose answer is whose, whoever comes and goes.

use proptest::prelude::*;

use crate::batch::machine::{Limits, Roster, Stage};

#[derive(Clone, Copy, Debug)]
enum Step {
    Sit(u64),
    /// The nth of those who are there.
    Leave(usize),
    Poll(usize),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_u64).prop_map(Step::Sit),
        2 => (0..10_usize).prop_map(Step::Leave),
        4 => (0..10_usize).prop_map(Step::Poll),
        1 => Just(Step::Close),
    ]
}

proptest! {
    #[test]
    fn each_who_stays_gets_its_own_answer_and_somebody_always_drives(steps in prop::collection::vec(step(), 1..60)) {
        let limits = Limits { size: 6, weight: 12 };
        let mut roster = Roster::<u64, u64, u64>::new();
        // Seat, request, weight; who was woken and has not been polled since.
        let (mut there, mut woken) = (Vec::<(u64, u64, u64)>::new(), Vec::new());
        let mut sent: Option<Vec<u64>> = None;
        for (request, step) in (0..).zip(steps) {
            match step {
                Step::Sit(weight) => if roster.has_room(weight, limits) {
                    let seat = roster.sit(request, weight, 1_000 + request, limits);
                    there.push((seat, request, weight));
                    // A caller sits and is polled in one go.
                    woken.push(seat);
                },
                Step::Leave(nth) => if nth < there.len() {
                    let (seat, ..) = there.remove(nth);
                    let left = roster.leave(seat);
                    woken.retain(|who| *who != seat);
                    if let Some(next) = left.next {
                        woken.push(there.iter().find(|(_, request, _)| 1_000 + request == next).unwrap().0);
                    }
                    prop_assert_eq!(left.is_empty, there.is_empty());
                },
                Step::Poll(nth) => if let Some((seat, request, _)) = there.get(nth).copied() {
                    woken.retain(|who| *who != seat);
                    if roster.stage() != Stage::Done && roster.drives(seat) && roster.stage() == Stage::Due {
                        let requests = roster.send();
                        prop_assert_eq!(&requests, &there.iter().map(|(_, request, _)| *request).collect::<Vec<_>>());
                        prop_assert!(sent.replace(requests).is_none(), "sent twice");
                    }
                    roster.rest(seat, 1_000 + request);
                },
                Step::Close => if roster.stage() == Stage::Open && let Some(driver) = roster.close() {
                    woken.push(there.iter().find(|(_, request, _)| 1_000 + request == driver).unwrap().0);
                },
            }
            prop_assert!(there.len() <= 6);
            let weight: u64 = there.iter().map(|(_, _, weight)| weight).sum();
            prop_assert!(weight <= 12 || there.len() == 1);
            if roster.stage() == Stage::Due && !there.is_empty() {
                // Somebody is awake who will send it, or drives and was polled last as such.
                let driver = there.iter().any(|(seat, ..)| woken.contains(seat));
                prop_assert!(driver, "nobody will send it");
            }
        }
        if let Some(requests) = sent {
            let landed = roster.land(u64::MAX, requests.iter().map(|request| 10 * request).collect());
            prop_assert_eq!(landed.mismatch, None);
            for (seat, request, _) in there {
                prop_assert_eq!(roster.answer(seat), Some(10 * request));
            }
        }
    }
}

#[test]
fn one_who_leaves_wakes_nobody_where_another_drives_or_all_is_done() {
    // A wake-up for nothing is a poll of every layer above.
    let limits = Limits { size: 3, weight: 100 };
    let mut roster = Roster::<&str, &str, &str>::new();
    let [first, second, third] = ["a", "b", "c"].map(|name| roster.sit(name, 1, name, limits));
    assert!(roster.drives(third), "it filled the batch");
    let left = roster.leave(first);
    assert_eq!((left.next, left.is_empty), (None, false));
    assert_eq!(roster.rest(second, "b, moved"), Some("b"), "to be dropped outside of locks");
    assert_eq!(roster.leave(third).next, Some("b, moved"), "now nobody drives");
    assert!(roster.drives(second));
    assert_eq!(roster.send(), ["b"]);
    let landed = roster.land(second, vec!["answer"]);
    assert!(landed.wakers.is_empty() && landed.nobodys.is_empty() && landed.mismatch.is_none());
    assert_eq!(roster.leave(second).next, None);

    let mut roster = Roster::<&str, &str, &str>::new();
    let [first, second] = ["a", "b"].map(|name| roster.sit(name, 1, name, limits));
    assert!(roster.drives(first));
    roster.close();
    roster.send();
    roster.end(first);
    roster.rest(second, "b");
    assert_eq!(roster.leave(first).next, None, "its answer is there, or it has none");
}
