//! Keys, and what they do.

use std::fmt;
use std::sync::{Arc, OnceLock};

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes256Siv;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::log::BoxError;

/// What a key is made of, in bytes: two AES-256 keys, one that authenticates and one that encrypts.
pub const KEY_BYTES: usize = 64;

/// A key. Clones share it; when the last is dropped, its memory is overwritten.
///
/// What is done with it is AES-SIV (RFC 5297), without a nonce: the same value of the same subject becomes the same
/// ciphertext. There are two reasons. A command that is repeated under its id must be recognised, so what it says must not
/// look different each time. And no nonce means that none can be used twice: not by a machine that was restored from an
/// image, and not after 2^48 values. What it tells whoever reads the log is which two values of *one* subject are equal;
/// not what they are, and nothing across subjects.
///
/// ```
/// use resilience_cqrs::privacy::{KEY_BYTES, Key};
///
/// let key = Key::generate()?;
/// assert_eq!(format!("{key:?}"), "Key(..)"); // in no log
/// let kept = *key.as_bytes(); // 64 bytes, for a key store of yours
/// assert_eq!(Key::from_bytes(kept).as_bytes().len(), KEY_BYTES);
/// # Ok::<_, resilience_cqrs::privacy::KeyError>(())
/// ```
#[derive(Clone)]
pub struct Key(Arc<Zeroizing<[u8; KEY_BYTES]>>);

/// What a ciphertext is for. Part of what is authenticated, so that none passes for another.
#[derive(Clone, Copy)]
pub(super) enum Use<'a> {
    /// A value of a subject.
    Value { subject: &'a str },
    /// A value on its way through this process, with its ciphertext.
    Transit { subject: &'a str, sealed: &'a str },
    /// A key of a subject under a master key.
    Wrapped { subject: &'a str },
}

impl Key {
    /// A new key, from the operating system's generator.
    ///
    /// Not from [`rng`](resilience_core::rng): whoever knows a seed would know the key.
    ///
    /// # Errors
    /// The operating system's.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *bytes).map_err(|error| KeyError::new(true, error))?;
        Ok(Self(Arc::new(bytes)))
    }

    /// A key that is kept elsewhere.
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }

    /// The key itself: for key stores, and nobody else.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn encrypt(&self, used: Use<'_>, plain: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (what, about) = used.parts();
        let result = self.cipher().encrypt([what.as_bytes(), about.0.as_bytes(), about.1.as_bytes()], plain);
        result.map_err(|_| KeyError::new(false, "the value is too long to be encrypted"))
    }

    /// `None` if it was not encrypted with this key for this use, or was changed.
    pub(super) fn decrypt(&self, used: Use<'_>, cipher: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (what, about) = used.parts();
        let plain = self.cipher().decrypt([what.as_bytes(), about.0.as_bytes(), about.1.as_bytes()], cipher);
        plain.ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> Aes256Siv {
        Aes256Siv::new(self.as_bytes().into())
    }
}

impl<'a> Use<'a> {
    fn parts(self) -> (&'static str, (&'a str, &'a str)) {
        match self {
            Self::Value { subject } => ("resilience-cqrs personal 1", (subject, "")),
            Self::Transit { subject, sealed } => ("resilience-cqrs transit 1", (subject, sealed)),
            Self::Wrapped { subject } => ("resilience-cqrs key 1", (subject, "")),
        }
    }
}

/// The key of this process, under which values are between the store and their type. It is in no file, and ends with the
/// process.
pub(super) fn of_this_process() -> Result<&'static Key, KeyError> {
    static KEY: OnceLock<Key> = OnceLock::new();
    match KEY.get() {
        Some(key) => Ok(key),
        None => {
            let key = Key::generate()?;
            Ok(KEY.get_or_init(|| key))
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A key store could not be asked, or does not take what it was given.
///
/// It never means that somebody was forgotten: whoever cannot ask does not know.
#[derive(Debug, Error)]
#[error("the keys of personal data cannot be asked for")]
pub struct KeyError {
    retryable: bool,
    source: BoxError,
}

impl KeyError {
    /// For key stores: `retryable` if the same may well succeed a little later.
    pub fn new(retryable: bool, source: impl Into<BoxError>) -> Self {
        Self { retryable, source: source.into() }
    }

    /// Whether the same may well succeed a little later.
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }
}
