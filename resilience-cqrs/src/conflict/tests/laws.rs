use std::collections::BTreeSet;

use proptest::prelude::*;

use super::history::{History, NODES, Step, Subject, WithTombstones, steps};
use super::*;

/// What is true of every type, after any history.
fn obeys<S: Subject>(steps: &[Step]) -> Result<(), TestCaseError> {
    let history = History::<S>::of(steps);
    // Deltas are states like any other, and so is nothing.
    let mut states = history.nodes.to_vec();
    states.extend(history.deltas.iter().rev().take(2).cloned());
    states.push(S::default());
    merge_laws(&states).map_err(|broken| TestCaseError::fail(broken.to_string()))?;
    prop_assert_eq!(history.all_deltas(), history.healed(), "deltas say what the states say");
    Ok(())
}

macro_rules! laws {
    ($($(#[$story:meta])* $name:ident: $subject:ty, $cases:expr, $most:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig::with_cases($cases))]
            $(#[$story])*
            #[test]
            fn $name(steps in steps($most)) {
                obeys::<$subject>(&steps)?;
            }
        }
    )*};
}

laws! {
    /// ES56. Where two writes have the same time, a register that keeps its own value stays apart for ever.
    registers_written_at_the_same_time_agree_over_ten_thousand_histories: LwwRegister<u8>, 10_000, 12;
    maps_of_last_writes_converge: LwwMap<u8, u8>, 500, 30;
    counters_that_grow_converge: GCounter, 300, 30;
    counters_converge: PnCounter, 300, 30;
    registers_of_all_concurrent_values_converge: MvRegister<u8>, 500, 30;
    sets_converge: OrSet<u8>, 1_000, 30;
    what_is_made_of_them_converges: ((OrSet<u8>, LwwRegister<u8>), Option<BTreeSet<u8>>), 200, 30;
}

/// ES56, as it is written down: equal time on nodes a and b, and both pick b's.
#[test]
fn of_writes_at_the_same_time_the_greater_node_has_the_last_word() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let (mut a, mut b) = (LwwRegister::new(), LwwRegister::new());
        let (from_a, from_b) = (a.set(at(5, 0), first), b.set(at(5, 1), second));
        a.merge(from_b);
        b.merge(from_a);
        assert_eq!((a.get(), b.get()), (Some(&second), Some(&second)), "whatever the values are");
    }
}

