//! Permits that are held until the body of the response has ended.
//!
//! The future of an HTTP call is done when the head is there. What most calls wait for comes after it: a server that
//! sends its status and then hangs has answered nothing, and a slot given back with the head lets the next download
//! start while this one still fills the line. So the permit goes into the body, and is settled with the last frame, the
//! first error, or when the body is dropped: whatever comes first, and once.

mod body;
mod future;
mod gate;
mod layer;
mod service;

pub use self::body::{ByHead, ClassifyEnd, End, UntilEndBody};
pub use self::future::UntilEndFuture;
pub use self::gate::{Gate, Settle, Turn, Waiting};
pub use self::layer::UntilEndLayer;
pub use self::service::UntilEndService;
