//! The tables.

use super::candidates::{APPEND, Candidate, FLOOR, RIVAL};
use super::catch_up::Caught;
use super::{CALM, Row, Sample, Stores};
use crate::harness::{Header, Table, figure, versions};

/// Everything that was measured.
pub struct Tables<'t> {
    pub appending: &'t [&'t Candidate],
    pub appends: &'t [Vec<Row>],
    pub loading: &'t [&'t Candidate],
    pub loads: &'t [Row],
    pub caught: &'t [(Vec<Caught>, f64)],
}

/// The file.
pub fn text(tables: &Tables<'_>, options: &Stores) -> String {
    format!(
        "# Stores beside their rivals\n\n{}\n{APPENDS}\n{}\n## Loading\n\n{LOADS}\n{}\n## Catching up\n\n{CATCH_UP}\n{}",
        header(tables, options),
        appends(tables),
        loads(tables),
        catch_up(tables)
    )
}

fn header(tables: &Tables<'_>, options: &Stores) -> Header {
    let own = ["resilience-cqrs", "rusqlite", "libsqlite3-sys", "redb", "tokio", "umadb-core"];
    let theirs = ["cqrs-es", "sqlite-es", "sqlx-sqlite", "libsqlite3-sys", "tokio"];
    let samples = tables.appends.iter().flatten().chain(tables.loads).flat_map(|row| &row.samples);
    let mut shares: Vec<f64> = samples.map(|sample| sample.foreign).collect();
    shares.extend(tables.caught.iter().map(|(_, foreign)| foreign));
    shares.sort_by(f64::total_cmp);
    let calm = shares.iter().filter(|&&share| share < CALM).count();
    let percent = |share: Option<f64>| 100.0 * share.unwrap_or(0.0);
    Header {
        command: "cd benches/peers && cargo run --release -- stores",
        versions: format!(
            "{}; in a program of its own: {}",
            versions(include_str!("../../Cargo.lock"), &own),
            versions(include_str!("../../cqrs-es/Cargo.lock"), &theirs)
        ),
        noise: format!(
            "{} rounds of {} ms; in {calm} of {} samples others used less than 10 % of the processors (`/proc/stat`), in the \
             median one {:.0} %, in the worst {:.0} %; a disturbed sample was taken up to {} times and the calmest kept",
            options.rounds,
            options.sample,
            shares.len(),
            percent(median(&shares)),
            percent(shares.last().copied()),
            options.tries
        ),
    }
}

const APPENDS: &str = "\
A sample is a fresh process and a fresh database. Each of `c` tasks appends one event of about 100 bytes at a time to
accounts of its own, ten events to each. All stores but the one that says otherwise are durable when they acknowledge. After
every sample the store is opened afresh and every acknowledged event is looked for: `checked` events, `lost` of them missing;
a store that loses any gets no figure. No two tasks share an account: a conflict would be one too many, and counts as
`refused`. Medians of the rounds; the ratios are of the same rounds.

- *Command*: the stream is read (0 to 9 events), then appended to at the version read.
- *Command on a kept state*: `Repository::execute` with `keep_states`; a `Decider` with a rule decides each, events are JSON
  through serde. The first of an account's ten commands reads that there is nothing, nine read nothing.
- *Append unless its own tag has news*: `Condition::no_match` on the account's tag after the last position seen, each event
  tagged with its account.
- *Decision on a tag of its own*: `Decisions::decide`, which reads by tag, folds, decides and appends under that condition.
- *Decision on a kept model*: the same with `keep_models`; of an account's ten decisions the first reads that there is
  nothing, nine read nothing.
- *umadb-core*: the same condition (`DcbAppendCondition`) in the engine of UmaDB, in this process and without gRPC. Its
  `append(&self)` has no lock between writers (four threads lose events), so it is driven as its server drives it: the
  crate's own `writer_thread_blocking` on one thread, requests through a channel of 1,024, up to 2,000 events that wait in one
  commit, file I/O without a page cache, which are the server's defaults.
";

const LOADS: &str = "\
Microseconds to load an account of 50 events (about 100 bytes each, JSON), one after the other, each of 500 loaded once
before. The snapshot is of event 40: ten events are folded after it. A load that is not whole counts as `wrong`. The accounts
of cqrs-es are filled through its store's `commit`: a snapshot that `CqrsFramework::execute` of 0.5.0 writes contains the
command's events twice (`EventSink::write` applies them, and `commit` again), and no such account loads whole.
";

const CATCH_UP: &str = "\
A projection with a table of its own, from the beginning of a log that is already there: events of 10,000 accounts with
about 100 bytes each; sum and number of the events of each account, in the transaction that moves the checkpoint, batches as
by default. Exactly once: both are compared with what was appended, account by account; `wrong` of them are not the same.
";

