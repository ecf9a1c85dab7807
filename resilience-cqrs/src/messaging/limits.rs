//! How large a message may be, whatever the bus. A bus may have smaller limits of its own.

use super::error::InvalidMessage;

/// Longest id, key, subject, group or metadata field, in bytes.
pub const NAME_BYTES: usize = 255;
/// Largest payload in bytes: 1 MiB less room for headers, which is what NATS takes by default.
///
/// ```
/// use resilience_cqrs::messaging::{Bus, BusError, InvalidMessage, MemoryBus, Message, limits};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Refused by every bus, the one in memory included: what passes a test passes a broker.
/// let large = Message::new("m1", "files", vec![0; limits::PAYLOAD_BYTES + 1]);
/// let refused = MemoryBus::new().send(large).await;
/// assert!(matches!(refused, Err(BusError::Invalid(InvalidMessage::TooLong { what: "payload", .. }))));
/// # Ok(()) }
/// ```
pub const PAYLOAD_BYTES: usize = (1 << 20) - (8 << 10);

pub(super) fn name(what: &'static str, name: &str) -> Result<(), InvalidMessage> {
    if name.is_empty() {
        return Err(InvalidMessage::Empty { what });
    }
    if name.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(InvalidMessage::Grammar { what, why: "has control characters" });
    }
    short_enough(what, name.len(), NAME_BYTES)
}

pub(super) fn short_enough(what: &'static str, bytes: usize, limit: usize) -> Result<(), InvalidMessage> {
    if bytes > limit { Err(InvalidMessage::TooLong { what, bytes, limit }) } else { Ok(()) }
}
