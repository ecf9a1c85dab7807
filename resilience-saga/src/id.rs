//! Names that are the same in every process and every attempt: of a saga, and of what its steps do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The longest start key, in bytes.
pub const MAX_START_KEY: usize = 180;

/// A saga's identity: its definition's name and the key it was started with, as `checkout/order-17`.
///
/// The start key is the caller's name for the piece of business ("this order"), so that starting twice is starting
/// once. It must not be used again for other business, not even long after: receivers recognise repetitions by keys made from it.
///
/// ```
/// use resilience_saga::SagaId;
///
/// let id = SagaId::new("checkout", "order-17")?;
/// assert_eq!((id.definition(), id.key()), ("checkout", "order-17"));
/// assert_eq!(id.as_str().parse::<SagaId>()?, id);
/// assert!(SagaId::new("checkout", "").is_err());
/// # Ok::<(), resilience_saga::InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SagaId(Arc<str>);

impl SagaId {
    /// The id of the saga of this definition started with this key.
    ///
    /// # Errors
    ///
    /// If the definition's name is empty or holds a slash, the key is empty or longer than [`MAX_START_KEY`], or either has
    /// control characters.
    pub fn new(definition: &str, key: &str) -> Result<Self, InvalidId> {
        let misnamed = definition.is_empty() || definition.contains('/') || definition.chars().any(char::is_control);
        if misnamed || key.is_empty() || key.len() > MAX_START_KEY || key.chars().any(char::is_control) {
            return Err(InvalidId { id: format!("{definition}/{key}") });
        }
        Ok(Self(format!("{definition}/{key}").into()))
    }

    /// The definition's name.
    pub fn definition(&self) -> &str {
        self.0.split_once('/').map_or("", |(definition, _)| definition)
    }

    /// The key it was started with.
    pub fn key(&self) -> &str {
        self.0.split_once('/').map_or("", |(_, key)| key)
    }

    /// The id as a string slice.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl FromStr for SagaId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        let (definition, key) = id.split_once('/').ok_or_else(|| InvalidId { id: id.to_owned() })?;
        Self::new(definition, key)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Not the id of a saga, or not an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{id:?} is not a valid id: a name, a slash and a key of 1 to {MAX_START_KEY} bytes without control characters")]
pub struct InvalidId {
    id: String,
}

/// The two things a saga asks of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Take effect.
    Do,
    /// Take the effect back, or see to it that it never happens.
    Undo,
}

impl Op {
    /// The operation as it stands at the end of an idempotency key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Do => "do",
            Self::Undo => "undo",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The name of one operation of one step of one saga, as `checkout/order-17/charge/do`: the same in every attempt, in
/// every process, for ever.
///
/// It is plain text that fits an `Idempotency-Key` header: bytes that do not are percent-encoded. It is not a hash, so
/// that whoever finds it in a receiver's table knows whose it is.
///
/// ```
/// use resilience_saga::{IdempotencyKey, Op};
///
/// let key: IdempotencyKey = "checkout/order-17/charge/undo".parse()?;
/// assert_eq!((key.branch(), key.op()), ("checkout/order-17/charge", Op::Undo));
/// # Ok::<(), resilience_saga::InvalidId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    text: Arc<str>,
    op: Op,
}

impl IdempotencyKey {
    /// The key of an operation of a step.
    pub fn new(saga: &SagaId, step: &str, op: Op) -> Self {
        let mut text = String::with_capacity(saga.as_str().len() + step.len() + 6);
        for part in [saga.as_str(), "/", step, "/", op.as_str()] {
            push_visible(&mut text, part);
        }
        Self { text: text.into(), op }
    }

    /// What "do" and "undo" of the same step have in common: the name of the effect.
    pub fn branch(&self) -> &str {
        self.text.rsplit_once('/').map_or("", |(branch, _)| branch)
    }

    /// Which operation.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The key of the same step's other operation.
    ///
    /// ```
    /// use resilience_saga::{IdempotencyKey, Op, SagaId};
    ///
    /// let charge = IdempotencyKey::new(&SagaId::new("checkout", "order-17")?, "charge", Op::Do);
    /// assert_eq!(charge.with_op(Op::Undo).as_str(), "checkout/order-17/charge/undo");
    /// assert_eq!(charge.with_op(Op::Undo).branch(), charge.branch());
    /// # Ok::<(), resilience_saga::InvalidId>(())
    /// ```
    #[must_use]
    pub fn with_op(&self, op: Op) -> Self {
        Self { text: format!("{}/{op}", self.branch()).into(), op }
    }

    /// The key as a string slice.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) fn shared(&self) -> Arc<str> {
        self.text.clone()
    }
}

/// Appends text, with all that is not visible ASCII, and `%` itself, percent-encoded.
fn push_visible(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let op = match text.rsplit_once('/') {
            Some((branch, "do")) if !branch.is_empty() => Op::Do,
            Some((branch, "undo")) if !branch.is_empty() => Op::Undo,
            _ => return Err(InvalidId { id: text.to_owned() }),
        };
        Ok(Self { text: text.into(), op })
    }
}

impl AsRef<str> for IdempotencyKey {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}
