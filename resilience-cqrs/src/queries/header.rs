//! A position on its way through a client that does not care what it is.

use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::log::Position;

/// The header that carries a position: set on the answer to a command, and sent along with questions.
pub const LOG_POSITION: HeaderName = HeaderName::from_static("log-position");

/// A header is there, and is no position.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use resilience_cqrs::queries::{InvalidPosition, LOG_POSITION, position_of};
///
/// for wrong in ["", "-1", "+7", "17.0", "0x11", "12345678901234567890"] {
///     let headers = HeaderMap::from_iter([(LOG_POSITION, HeaderValue::from_static(wrong))]);
///     assert_eq!(position_of(&headers), Err(InvalidPosition), "{wrong}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("`Log-Position` is not a number of at most 19 digits")]
pub struct InvalidPosition;

/// The position a request wants to be shown, the largest if it names several; `None` if it names none.
///
/// ```
/// use http::HeaderMap;
/// use resilience_cqrs::Position;
/// use resilience_cqrs::queries::{position_of, set_position};
///
/// let mut headers = HeaderMap::new();
/// assert_eq!(position_of(&headers), Ok(None));
/// set_position(&mut headers, Position::new(17));
/// assert_eq!(position_of(&headers), Ok(Some(Position::new(17))));
/// ```
///
/// # Errors
/// [`InvalidPosition`]: a 400 for whoever sent it. It comes from outside, and is neither trusted nor guessed at.
pub fn position_of(headers: &HeaderMap) -> Result<Option<Position>, InvalidPosition> {
    let mut wanted = None;
    for value in headers.get_all(LOG_POSITION) {
        wanted = wanted.max(Some(parse(value.as_bytes()).ok_or(InvalidPosition)?));
    }
    Ok(wanted)
}

/// Sets the position on the answer to a command.
pub fn set_position(headers: &mut HeaderMap, position: Position) {
    headers.insert(LOG_POSITION, HeaderValue::from(position.get()));
}

fn parse(text: &[u8]) -> Option<Position> {
    // Digits alone: `parse` would take a sign.
    if text.is_empty() || text.len() > 19 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().map(Position::new)
}
