//! Which step of which saga a call belongs to, as headers: what a participant's barrier needs to know.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use resilience_saga::{Cx, Epoch, IdempotencyKey};

use crate::client::IDEMPOTENCY_KEY;

/// The number of the saga's owner: a receiver that has seen a higher one refuses.
const FENCING_TOKEN: HeaderName = HeaderName::from_static("fencing-token");

/// The identity of a call; the same for every attempt at it, but for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Saga, step, and whether to do it or to undo it.
    pub(crate) key: IdempotencyKey,
    pub(crate) epoch: Epoch,
}

impl Call {
    /// The call a step makes.
    pub(crate) fn of(cx: &Cx) -> Self {
        Self { key: cx.key().clone(), epoch: cx.epoch() }
    }

    /// `step.do` or `step.undo`, for the figures.
    pub(crate) fn label(&self) -> String {
        let step = self.key.branch().rsplit('/').next().unwrap_or_default();
        format!("{step}.{}", self.key.op())
    }

    /// Writes it into a request's headers. A key is plain text that fits a header, so nothing is left out.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        if let Ok(key) = HeaderValue::from_str(self.key.as_str()) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        headers.insert(FENCING_TOKEN, HeaderValue::from(self.epoch.0));
    }

    /// The call in a request's headers; `None` if they are missing or malformed.
    fn read(headers: &HeaderMap) -> Option<Self> {
        let text = |name| headers.get(name)?.to_str().ok();
        Some(Self { key: text(IDEMPOTENCY_KEY)?.parse().ok()?, epoch: Epoch(text(FENCING_TOKEN)?.parse().ok()?) })
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::read(&parts.headers).ok_or((
            StatusCode::BAD_REQUEST,
            "the headers idempotency-key (saga/key/step/do or undo) and fencing-token (a number) are needed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_comes_out_of_the_headers_as_it_went_in_and_half_of_one_does_not() {
        let call = Call { key: "checkout/o-1/charge/undo".parse().unwrap(), epoch: Epoch(3) };
        let mut headers = HeaderMap::new();
        call.write(&mut headers);
        assert_eq!(Call::read(&headers), Some(call));
        headers.remove(FENCING_TOKEN);
        assert_eq!(Call::read(&headers), None);
    }
}
