//! A whole run: start the services, send the orders, make things fail, wait, stop, audit.

pub(crate) mod directory;
pub(crate) mod endpoints;
mod live;
pub(crate) mod load;
pub(crate) mod sample;
mod server;
pub(crate) mod supervisor;

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::SharedTimer;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use self::endpoints::Endpoints;
use self::live::Live;
pub(crate) use self::live::say;
use self::load::Load;
use self::sample::{EVERY, Sample, Sampler};
use self::server::Servers;
use self::supervisor::{Fleet, Spec};
use crate::audit;
use crate::cli::{BusArg, RunArgs, StoreArg};
use crate::client::Client;
use crate::domain::{Order, Victim};
use crate::faults::{Change, Faults, Kill};
use crate::generate;
use crate::orders_file;
use crate::policies;
use crate::problem::Problem;
use crate::report;
use crate::services::interrupted;
use crate::stats::Stats;
use crate::stores;

/// Bad lines of an orders file that are shown; the rest is counted.
const BAD_SHOWN: usize = 20;

/// How a run went, kept beside its stores for the report.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RunRecord {
    pub(crate) seed: u64,
    pub(crate) rate: f64,
    pub(crate) orders: usize,
    /// Unix milliseconds of the first order.
    pub(crate) started: u64,
    /// Seconds from the first order to the last settled one.
    pub(crate) seconds: f64,
    /// Seconds after the first order, and whom.
    pub(crate) kills: Vec<(f64, Victim)>,
    /// Seconds after the first order, and which policies changed.
    pub(crate) policies: Vec<(f64, String)>,
    /// Whether it was ended by hand.
    pub(crate) interrupted: bool,
    /// Orders given up by the load generator: they may have been accepted or not.
    pub(crate) gave_up: u64,
    pub(crate) refused: u64,
    pub(crate) bad_lines: usize,
    pub(crate) latency_ms: Percentiles,
    pub(crate) checkout_ms: Percentiles,
    /// Each change of a breaker's state: Unix milliseconds, breaker, state.
    pub(crate) changes: Vec<(u64, String, String)>,
    pub(crate) counts: std::collections::BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Percentiles {
    fn of(times: &crate::stats::Histogram) -> Self {
        let at = |q| times.quantile(q).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999) }
    }
}

/// Runs the shop; whether every check of the audit holds.
pub(crate) async fn run(args: RunArgs) -> Result<bool, Problem> {
    let mut faults = Faults::load(args.faults.as_deref())?;
    if let Some(count) = args.kills {
        faults.only_random_kills(count);
    }
    let mut servers = Vec::new();
    servers.extend((args.store == StoreArg::Postgres).then_some(Victim::Postgres));
    servers.extend((args.bus == Some(BusArg::Nats)).then_some(Victim::Nats));
    faults.for_servers(&servers);
    let policies = policies::load(args.policies.as_deref())?;
    let changes = changes(&faults, &policies)?;
    let (orders, bad_lines) = orders(&args)?;
    free_port(args.port)?;
    let dir = directory::create(args.out.as_deref())?;
    let world = generate::world(&orders, args.stock);
    directory::write_inputs(&dir, &orders, &world)?;
    policies::write(&dir, &policies)?;

    let span = Duration::from_secs_f64(orders.len() as f64 / args.rate);
    let kills = faults.schedule(span, args.seed);
    say(&format!(
        "shop: {} orders at {} a second, {} kills, seed {} -> {}",
        orders.len(),
        args.rate,
        kills.len(),
        args.seed,
        dir.display()
    ));

    let servers = Servers::start(&args, &dir).await?;
    let endpoints = Endpoints::create(dir.join("endpoints"))?;
    let spec = Spec { dir: dir.clone(), endpoints: dir.join("endpoints"), faults, seed: args.seed, port: args.port };
    let fleet = tokio::select! {
        fleet = Fleet::start(spec, endpoints) => fleet?,
        () = interrupted() => return Err(Problem::new("interrupted before the first order")),
    };
    let client = Client::customer(&dir.join("endpoints"), &Stats::new())?;
    let load = Load::new(client, &dir.join("accepted.jsonl"), Duration::from_secs(args.patience))?;
    let driven = drive(&args, orders.into(), (kills, changes, span), (&fleet, &servers), load, &dir).await;
    fleet.stop().await;

    let (record, samples) = driven?;
    directory::write_timeline(&dir, &samples)?;
    let record = RunRecord { bad_lines, ..record };
    directory::write_json(&dir.join("run.json"), &record)?;
    let clean = finish(&dir).await?;
    if args.store == StoreArg::Postgres {
        stores::bring_home(&dir).await?;
    }
    Ok(clean)
}

