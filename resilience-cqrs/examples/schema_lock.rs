//! Compares the events of a program with what they were when somebody last agreed to them.
//!
//! `cargo run -p resilience-cqrs --example schema_lock --features derive -- [check | write | show]`
//!
//! In a program of yours this is a `bin`, or a command of its xtask: CI runs `check`, and a reviewer reads what `write` has
//! changed in `schema.lock`. A test that calls `SchemaLock::check` does the same without a program.

use std::process::ExitCode;

use resilience_cqrs::aggregate::{Event, Schema, SchemaError, SchemaLock};
use serde::{Deserialize, Serialize};

/// What happens to accounts.
#[derive(Event, Serialize, Deserialize)]
enum Bank {
    /// Somebody became a customer.
    Opened {
        #[event(tag)]
        owner: String,
    },
    /// The first version called the cents `amount`.
    #[event(version = 2)]
    Deposited { cents: i64, memo: Option<String> },
}

/// What happens in the branches.
#[derive(Event, Serialize, Deserialize)]
struct Audited {
    by: String,
}

/// What the program reads events by: so what became of older ones is known to the lock too.
fn bank() -> Result<Schema<Bank>, SchemaError> {
    Schema::of::<Bank>().rename_field("Deposited", 1, "amount", "cents").drop("InterestRateChanged", 1).build()
}

fn lock() -> Result<SchemaLock, SchemaError> {
    Ok(SchemaLock::of::<(Bank, Audited)>().reads(&bank()?))
}

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/schema.lock");

fn main() -> ExitCode {
    match lock() {
        Ok(lock) => lock.run(FILE, std::env::args().skip(1)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

#[test]
fn the_events_are_what_the_lock_says() {
    lock().unwrap().check(FILE).unwrap();
}

#[test]
fn the_command_says_by_its_exit_code_whether_the_lock_holds() {
    let run = |file: &str, word: &str| lock().unwrap().run(file, [word.to_owned()]);
    assert_eq!(run(FILE, "check"), ExitCode::SUCCESS);
    assert_eq!(run(FILE, "show"), ExitCode::SUCCESS);
    assert_eq!(run("no/such/schema.lock", "check"), ExitCode::FAILURE);
    assert_eq!(run("no/such/schema.lock", "write"), ExitCode::FAILURE);
    assert_eq!(run(FILE, "chekc"), ExitCode::from(2));
}
