//! How a gRPC call ended.

use http::HeaderMap;
use http::header::HeaderName;

use crate::{AsRejected, Classification, Reason, Rejected};

pub(super) const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A [status code](https://grpc.io/docs/guides/status-codes/) of gRPC.
///
/// ```
/// use resilience_core::Classification;
/// use resilience_core::grpc::Code;
///
/// assert_eq!(Code::from_number(14), Code::Unavailable);
/// assert_eq!(Code::from_number(99), Code::Unknown); // as the specification says
/// assert_eq!(Code::DeadlineExceeded.meaning(), Classification::TIMED_OUT);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// It worked.
    Ok = 0,
    /// The caller gave up.
    Cancelled = 1,
    /// Nobody knows.
    Unknown = 2,
    /// The request makes no sense, whatever the state of the system.
    InvalidArgument = 3,
    /// The time was up before it was done.
    DeadlineExceeded = 4,
    /// There is no such thing.
    NotFound = 5,
    /// There is such a thing already.
    AlreadyExists = 6,
    /// The caller may not.
    PermissionDenied = 7,
    /// A quota or a resource is used up.
    ResourceExhausted = 8,
    /// The system is not in the state this needs.
    FailedPrecondition = 9,
    /// Somebody else was faster.
    Aborted = 10,
    /// Past the end.
    OutOfRange = 11,
    /// There is no such method.
    Unimplemented = 12,
    /// An invariant is broken.
    Internal = 13,
    /// Not now.
    Unavailable = 14,
    /// Data is lost or damaged.
    DataLoss = 15,
    /// The caller is nobody.
    Unauthenticated = 16,
}

impl Code {
    const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code with this number; [`Unknown`](Self::Unknown) if there is none.
    pub fn from_number(number: u32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number)).copied().unwrap_or(Self::Unknown)
    }

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// What `grpc-status` in headers or trailers says; `None` if it is not there.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(STATUS)?.to_str().ok();
        Some(text.and_then(|text| text.parse().ok()).map_or(Self::Unknown, Self::from_number))
    }

    /// The code an HTTP status stands for, where something on the way answered without knowing gRPC.
    ///
    /// As gRPC's "HTTP to gRPC status code mapping".
    pub const fn of_http(status: http::StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502..=504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// What it says about the service.
    ///
    /// | code | meaning | retried? |
    /// |---|---|---|
    /// | `OK` | success | |
    /// | `UNAVAILABLE`, `RESOURCE_EXHAUSTED` | failure | yes |
    /// | `DEADLINE_EXCEEDED` | [timed out](Classification::TIMED_OUT) | yes |
    /// | `UNKNOWN`, `INTERNAL`, `DATA_LOSS` | [permanent](Classification::PERMANENT) failure: whether it took effect is unknown | no |
    /// | `ABORTED` | nothing: a conflict with another caller | yes |
    /// | all others | nothing: mistakes and wishes of the caller | no |
    pub const fn meaning(self) -> Classification {
        match self {
            Self::Ok => Classification::SUCCESS,
            Self::Unavailable | Self::ResourceExhausted => Classification::FAILURE,
            Self::DeadlineExceeded => Classification::TIMED_OUT,
            Self::Unknown | Self::Internal | Self::DataLoss => Classification::PERMANENT,
            Self::Aborted => Classification::IGNORE.retryable(true),
            _ => Classification::IGNORE,
        }
    }

    /// The code for an error of a stack.
    ///
    /// | error | code |
    /// |---|---|
    /// | refused: rate limit, or full | `RESOURCE_EXHAUSTED` |
    /// | refused: deadline; no answer in time | `DEADLINE_EXCEEDED` |
    /// | refused: a stale owner | `FAILED_PRECONDITION`: only the owner can help, by stepping down |
    /// | refused for any other reason | `UNAVAILABLE` |
    /// | the service's own | `UNKNOWN` |
    pub fn of_error<E: AsRejected>(error: &E) -> Self {
        match error.as_rejected().map(Rejected::reason) {
            Some(Reason::RateLimited | Reason::Full { .. }) => Self::ResourceExhausted,
            Some(Reason::Deadline) => Self::DeadlineExceeded,
            Some(Reason::Fenced) => Self::FailedPrecondition,
            Some(_) => Self::Unavailable,
            None if error.as_elapsed().is_some() => Self::DeadlineExceeded,
            None => Self::Unknown,
        }
    }
}
