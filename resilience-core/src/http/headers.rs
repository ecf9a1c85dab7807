//! The context as headers.

use std::fmt::{Display, Write};
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::idempotent::IDEMPOTENCY_KEY;
use super::timeout_value::{GrpcTimeout, digits, millis, parse_millis};
use crate::context::{Baggage, Context, Criticality, FencingToken, TraceParent, TraceState};
use crate::time::Timestamp;

const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACE_STATE: HeaderName = HeaderName::from_static("tracestate");
const BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// The longest key or id that is written or read, in bytes. Longer ones are left out: cut short, they would name
/// another.
pub const LONGEST_ID: usize = 255;

/// Which headers carry what, and what of it is believed.
///
/// | what | HTTP | gRPC | value |
/// |---|---|---|---|
/// | time left | `resilience-timeout-ms` | `grpc-timeout` | milliseconds, rounded down; gRPC's own form |
/// | attempt | `resilience-attempt` | `grpc-previous-rpc-attempts` | 2 for the first retry; gRPC counts those before |
/// | criticality | `resilience-criticality` | same | `sheddable`, `sheddable-plus`, `critical`, `critical-plus` |
/// | idempotency key | `idempotency-key` | same | as it is; a quoted string is read, too |
/// | correlation id | `correlation-id` | same | as it is |
/// | causation id | `causation-id` | same | as it is |
/// | fencing token | `resilience-fencing-token` | same | decimal |
/// | trace | `traceparent`, `tracestate`, `baggage` | same | as the W3C says |
///
/// Time is written as what remains, never as a point in time: clocks of two machines disagree, and their
/// difference would be taken off each call. The way from one to the other is not measured, so a receiver may
/// believe in a little more time than there is; its own limit and the caller's still hold.
///
/// Only what is not the default is written: a first attempt of ordinary criticality costs no header. What is malformed,
/// too long, or twice there is left out, as if it had not been sent; it is never an error.
///
/// ```
/// use std::time::Duration;
/// use http::HeaderMap;
/// use resilience_core::context::{Context, Criticality};
/// use resilience_core::http::Headers;
/// use resilience_core::time::Timestamp;
///
/// let here = Timestamp::ORIGIN + Duration::from_secs(10);
/// let context = Context::new()
///     .with_deadline(here + Duration::from_millis(250))
///     .with_criticality(Criticality::Sheddable)
///     .with_idempotency_key("order-17");
/// let mut headers = HeaderMap::new();
/// Headers::http().inject(&context, || here, &mut headers);
/// assert_eq!(headers["resilience-timeout-ms"], "250");
///
/// let there = Timestamp::ORIGIN; // another machine's clock
/// let received = Headers::http().extract(&headers, || there);
/// assert_eq!(received.deadline().unwrap().remaining(there), Some(Duration::from_millis(250)));
/// assert_eq!(received.criticality(), Criticality::Sheddable);
/// assert_eq!(received.idempotency_key().map(|key| &**key), Some("order-17"));
/// ```
#[derive(Clone, Debug)]
pub struct Headers {
    protocol: Protocol,
    timeout: HeaderName,
    attempt: HeaderName,
    criticality: HeaderName,
    correlation_id: HeaderName,
    causation_id: HeaderName,
    fencing_token: HeaderName,
    believes_strangers: bool,
}

/// How time and attempts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http,
    Grpc,
}

impl Headers {
    /// The headers of an HTTP call.
    pub fn http() -> Self {
        Self {
            protocol: Protocol::Http,
            timeout: HeaderName::from_static("resilience-timeout-ms"),
            attempt: HeaderName::from_static("resilience-attempt"),
            criticality: HeaderName::from_static("resilience-criticality"),
            correlation_id: HeaderName::from_static("correlation-id"),
            causation_id: HeaderName::from_static("causation-id"),
            fencing_token: HeaderName::from_static("resilience-fencing-token"),
            believes_strangers: true,
        }
    }

    /// The headers of a gRPC call.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::HeaderMap;
    /// use resilience_core::context::Context;
    /// use resilience_core::http::Headers;
    /// use resilience_core::time::Timestamp;
    ///
    /// let now = Timestamp::ORIGIN;
    /// let mut headers = HeaderMap::new();
    /// let context = Context::new().with_deadline(now + Duration::from_secs(1)).with_attempt(3);
    /// Headers::grpc().inject(&context, || now, &mut headers);
    /// assert_eq!(headers["grpc-timeout"], "1000000u");
    /// assert_eq!(headers["grpc-previous-rpc-attempts"], "2");
    /// ```
    pub fn grpc() -> Self {
        Self {
            protocol: Protocol::Grpc,
            timeout: HeaderName::from_static("grpc-timeout"),
            attempt: HeaderName::from_static("grpc-previous-rpc-attempts"),
            ..Self::http()
        }
    }

