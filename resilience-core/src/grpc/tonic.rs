//! Stacks whose error is a `tonic::Status`.

use std::error::Error as _;
use std::sync::Arc;

use tonic::Status;

use super::answer::pushback;
use super::{ByCode, Code, PUSHBACK};
use crate::{AsRejected, ByResult, Classification, Classify, Elapsed, Error, Rejected};

/// The status of a refusal, by [`Code::of_error`], with its pushback; the refusal itself is its source.
impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        let mut status = status(&Error::<Status>::Rejected(rejected.clone()), &rejected);
        if let Some(wait) = rejected.retry_after() {
            let metadata: &mut http::HeaderMap = status.metadata_mut().as_mut();
            metadata.insert(PUSHBACK, pushback(wait).into());
        }
        status.set_source(Arc::new(rejected));
        status
    }
}

/// `DEADLINE_EXCEEDED`; the timeout itself is its source.
impl From<Elapsed> for Status {
    fn from(elapsed: Elapsed) -> Self {
        let mut status = status(&Error::<Status>::Elapsed(elapsed), &elapsed);
        status.set_source(Arc::new(elapsed));
        status
    }
}

/// What a service of tonic's returns for an error of its stack.
impl From<Error<Status>> for Status {
    fn from(error: Error<Status>) -> Self {
        match error {
            Error::Rejected(rejected) => rejected.into(),
            Error::Elapsed(elapsed) => elapsed.into(),
            Error::Service(status) => status,
        }
    }
}

fn status(error: &Error<Status>, message: &impl ToString) -> Status {
    let number = i32::try_from(Code::of_error(error).number()).unwrap_or_default();
    Status::new(tonic::Code::from_i32(number), message.to_string())
}

/// By its source: a refusal of this process's own stack is told from one that a server sent.
impl AsRejected for Status {
    fn as_rejected(&self) -> Option<&Rejected> {
        self.source()?.downcast_ref()
    }

    fn as_elapsed(&self) -> Option<&Elapsed> {
        self.source()?.downcast_ref()
    }
}

/// Classifies the answers of generated clients, whose error is a `tonic::Status`: by its code and its pushback, as
/// [`ByCode`] does; refusals and timeouts of this process's own stack as [`ByResult`] does.
///
/// ```
/// use resilience_core::grpc::ByTonicStatus;
/// use resilience_core::{Classification, Classify, Reason, Rejected};
/// use tonic::Status;
///
/// let answer = |status| ByTonicStatus.classify(&Err::<(), Status>(status));
/// assert_eq!(answer(Status::unavailable("restarting")), Classification::FAILURE);
/// assert_eq!(answer(Status::not_found("no such order")), Classification::IGNORE);
/// assert_eq!(answer(Rejected::new("ledger", Reason::Open).into()), Classification::REFUSED); // ours, not the server's
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByTonicStatus;

impl<T> Classify<T, Status> for ByTonicStatus {
    fn classify(&self, answer: &Result<T, Status>) -> Classification {
        match answer {
            Err(status) if status.as_rejected().is_none() && status.as_elapsed().is_none() => meaning(status),
            _ => ByResult.classify(answer),
        }
    }
}

impl<T> Classify<T, Error<Status>> for ByTonicStatus {
    fn classify(&self, answer: &Result<T, Error<Status>>) -> Classification {
        match answer {
            Err(Error::Service(status)) => meaning(status),
            _ => ByResult.classify(answer),
        }
    }
}

fn meaning(status: &Status) -> Classification {
    let code = Code::from_number(u32::try_from(i32::from(status.code())).unwrap_or(u32::MAX));
    ByCode::meaning(code, status.metadata().as_ref())
}

/// As an interceptor of a generated client (`with_interceptor`), where a layer around the channel is not to be had.
#[cfg(feature = "tower")]
impl tonic::service::Interceptor for crate::http::InjectLayer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        self.write(request.metadata_mut().as_mut());
        Ok(request)
    }
}

#[cfg(all(test, not(loom), feature = "tokio", feature = "tower"))]
mod tests {
    use std::time::Duration;

    use tonic::service::Interceptor;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    use super::*;
    use crate::circuit_breaker::{CircuitBreaker, State};
    use crate::context::Context;
    use crate::http::InjectLayer;
    use crate::rate_limit::RateLimiter;
    use crate::retry::{Backoff, Retry};
    use crate::timeout::TimeoutLayer;
    use crate::{LowerLayer, Reason};

