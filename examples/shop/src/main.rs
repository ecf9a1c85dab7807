//! Run it with `cargo run --release -p shop`; `cargo run --release -p shop -- --help` explains the rest.
//!
//! A small web shop as five real processes under load and faults: orders are event-sourced, each checkout is a saga, every
//! call between services goes through discovery and the resilience stack. At the end an audit reads all stores and says
//! whether anything was lost, done twice or left half done.

mod audit;
mod cli;
mod client;
mod domain;
mod faults;
mod generate;
mod orders_file;
mod policies;
mod problem;
mod report;
mod runner;
mod services;
mod stats;
mod stores;

use std::io::{BufWriter, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use self::cli::{Cli, Command};
use self::domain::ServiceName;
use self::problem::Problem;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(problem) => {
            let _ = writeln!(std::io::stderr(), "shop: {problem}.");
            ExitCode::from(2)
        }
    }
}

/// Whether all went well, for the commands that check something.
fn start(cli: Cli) -> Result<bool, Problem> {
    match cli.command {
        None if cli.run.print_faults => {
            runner::say(faults::DEFAULT.trim_end());
            Ok(true)
        }
        None if cli.run.print_policies => {
            runner::say(policies::DEFAULT.trim_end());
            Ok(true)
        }
        None => within_runtime("warn", runner::run(cli.run)),
        Some(Command::Audit { dir }) => within_runtime("warn", runner::finish(&dir)),
        Some(Command::GenerateOrders { count, seed }) => {
            print_orders(count as usize, seed);
            Ok(true)
        }
        Some(Command::Gateway(args)) => serve(ServiceName::Gateway, args),
        Some(Command::Orders(args)) => serve(ServiceName::Orders, args),
        Some(Command::Inventory(args)) => serve(ServiceName::Inventory, args),
        Some(Command::Payments(args)) => serve(ServiceName::Payments, args),
        Some(Command::Shipping(args)) => serve(ServiceName::Shipping, args),
    }
}

fn serve(name: ServiceName, args: cli::ServiceArgs) -> Result<bool, Problem> {
    within_runtime("info", services::run(name, args)).map(|()| true)
}

fn within_runtime<T>(level: &str, work: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|why| Problem::new(format!("cannot start the runtime: {why}")))?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    done
}

/// To standard output; whoever reads may stop reading.
fn print_orders(count: usize, seed: u64) {
    let mut out = BufWriter::new(std::io::stdout().lock());
    for order in generate::orders(count, seed) {
        if serde_json::to_writer(&mut out, &order).is_err() || out.write_all(b"\n").is_err() {
            return;
        }
    }
}
