//! The draw: two different endpoints at random.

use resilience_core::rng::Rng;

/// Two different indices below `len`, each pair equally likely in either order; `None` if there are not two.
///
/// One draw gives both: its upper half the first index, its lower half the second among the others (multiply-shift
/// as in [`Rng::below`]; the bias is below `len / 2^32`). Drawing with replacement, as some balancers do, would let an
/// endpoint win against itself in one pick of `len`.
#[inline]
pub(super) fn two_of(len: usize, rng: &mut Rng) -> Option<(usize, usize)> {
    let count = u32::try_from(len).ok().filter(|&count| count >= 2)?;
    let bits = rng.next_u64();
    let first = scale(bits >> 32, count);
    let second = scale(bits & u64::from(u32::MAX), count - 1);
    Some((first, if second >= first { second + 1 } else { second }))
}

#[inline]
fn scale(bits: u64, bound: u32) -> usize {
    ((bits * u64::from(bound)) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    #[test]
    fn fewer_than_two_endpoints_have_no_pair() {
        let mut rng = Rng::seeded(1);
        assert_eq!(two_of(0, &mut rng), None);
        assert_eq!(two_of(1, &mut rng), None);
        assert!(matches!(two_of(2, &mut rng), Some((0, 1) | (1, 0))));
    }

    #[test]
    fn every_ordered_pair_is_drawn_equally_often() {
        let mut rng = Rng::seeded(7);
        let mut drawn = std::collections::HashMap::new();
        for _ in 0..200_000 {
            *drawn.entry(two_of(5, &mut rng).unwrap()).or_insert(0u32) += 1;
        }
        assert_eq!(drawn.len(), 20);
        // Chi-square with 19 degrees of freedom: 43.8 is exceeded with probability 0.001.
        let expected = 200_000.0 / 20.0;
        let chi_square: f64 = drawn.values().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        assert!(chi_square < 43.8, "{chi_square}");
    }

    proptest! {
        #[test]
        fn an_endpoint_is_never_compared_with_itself(len in 2usize..100_000, seed: u64) {
            let mut rng = Rng::seeded(seed);
            for _ in 0..16 {
                let (a, b) = two_of(len, &mut rng).unwrap();
                prop_assert!(a != b && a < len && b < len, "{a} {b} of {len}");
            }
        }
    }
}
