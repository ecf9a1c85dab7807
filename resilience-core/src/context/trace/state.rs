//! What vendors add to a trace.

use std::fmt;
use std::sync::Arc;

/// What tracing vendors along the way have noted: the [`tracestate`] header, checked and otherwise untouched.
///
/// At most 32 entries and 512 bytes are kept, the least the specification asks for. Of a longer list the entries over
/// 128 bytes go first, then the oldest, which are the last.
///
/// ```
/// use resilience_core::context::TraceState;
///
/// let state = TraceState::parse("congo=t61rcWkgMzE, rojo=00f067aa0ba902b7").unwrap();
/// assert_eq!(state.as_str(), "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
/// assert_eq!(TraceState::parse("Congo=1"), None); // keys are lower case
/// ```
///
/// [`tracestate`]: https://www.w3.org/TR/trace-context/#tracestate-header
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceState(Arc<str>);

/// Entries a list may have.
const ENTRIES: usize = 32;
/// Bytes of a list that are passed on.
const BYTES: usize = 512;
/// Bytes of an entry above which it is the first to go.
const LARGE: usize = 128;

impl TraceState {
    /// Reads a header's value (of several headers: joined by commas); `None` if it is malformed or empty.
    pub fn parse(text: &str) -> Option<Self> {
        let mut entries: Vec<&str> = Vec::new();
        for entry in text.split(',').map(|entry| entry.trim_matches([' ', '\t'])) {
            if entry.is_empty() {
                continue;
            }
            let (key, value) = entry.split_once('=')?;
            let again = |other: &&str| other.split_once('=').is_some_and(|(other, _)| other == key);
            if entries.len() == ENTRIES || !is_key(key) || !is_value(value) || entries.iter().any(again) {
                return None;
            }
            entries.push(entry);
        }
        if length(&entries) > BYTES {
            entries.retain(|entry| entry.len() <= LARGE);
        }
        while length(&entries) > BYTES {
            entries.pop();
        }
        (!entries.is_empty()).then(|| Self(entries.join(",").into()))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn length(entries: &[&str]) -> usize {
    entries.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1)
}

fn is_key(key: &str) -> bool {
    let part = |part: &str, first: fn(&u8) -> bool, longest: usize| {
        let rest = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/');
        part.len() <= longest && part.as_bytes().first().is_some_and(first) && part.as_bytes().iter().all(rest)
    };
    let letter: fn(&u8) -> bool = u8::is_ascii_lowercase;
    match key.split_once('@') {
        None => part(key, letter, 256),
        // A tenant of a vendor's system; the tenant's id may begin with a digit.
        Some((tenant, system)) => {
            part(tenant, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit(), 241) && part(system, letter, 14)
        }
    }
}

/// Printable and neither `,` nor `=`. It must not end with a space either, and does not: entries are trimmed.
fn is_value(value: &str) -> bool {
    let printable = |byte: &u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    (1..=256).contains(&value.len()) && value.as_bytes().iter().all(printable)
}

impl fmt::Debug for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceState({})", self.0)
    }
}
