//! A share in a policy that is taken and given back, most of the time, without touching its reference count.
//!
//! A call outlives the borrow of the service that made it, so its permit must own a share in the policy. With a plain
//! `Arc` that is two atomic read-modify-writes a call, as many as a bulkhead's own work and more than a breaker's; and
//! with two threads on one policy the count's cache line goes back and forth between them, which costs ten times as
//! much. Here a thread keeps the share that was last given back to it, as an allocator keeps freed memory in a cache of
//! the thread's own ("magazines": Bonwick and Adams, "Magazines and Vmem", USENIX 2001): the next call on that thread
//! takes it over. Calls that start and end in turn, as those of a loaded server do, touch no count; a burst falls back
//! to counting, and is never wrong.
//!
//! What is kept may live on after its policy is dropped, until another policy wants the place or the thread ends. So
//! only policies are kept that own nothing of the user's ([`Keep::is_own`]): no listener whose drop somebody waits for,
//! no foreign timer. What stays is a bounded piece of plain memory: [`PLACES`] policies of a kind per thread.

use std::fmt;
use std::ops::Deref;

use crate::sync::Arc;

/// Policies of one kind that a thread keeps a share of, at most. Two that fall on one place take turns, and pay.
#[cfg(not(loom))]
const PLACES: usize = 16;

/// What permits hold shares of.
pub(crate) trait Keep: Sized + 'static {
    /// Whether it owns nothing whose drop could be noticed.
    fn is_own(&self) -> bool;

    /// This thread's places for this kind; `None` while the thread is being torn down.
    #[cfg(not(loom))]
    fn with_places<R>(body: impl FnOnce(&Places<Self>) -> R) -> Option<R>;
}

/// The shares one thread keeps; each in the place its address falls on.
#[cfg(not(loom))]
pub(crate) struct Places<T>([std::cell::Cell<Option<Arc<T>>>; PLACES]);

#[cfg(not(loom))]
impl<T> Places<T> {
    pub(crate) const fn new() -> Self {
        Self([const { std::cell::Cell::new(None) }; PLACES])
    }

    #[inline(always)]
    fn of<'a>(&'a self, share: &Arc<T>) -> &'a std::cell::Cell<Option<Arc<T>>> {
        // Policies are a few hundred bytes long; the bits above tell them apart.
        let address = Arc::as_ptr(share) as usize;
        &self.0[(address >> 6 ^ address >> 10) % PLACES]
    }
}

/// Gives a type of shared state its places.
macro_rules! keep {
    ($shared:ty) => {
        impl crate::held::Keep for $shared {
            #[inline(always)]
            fn is_own(&self) -> bool {
                self.is_own
            }

            #[cfg(not(loom))]
            #[inline(always)]
            fn with_places<R>(body: impl FnOnce(&crate::held::Places<Self>) -> R) -> Option<R> {
                thread_local! {
                    static PLACES: crate::held::Places<$shared> = const { crate::held::Places::new() };
                }
                PLACES.try_with(body).ok()
            }
        }
    };
}
pub(crate) use keep;

/// A share in a policy; as good as an `Arc`.
pub(crate) struct Held<T: Keep>(
    /// Always there until the drop.
    Option<Arc<T>>,
);

impl<T: Keep> Held<T> {
    /// A share in what `share` is a share in.
    #[inline(always)]
    pub(crate) fn of(share: &Arc<T>) -> Self {
        #[cfg(not(loom))]
        if share.is_own()
            && let Some(Some(kept)) = T::with_places(|places| {
                let place = places.of(share);
                match place.take() {
                    Some(kept) if Arc::ptr_eq(&kept, share) => Some(kept),
                    other => {
                        place.set(other);
                        None
                    }
                }
            })
        {
            return Self(Some(kept));
        }
        Self(Some(share.clone()))
    }
}

impl<T: Keep> From<Arc<T>> for Held<T> {
    /// A share that is at hand already.
    fn from(share: Arc<T>) -> Self {
        Self(Some(share))
    }
}

impl<T: Keep> Deref for Held<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        match &self.0 {
            Some(shared) => shared,
            None => unreachable!("a share is given back once, by its drop"),
        }
    }
}

impl<T: Keep> Drop for Held<T> {
    #[inline(always)]
    fn drop(&mut self) {
        let Some(share) = self.0.take() else { return };
        if !share.is_own() {
            return;
        }
        #[cfg(not(loom))]
        {
            // What lay there is dropped after the place is set, and outside of it. While the thread is being torn down
            // there are no places, and the share is dropped with the closure.
            let displaced = T::with_places(move |places| places.of(&share).replace(Some(share)));
            drop(displaced);
        }
    }
}

impl<T: Keep> fmt::Debug for Held<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Policy {
        is_own: bool,
    }

    keep!(Policy);

    #[test]
    fn calls_in_turn_leave_the_count_alone() {
        let policy = Arc::new(Policy { is_own: true });
        drop(Held::of(&policy));
        let kept = Arc::strong_count(&policy);
        for _ in 0..3 {
            let held = Held::of(&policy);
            assert_eq!(Arc::strong_count(&policy), kept);
            drop(held);
        }
        assert_eq!(kept, 2);
    }

    #[test]
    fn calls_at_once_have_a_share_each() {
        let policy = Arc::new(Policy { is_own: true });
        let together = [Held::of(&policy), Held::of(&policy), Held::of(&policy)];
        assert_eq!(Arc::strong_count(&policy), 4);
        drop(together);
        assert_eq!(Arc::strong_count(&policy), 2, "one is kept");
    }

    #[test]
    fn what_is_the_users_is_not_kept() {
        let policy = Arc::new(Policy { is_own: false });
        drop(Held::of(&policy));
        assert_eq!(Arc::strong_count(&policy), 1);
    }

    #[test]
    fn a_share_given_back_on_another_thread_is_gone_with_the_thread() {
        let policy = Arc::new(Policy { is_own: true });
        let held = Held::of(&policy);
        std::thread::spawn(move || drop(held)).join().unwrap();
        assert_eq!(Arc::strong_count(&policy), 1);
    }

    #[test]
    fn more_policies_than_places_are_still_right() {
        let policies: Vec<_> = (0..4 * PLACES).map(|_| Arc::new(Policy { is_own: true })).collect();
        for policy in policies.iter().chain(&policies) {
            drop(Held::of(policy));
        }
        let kept: usize = policies.iter().map(|policy| Arc::strong_count(policy) - 1).sum();
        assert!((1..=PLACES).contains(&kept), "{kept}");
    }
}