/// A node restored from an old backup writes a second time under a stamp it has used. It should not, but if it does the
/// replicas must not stay apart.
#[test]
fn even_two_values_under_one_stamp_do_not_part_the_replicas() {
    let write = |value| LwwRegister::new().set(at(5, 0), value);
    assert_eq!(write("x").merged(write("y")), write("y").merged(write("x")));
    let mut map = LwwMap::new();
    let inserted = map.insert("k", at(5, 0), "v");
    let removed = LwwMap::new().remove("k", at(5, 0));
    assert_eq!(inserted.clone().merged(removed.clone()), removed.merged(inserted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// At each step of each history the set has the elements of the one with tombstones, which is too simple to be wrong:
    /// an addition that was not seen stays, and nothing that was removed comes back.
    #[test]
    fn a_set_without_tombstones_has_the_elements_of_one_with(steps in steps(40)) {
        let (mut history, mut model) = (History::<OrSet<u8>>::new(), History::<WithTombstones>::new());
        for step in steps {
            history.step(step);
            model.step(step);
            for (set, model) in history.nodes.iter().zip(&model.nodes) {
                prop_assert_eq!(set.iter().copied().collect::<BTreeSet<_>>(), model.elements());
            }
        }
    }

    /// ES58, second half. When all has arrived everywhere, what is left of thousands of removed elements is one
    /// number for each node.
    #[test]
    fn once_all_is_known_nothing_is_left_of_what_was_removed(steps in steps(40)) {
        let mut set = History::<OrSet<u8>>::of(&steps).healed();
        set.clear();
        prop_assert_eq!(set.seen().early(), 0);
        prop_assert!(set.seen().vector().nodes() <= NODES);
        let size = serde_json::to_string(&set).unwrap().len();
        prop_assert!(size < 100, "{} bytes for nothing", size);
    }

    /// Of the writes to a register exactly those are kept that no other write knew of.
    #[test]
    fn a_register_keeps_exactly_what_nobody_overwrote(steps in steps(30)) {
        let (mut history, mut model) = (History::<MvRegister<u8>>::new(), History::<WithTombstones>::new());
        for step in steps {
            let step = match step {
                // One key and no removals: a set of one element whose every addition replaces those that were seen.
                Step::Act(mut act) => {
                    (act.key, act.remove) = (0, false);
                    Step::Act(act)
                }
                other => other,
            };
            history.step(step);
            model.step(step);
            for (register, model) in history.nodes.iter().zip(&model.nodes) {
                prop_assert_eq!(register.values().len(), model.additions.difference(&model.removed).count());
            }
        }
    }

    #[test]
    fn a_counter_is_the_sum_of_all_that_was_counted(steps in steps(40)) {
        let counted: i128 = steps.iter().map(|step| match step {
            Step::Act(act) => i128::from(act.value) * if act.remove { -1 } else { 1 },
            _ => 0,
        }).sum();
        prop_assert_eq!(History::<PnCounter>::of(&steps).healed().value(), counted);
    }

    /// What was seen is a set of writes, whatever form it is kept in.
    #[test]
    fn what_was_seen_is_a_set_and_has_one_form(dots in prop::collection::vec((0..3_usize, 1..9_u64), 0..40)) {
        let dots: Vec<Dot> = dots.into_iter().map(|(number, count)| Dot::new(node(number), count)).collect();
        let seen: Dots = dots.iter().copied().collect();
        for number in 0..3 {
            for count in 1..10 {
                let dot = Dot::new(node(number), count);
                prop_assert_eq!(seen.contains(dot), dots.contains(&dot));
            }
        }
        let (first, second) = dots.split_at(dots.len() / 2);
        let part = |dots: &[Dot]| dots.iter().copied().collect::<Dots>();
        prop_assert_eq!(part(second).merged(part(first)), seen);
    }

    /// A dotted version knows whether it knew, by one look-up: the answer is that of the whole histories.
    #[test]
    fn a_dotted_version_is_compared_as_its_whole_history(acts in prop::collection::vec((0..3_usize, 0..3_usize), 1..20)) {
        let mut known = [(); 3].map(|()| VersionVector::new());
        let mut writes: Vec<DottedVersion> = Vec::new();
        for (writer, heard) in acts {
            let heard = known[heard].clone();
            known[writer].merge(heard);
            let past = known[writer].clone();
            let dot = known[writer].advance(node(writer));
            writes.push(DottedVersion::new(dot, past));
        }
        for a in &writes {
            for b in &writes {
                prop_assert_eq!(a.causality(b), a.history().causality(&b.history()));
            }
        }
    }
}

/// ES58, first half.
#[test]
fn an_addition_beats_a_removal_that_did_not_know_of_it() {
    let (mut a, mut b) = (OrSet::new(), OrSet::new());
    b.merge(a.add(node(0), "x"));
    let (removed, added) = (a.remove("x"), b.add(node(1), "x"));
    a.merge(added);
    b.merge(removed);
    assert!(a.contains("x") && a == b);
    // This removal knows of it.
    b.merge(a.remove("x"));
    assert!(a.is_empty() && a == b);
}

/// A message that was stuck in a queue for a day brings an old state: what was removed since must stay removed.
#[test]
fn an_old_state_does_not_bring_back_what_was_removed() {
    let mut set = OrSet::new();
    set.add(node(0), "x");
    let old = set.clone();
    set.remove("x");
    set.add(node(1), "y");
    set.merge(old);
    assert_eq!(set.iter().collect::<Vec<_>>(), [&"y"]);
}

/// A removal overtakes the addition it removes: when the addition arrives it is dead already.
#[test]
fn a_removal_that_comes_before_its_addition_is_not_forgotten() {
    let (mut here, mut there) = (OrSet::new(), OrSet::new());
    let added = here.add(node(0), "x");
    let again = here.add(node(0), "x");
    let removed = here.remove("x");
    for delta in [removed, again, added] {
        there.merge(delta);
        assert!(there.is_empty());
    }
    assert_eq!((there.seen().early(), there), (0, here));
}

/// Of writes that are still under way only those are remembered one by one.
#[test]
fn early_news_is_remembered_until_the_gap_is_filled_and_no_longer() {
    let mut here = OrSet::new();
    let deltas: Vec<_> = (0..1_000).map(|n| here.add(node(0), n)).collect();
    let mut there = OrSet::new();
    for delta in deltas.iter().skip(1) {
        there.merge(delta.clone());
    }
    assert_eq!(there.seen().early(), 999);
    there.merge(deltas[0].clone());
    assert_eq!((there.seen().early(), there.seen().vector().of(node(0))), (0, 1_000));
}