fn appends(tables: &Tables<'_>) -> String {
    let mut table = Table::new(&[
        "store",
        "c=1 /s",
        "c=8 /s",
        "c=64 /s",
        "best c=64",
        "c=64: x cqrs-es FULL",
        "c=64: x rusqlite floor",
        "x SqliteStore append, c=1 / 8 / 64",
        "p50 us 1 / 8 / 64",
        "p99 us 1 / 8 / 64",
        "checked",
        "refused",
        "lost",
    ]);
    let row_of = |name: &str| Some(&tables.appends[tables.appending.iter().position(|c| c.name == name)?]);
    let peers = Peers { rival: row_of(RIVAL), floor: row_of(FLOOR), append: row_of(APPEND) };
    for (candidate, row) in tables.appending.iter().zip(tables.appends) {
        table.row(&append_cells(candidate, row, &peers));
    }
    table.into_text()
}

struct Peers<'t> {
    rival: Option<&'t Vec<Row>>,
    floor: Option<&'t Vec<Row>>,
    append: Option<&'t Vec<Row>>,
}

fn append_cells(candidate: &Candidate, row: &[Row], peers: &Peers<'_>) -> Vec<String> {
    let sum = |of: fn(&Row) -> u64| row.iter().map(of).sum::<u64>();
    let counts = [sum(|row| row.checked), sum(refused), sum(|row| row.lost)].map(|count| figure(count as f64));
    let mut cells = vec![name(candidate)];
    if sum(|row| row.lost) > 0 {
        cells.resize(10, "-".into());
        cells.extend(counts);
        return cells;
    }
    let rates: Vec<_> = row.iter().map(rates).collect();
    let ratio = |column: usize, to: Option<&Vec<Row>>| {
        let to = to.and_then(|to| median(&self::rates(&to[column])));
        median(&rates[column]).zip(to).map_or("-".into(), |(own, to)| format!("{:.2}x", own / to))
    };
    cells.extend(rates.iter().map(|rates| or_dash(median(rates))));
    cells.push(or_dash(rates[2].last().copied()));
    cells.push(ratio(2, peers.rival));
    cells.push(ratio(2, peers.floor));
    cells.push([0, 1, 2].map(|column| ratio(column, peers.append)).join(" / "));
    let waits = |of: fn(&Sample) -> f64| row.iter().map(|row| wait(row, of)).collect::<Vec<_>>().join(" / ");
    cells.push(waits(|sample| sample.p50));
    cells.push(waits(|sample| sample.p99));
    cells.extend(counts);
    cells
}

fn loads(tables: &Tables<'_>) -> String {
    let mut table = Table::new(&["store", "p50 us", "p99 us", "loads", "wrong"]);
    for (candidate, row) in tables.loading.iter().zip(tables.loads) {
        let (loads, wrong) = (figure(row.checked as f64), row.lost.to_string());
        let (p50, p99) = match row.lost {
            0 => (wait(row, |sample| sample.p50), wait(row, |sample| sample.p99)),
            _ => ("-".into(), "-".into()),
        };
        table.row(&[name(candidate), p50, p99, loads, wrong]);
    }
    table.into_text()
}

fn catch_up(tables: &Tables<'_>) -> String {
    let mut table = Table::new(&["projection", "events/s", "best", "events", "seconds", "wrong"]);
    let names = [
        (false, "**SqlProjection, a statement for each event (`apply`)**"),
        (true, "**SqlProjection, a statement for each account of a batch (`apply_all`)**"),
    ];
    for (set, name) in names {
        let caught: Vec<&Caught> =
            tables.caught.iter().flat_map(|(caught, _)| caught).filter(|c| c.set == set).collect();
        let Some(first) = caught.first() else { continue };
        let mut seconds: Vec<f64> = caught.iter().map(|caught| caught.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let wrong: u64 = caught.iter().map(|caught| caught.wrong).sum();
        let rate = |seconds: Option<f64>| or_dash(seconds.filter(|_| wrong == 0).map(|s| first.events as f64 / s));
        table.row(&[
            name.into(),
            rate(median(&seconds)),
            rate(seconds.first().copied()),
            figure(first.events as f64),
            or_dash(median(&seconds)),
            wrong.to_string(),
        ]);
    }
    table.into_text()
}

fn name(candidate: &Candidate) -> String {
    if candidate.ours { format!("**{}**", candidate.name) } else { candidate.name.to_owned() }
}

fn refused(row: &Row) -> u64 {
    row.samples.iter().map(|sample| sample.refused).sum()
}

/// The median of a percentile.
fn wait(row: &Row, of: fn(&Sample) -> f64) -> String {
    let mut values: Vec<_> = row.samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    or_dash(median(&values))
}

fn rates(row: &Row) -> Vec<f64> {
    let rate = |sample: &Sample| sample.acknowledged.iter().sum::<u64>() as f64 / sample.seconds;
    let mut rates: Vec<_> = row.samples.iter().map(rate).collect();
    rates.sort_by(f64::total_cmp);
    rates
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), figure)
}

fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 2).copied()
}
