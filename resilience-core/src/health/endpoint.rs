//! Probes over HTTP.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{Health, Probe, Report, Reporting, Status};
use crate::oneshot::Oneshot;

/// Which path asks what: the names Kubernetes' own components use.
const PATHS: [(&str, Probe); 4] = [
    ("/livez", Probe::Liveness),
    ("/readyz", Probe::Readiness),
    ("/startupz", Probe::Startup),
    ("/healthz", Probe::All),
];

/// The probe at `path`, if it is one.
fn probe_at(path: &str) -> Option<Probe> {
    PATHS.iter().find(|(known, _)| *known == path).map(|(_, probe)| *probe)
}

/// Answers probes: 200 while the program is up or degraded, 503 when it is down, each with the [`Report`] as JSON.
///
/// | path | probe |
/// |---|---|
/// | `/livez` | liveness |
/// | `/readyz` | readiness |
/// | `/startupz` | startup |
/// | `/healthz` | all |
/// | any other | 404 |
///
/// The body is made of a `String`: hyper's `Full`, axum's `Body` and `String` itself all can be. It never fails.
///
/// ```
/// use http::{Request, StatusCode};
/// use resilience_core::health::{Health, HealthService};
/// use tower::ServiceExt;
///
/// # futures::executor::block_on(async {
/// let health = Health::builder().build().unwrap();
/// let endpoint = HealthService::<String>::new(health);
/// let answer = endpoint.oneshot(Request::get("/readyz").body(()).unwrap()).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::OK);
/// assert!(answer.body().starts_with(r#"{"status":"up","checks":{},"timestamp":""#));
/// # });
/// ```
pub struct HealthService<B> {
    health: Health,
    errors: bool,
    body: PhantomData<fn() -> B>,
}

impl<B> HealthService<B> {
    /// An endpoint for `health`.
    pub fn new(health: Health) -> Self {
        Self { health, errors: true, body: PhantomData }
    }

    /// Leaves out what checks give as errors, for an endpoint that strangers can reach.
    #[must_use]
    pub fn without_errors(mut self) -> Self {
        self.errors = false;
        self
    }
}

/// Answers probes in front of a service; all other requests go to it. See [`HealthService`] for paths and answers.
///
/// It is always ready, and reserves nothing of the service behind: a probe that waited for a service with too much to do
/// would have a process restarted that works, and a place reserved for what then is a probe is one another request
/// lacks. Any other request is handed to a clone, which is made ready inside the call.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use resilience_core::health::{Health, HealthLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # futures::executor::block_on(async {
/// let health = Health::builder().build().unwrap();
/// let shop = ServiceBuilder::new()
///     .layer(HealthLayer::new(health.clone()))
///     .service(service_fn(async |_: Request<()>| Ok::<_, std::io::Error>(Response::new(String::from("socks")))));
/// let answer = shop.clone().oneshot(Request::get("/sku/7").body(()).unwrap()).await.unwrap();
/// assert_eq!(answer.body(), "socks");
/// health.drain();
/// let answer = shop.oneshot(Request::get("/readyz").body(()).unwrap()).await.unwrap();
/// assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct HealthLayer {
    health: Health,
    errors: bool,
}

impl HealthLayer {
    /// Probes are answered by `health`.
    pub fn new(health: Health) -> Self {
        Self { health, errors: true }
    }

    /// Leaves out what checks give as errors, for a service that strangers can reach.
    #[must_use]
    pub fn without_errors(mut self) -> Self {
        self.errors = false;
        self
    }
}

impl<S> Layer<S> for HealthLayer {
    type Service = InFront<S>;

    fn layer(&self, inner: S) -> InFront<S> {
        InFront { inner, health: self.health.clone(), errors: self.errors }
    }
}

/// A service with probes in front; made by [`HealthLayer`].
#[derive(Clone, Debug)]
pub struct InFront<S> {
    inner: S,
    health: Health,
    errors: bool,
}

pin_project! {
    /// The answer to a probe, or of the service behind.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        stage: Stage<F>,
        errors: bool,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        Probe { reporting: Reporting, head: bool },
        Plain { status: StatusCode },
        Inner { #[pin] inner: F },
    }
}

impl<F> ResponseFuture<F> {
    /// What a probe is answered by itself.
    fn probe(health: &Health, errors: bool, probe: Probe, method: &Method) -> Self {
        let stage = match *method {
            Method::GET | Method::HEAD => {
                Stage::Probe { reporting: health.report(probe), head: method == Method::HEAD }
            }
            _ => Stage::Plain { status: StatusCode::METHOD_NOT_ALLOWED },
        };
        Self { stage, errors }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: From<String>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.stage.project() {
            StageProjection::Inner { inner } => inner.poll(cx),
            StageProjection::Plain { status } => Poll::Ready(Ok(plain(*status))),
            StageProjection::Probe { reporting, head } => {
                let report = ready!(Pin::new(reporting).poll(cx));
                Poll::Ready(Ok(answer(&report, *this.errors, *head)))
            }
        }
    }
}

fn answer<B: From<String>>(report: &Report, errors: bool, head: bool) -> Response<B> {
    let body = match (head, errors) {
        (true, _) => String::new(),
        (false, true) => report.to_json(),
        (false, false) => report.to_json_without_errors(),
    };
    let mut response = Response::new(body.into());
    if report.status == Status::Down {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // An answer from a cache would speak for a moment that is gone.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain<B: From<String>>(status: StatusCode) -> Response<B> {
    let mut response = Response::new(String::new().into());
    *response.status_mut() = status;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

impl<B: From<String>, Req> Service<Request<Req>> for HealthService<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = ResponseFuture<std::future::Pending<Result<Response<B>, Infallible>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        match probe_at(request.uri().path()) {
            Some(probe) => ResponseFuture::probe(&self.health, self.errors, probe, request.method()),
            None => ResponseFuture { stage: Stage::Plain { status: StatusCode::NOT_FOUND }, errors: false },
        }
    }
}

impl<S, Req, B> Service<Request<Req>> for InFront<S>
where
    S: Service<Request<Req>, Response = Response<B>> + Clone,
    B: From<String>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = ResponseFuture<Oneshot<S, Request<Req>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        match probe_at(request.uri().path()) {
            Some(probe) => ResponseFuture::probe(&self.health, self.errors, probe, request.method()),
            None => {
                let inner = Oneshot::new(self.inner.clone(), request);
                ResponseFuture { stage: Stage::Inner { inner }, errors: false }
            }
        }
    }
}

impl<B> Clone for HealthService<B> {
    fn clone(&self) -> Self {
        Self { health: self.health.clone(), errors: self.errors, body: PhantomData }
    }
}

impl<B> fmt::Debug for HealthService<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthService").field("health", &self.health).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