    /// The header for the time left, in milliseconds (`connect-timeout-ms` for the Connect protocol, say).
    #[must_use]
    pub fn timeout(mut self, name: HeaderName) -> Self {
        self.timeout = name;
        self
    }

    /// The header for the attempt's number.
    #[must_use]
    pub fn attempt(mut self, name: HeaderName) -> Self {
        self.attempt = name;
        self
    }

    /// The header for the criticality.
    #[must_use]
    pub fn criticality(mut self, name: HeaderName) -> Self {
        self.criticality = name;
        self
    }

    /// The header for the correlation id, where the house has one of its own (`x-request-id`, say).
    #[must_use]
    pub fn correlation_id(mut self, name: HeaderName) -> Self {
        self.correlation_id = name;
        self
    }

    /// The header for the causation id.
    #[must_use]
    pub fn causation_id(mut self, name: HeaderName) -> Self {
        self.causation_id = name;
        self
    }

    /// The header for the fencing token.
    #[must_use]
    pub fn fencing_token(mut self, name: HeaderName) -> Self {
        self.fencing_token = name;
        self
    }

    /// For a server at the edge: believes only what can do no harm, and forgets what strangers say of themselves.
    ///
    /// Left are the time (a stranger can but shorten its own call), the idempotency key, the correlation id and the
    /// trace. Criticality, attempt, causation id, fencing token and baggage are for those who may be believed.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use resilience_core::context::Criticality;
    /// use resilience_core::http::Headers;
    /// use resilience_core::time::Timestamp;
    ///
    /// let mut headers = HeaderMap::new();
    /// headers.insert("resilience-criticality", "critical-plus".parse()?);
    /// let received = Headers::http().at_the_edge().extract(&headers, || Timestamp::ORIGIN);
    /// assert_eq!(received.criticality(), Criticality::Critical);
    /// # Ok::<(), http::header::InvalidHeaderValue>(())
    /// ```
    #[must_use]
    pub fn at_the_edge(mut self) -> Self {
        self.believes_strangers = false;
        self
    }

    /// Writes `context` into `headers`; `now` is asked only if there is a deadline.
    ///
    /// Headers that are there already were set on purpose and stay, but for two: of two limits on time the smaller
    /// holds, and the attempt is this one.
    pub fn inject(&self, context: &Context, now: impl FnOnce() -> Timestamp, headers: &mut HeaderMap) {
        if let Some(deadline) = context.deadline() {
            let left = deadline.remaining(now()).unwrap_or_default();
            if self.time_left(headers).is_none_or(|there| left < there) {
                self.write_time(left, headers);
            }
        }
        if context.own_attempt() > 1 {
            let number = context.own_attempt() - u32::from(self.protocol == Protocol::Grpc);
            headers.insert(self.attempt.clone(), number.into());
        }
        if context.criticality() != Criticality::default() {
            let label = HeaderValue::from_static(criticality_label(context.criticality()));
            headers.entry(self.criticality.clone()).or_insert(label);
        }
        if let Some(token) = context.fencing_token() {
            headers.entry(self.fencing_token.clone()).or_insert(token.get().into());
        }
        put(headers, &IDEMPOTENCY_KEY, context.own_idempotency_key().map(|key| &**key));
        put(headers, &self.correlation_id, context.correlation_id().map(|id| &**id));
        put(headers, &self.causation_id, context.own_causation_id().map(|id| &**id));
        inject_trace(context, headers);
    }

