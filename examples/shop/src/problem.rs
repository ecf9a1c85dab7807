//! What keeps a command from starting, as one sentence a person can act on.

use std::fmt;
use std::path::Path;

/// A sentence for the terminal; the program ends with status 2 after it.
#[derive(Debug)]
pub(crate) struct Problem(String);

impl Problem {
    /// A problem in one clause without a full stop: "cannot listen on 127.0.0.1:80: permission denied".
    pub(crate) fn new(clause: impl Into<String>) -> Self {
        Self(clause.into())
    }

    /// `verb path: why`.
    pub(crate) fn file(verb: &str, path: &Path, why: impl fmt::Display) -> Self {
        Self(format!("cannot {verb} {}: {}", path.display(), reason(&why.to_string())))
    }
}

/// The operating system's words without its error number.
pub(crate) fn reason(text: &str) -> String {
    let text = text.split(" (os error").next().unwrap_or(text);
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}
