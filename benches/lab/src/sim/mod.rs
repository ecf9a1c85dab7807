//! The simulated world: a clock, servers, what goes wrong with them, and callers who do not wait for ever.

mod call;
mod clock;
mod distribution;
mod faults;
mod run;
mod station;

pub use self::call::{Answer, Call, Failure, ServerError};
pub use self::clock::Clock;
pub use self::distribution::{Bimodal, Distribution, Lognormal};
pub use self::faults::{Fault, Faults, Kind};
pub use self::run::{End, Outcome, Run, run};
pub use self::station::{Seen, Station};
