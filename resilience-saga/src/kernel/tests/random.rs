//! Random graphs in random worlds: the invariants hold, whatever happens and wherever it crashes.

use std::num::NonZeroU32;

use proptest::prelude::*;
use resilience_core::rng::Rng;

use super::world::{Odds, World, step};
use crate::kernel::*;

/// A graph of up to nine steps, drawn from the seed.
fn plan(rng: &mut Rng) -> Plan {
    let count = 1 + rng.below(9) as usize;
    let pivot = (rng.below(2) == 0).then(|| rng.below(count as u64 + 1) as usize);
    let mut steps: Vec<StepPlan> = Vec::new();
    for id in 0..count {
        let needs: Vec<usize> = (0..id).filter(|_| rng.below(3) == 0).collect();
        let mut plan = step(&format!("s{id}"), &needs);
        plan.after_pivot = pivot.is_some_and(|pivot| id >= pivot);
        plan.unknown = match rng.below(4) {
            0 => Unknown::Probe,
            1 if !plan.after_pivot => Unknown::CompensateMaybe,
            2 => Unknown::Escalate,
            _ => Unknown::RetrySameKey,
        };
        plan.tries.limit = NonZeroU32::new(1 + rng.below(4) as u32);
        plan.undo_tries.limit = NonZeroU32::new(1 + rng.below(4) as u32);
        if plan.after_pivot {
            plan.undo = None;
            plan.tries.limit = None;
        } else if rng.below(5) == 0 {
            plan.undo = Some(Undo::None("random".into()));
        }
        steps.push(plan);
    }
    let limits = Limits { parallel: 1 + rng.below(4) as usize, panics: 2, crashes: 4, output: 1 << 20 };
    Plan::new("random", 1, steps, count - 1, pivot.is_some(), limits).expect("the graph is sound")
}

fn live(seed: u64, odds: Odds) -> Phase {
    let mut rng = Rng::seeded(seed);
    let plan = plan(&mut rng);
    let mut world = World::new(plan, odds, rng.next_u64());
    for _ in 0..100_000 {
        if !world.step() {
            world.check_end();
            return world.state.phase();
        }
    }
    panic!("I1: it does not end\n{:#?}", world.log);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn invariants_hold_for_any_graph_in_any_world(
        seed: u64, reject in 0..20_u64, fail in 0..40_u64, doubt in 0..40_u64, panic in 0..10_u64,
        undo_fails in 0..40_u64, crash in 0..25_u64, cancel in 0..5_u64,
    ) {
        live(seed, Odds { reject, fail, doubt, panic, undo_fails, crash, cancel });
    }
}

#[test]
fn a_kind_world_completes_and_an_unkind_one_compensates() {
    let kind = Odds { reject: 0, fail: 0, doubt: 0, panic: 0, undo_fails: 0, crash: 20, cancel: 0 };
    let rude = Odds { reject: 100, ..kind };
    let mut ends = [0, 0];
    for seed in 0..300 {
        // Even a kind world's crashes leave steps in doubt, and some policies compensate or escalate then.
        ends[0] += u32::from(live(seed, Odds { crash: 0, ..kind }) == Phase::Completed);
        ends[1] += u32::from(live(seed, rude) == Phase::Compensated);
    }
    assert_eq!(ends[0], 300);
    assert!(ends[1] > 200, "{ends:?}");
}