/// Audits a run's directory, prints the table, writes the report.
pub(crate) async fn finish(dir: &Path) -> Result<bool, Problem> {
    let run = directory::read_run(dir)?;
    let audit = audit::audit(dir).await?;
    let path = dir.join("report.html");
    std::fs::write(&path, report::html(&run, &audit)).map_err(|why| Problem::file("write", &path, why))?;
    say(&audit::table(&run.record, &audit, std::io::stdout().is_terminal()));
    say(&format!("report: {}", path.display()));
    Ok(audit.holds())
}

/// The script's changes of policies, in order, each with the file as it is from then on.
fn changes(faults: &Faults, policies: &str) -> Result<Vec<(Change, String)>, Problem> {
    let mut changes = faults.change.clone();
    changes.sort_by(|a, b| a.at.total_cmp(&b.at));
    let mut text = policies.to_owned();
    let mut applied = Vec::new();
    for change in changes {
        let unfit = |why| Problem::new(format!("the change of policies at {} s cannot be made: {why}", change.at));
        text = policies::changed(&text, &change).map_err(unfit)?;
        applied.push((change, text.clone()));
    }
    Ok(applied)
}

/// The orders to send, and how many lines of the file were none.
fn orders(args: &RunArgs) -> Result<(Vec<Order>, usize), Problem> {
    let Some(path) = &args.orders else {
        return Ok((generate::orders(args.count as usize, args.seed), 0));
    };
    let found = orders_file::read(path)?;
    for bad in found.bad.iter().take(BAD_SHOWN) {
        say(&format!("{}:{}: {}", path.display(), bad.number, bad.reason));
    }
    if found.bad.len() > BAD_SHOWN {
        say(&format!("{}: {} more bad lines", path.display(), found.bad.len() - BAD_SHOWN));
    }
    Ok((found.orders, found.bad.len()))
}

/// Says early, and plainly, that the gateway's port is taken.
fn free_port(port: u16) -> Result<(), Problem> {
    let address = (std::net::Ipv4Addr::LOCALHOST, port);
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(why) => Err(Problem::new(format!(
            "cannot listen on 127.0.0.1:{port}: {}; --port takes another, 0 any free one",
            crate::problem::reason(&why.to_string())
        ))),
    }
}

