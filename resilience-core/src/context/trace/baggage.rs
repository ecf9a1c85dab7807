//! What an application sends along with its trace.

use std::fmt;
use std::sync::Arc;

/// Names and values that travel with a trace: the [`baggage`] header, checked and otherwise untouched.
///
/// Entries are passed on up to 180 of them and 8192 bytes, and never in part: the last are dropped first. It reaches
/// everybody a request reaches, strangers included; put no secret in it.
///
/// ```
/// use resilience_core::context::Baggage;
///
/// let baggage = Baggage::parse("tenant = blue;visible , campaign=spring%20sale").unwrap();
/// assert_eq!(baggage.iter().collect::<Vec<_>>(), [("tenant", "blue"), ("campaign", "spring%20sale")]);
/// assert_eq!(baggage.as_str(), "tenant = blue;visible,campaign=spring%20sale");
/// assert_eq!(Baggage::parse("no value"), None);
/// ```
///
/// [`baggage`]: https://www.w3.org/TR/baggage/#baggage-http-header-format
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Baggage(Arc<str>);

/// Entries that are passed on.
const ENTRIES: usize = 180;
/// Bytes that are passed on.
const BYTES: usize = 8192;

impl Baggage {
    /// Reads a header's value (of several headers: joined by commas); `None` if it is malformed or empty.
    pub fn parse(text: &str) -> Option<Self> {
        let mut kept = String::new();
        let (mut entries, mut full) = (0, false);
        for entry in text.split(',').map(trim) {
            split(entry)?;
            full |= entries == ENTRIES || kept.len() + entry.len() + usize::from(entries > 0) > BYTES;
            if !full {
                if entries > 0 {
                    kept.push(',');
                }
                kept.push_str(entry);
                entries += 1;
            }
        }
        (entries > 0).then(|| Self(kept.into()))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Names and values in their order, percent-encoded as they came, without the properties after a semicolon.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split(',').filter_map(split)
    }
}

/// The name and the value of an entry; `None` if it is malformed in any part.
fn split(entry: &str) -> Option<(&str, &str)> {
    let mut parts = entry.split(';');
    let (key, value) = parts.next()?.split_once('=')?;
    let (key, value) = (trim(key), trim(value));
    let property = |part: &str| match part.split_once('=') {
        Some((key, value)) => is_token(trim(key)) && is_value(trim(value)),
        None => is_token(trim(part)),
    };
    (is_token(key) && is_value(value) && parts.all(property)).then_some((key, value))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    let mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || mark(byte))
}

fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e))
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Baggage({})", self.0)
    }
}
