//! The type of personal fields.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::SubjectId;
use super::key::{Key, Use, of_this_process};
use super::token::{self, Form, Token};
use crate::log::BoxError;

/// What may be personal. Implement it, empty, for types of yours:
///
/// ```
/// use resilience_cqrs::privacy::{Key, PersonalData, Subject};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Address {
///     street: String,
///     city: String,
/// }
///
/// impl PersonalData for Address {}
///
/// let ann = Subject::new("s-1", Key::generate()?);
/// let home = ann.seal(Address { street: "Long Lane 3".into(), city: "Ely".into() })?;
/// assert_eq!(home.get().map(|home| home.city.as_str()), Some("Ely"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Personal`] itself is not, for the inner one would be out of reach of whoever opens the outer:
///
/// ```compile_fail,E0277
/// use resilience_cqrs::privacy::{Key, Subject};
///
/// let ann = Subject::new("s-1", Key::generate().unwrap());
/// let name = ann.seal("Ann".to_owned()).unwrap();
/// let twice = ann.seal(name); // a `Personal<Personal<String>>`
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made personal",
    note = "implement `PersonalData`, which is empty, for a type of yours; wrap one of another crate in one of yours",
    note = "`Personal` itself is not: a personal value cannot be within another"
)]
pub trait PersonalData: Serialize + DeserializeOwned {}

macro_rules! personal_data {
    ($($type:ty),*) => { $(impl PersonalData for $type {})* };
}

personal_data!(
    String,
    char,
    bool,
    (),
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    f32,
    f64,
    serde_json::Value
);

impl<T: PersonalData> PersonalData for Option<T> {}
impl<T: PersonalData> PersonalData for Vec<T> {}
impl<T: PersonalData> PersonalData for Box<T> {}
impl<T: PersonalData + Ord> PersonalData for BTreeSet<T> {}
impl<K: PersonalData + Ord, V: PersonalData> PersonalData for BTreeMap<K, V> {}
impl<A: PersonalData, B: PersonalData> PersonalData for (A, B) {}
impl<A: PersonalData, B: PersonalData, C: PersonalData> PersonalData for (A, B, C) {}

/// A personal field: something about somebody, who may ask to be forgotten.
///
/// Made with the subject's key in hand ([`Subject::seal`](super::Subject::seal)), and encrypted there and then. So wherever
/// it goes from there, into an event, a snapshot, a read model, a message, a log line, what is written is ciphertext; there is no
/// way to write it otherwise, and none to forget about it in a `Vec` three structs down.
///
/// Read back through a [`PrivateStore`](super::PrivateStore) it is [known](View::Known), or [redacted](View::Redacted) if the
/// subject was forgotten. Read past one it is [sealed](View::Sealed): whole, to be written on or [opened](super::Vault::open)
/// later, but without its value. It is never plain text, and never quietly nothing.
///
/// Two are equal if they are of one subject and have equal values, or are the same ciphertext.
///
/// ```
/// use resilience_cqrs::privacy::{Key, Personal, Subject, View};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// enum Customer {
///     Registered { name: Personal<String>, phones: Vec<Personal<String>> },
/// }
///
/// let ann = Subject::new("s-1", Key::generate()?);
/// let phones = vec![ann.seal("555-0123".to_owned())?];
/// let event = Customer::Registered { name: ann.seal("Ann Smith".to_owned())?, phones };
/// let written = serde_json::to_string(&event)?;
/// assert!(!written.contains("Ann Smith") && !written.contains("555-0123"));
/// // Read without the key, it is there, but says nothing.
/// let Customer::Registered { name, phones } = serde_json::from_str(&written)?;
/// assert!(matches!((name.view(), phones[0].view()), (View::Sealed, View::Sealed)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It does not become text by accident, so it is no tag, no key of a map, and in no message:
///
/// ```compile_fail,E0277
/// # use resilience_cqrs::{NewEvent, privacy::Personal};
/// fn tagged(name: Personal<String>) -> NewEvent {
///     NewEvent::new("Registered", "").tag(name)
/// }
/// ```
///
/// ```compile_fail,E0277
/// # use resilience_cqrs::privacy::Personal;
/// fn greet(name: Personal<String>) -> String {
///     format!("Dear {name}")
/// }
/// ```
#[derive(Clone)]
pub struct Personal<T> {
    subject: SubjectId,
    /// In base64.
    ciphertext: Arc<str>,
    held: Held<T>,
}

#[derive(Clone)]
enum Held<T> {
    Known(T),
    Redacted,
    Sealed,
}

/// What there is of a personal field.
///
/// ```
/// use resilience_cqrs::privacy::{Personal, View};
///
/// fn shown(name: &Personal<String>) -> &str {
///     match name.view() {
///         View::Known(name) => name,
///         View::Redacted => "(erased at their request)",
///         View::Sealed => "(not readable here)", // an alarm, if it was read through a `PrivateStore`
///     }
/// }
/// # let ann = resilience_cqrs::privacy::Subject::new("s-1", resilience_cqrs::privacy::Key::generate()?);
/// assert_eq!(shown(&ann.seal("Ann".to_owned())?), "Ann");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View<'a, T> {
    /// The value.
    Known(&'a T),
    /// Nothing any more: the subject was forgotten, and the key destroyed.
    Redacted,
    /// Its ciphertext. It was read without the keys, or nobody has the key and nobody says that it was destroyed, which is
    /// what a key store that was lost looks like.
    Sealed,
}

