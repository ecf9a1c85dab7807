//! What the caller is told when the fallback fails too.

use std::error::Error as StdError;
use std::fmt;

use crate::{Elapsed, Error, Rejected};

type BoxError = Box<dyn StdError + Send + Sync>;

/// An error that can tell of another: of the fallback's, beside the one that made it necessary.
///
/// Given for boxed errors, by [`BothFailed`], and for [`Error`] over an error that is made of anything. For an enum of
/// your own it is a variant that holds both; where it is not to be had, [`FallbackLayer::original`] and
/// [`FallbackLayer::join`] say what the caller gets.
///
/// ```
/// use resilience_core::fallback::{Fallback, Join};
/// use resilience_core::{AsRejected, Rejected};
///
/// #[derive(Debug, PartialEq)]
/// enum Failed { Down, NoCopy, Both(Box<(Failed, Failed)>) }
///
/// impl AsRejected for Failed {
///     fn as_rejected(&self) -> Option<&Rejected> { None }
/// }
/// impl Join for Failed {
///     fn join(self, fallback: Self) -> Self { Self::Both(Box::new((self, fallback))) }
/// }
///
/// # futures::executor::block_on(async {
/// let fallback = Fallback::builder().build()?;
/// let answer = fallback.run(async { Err::<(), _>(Failed::Down) }, |_| async { Err(Failed::NoCopy) }).await;
/// assert_eq!(answer, Err(Failed::Both(Box::new((Failed::Down, Failed::NoCopy)))));
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
///
/// [`FallbackLayer::original`]: super::FallbackLayer::original
/// [`FallbackLayer::join`]: super::FallbackLayer::join
#[diagnostic::on_unimplemented(
    message = "it is not said what the caller gets when the fallback fails with a second `{Self}`",
    note = "say `.original()` or `.join(|original, fallback| ..)` on the layer, or implement `Join`"
)]
pub trait Join: Sized {
    /// The error of a call whose fallback failed: `self` is the original.
    #[must_use]
    fn join(self, fallback: Self) -> Self;
}

impl Join for BoxError {
    fn join(self, fallback: Self) -> Self {
        Box::new(BothFailed { original: self, fallback })
    }
}

/// A refusal stays one if both refused: of nothing else is "never sent" true.
impl<E: Join + From<Rejected> + From<Elapsed>> Join for Error<E> {
    fn join(self, fallback: Self) -> Self {
        let own = |error| match error {
            Self::Rejected(rejected) => rejected.into(),
            Self::Elapsed(elapsed) => elapsed.into(),
            Self::Service(own) => own,
        };
        match (self, fallback) {
            (original @ Self::Rejected(_), Self::Rejected(_)) => original,
            (original, fallback) => Self::Service(E::join(own(original), own(fallback))),
        }
    }
}

/// The error of a call and that of its fallback, as one boxed error: the original is its source.
///
/// ```
/// use std::error::Error;
/// use resilience_core::fallback::{BothFailed, Fallback};
///
/// # futures::executor::block_on(async {
/// type BoxError = Box<dyn Error + Send + Sync>;
/// let fallback = Fallback::builder().build()?;
/// let down = async { Err::<(), BoxError>("connection refused".into()) };
/// let error = fallback.run(down, |_| async { Err("nothing kept".into()) }).await.unwrap_err();
/// assert_eq!(error.to_string(), "the fallback failed too: nothing kept");
/// assert_eq!(error.source().unwrap().to_string(), "connection refused");
/// assert_eq!(error.downcast_ref::<BothFailed>().unwrap().fallback().to_string(), "nothing kept");
/// # Ok::<(), resilience_core::ConfigError>(())
/// # }).unwrap();
/// ```
#[derive(Debug)]
pub struct BothFailed {
    original: BoxError,
    fallback: BoxError,
}

impl BothFailed {
    /// Why the fallback was asked.
    pub fn original(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.original
    }

    /// Why it could not answer either.
    pub fn fallback(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.fallback
    }
}

impl fmt::Display for BothFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fallback failed too: {}", self.fallback)
    }
}

impl StdError for BothFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.original)
    }
}

/// Makes one error of two; any `Fn(E, E) -> E` is one, given the original and the fallback's.
pub trait Merge<E> {
    /// The caller's error.
    fn merge(&self, original: E, fallback: E) -> E;
}

impl<F: Fn(E, E) -> E, E> Merge<E> for F {
    fn merge(&self, original: E, fallback: E) -> E {
        self(original, fallback)
    }
}

/// As the error itself says by [`Join`]. The default of fallbacks that can fail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined;

impl<E: Join> Merge<E> for Joined {
    fn merge(&self, original: E, fallback: E) -> E {
        original.join(fallback)
    }
}

/// The original, as if there were no fallback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Original;

impl<E> Merge<E> for Original {
    fn merge(&self, original: E, _: E) -> E {
        original
    }
}
