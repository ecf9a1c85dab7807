//! How one service calls another: found through discovery, through the whole resilience stack, over HTTP.

mod stack;
mod transport;

use std::path::Path;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use bytes::Bytes;
use resilience_core::Error;
pub(crate) use resilience_core::http::IDEMPOTENCY_KEY;
use serde::Serialize;
use tower::{Service, ServiceExt};

use self::stack::Stack;
pub(crate) use self::stack::misconfigured;
pub(crate) use self::transport::{Broken, figures};
use crate::domain::ServiceName;
use crate::policies::Policies;
use crate::problem::Problem;
use crate::stats::Stats;

/// Calls one service; clones share policies and connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    service: Stack,
}

/// A refusal by a policy, silence, or a broken connection.
pub(crate) type CallError = Error<Broken>;

/// A request, before it is known who will answer it. Cheap to clone, for retries.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

impl Client {
    /// A service's client for another service, with every policy.
    pub(crate) fn new(to: ServiceName, endpoints: &Path, policies: &Policies) -> Result<Self, Problem> {
        let service = stack::between(policies.to(to)?, to, endpoints, policies.stats()).map_err(misconfigured)?;
        Ok(Self { service })
    }

    /// A customer's client for the gateway: patient, and without a breaker, for nobody else shares it.
    pub(crate) fn customer(endpoints: &Path, stats: &Stats) -> Result<Self, Problem> {
        Ok(Self { service: stack::customer(endpoints, stats).map_err(misconfigured)? })
    }

    /// Posts `body` as JSON under a key of the caller's own, by which a repetition is recognised.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &impl Serialize) -> Result<Answer, CallError> {
        let mut headers = HeaderMap::new();
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert(IDEMPOTENCY_KEY, key);
        }
        self.post_with(path, headers, body).await
    }

    /// Posts `body` as JSON for a saga's step. What the receiver's barrier needs is in the step's context.
    pub(crate) async fn ask(&self, path: &str, body: &impl Serialize) -> Result<Answer, CallError> {
        self.post_with(path, HeaderMap::new(), body).await
    }

    async fn post_with(&self, path: &str, mut headers: HeaderMap, body: &impl Serialize) -> Result<Answer, CallError> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body).unwrap_or_default().into();
        self.send(Outgoing { method: Method::POST, path: path.to_owned(), headers, body }).await
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Answer, CallError> {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        self.send(Outgoing { method: Method::GET, path: path.to_owned(), headers, body }).await
    }

    async fn send(&self, request: Outgoing) -> Result<Answer, CallError> {
        self.service.clone().ready().await?.call(request).await
    }
}
