//! How a figure is made: cases in interleaved rounds, each sample checked for foreign load before it counts.

mod alloc;
mod case;
mod instructions;
mod machine;
mod noise;
mod rounds;
mod table;

pub use self::alloc::CountingAllocator;
pub use self::case::{Answer, Case, Kind, Runtimes, Spec, function, group, owned_service, service, service_cloned};
pub use self::instructions::{count_all, run_one};
pub use self::machine::{Header, run_delay_share, versions};
pub use self::noise::RunDelay;
pub use self::rounds::{Figures, Plan, measure};
pub use self::table::{Table, figure, layers_table};