/// A value cannot be written down.
#[derive(Debug, Error)]
#[error("the personal value cannot be written down")]
pub struct Unsealable(#[source] BoxError);

thread_local! {
    /// Whether a personal value is being written, within which there must not be another.
    static SEALING: Cell<bool> = const { Cell::new(false) };
}

impl<T> Personal<T> {
    /// The value, if it is known.
    pub fn get(&self) -> Option<&T> {
        match &self.held {
            Held::Known(value) => Some(value),
            Held::Redacted | Held::Sealed => None,
        }
    }

    /// The value, if it is known.
    ///
    /// From here on it is the program's to keep out of logs and rows: what is taken out is not forgotten with its
    /// subject.
    pub fn into_value(self) -> Option<T> {
        match self.held {
            Held::Known(value) => Some(value),
            Held::Redacted | Held::Sealed => None,
        }
    }

    /// What there is of it.
    pub fn view(&self) -> View<'_, T> {
        match &self.held {
            Held::Known(value) => View::Known(value),
            Held::Redacted => View::Redacted,
            Held::Sealed => View::Sealed,
        }
    }

    /// Whether the subject was forgotten.
    pub fn is_redacted(&self) -> bool {
        matches!(self.held, Held::Redacted)
    }

    /// Whom it is about.
    pub fn subject(&self) -> &SubjectId {
        &self.subject
    }

    /// Without the value, as somebody without the key would read it.
    pub(super) fn redacted(self) -> Self {
        Self { held: Held::Redacted, ..self }
    }
}

impl<T: PersonalData> Personal<T> {
    pub(super) fn seal(subject: &SubjectId, key: &Key, value: T) -> Result<Self, Unsealable> {
        let plain = {
            let _sealing = Sealing::begin();
            serde_json::to_vec(&value).map(Zeroizing::new).map_err(|error| Unsealable(error.into()))?
        };
        let used = Use::Value { subject: subject.as_str() };
        let ciphertext = key.encrypt(used, &plain).map_err(|error| Unsealable(error.into()))?;
        let ciphertext = token::encode(&ciphertext).into();
        Ok(Self { subject: subject.clone(), ciphertext, held: Held::Known(value) })
    }

    /// With the value, if this is the key and the value is one; as it was, if not.
    pub(super) fn opened(self, key: &Key) -> Self {
        let written = token::sealed(self.subject.as_str(), &self.ciphertext);
        let used = Use::Value { subject: self.subject.as_str() };
        let plain = Token::parse(&written).and_then(|token| key.decrypt(used, &token.ciphertext()?));
        match plain.and_then(|plain| serde_json::from_slice(&plain).ok()) {
            Some(value) => Self { held: Held::Known(value), ..self },
            None => self,
        }
    }
}

/// Says that a value is being written until it is dropped, whatever the value's own code does.
struct Sealing(bool);

impl Sealing {
    fn begin() -> Self {
        Self(SEALING.replace(true))
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        SEALING.set(self.0);
    }
}

impl<T> Serialize for Personal<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if SEALING.get() {
            return Err(S::Error::custom("a personal value is within another one"));
        }
        serializer.serialize_str(&token::sealed(self.subject.as_str(), &self.ciphertext))
    }
}

impl<'de, T: PersonalData> Deserialize<'de> for Personal<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Visitor(PhantomData))
    }
}

struct Visitor<T>(PhantomData<T>);

impl<'de, T: PersonalData> serde::de::Visitor<'de> for Visitor<T> {
    type Value = Personal<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sealed personal value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Personal<T>, E> {
        let no_value = || E::invalid_value(serde::de::Unexpected::Other("another text"), &self);
        let token = Token::parse(text).ok_or_else(no_value)?;
        let subject = token.subject().ok_or_else(no_value)?;
        let held = match token.form {
            Form::Sealed => Held::Sealed,
            Form::Forgotten => Held::Redacted,
            Form::Opened => match in_transit(&token, &subject) {
                // What it says is not in the error: errors are logged.
                Some(plain) => Held::Known(
                    serde_json::from_slice(&plain).map_err(|_| E::custom("a personal value does not fit its type"))?,
                ),
                // Of another process, so it says nothing here.
                None => Held::Sealed,
            },
        };
        Ok(Personal { subject: SubjectId::from(subject), ciphertext: token.sealed.into(), held })
    }
}

fn in_transit(token: &Token<'_>, subject: &str) -> Option<Zeroizing<Vec<u8>>> {
    of_this_process().ok()?.decrypt(Use::Transit { subject, sealed: token.sealed }, &token.transit()?)
}

impl<T: PartialEq> PartialEq for Personal<T> {
    fn eq(&self, other: &Self) -> bool {
        let held = match (&self.held, &other.held) {
            (Held::Known(one), Held::Known(other)) => one == other,
            (Held::Redacted, Held::Redacted) | (Held::Sealed, Held::Sealed) => self.ciphertext == other.ciphertext,
            _ => false,
        };
        held && self.subject == other.subject
    }
}

impl<T: Eq> Eq for Personal<T> {}

impl<T> fmt::Debug for Personal<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held: Cow<'_, str> = match self.held {
            Held::Known(_) => "known".into(),
            Held::Redacted => "redacted".into(),
            Held::Sealed => "sealed".into(),
        };
        write!(f, "Personal({} of {:?})", held, self.subject.as_str())
    }
}
