//! Who is concerned, and who wants to hear.

use std::fmt;
use std::sync::Arc;

use super::error::InvalidMessage;
use super::limits;

/// What a message is about, or the queue it is for: words joined by dots, `orders.shipped`.
///
/// The grammar is that of NATS, so that a program can change its bus. A bus refuses what is empty, longer than
/// [`limits::NAME_BYTES`], has an empty word, a space or a control character, or a word that is a wildcard.
///
/// ```
/// use resilience_cqrs::messaging::Subject;
///
/// assert!(Subject::from("orders.shipped").validate().is_ok());
/// for wrong in ["", "orders..shipped", "orders.*", "two words"] {
///     assert!(Subject::from(wrong).validate().is_err(), "{wrong}");
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks the grammar.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self) -> Result<(), InvalidMessage> {
        words(&self.0)?;
        if self.0.split('.').any(|word| word == "*" || word == ">") {
            return Err(InvalidMessage::Grammar { what: "subject", why: "has a wildcard" });
        }
        Ok(())
    }
}

impl From<&str> for Subject {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Subject {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&Subject> for Subject {
    fn from(other: &Subject) -> Self {
        other.clone()
    }
}

impl PartialEq<&str> for Subject {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which subjects: as a [`Subject`], but `*` stands for any one word, and `>` at the end for one word or more.
///
/// ```
/// use resilience_cqrs::messaging::Filter;
///
/// let shipped = Filter::from("orders.*.shipped");
/// assert!(shipped.matches(&"orders.eu.shipped".into()) && !shipped.matches(&"orders.shipped".into()));
/// let all = Filter::from("orders.>");
/// assert!(all.matches(&"orders.eu.shipped".into()) && !all.matches(&"orders".into()));
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Filter(Arc<str>);

impl Filter {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the subject is meant.
    pub fn matches(&self, subject: &Subject) -> bool {
        let (mut wanted, mut given) = (self.0.split('.'), subject.0.split('.'));
        loop {
            match (wanted.next(), given.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) => return true,
                (Some(want), Some(word)) if want == "*" || want == word => {}
                _ => return false,
            }
        }
    }

    /// Checks the grammar.
    ///
    /// ```
    /// use resilience_cqrs::messaging::Filter;
    ///
    /// for right in ["orders.placed", "orders.*", "*.placed", "orders.>", ">"] {
    ///     assert!(Filter::from(right).validate().is_ok(), "{right}");
    /// }
    /// // A wildcard is a whole word, and `>` the last one; `orders*` is a word like any other.
    /// assert!(Filter::from("orders.>.placed").validate().is_err());
    /// assert!(!Filter::from("orders*").matches(&"orders-eu".into()));
    /// ```
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn validate(&self) -> Result<(), InvalidMessage> {
        words(&self.0)?;
        match self.0.split('.').rev().skip(1).any(|word| word == ">") {
            true => Err(InvalidMessage::Grammar { what: "filter", why: "has a `>` that is not its last word" }),
            false => Ok(()),
        }
    }
}

impl From<&str> for Filter {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Filter {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&Subject> for Filter {
    fn from(subject: &Subject) -> Self {
        Self(subject.0.clone())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn words(text: &str) -> Result<(), InvalidMessage> {
    limits::name("subject", text)?;
    if text.split('.').any(str::is_empty) {
        return Err(InvalidMessage::Grammar { what: "subject", why: "has an empty word" });
    }
    if text.contains(char::is_whitespace) {
        return Err(InvalidMessage::Grammar { what: "subject", why: "has a space" });
    }
    Ok(())
}