/// Sends the orders and waits until they are settled, while things fail.
async fn drive(
    args: &RunArgs,
    orders: Arc<[Order]>,
    (kills, changes, span): (Vec<Kill>, Vec<(Change, String)>, Duration),
    (fleet, servers): (&Fleet, &Servers),
    load: Load,
    dir: &Path,
) -> Result<(RunRecord, Vec<Sample>), Problem> {
    let timer = SharedTimer::default();
    let sampler = Sampler::new(load.clone(), fleet.board());
    let mut live = Live::new(orders.len() as u64);
    let mut record = RunRecord {
        seed: args.seed,
        rate: args.rate,
        orders: orders.len(),
        started: timer.wall().as_unix_millis(),
        ..RunRecord::default()
    };
    let (stopping, stop) = watch::channel(false);
    let sending = tokio::spawn(load.clone().send(orders, args.rate, args.seed, stop));
    let started = timer.now();
    let mut kills = kills.into_iter().peekable();
    let mut changes = changes.into_iter().peekable();
    let mut next_sample = started;
    let mut sent_by = None;
    let mut interrupt = Box::pin(interrupted());
    loop {
        let next_change = changes.peek().map(|(change, _)| started + Duration::from_secs_f64(change.at));
        let next_kill = kills.peek().map(|kill| started + Duration::from_secs_f64(kill.at));
        tokio::select! {
            () = &mut interrupt => {
                if record.interrupted {
                    live.note("stopped at once; what is under way is left unsettled");
                    break;
                }
                record.interrupted = true;
                let _ = stopping.send(true);
                live.note("interrupted: no more orders; waiting for those under way (again to stop at once)");
                interrupt = Box::pin(interrupted());
                kills = Vec::new().into_iter().peekable();
            }
            () = timer.sleep_until(next_kill.unwrap_or(next_sample)), if next_kill.is_some_and(|at| at <= next_sample) => {
                if let Some(kill) = kills.next() {
                    let down = Duration::from_secs_f64(kill.down);
                    // Not waited for: a process may be killed while another is being killed.
                    match kill.service.service() {
                        Some(service) => drop(fleet.kill(service, down)),
                        None => servers.kill(kill.service, down),
                    }
                    record.kills.push(((timer.now() - started).as_secs_f64(), kill.service));
                    live.note(&format!("{:>6.1} s  SIGKILL {}", kill.at, kill.service));
                }
            }
            () = timer.sleep_until(next_change.unwrap_or(next_sample)), if next_change.is_some_and(|at| at <= next_sample) => {
                if let Some((change, text)) = changes.next() {
                    policies::write(dir, &text)?;
                    record.policies.push(((timer.now() - started).as_secs_f64(), change.to_string()));
                    live.note(&format!("{:>6.1} s  policies: {change}", change.at));
                }
            }
            () = timer.sleep_until(next_sample) => {
                next_sample = next_sample + EVERY;
                let sample = sampler.sample().await;
                live.show(&sample);
                if fleet.failed() {
                    return Err(Problem::new("a service does not stay up; its log is in the log directory"));
                }
                // Kills due while orders were expected to arrive are made, even if the orders came sooner.
                let kills_to_come = next_kill.is_some_and(|at| at <= started + span) || kills_under_way(&sample, &record);
                if sending.is_finished() && !kills_to_come {
                    let sent = *sent_by.get_or_insert(timer.now());
                    if settled(&sample, args.bus.is_some()) {
                        break;
                    }
                    if timer.now() - sent > Duration::from_secs(args.patience) {
                        live.note("patience is over: some orders are not settled");
                        break;
                    }
                }
            }
        }
    }
    if kills.len() > 0 && !record.interrupted {
        live.note(&format!("the run was over before {} of the script's kills were due", kills.len()));
    }
    record.seconds = (timer.now() - started).as_secs_f64();
    let last = sampler.sample().await;
    live.finish(&last);
    let collected = sampler.lock().clone();
    record.gave_up = last.gave_up;
    record.refused = last.refused;
    record.latency_ms = Percentiles::of(&load.progress().latency);
    record.checkout_ms = Percentiles::of(&collected.checkout);
    record.counts = collected.counts();
    record.changes = collected.changes;
    Ok((record, collected.samples))
}

/// Whether a process that was to be killed has not been yet: it was down already, and is killed once it is up.
fn kills_under_way(sample: &Sample, record: &RunRecord) -> bool {
    let services = record.kills.iter().filter(|(_, killed)| killed.service().is_some());
    (sample.kills as usize) < services.count()
}

/// Whether nothing is under way: every accepted order ended, no saga runs, and with a bus everybody was told.
fn settled(sample: &Sample, bus: bool) -> bool {
    let over = sample.up == 5 && sample.in_flight == 0 && sample.completed + sample.cancelled >= sample.accepted;
    over && (!bus || sample.told >= sample.completed)
}