    /// Reads a context from `headers`; `now` is asked only if they limit the time.
    pub fn extract(&self, headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> Context {
        self.extend(Context::new(), headers, now)
    }

    /// Adds what `headers` say to `context`: of two deadlines the earlier holds, the rest is replaced.
    ///
    /// The result is marked as [received](Context::received).
    pub fn extend(&self, mut context: Context, headers: &HeaderMap, now: impl FnOnce() -> Timestamp) -> Context {
        if let Some(left) = self.time_left(headers) {
            context = context.with_deadline(now() + left);
        }
        if let Some(key) = text(headers, &IDEMPOTENCY_KEY).and_then(unquoted).filter(|key| fits(key)) {
            context = context.with_idempotency_key(key);
        }
        if let Some(id) = text(headers, &self.correlation_id).filter(|id| fits(id)) {
            context = context.with_correlation_id(id);
        }
        if let Some(parent) = text(headers, &TRACE_PARENT).and_then(TraceParent::parse) {
            context = context.with_trace_parent(parent);
            if let Some(state) = joined(headers, &TRACE_STATE, TraceState::parse) {
                context = context.with_trace_state(state);
            }
        }
        if self.believes_strangers {
            context = self.extend_with_the_rest(context, headers);
        }
        context.received()
    }

    fn extend_with_the_rest(&self, mut context: Context, headers: &HeaderMap) -> Context {
        let number = |name| text(headers, name).and_then(|number| digits(number.as_bytes(), 20));
        let attempt = number(&self.attempt).and_then(|number| u32::try_from(number).ok());
        let attempt = attempt.and_then(|number| number.checked_add(u32::from(self.protocol == Protocol::Grpc)));
        if let Some(attempt) = attempt.filter(|attempt| *attempt > 0) {
            context = context.with_attempt(attempt);
        }
        if let Some(criticality) = text(headers, &self.criticality).and_then(criticality_of) {
            context = context.with_criticality(criticality);
        }
        if let Some(token) = number(&self.fencing_token) {
            context = context.with_fencing_token(FencingToken::new(token));
        }
        if let Some(id) = text(headers, &self.causation_id).filter(|id| fits(id)) {
            context = context.with_causation_id(id);
        }
        if let Some(baggage) = joined(headers, &BAGGAGE, Baggage::parse) {
            context = context.with_baggage(baggage);
        }
        context
    }

    fn time_left(&self, headers: &HeaderMap) -> Option<Duration> {
        let value = text(headers, &self.timeout)?.as_bytes();
        match self.protocol {
            Protocol::Http => parse_millis(value),
            Protocol::Grpc => GrpcTimeout::parse(value).map(|timeout| timeout.0),
        }
    }

    fn write_time(&self, left: Duration, headers: &mut HeaderMap) {
        let value = match self.protocol {
            Protocol::Http => Some(millis(left).into()),
            Protocol::Grpc => value::<16>(GrpcTimeout(left)),
        };
        if let Some(value) = value {
            headers.insert(self.timeout.clone(), value);
        }
    }
}

impl Default for Headers {
    fn default() -> Self {
        Self::http()
    }
}

fn inject_trace(context: &Context, headers: &mut HeaderMap) {
    // A trace that is there was written by somebody who makes spans; ours would cut theirs out.
    if !headers.contains_key(TRACE_PARENT)
        && let Some(parent) = context.trace_parent()
        && let Some(parent) = value::<{ TraceParent::LENGTH }>(parent)
    {
        headers.insert(TRACE_PARENT, parent);
        headers.remove(TRACE_STATE);
        if let Some(state) = context.trace_state() {
            put_long(headers, &TRACE_STATE, state.as_str());
        }
    }
    if let Some(baggage) = context.baggage() {
        put_long(headers, &BAGGAGE, baggage.as_str());
    }
}

/// Adds a key or an id, unless it is there already or cannot be sent.
fn put(headers: &mut HeaderMap, name: &HeaderName, id: Option<&str>) {
    if let Some(id) = id.filter(|id| fits(id)) {
        put_long(headers, name, id);
    }
}

fn put_long(headers: &mut HeaderMap, name: &HeaderName, text: &str) {
    if !headers.contains_key(name)
        && let Ok(value) = HeaderValue::from_str(text)
    {
        headers.insert(name.clone(), value);
    }
}

/// Whether a key or an id survives the wire as it is: visible, no longer than is read, not trimmed and not quoted.
fn fits(id: &str) -> bool {
    let visible = |byte: u8| (0x20..0x7f).contains(&byte);
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(visible) && id.trim() == id && !id.starts_with('"')
}

/// The header's value, if there is exactly one and it is text.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_none() { value.to_str().ok() } else { None }
}

/// The values of a header that may come several times, read as one list.
fn joined<T>(headers: &HeaderMap, name: &HeaderName, parse: fn(&str) -> Option<T>) -> Option<T> {
    if let Some(one) = text(headers, name) {
        return parse(one);
    }
    let values: Result<Vec<_>, _> = headers.get_all(name).iter().map(HeaderValue::to_str).collect();
    parse(&values.ok()?.join(","))
}

/// The text of an `Idempotency-Key`: a quoted string, as its draft says, or the key as it is, as its users do.
fn unquoted(text: &str) -> Option<&str> {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').filter(|key| !key.contains(['"', '\\'])),
        None => Some(text),
    }
}

/// A short value, written without an allocation of its own before the one the header needs.
fn value<const N: usize>(shown: impl Display) -> Option<HeaderValue> {
    let mut text = String::with_capacity(N);
    write!(text, "{shown}").ok()?;
    HeaderValue::from_maybe_shared(text.into_bytes()).ok()
}

const fn criticality_label(criticality: Criticality) -> &'static str {
    match criticality {
        Criticality::Sheddable => "sheddable",
        Criticality::SheddablePlus => "sheddable-plus",
        Criticality::Critical => "critical",
        Criticality::CriticalPlus => "critical-plus",
    }
}

fn criticality_of(label: &str) -> Option<Criticality> {
    let all = [Criticality::Sheddable, Criticality::SheddablePlus, Criticality::Critical, Criticality::CriticalPlus];
    all.into_iter().find(|criticality| criticality_label(*criticality) == label)
}
