//! Whom something is about.

use std::fmt;

use super::key::Key;
use super::personal::{Personal, PersonalData, Unsealable};
use crate::log::Tag;

/// The longest name of a subject, in bytes.
pub const SUBJECT_BYTES: usize = 200;

/// Names somebody whom data is about. Cheap to clone.
///
/// It is written in the clear beside each value, and stays when the person is forgotten, so it should be a number that says
/// nothing (a random one, a customer's number), and never a mail address.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId(std::sync::Arc<str>);

impl SubjectId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag of the event that says that the subject was forgotten: `subject:` and the name. Good for events about the
    /// subject as well, so that all of them can be found.
    ///
    /// ```
    /// use resilience_cqrs::privacy::SubjectId;
    /// use resilience_cqrs::{NewEvent, Query};
    ///
    /// let ann = SubjectId::from("s-1");
    /// let event = NewEvent::new("Registered", "").tag(ann.tag());
    /// // For an answer to "what do you have about me?"
    /// assert!(Query::tags([ann.tag()]).matches(&event.kind, &event.tags));
    /// ```
    pub fn tag(&self) -> Tag {
        Tag::from(format!("subject:{}", self.0))
    }

    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.0.is_empty() {
            return Err("the name of a subject is empty");
        }
        if self.0.len() > SUBJECT_BYTES {
            return Err("the name of a subject is too long");
        }
        if self.0.bytes().any(|byte| byte.is_ascii_control()) {
            return Err("the name of a subject has control characters");
        }
        Ok(())
    }
}

impl From<&str> for SubjectId {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for SubjectId {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&SubjectId> for SubjectId {
    fn from(other: &SubjectId) -> Self {
        other.clone()
    }
}

impl fmt::Debug for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Somebody whom data is about, with the key at hand: what personal values are made with. Comes from
/// [`Vault::subject`](super::Vault::subject).
///
/// Get it where a request comes in, and give the rules personal values, not subjects: rules then need no key, and stay pure.
#[derive(Clone, Debug)]
pub struct Subject {
    id: SubjectId,
    key: Key,
}

impl Subject {
    /// With a key that somebody else keeps: for key stores of your own, and for tests. A value whose key nobody keeps can
    /// never be read again.
    pub fn new(id: impl Into<SubjectId>, key: Key) -> Self {
        Self { id: id.into(), key }
    }

    /// Who it is.
    pub fn id(&self) -> &SubjectId {
        &self.id
    }

    /// Makes a value personal.
    ///
    /// ```
    /// use resilience_cqrs::privacy::{Key, Subject};
    ///
    /// let (ann, bob) = (Subject::new("s-1", Key::generate()?), Subject::new("s-2", Key::generate()?));
    /// // The same value of the same subject is the same text, so a repeated command is recognised; nobody else's is.
    /// let written = |subject: &Subject| -> Result<String, Box<dyn std::error::Error>> {
    ///     Ok(serde_json::to_string(&subject.seal("555-0123".to_owned())?)?)
    /// };
    /// assert_eq!(written(&ann)?, written(&ann)?);
    /// assert_ne!(written(&ann)?, written(&bob)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Unsealable`] if it cannot be written as JSON, or has a personal value within.
    pub fn seal<T: PersonalData>(&self, value: T) -> Result<Personal<T>, Unsealable> {
        Personal::seal(&self.id, &self.key, value)
    }
}