    #[test]
    fn a_refusal_is_a_status_with_pushback_and_still_a_refusal() {
        let refused = Rejected::new("quota", Reason::RateLimited).with_retry_after(Duration::from_micros(1_500));
        let status = Status::from(refused.clone());
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(status.message(), refused.to_string());
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "2");
        assert_eq!((status.as_rejected(), status.as_elapsed()), (Some(&refused), None));
        let late = Status::from(Elapsed::new(Duration::from_secs(1)));
        assert_eq!((late.code(), late.as_rejected()), (tonic::Code::DeadlineExceeded, None));
        assert_eq!(late.as_elapsed(), Some(&Elapsed::new(Duration::from_secs(1))));
        let own = Status::not_found("no such order");
        assert_eq!(Status::from(Error::Service(own)).code(), tonic::Code::NotFound);
    }

    #[test]
    fn a_servers_refusal_is_not_taken_for_our_own() {
        let sent =
            Status::from(Rejected::new("quota", Reason::RateLimited).with_retry_after(Duration::from_millis(20)));
        let head = sent.into_http::<String>();
        let received = Status::from_header_map(head.headers()).unwrap();
        assert_eq!(received.as_rejected(), None, "over there, not here");
        let meaning = ByTonicStatus.classify(&Err::<(), _>(received.clone()));
        assert_eq!(meaning, Classification::FAILURE.after(Duration::from_millis(20)));
        assert_eq!(ByTonicStatus.classify(&Err::<(), _>(Error::Service(received))), meaning);
        let late = ByTonicStatus.classify(&Err::<(), Status>(Elapsed::new(Duration::from_secs(1)).into()));
        assert_eq!(late, Classification::TIMED_OUT);
        assert_eq!(ByTonicStatus.classify(&Ok::<_, Status>(())), Classification::SUCCESS);
    }

    /// A whole stack whose error is tonic's own: nothing is lifted, nothing nested.
    #[tokio::test(start_paused = true)]
    async fn a_status_is_error_enough_for_every_layer() {
        let breaker = CircuitBreaker::builder().consecutive_failures(2).build().unwrap();
        let limiter = RateLimiter::builder().quota(2, Duration::from_secs(60)).build().unwrap();
        let retry = Retry::builder().attempts(2).backoff(Backoff::none()).build().unwrap();
        let client = ServiceBuilder::new()
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(retry.layer().classify(ByTonicStatus))
            .layer(breaker.layer().classify(ByTonicStatus))
            .layer(limiter.layer())
            .service(service_fn(async |_: ()| Err::<(), _>(Status::unavailable("restarting"))));
        let failed = client.clone().oneshot(()).await.unwrap_err();
        assert_eq!((failed.code(), failed.message()), (tonic::Code::Unavailable, "restarting"));
        assert_eq!(breaker.state(), State::Open);
        let refused = client.oneshot(()).await.unwrap_err();
        assert_eq!(refused.as_rejected().map(Rejected::reason), Some(Reason::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn an_interceptor_sends_what_the_layer_sends() {
        let seen = Context::new().with_idempotency_key("order-17").scope(async {
            let timeout = crate::timeout::Timeout::builder().limit(Duration::from_secs(2)).build().unwrap();
            timeout.call(async { InjectLayer::grpc().call(tonic::Request::new(())) }).await
        });
        let metadata = seen.await.unwrap().metadata().clone();
        assert_eq!(metadata.get("grpc-timeout").unwrap(), "2000000u");
        assert_eq!(metadata.get("idempotency-key").unwrap(), "order-17");
    }

    /// What a tonic client makes of what a stack around a tonic server answers.
    #[tokio::test(start_paused = true)]
    async fn a_servers_answer_is_a_status_to_tonic() {
        let server = ServiceBuilder::new()
            .layer(LowerLayer::new(super::super::answer))
            .layer(TimeoutLayer::new(Duration::from_millis(5)))
            .service(service_fn(async |_: http::Request<()>| {
                std::future::pending::<()>().await;
                Ok::<_, Status>(http::Response::new(String::new()))
            }));
        let response = server.oneshot(http::Request::new(())).await.unwrap();
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!((status.code(), status.message()), (tonic::Code::DeadlineExceeded, "no answer within 5ms"));
    }
}
