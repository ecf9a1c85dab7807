//! The bus in memory keeps every law.

use resilience_cqrs::messaging::MemoryBus;
use resilience_cqrs::messaging::conformance::Carrier;

struct Memory;

impl Carrier for Memory {
    type Bus = MemoryBus;

    fn with(&self, law: impl AsyncFnOnce(MemoryBus)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(law(MemoryBus::new()));
    }
}

mod memory {
    resilience_cqrs::bus_conformance_tests!(super::Memory);
}
