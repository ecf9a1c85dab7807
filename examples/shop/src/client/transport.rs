//! HTTP to one address.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, Request, header, uri};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use resilience_core::http::{InjectLayer, InjectService};
use resilience_core::time::SharedTimer;
use tower::{Layer, Service};

use super::{Answer, Outgoing};
use crate::stats::Figures;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 8 << 20;
/// Longest time a connection may take to be made; on the loopback it takes microseconds or never succeeds.
const CONNECT: Duration = Duration::from_millis(500);

/// The connection broke, or the answer was none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("no connection or a broken one")]
    Connection(#[from] hyper_util::client::legacy::Error),
    #[error("the answer broke off or was too long")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("not a request that can be sent")]
    Request(#[from] axum::http::Error),
}

/// Connections to one address; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    authority: String,
    /// Sends the context along: the time that is left, the key, the saga's owner.
    client: InjectService<Client<HttpConnector, Full<Bytes>>>,
}

impl Transport {
    pub(crate) fn new(address: &str) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(10))
            .pool_timer(TokioTimer::new())
            .build(connector);
        Self { authority: address.to_owned(), client: InjectLayer::http().layer(client) }
    }
}

impl Service<Outgoing> for Transport {
    type Response = Answer;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, outgoing: Outgoing) -> Self::Future {
        // Sent from here and not from the future: here is where the call's context is.
        let sent = request(&self.authority, outgoing).map(|request| self.client.call(request));
        Box::pin(async move {
            let response = sent?.await?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(Broken::Answer)?.to_bytes();
            Ok(Answer { status: parts.status, retry_after: retry_after(&parts.headers), body })
        })
    }
}

fn request(authority: &str, outgoing: Outgoing) -> Result<Request<Full<Bytes>>, axum::http::Error> {
    let uri = uri::Builder::new().scheme("http").authority(authority).path_and_query(outgoing.path).build()?;
    let mut request = Request::builder().method(outgoing.method).uri(uri).body(Full::new(outgoing.body))?;
    *request.headers_mut() = outgoing.headers;
    Ok(request)
}

/// `Retry-After` in seconds; its other form, a date, is not used here.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A service's figures, for the live view: not part of the shop, so past its policies.
pub(crate) async fn figures(address: SocketAddr) -> Option<Figures> {
    let request = Outgoing {
        method: axum::http::Method::GET,
        path: "/stats".into(),
        headers: HeaderMap::new(),
        body: Bytes::new(),
    };
    let answer = Transport::new(&address.to_string()).call(request);
    tokio::select! {
        answer = answer => serde_json::from_slice(&answer.ok()?.body).ok(),
        () = SharedTimer::default().sleep(Duration::from_millis(400)) => None,
    }
}
