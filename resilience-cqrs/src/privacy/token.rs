//! How a personal value is written down, and found in what is written.
//!
//! A value is a text of one of three forms, all of letters that need no escaping in JSON, however deep it is nested:
//!
//! ```text
//! ~sealed1~subject~ciphertext             at rest: in events, rows, snapshots, backups
//! ~opened1~subject~ciphertext~transit     in this process, the value under its key
//! ~forgot1~subject~ciphertext             in this process, without a key for ever
//! ```
//!
//! The forms have the ciphertext in common, so that each can be made the first again without any key: what a program reads,
//! compares and writes back is what was there.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

const MARK: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Sealed,
    Opened,
    Forgotten,
}

impl Form {
    const fn mark(self) -> &'static str {
        match self {
            Self::Sealed => "~sealed1~",
            Self::Opened => "~opened1~",
            Self::Forgotten => "~forgot1~",
        }
    }
}

/// A value as it is written down; subject and ciphertexts in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) form: Form,
    subject: &'a str,
    pub(super) sealed: &'a str,
    transit: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (mark, rest) = text.split_at_checked(MARK)?;
        let form = [Form::Sealed, Form::Opened, Form::Forgotten].into_iter().find(|form| form.mark() == mark)?;
        let (subject, rest) = rest.split_once('~')?;
        let (sealed, transit) = match form {
            Form::Opened => rest.split_once('~')?,
            Form::Sealed | Form::Forgotten => (rest, ""),
        };
        let whole = !subject.is_empty() && !sealed.is_empty() && !sealed.contains('~') && !transit.contains('~');
        whole.then_some(Self { form, subject, sealed, transit })
    }

    pub(super) fn subject(&self) -> Option<String> {
        String::from_utf8(decode(self.subject)?).ok()
    }

    pub(super) fn ciphertext(&self) -> Option<Vec<u8>> {
        decode(self.sealed)
    }

    pub(super) fn transit(&self) -> Option<Vec<u8>> {
        decode(self.transit)
    }

    /// The same value in another form.
    pub(super) fn to(self, form: Form, transit: &[u8]) -> String {
        let Self { subject, sealed, .. } = self;
        let mark = form.mark();
        match form {
            Form::Opened => format!("{mark}{subject}~{sealed}~{}", encode(transit)),
            Form::Sealed | Form::Forgotten => format!("{mark}{subject}~{sealed}"),
        }
    }
}

/// A value at rest.
pub(super) fn sealed(subject: &str, ciphertext: &str) -> String {
    format!("{}{}~{ciphertext}", Form::Sealed.mark(), encode(subject.as_bytes()))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// The values in some JSON, wherever they are in it, with where they are.
///
/// A value is a whole string: it begins after a quotation mark and ends before one, which may be escaped, as it is where
/// JSON is kept within JSON. Other bytes around it do not matter, so JSON with something before it is searched as well.
pub(super) fn find(bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Token<'_>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        while let Some(at) = bytes.get(from..)?.iter().position(|byte| *byte == b'~') {
            let start = from + at;
            let length = bytes[start..].iter().position(|byte| !is_of_a_token(*byte)).unwrap_or(bytes.len() - start);
            from = start + length;
            let delimited = start.checked_sub(1).is_some_and(|before| bytes[before] == b'"')
                && matches!(bytes.get(from), Some(b'"' | b'\\'));
            let token = std::str::from_utf8(&bytes[start..from]).ok().filter(|_| delimited).and_then(Token::parse);
            if let Some(token) = token {
                return Some((start..from, token));
            }
        }
        None
    })
}

fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'~' | b'-' | b'_')
}

/// Puts other texts in the place of values; `None` if nothing changes.
pub(super) fn replace(bytes: &[u8], mut with: impl FnMut(Token<'_>) -> Option<String>) -> Option<Bytes> {
    let (mut replaced, mut copied) = (Vec::new(), 0);
    for (range, token) in find(bytes) {
        if let Some(other) = with(token) {
            replaced.extend_from_slice(&bytes[copied..range.start]);
            replaced.extend_from_slice(other.as_bytes());
            copied = range.end;
        }
    }
    if copied == 0 {
        return None;
    }
    replaced.extend_from_slice(&bytes[copied..]);
    Some(replaced.into())
}

/// What is to be written, with no value in any form but the one at rest.
pub(super) fn close(bytes: &mut Bytes) {
    let at_rest = |token: Token<'_>| (token.form != Form::Sealed).then(|| token.to(Form::Sealed, &[]));
    if let Some(closed) = replace(bytes, at_rest) {
        *bytes = closed;
    }
}
