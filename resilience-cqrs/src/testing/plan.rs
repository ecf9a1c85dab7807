//! Which faults, and when: by a seed, or all of them.

use std::fmt::Debug;
use std::num::NonZeroU64;

use resilience_core::rng::Rng;

use super::{Fault, FaultyStore};
use crate::memory::MemoryStore;

/// A plan for [`on_append`](FaultyStore::on_append) and [`on_read`](FaultyStore::on_read): one call in so many goes wrong,
/// in one of these ways, the same calls and the same ways for the same seed.
///
/// ```
/// use std::num::NonZeroU64;
/// use resilience_cqrs::testing::{Fault, random};
///
/// let plan = |seed| random(seed, NonZeroU64::new(10).unwrap(), [Fault::Refused, Fault::AnswerLost]);
/// let faults = (1..=1_000).filter_map(plan(7)).count();
/// assert!((60..140).contains(&faults), "{faults}");
/// assert!((1..=1_000).map(plan(7)).eq((1..=1_000).map(plan(7))));
/// assert!(!(1..=1_000).map(plan(7)).eq((1..=1_000).map(plan(8))));
/// ```
pub fn random(
    seed: u64,
    one_in: NonZeroU64,
    faults: impl IntoIterator<Item = Fault>,
) -> impl Fn(u64) -> Option<Fault> + Send + Sync + 'static {
    let faults: Vec<_> = faults.into_iter().collect();
    move |nth| {
        // Of each call by itself, so that it does not matter in which order several tasks ask. The odd factor spreads
        // neighbours over all seeds.
        let mut rng = Rng::seeded(seed ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let is_hit = rng.below(one_in.get()) == 0;
        let choice = rng.below(faults.len().max(1) as u64);
        if is_hit { faults.get(choice as usize).copied() } else { None }
    }
}

/// Runs a test once without faults, and then again with each fault at each of its appends, one at a time.
///
/// Each run gets a store of its own. The test does what your program does, tries again what your program tries again, and
/// checks what must be true in the end. What it leaves to chance (which append comes first) should be little, for then
/// the runs are the same up to the fault. Of a run that panics it says on standard error which fault it had.
///
/// Returns how many runs there were.
///
/// ```
/// use resilience_cqrs::testing::{Fault, at_every_append};
/// use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Query, Position};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let runs = at_every_append([Fault::Refused, Fault::AnswerLost], async |store| {
///     for n in 0..3 {
///         let paid = || Append::new().events("s", Expected::Any, [NewEvent::new("Paid", "")]).command_id(n.to_string());
///         // With a name, it may be tried until there is an answer, and happens once.
///         while store.append(paid()).await.is_err() {}
///     }
///     let page = store.inner().read(Position::ORIGIN, &Query::all(), 10).await.unwrap();
///     assert_eq!(page.events.len(), 3);
/// })
/// .await;
/// assert_eq!(runs, 1 + 2 * 3);
/// # }
/// ```
pub async fn at_every_append(
    faults: impl IntoIterator<Item = Fault>,
    mut test: impl AsyncFnMut(FaultyStore<MemoryStore>),
) -> usize {
    let faults: Vec<_> = faults.into_iter().collect();
    let smooth = FaultyStore::new(MemoryStore::new());
    test(smooth.clone()).await;
    let mut runs = 1;
    for fault in faults {
        for place in 1..=smooth.appends() {
            let at_place = move |nth| (nth == place).then_some(fault);
            let _context = Context { place, fault };
            test(FaultyStore::new(MemoryStore::new()).on_append(at_place)).await;
            runs += 1;
        }
    }
    runs
}

/// Says which run it was that panicked.
#[derive(Debug)]
struct Context {
    place: u64,
    fault: Fault,
}

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("with {:?} at append {}", self.fault, self.place);
        }
    }
}
