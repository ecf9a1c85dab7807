//! The bus on NATS: every law on a real server, and what becomes of messages when the server is killed.
#![cfg(all(unix, feature = "nats"))]

mod nats {
    mod carrier;
    mod losses;
    mod programs;
    mod recovery;
    mod stops;

    mod laws {
        resilience_cqrs::bus_conformance_tests!(super::carrier::Server);
    }
}
