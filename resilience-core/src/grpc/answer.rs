//! Refusals as gRPC responses.

use std::fmt::{Display, Write};

use http::Response;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::code::STATUS;
use super::{Code, PUSHBACK};
use crate::{AsRejected, Rejected};

const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Answers an error of a server's stack with a gRPC response without messages; what
/// [`LowerLayer`](crate::LowerLayer) wants around a tonic server. For the codes see [`Code::of_error`].
///
/// A refusal that says when to come back gets a [pushback](PUSHBACK), in whole milliseconds and rounded up. The message
/// is the error's own, but for a service's own error, which may know things that are nobody's business.
pub fn answer<B: Default, E: AsRejected>(error: E) -> Response<B> {
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(STATUS, Code::of_error(&error).number().into());
    let shown = error.as_rejected().map(encoded).or(error.as_elapsed().map(encoded));
    if let Some(message) = shown.and_then(|message| HeaderValue::from_maybe_shared(message.into_bytes()).ok()) {
        headers.insert(MESSAGE, message);
    }
    if let Some(wait) = error.as_rejected().and_then(Rejected::retry_after) {
        headers.insert(PUSHBACK, pushback(wait).into());
    }
    response
}

/// Whole milliseconds, rounded up, as far as a pushback goes: 24 days.
pub(crate) fn pushback(wait: std::time::Duration) -> u32 {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX).min(i32::MAX as u32)
}

/// Percent-encoded, as `grpc-message` wants everything but visible ASCII.
fn encoded(message: impl Display) -> String {
    let mut out = String::new();
    for byte in message.to_string().bytes() {
        match byte {
            b'%' => out.push_str("%25"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                // Writing to a string does not fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
