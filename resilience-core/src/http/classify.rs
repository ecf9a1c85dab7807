//! What a status means.

use http::{Response, StatusCode};

use super::retry_after::hint;
use crate::time::SharedTimer;
use crate::{AsRejected, ByResult, Classification, Classify};

/// Classifies HTTP responses by their status, and errors as [`ByResult`] does.
///
/// | status | meaning | retried? |
/// |---|---|---|
/// | 1xx, 2xx, 3xx | success | |
/// | 408, 504 | [timed out](Classification::TIMED_OUT) | yes |
/// | 429, 503 | failure: the server refuses | yes, when its `Retry-After` says |
/// | 500, 502, other 5xx | failure | yes |
/// | 501, 505 | [permanent](Classification::PERMANENT) failure | no |
/// | other 4xx | [ignored](Classification::IGNORE): a mistake of ours proves neither health nor illness | no |
///
/// For other rules, ask it for what is left:
///
/// ```
/// use http::{Response, StatusCode};
/// use resilience_core::http::ByStatus;
/// use resilience_core::{Class, Classification, Classify, Error};
///
/// type Answer = Result<Response<()>, Error<std::io::Error>>;
/// let usual = ByStatus::default();
/// let rules = move |answer: &Answer| match answer {
///     Ok(response) if response.status() == StatusCode::NOT_FOUND => Classification::SUCCESS, // an answer, too
///     _ => usual.classify(answer),
/// };
/// let answer = |status: u16| Response::builder().status(status).body(()).unwrap();
/// assert_eq!(rules.classify(&Ok(answer(404))), Classification::SUCCESS);
/// assert_eq!(rules.classify(&Ok(answer(400))).class(), Class::Ignore);
/// assert!(rules.classify(&Ok(answer(502))).is_retryable());
/// ```
#[derive(Clone, Debug)]
pub struct ByStatus {
    timer: Option<SharedTimer>,
    client_error: Classification,
    rate_limited: Classification,
}

impl Default for ByStatus {
    fn default() -> Self {
        Self {
            timer: SharedTimer::preset(),
            client_error: Classification::IGNORE,
            rate_limited: Classification::FAILURE,
        }
    }
}

impl ByStatus {
    /// What a 4xx means that has no meaning of its own. Default: [`Classification::IGNORE`].
    #[must_use]
    pub fn client_error(mut self, meaning: Classification) -> Self {
        self.client_error = meaning;
        self
    }

    /// What a 429 means. Default: [`Classification::FAILURE`]; where a quota is the caller's own affair and says
    /// nothing about the server, `Classification::IGNORE.retryable(true)` keeps a breaker closed. A `Retry-After` is
    /// added.
    #[must_use]
    pub fn rate_limited(mut self, meaning: Classification) -> Self {
        self.rate_limited = meaning;
        self
    }

    /// The clock whose calendar a date in `Retry-After` is held against, if the server does not say what time it has.
    /// Default: tokio's, if the feature `tokio` is on; without any, such a date is no hint.
    #[must_use]
    pub fn timer(mut self, timer: impl Into<SharedTimer>) -> Self {
        self.timer = Some(timer.into());
        self
    }

    /// What a response with this status means, its headers left aside.
    pub fn status(&self, status: StatusCode) -> Classification {
        match status.as_u16() {
            408 | 504 => Classification::TIMED_OUT,
            429 => self.rate_limited,
            501 | 505 => Classification::PERMANENT,
            400..=499 => self.client_error,
            500.. => Classification::FAILURE,
            _ => Classification::SUCCESS,
        }
    }

    /// What the head of a response means.
    pub(crate) fn head<B>(&self, response: &Response<B>) -> Classification {
        let meaning = self.status(response.status());
        if !meaning.is_retryable() {
            return meaning;
        }
        match hint(response.headers(), || self.timer.as_ref().map(SharedTimer::wall)) {
            Some(wait) => meaning.after(wait),
            None => meaning,
        }
    }
}

impl<B, E: AsRejected> Classify<Response<B>, E> for ByStatus {
    fn classify(&self, answer: &Result<Response<B>, E>) -> Classification {
        match answer {
            Ok(response) => self.head(response),
            Err(_) => ByResult.classify(answer),
        }
    }
}
