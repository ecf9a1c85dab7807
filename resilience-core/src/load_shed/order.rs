//! Who is refused first, when a share of all calls has to be.

use super::class;
use crate::context::{Criticality, ambient, correlation_id};
use crate::rng::SharedRng;
use crate::sync::atomic::{AtomicU64, Ordering};

/// By what calls of one criticality are told apart.
///
/// ```
/// use resilience_core::context::Context;
/// use resilience_core::load_shed::{Cohort, Signal, SignalShed};
///
/// let signal = Signal::new();
/// let shed = SignalShed::builder().signal(signal.clone()).from(0.0).cohort(Cohort::Correlation).build()?;
/// signal.set(0.5);
/// for order in 0..100 {
///     let request = Context::new().with_correlation_id(format!("order-{order}"));
///     let verdicts: Vec<_> = (0..5).map(|_| request.run(|| shed.try_admit().is_ok())).collect();
///     assert!(verdicts.iter().all(|admitted| *admitted == verdicts[0])); // its other calls would fare alike
/// }
/// # Ok::<(), resilience_core::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cohort {
    /// By chance, each call anew.
    #[default]
    Random,
    /// By the correlation id in the context, in every process alike: what one original request causes is refused as a whole
    /// or not at all, and not in one of its ten calls. By chance where there is no such id.
    Correlation,
}

/// Calls of late by criticality, 16 bits for each. All are halved when one is full, so it forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mix(u64);

const BITS: u32 = 16;
const FULL: u64 = 1 << 12;

impl Mix {
    /// With one more call of a class.
    pub(super) const fn after(self, class: usize) -> Self {
        let mut mix = self.0;
        if self.calls(class) >= FULL {
            // Each count's lowest bit would move into its neighbour.
            mix = (mix >> 1) & 0x7FFF_7FFF_7FFF_7FFF;
        }
        Self(mix + (1 << (class as u32 * BITS)))
    }

    const fn calls(self, class: usize) -> u64 {
        self.0 >> (class as u32 * BITS) & ((1 << BITS) - 1)
    }

    /// How likely a call of a class is refused, where `ratio` of all are and the least critical come first.
    pub(super) fn refusal(self, ratio: f64, class: usize) -> f64 {
        let calls = |classes: std::ops::Range<usize>| classes.map(|class| self.calls(class)).sum::<u64>() as f64;
        let wanted = ratio * calls(0..CLASSES) - calls(0..class);
        (wanted / calls(class..class + 1).max(1.0)).clamp(0.0, 1.0)
    }
}

pub(super) const CLASSES: usize = 4;

/// Draws who is refused. Least critical first: a class is only touched when those below are refused altogether.
#[derive(Debug)]
pub(super) struct Order {
    mix: AtomicU64,
    rng: SharedRng,
}

impl Order {
    pub(super) fn new(rng: SharedRng) -> Self {
        Self { mix: AtomicU64::new(0), rng }
    }

    /// A call has come, of the criticality in its context, while `ratio` of all calls should be refused. With how much
    /// probability it is, if it is.
    pub(super) fn refuses(&self, ratio: f64, cohort: Cohort) -> Option<f64> {
        let class = class(ambient::get().criticality);
        // Relaxed: a statistic.
        let mut mix = Mix(self.mix.load(Ordering::Relaxed));
        let mix = loop {
            let next = mix.after(class);
            match self.mix.compare_exchange_weak(mix.0, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break next,
                Err(seen) => mix = Mix(seen),
            }
        };
        if ratio > 0.0 {
            let probability = mix.refusal(ratio, class);
            let is_refused = probability > 0.0 && (probability >= 1.0 || self.draw(cohort) < probability);
            return is_refused.then_some(probability);
        }
        None
    }

    /// How likely a call of a criticality would be refused.
    pub(super) fn refusal(&self, ratio: f64, criticality: Criticality) -> f64 {
        Mix(self.mix.load(Ordering::Relaxed)).after(class(criticality)).refusal(ratio, class(criticality))
    }

    fn draw(&self, cohort: Cohort) -> f64 {
        match cohort {
            Cohort::Random => self.rng.unit(),
            Cohort::Correlation => correlation_id().map_or_else(|| self.rng.unit(), |id| unit(&id)),
        }
    }
}

/// A number in `[0, 1)` for an id, the same in every process: FNV-1a, mixed.
fn unit(id: &str) -> f64 {
    let hash = id
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    crate::rng::Rng::seeded(hash).unit()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_share_is_met_by_the_least_critical(
            calls in proptest::collection::vec(0..CLASSES, 1..20_000),
            ratio in 0.0..=1.0f64,
        ) {
            let mix = calls.iter().fold(Mix(0), |mix, class| mix.after(*class));
            let refusals: Vec<_> = (0..CLASSES).map(|class| mix.refusal(ratio, class)).collect();
            // All in all it is the ratio.
            let total: f64 = (0..CLASSES).map(|class| mix.calls(class) as f64).sum();
            let refused: f64 = refusals.iter().enumerate().map(|(class, p)| p * mix.calls(class) as f64).sum();
            prop_assert!((refused / total - ratio).abs() < 1e-9);
            for class in 1..CLASSES {
                let below_is_refused = (0..class).all(|below| mix.calls(below) == 0 || refusals[below] > 1.0 - 1e-9);
                prop_assert!(refusals[class] < 1e-9 || below_is_refused, "{refusals:?}");
            }
        }

        #[test]
        fn a_mix_forgets_and_never_runs_over(classes in proptest::collection::vec(0..CLASSES, 0..100), last in 0..CLASSES) {
            let mix = classes.iter().fold(Mix(0), |mix, class| mix.after(*class));
            let mix = (0..100_000).fold(mix, |mix, _| mix.after(last));
            prop_assert!((0..CLASSES).all(|class| class == last || mix.calls(class) == 0));
            prop_assert!((FULL / 2..=FULL).contains(&mix.calls(last)));
        }
    }

    #[test]
    fn ids_that_differ_little_fall_anywhere() {
        let low = (0..10_000).filter(|id| unit(&format!("order-{id}")) < 0.3).count();
        assert!((2_800..3_200).contains(&low), "{low}");
    }
}
