//! Counts that any number of threads add to, each in a cell of its own.
//!
//! A refusal is counted, and to count in a cell that all threads share is a read-modify-write on a line that they pull
//! from one another: alone, it costs as much as the rest of a refusal, and with two threads ten times as much, at the very
//! moment at which there is too much to do. Here the first [`SEATS`] threads that live have a seat each, and with it a cell
//! in each tally which nobody else writes: they add with a load and a store. Threads beyond that share one cell.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Threads with a cell of their own.
const SEATS: usize = if cfg!(loom) { 1 } else { 8 };

/// A count.
#[derive(Default)]
pub(crate) struct Tally {
    seats: [Cell; SEATS],
    others: AtomicU64,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Cell(AtomicU64);

impl Tally {
    /// Adds one.
    #[inline(always)]
    pub(crate) fn add_one(&self) {
        match seat::mine().and_then(|seat| self.seats.get(seat)) {
            // Relaxed, both: the cell has one writer at a time (see `seat`), and each sees what it and its predecessors wrote.
            Some(Cell(cell)) => cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed),
            // Relaxed: a statistic.
            None => _ = self.others.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// What was added so far: all that happened before, and perhaps some of what happens at the same time.
    pub(crate) fn sum(&self) -> u64 {
        let seats = self.seats.iter().map(|Cell(cell)| cell.load(Ordering::Relaxed));
        seats.fold(self.others.load(Ordering::Relaxed), u64::wrapping_add)
    }
}

/// Loom has no thread that outlives another's seat: there everybody shares.
#[cfg(loom)]
mod seat {
    pub(super) fn mine() -> Option<usize> {
        None
    }
}

#[cfg(not(loom))]
mod seat {
    use crate::sync::atomic::{AtomicU64, Ordering};
    use std::cell::Cell;

    use super::SEATS;

    /// A bit for each seat that is taken.
    static TAKEN: AtomicU64 = AtomicU64::new(0);

    /// Not asked yet, or asked in vain.
    const UNKNOWN: usize = usize::MAX;
    const NONE: usize = usize::MAX - 1;

    /// Stands up when the thread ends.
    struct Seat(Cell<usize>);

    impl Drop for Seat {
        fn drop(&mut self) {
            let seat = self.0.get();
            if seat < SEATS {
                // Release pairs with the Acquire in `sit_down`: who takes the seat next sees all that was written from it,
                // and adds to that. Nothing is written from it after this: `try_with` fails once this has begun.
                TAKEN.fetch_and(!(1 << seat), Ordering::Release);
            }
        }
    }

    thread_local! {
        static SEAT: Seat = const { Seat(Cell::new(UNKNOWN)) };
    }

    /// The seat of this thread; `None` if there was none left, or the thread is being torn down.
    #[inline(always)]
    pub(super) fn mine() -> Option<usize> {
        SEAT.try_with(|seat| if seat.0.get() == UNKNOWN { sit_down(&seat.0) } else { seat.0.get() }).ok()
    }

    #[cold]
    fn sit_down(mine: &Cell<usize>) -> usize {
        let free = |taken: u64| (0..SEATS).find(|seat| taken & 1 << seat == 0);
        let taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |taken| Some(taken | 1 << free(taken)?));
        mine.set(taken.ok().and_then(free).unwrap_or(NONE));
        mine.get()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// More threads than seats, and threads that take over the seats of others that have ended.
    #[test]
    fn nothing_that_was_added_is_lost_whoever_sat_there() {
        let tally = Tally::default();
        for _ in 0..20 {
            std::thread::scope(|scope| {
                for _ in 0..2 * SEATS {
                    scope.spawn(|| (0..100).for_each(|_| tally.add_one()));
                }
            });
        }
        assert_eq!(tally.sum(), 20 * 2 * SEATS as u64 * 100);
    }

    /// A thread local that is dropped after the seat may be what counts last.
    #[test]
    fn a_thread_that_is_torn_down_counts_all_the_same() {
        struct Late(std::sync::Arc<Tally>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.add_one();
            }
        }
        thread_local! {
            static LATE: std::cell::RefCell<Option<Late>> = const { std::cell::RefCell::new(None) };
        }
        let tally = std::sync::Arc::new(Tally::default());
        let counts = tally.clone();
        std::thread::spawn(move || {
            LATE.with(|late| *late.borrow_mut() = Some(Late(counts.clone())));
            counts.add_one(); // only now the seat: it is given up first
        })
        .join()
        .unwrap();
        assert_eq!(tally.sum(), 2);
    }
}
