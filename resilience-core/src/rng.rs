//! Small, seedable randomness for jitter and choice. Not for secrets.
//!
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014) is a counter with a
//! mixing function, so one shared generator needs no lock: a draw is one `fetch_add`.

use std::hash::{BuildHasher, Hasher, RandomState};

use crate::sync::atomic::{AtomicU64, Ordering};

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

const fn mix(counter: u64) -> u64 {
    let z = (counter ^ (counter >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A generator owned by one user: no synchronisation at all.
///
/// ```
/// use resilience_core::rng::Rng;
///
/// let mut a = Rng::seeded(7);
/// let mut b = Rng::seeded(7);
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert!((0.0..1.0).contains(&a.unit()));
/// assert!(a.below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct Rng {
    counter: u64,
}

impl Rng {
    /// The generator whose sequence is fixed by `seed`.
    pub const fn seeded(seed: u64) -> Self {
        Self { counter: seed }
    }

    /// A generator seeded from the operating system's entropy.
    pub fn from_entropy() -> Self {
        Self::seeded(entropy())
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(GAMMA);
        mix(self.counter)
    }

    /// A number in `[0, 1)`, uniform in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        unit(self.next_u64())
    }

    /// A number in `[0, bound)`; 0 if `bound` is 0.
    ///
    /// Multiply-shift (Lemire, "Fast random integer generation in an interval", 2019) without the rejection step: the
    /// bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An independent generator, fixed by this one's state.
    ///
    /// ```
    /// use resilience_core::rng::Rng;
    ///
    /// let mut root = Rng::seeded(7);
    /// let mut client = root.fork();
    /// let planned = client.clone().next_u64();
    /// root.next_u64(); // draws elsewhere do not move the client's sequence: a simulation stays the same as it grows
    /// assert_eq!(client.next_u64(), planned);
    /// ```
    pub fn fork(&mut self) -> Self {
        Self::seeded(self.next_u64())
    }
}

/// A generator many threads may draw from.
///
/// ```
/// use resilience_core::rng::{Rng, SharedRng};
///
/// let shared = SharedRng::seeded(7); // `&self`, without a lock: what threads share is one counter
/// let drawn: Vec<u64> = std::thread::scope(|scope| {
///     let threads: Vec<_> = (0..2).map(|_| scope.spawn(|| shared.next_u64())).collect();
///     threads.into_iter().map(|thread| thread.join().unwrap()).collect()
/// });
/// let mut one = Rng::seeded(7);
/// assert_eq!(drawn.iter().max(), [one.next_u64(), one.next_u64()].iter().max()); // in either order, the same draws
/// ```
#[derive(Debug)]
pub struct SharedRng {
    counter: AtomicU64,
}

impl SharedRng {
    /// The generator whose sequence is fixed by `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self { counter: AtomicU64::new(seed) }
    }

    /// A generator seeded from the operating system's entropy.
    pub fn from_entropy() -> Self {
        Self::seeded(entropy())
    }

    /// The next 64 random bits.
    pub fn next_u64(&self) -> u64 {
        // Relaxed: draws must differ, not be ordered with anything.
        mix(self.counter.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA))
    }

    /// A number in `[0, 1)`, uniform in steps of 2^-53.
    pub fn unit(&self) -> f64 {
        unit(self.next_u64())
    }

    /// An independent generator for one user.
    pub fn fork(&self) -> Rng {
        Rng::seeded(self.next_u64())
    }
}

fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// 64 bits of the operating system's entropy, by way of the standard library's hash seeds.
fn entropy() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        // First outputs of SplitMix64 for seed 1234567, as given with the reference implementation.
        let mut rng = Rng::seeded(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| rng.next_u64()).collect();
        let published: [u64; 5] = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
            16_408_922_859_458_223_821,
        ];
        assert_eq!(drawn, published);
    }

    #[test]
    fn shared_and_owned_generators_agree() {
        let shared = SharedRng::seeded(9);
        let mut owned = Rng::seeded(9);
        assert_eq!([shared.next_u64(), shared.next_u64()], [owned.next_u64(), owned.next_u64()]);
    }

    #[test]
    fn below_stays_below_and_reaches_both_ends() {
        let mut rng = Rng::seeded(1);
        let mut seen = [false; 3];
        for _ in 0..200 {
            seen[rng.below(3) as usize] = true;
        }
        assert_eq!(seen, [true; 3]);
        assert_eq!(rng.below(0), 0);
    }
}
