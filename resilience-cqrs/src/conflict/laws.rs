//! The laws of [`Merge`], tried on states of yours.

use std::fmt::Debug;

use thiserror::Error;

use super::Merge;

/// A law of [`Merge`] that some states break.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{law} does not hold: {left} is not {right}")]
pub struct LawBroken {
    /// Which law.
    pub law: &'static str,
    /// What one side came to.
    pub left: String,
    /// What the other side came to.
    pub right: String,
}

/// Tries the laws of [`Merge`] on each state, each pair and each three of them; for a test of a type of yours.
///
/// Its work grows with the cube of the number of states, and ten histories say more than a thousand: give it states that
/// came of different writes in different places, with a random generator best.
///
/// # Errors
/// The first law that is broken, with what its two sides came to.
///
/// ```
/// use resilience_cqrs::conflict::{Merge, merge_laws};
///
/// /// A sum: what arrives twice counts twice.
/// #[derive(Clone, Debug, PartialEq)]
/// struct Sum(i64);
///
/// impl Merge for Sum {
///     fn merge(&mut self, other: Self) {
///         self.0 += other.0;
///     }
/// }
///
/// let broken = merge_laws(&[Sum(0), Sum(1)]).unwrap_err();
/// assert_eq!(broken.to_string(), "idempotent does not hold: Sum(2) is not Sum(1)");
/// ```
pub fn merge_laws<M: Merge + Clone + PartialEq + Debug>(states: &[M]) -> Result<(), LawBroken> {
    let both = |a: &M, b: &M| a.clone().merged(b.clone());
    for a in states {
        equal("idempotent", &both(a, a), a)?;
        for b in states {
            let ab = both(a, b);
            equal("commutative", &ab, &both(b, a))?;
            equal("growing", &both(&ab, a), &ab)?;
            for c in states {
                equal("associative", &both(&ab, c), &both(a, &both(b, c)))?;
            }
        }
    }
    Ok(())
}

fn equal<M: PartialEq + Debug>(law: &'static str, left: &M, right: &M) -> Result<(), LawBroken> {
    if left == right {
        return Ok(());
    }
    Err(LawBroken { law, left: format!("{left:?}"), right: format!("{right:?}") })
}
