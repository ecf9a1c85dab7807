//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::faults::Trouble;

const AFTER_HELP: &str = "\
What a run does:
  Five services start as processes of their own: gateway, orders, inventory, payments, shipping. Each has its own
  SQLite file; they find each other through watched endpoints files and call each other over HTTP on the loopback
  interface, through time limits, retries within a budget, circuit breakers, bulkheads and a load balancer.
  Orders arrive at the gateway at random times, --rate a second on average. Each accepted order is a saga: reserve
  stock, charge the customer, screen the order, then (no way back) ship and take the stock off the shelf; what was
  done is undone when a step refuses. Meanwhile the fault script makes calls fail, kills processes, and changes a
  policy of the running services.
  When every order is settled the services are stopped and the audit reads their stores.

Orders file (--orders), one JSON object a line:
  {\"order_id\":\"o-1\",\"customer\":\"c-7\",\"items\":[{\"sku\":\"tea\",\"qty\":2,\"cents\":499}]}
  order_id, customer and sku have up to 64 letters, digits, '-', '_' or '.'; qty is 1 to 1000; cents is the price of
  one piece. A bad line is reported with its number and its reason, and the rest goes on. `shop generate-orders`
  writes an example.

What is left in the output directory:
  report.html     the audit and the charts, in one file
  policies.toml   what every call goes through; the services read it again when it changes
  orders.jsonl, accepted.jsonl, world.json, run.json, timeline.jsonl
                  what was sent, what was accepted, what the stores held at first, how the run went
  *.db, log/      the stores and the logs of the services

Exit status:
  0  every check of the audit holds
  1  a check does not hold
  2  the run could not start; one sentence says why";

/// A small web shop as real processes, run under load and faults, and audited.
#[derive(Debug, Parser)]
#[command(name = "shop", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Reads the stores of a finished run again and checks them.
    Audit {
        /// The run's output directory.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Writes generated orders to standard output, one JSON object a line.
    GenerateOrders {
        /// How many.
        #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        count: u32,
        /// Where randomness starts.
        #[arg(long, default_value_t = 1, value_name = "S")]
        seed: u64,
    },
    /// Runs the gateway alone: accepts orders over HTTP and passes them on.
    Gateway(ServiceArgs),
    /// Runs the orders service alone: keeps orders and runs their checkouts.
    Orders(ServiceArgs),
    /// Runs the inventory service alone: stock and reservations.
    Inventory(ServiceArgs),
    /// Runs the payments service alone: accounts, charges and refunds.
    Payments(ServiceArgs),
    /// Runs the shipping service alone: shipments.
    Shipping(ServiceArgs),
}

/// Options of a whole run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Orders to send, as JSON Lines (see below); without it, generated ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) orders: Option<PathBuf>,
    /// How many orders to generate.
    #[arg(long, default_value_t = 2_000, value_name = "N", conflicts_with = "orders", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) count: u32,
    /// Orders a second, on average; arrivals are a Poisson process.
    #[arg(long, default_value_t = 60.0, value_name = "R", value_parser = rate)]
    pub(crate) rate: f64,
    /// Where randomness starts: orders, arrivals, faults and random kills are the same for the same seed.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub(crate) seed: u64,
    /// The fault script, as TOML; `--print-faults` shows the built-in one.
    #[arg(long, value_name = "FILE")]
    pub(crate) faults: Option<PathBuf>,
    /// Prints the built-in fault script and ends.
    #[arg(long)]
    pub(crate) print_faults: bool,
    /// The policies of all calls, as TOML; `--print-policies` shows the built-in ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) policies: Option<PathBuf>,
    /// Prints the built-in policies and ends.
    #[arg(long)]
    pub(crate) print_policies: bool,
    /// Replaces the script's kills by N at random times while orders arrive.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub(crate) kills: Option<u32>,
    /// Pieces of every sku in stock at first; without it, so many that the popular ones run out.
    #[arg(long, value_name = "N")]
    pub(crate) stock: Option<u64>,
    /// Where orders and checkouts are kept: `sqlite`, in files of the run's directory; `postgres`, in a server that is started
    /// for the run, and killed as the services are; or the `postgres://` address of one that runs.
    #[arg(long, value_name = "STORE", default_value = "sqlite", value_parser = store)]
    pub(crate) store: StoreArg,
    /// By which bus shipping hears of completed orders and tells their customers: `nats`, a JetStream server that is started
    /// for the run, and killed as the services are; or the `nats://` address of one that runs. Without it, nobody is told.
    #[arg(long, value_name = "BUS", value_parser = bus)]
    pub(crate) bus: Option<BusArg>,
    /// Port of the gateway on the loopback interface; 0 takes any free one.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub(crate) port: u16,
    /// Directory for stores, logs and the report; without it, a new one under ./shop-run.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Seconds to wait for every order to be settled after the last one was sent.
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) patience: u64,
}

/// Where the logs of the orders service are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StoreArg {
    Sqlite,
    /// A server of the run's own.
    Postgres,
    /// A server at this address.
    Server(String),
}

/// Which bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BusArg {
    /// A server of the run's own.
    Nats,
    /// A server at this address.
    Server(String),
}

/// Options of one service process.
#[derive(Debug, Args)]
pub(crate) struct ServiceArgs {
    /// Directory of its store; `world.json` in it says what the stores hold at first.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Where the other services are: a directory with one file a service (`payments.json`), which discovery watches:
    /// {"endpoints":[{"id":"payments-1","address":"127.0.0.1:7003"}]}
    #[arg(long, value_name = "DIR", default_value = "endpoints")]
    pub(crate) endpoints: PathBuf,
    /// Address to listen on; port 0 takes any free one. The address taken is printed as `ready ADDRESS`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Where the randomness of faults starts.
    #[arg(long, default_value_t = 1, value_name = "S")]
    pub(crate) seed: u64,
    /// What goes wrong in its handlers, as the JSON form of a script's section: {"fail":0.3,"after_effect":0.5}
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = trouble)]
    pub(crate) trouble: Trouble,
    /// Ends when standard input is closed, so that no service outlives the program that started it.
    #[arg(long)]
    pub(crate) attached: bool,
}

fn store(text: &str) -> Result<StoreArg, String> {
    match text {
        "sqlite" => Ok(StoreArg::Sqlite),
        "postgres" => Ok(StoreArg::Postgres),
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => Ok(StoreArg::Server(url.into())),
        _ => Err("must be sqlite, postgres or an address that begins with postgres://".into()),
    }
}

fn bus(text: &str) -> Result<BusArg, String> {
    match text {
        "nats" => Ok(BusArg::Nats),
        url if url.starts_with("nats://") => Ok(BusArg::Server(url.into())),
        _ => Err("must be nats or an address that begins with nats://".into()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=10_000.0).contains(&rate) { Ok(rate) } else { Err("must be 0.1 to 10000 orders a second".into()) }
}

fn trouble(text: &str) -> Result<Trouble, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}
