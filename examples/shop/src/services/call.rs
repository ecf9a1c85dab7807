//! Which step of which saga a call belongs to: what a participant's barrier needs to know.
//!
//! The saga puts both into the context of its step's action; the layers of HTTP carry them from there to here.

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use resilience_core::context;
use resilience_saga::{Epoch, IdempotencyKey};

/// The identity of a call; the same for every attempt at it, but for the owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Saga, step, and whether to do it or to undo it.
    pub(crate) key: IdempotencyKey,
    pub(crate) epoch: Epoch,
}

impl Call {
    /// `step.do` or `step.undo`, for the figures.
    pub(crate) fn label(&self) -> String {
        let step = self.key.branch().rsplit('/').next().unwrap_or_default();
        format!("{step}.{}", self.key.op())
    }

    /// The call in progress; `None` if its request did not say, or said nothing that makes sense.
    fn in_progress() -> Option<Self> {
        let key = context::idempotency_key()?.parse().ok()?;
        Some(Self { key, epoch: Epoch(context::fencing_token()?.get()) })
    }
}

impl<S: Sync> FromRequestParts<S> for Call {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::in_progress().ok_or((
            StatusCode::BAD_REQUEST,
            "the headers idempotency-key (saga/key/step/do or undo) and resilience-fencing-token (a number) are needed",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::http::HeaderMap;
    use resilience_core::context::{Context, FencingToken};
    use resilience_core::http::Headers;
    use resilience_core::time::Timestamp;

    #[test]
    fn a_call_comes_out_of_the_headers_as_it_went_in_and_half_of_one_does_not() {
        let step = Context::new().with_idempotency_key("checkout/o-1/charge/undo");
        let received = |context: &Context| {
            let mut headers = HeaderMap::new();
            Headers::http().inject(context, || Timestamp::ORIGIN, &mut headers);
            Headers::http().extract(&headers, || Timestamp::ORIGIN).run(Call::in_progress)
        };
        assert_eq!(received(&step), None);
        let call = Call { key: "checkout/o-1/charge/undo".parse().unwrap(), epoch: Epoch(3) };
        assert_eq!(received(&step.with_fencing_token(FencingToken::new(3))), Some(call));
    }
}
