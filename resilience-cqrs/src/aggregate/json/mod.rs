//! An enum's variant apart from what is inside it, in one pass each way.
//!
//! Serde's plain form of an enum is `{"Deposited":{"cents":5}}`. The log keeps the name and the inside apart, and needs
//! to tell a name it does not know from an inside that does not fit. Both follow from standing where serde tells the
//! variant's name, and asks for one of the names there are.

mod de;
mod ser;

pub(super) use self::de::{DecodeError, decode};
pub(super) use self::ser::encode;
