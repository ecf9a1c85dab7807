//! A real process, really killed: no virtual time, no fakes, SQLite files and `SIGKILL`.
//!
//! The test starts itself as a child that runs sagas on a SQLite store and takes effect in a second SQLite file behind the
//! barrier. The child is killed after a drawn number of steps that it has begun, and started again, until it was killed
//! often enough: by what it does and not by the clock, so that each kill meets it at work on whatever machine.
//! The last child is let finish. The two files must then agree: what completed is there once, what was compensated is
//! gone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use resilience_cqrs::SqliteStore;
use resilience_saga::barrier::{self, Answer, Entry};
use resilience_saga::{Cx, Effect, Engine, Input, Outcome, Phase, Saga, SagaId, StepError, saga};

const DIRECTORY: &str = "RESILIENCE_SAGA_KILL_DIRECTORY";
/// How many steps a child begins that is to be killed.
const STEPS: &str = "RESILIENCE_SAGA_KILL_STEPS";
const SAGAS: u32 = 600;
const AT_ONCE: usize = 16;

/// How many kills a run must survive: 20, or what `RESILIENCE_SAGA_KILLS` says.
fn kills() -> u32 {
    std::env::var("RESILIENCE_SAGA_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(20)
}

struct World {
    db: Mutex<rusqlite::Connection>,
}

impl World {
    fn open(path: &Path) -> Self {
        let db = rusqlite::Connection::open(path).unwrap();
        // The kill is of the process, not of the machine: the journal must be whole, the platter need not be reached.
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL").unwrap();
        barrier::create_table(&db).unwrap();
        db.execute_batch("CREATE TABLE IF NOT EXISTS effect (branch TEXT NOT NULL, delta INTEGER NOT NULL)").unwrap();
        Self { db: Mutex::new(db) }
    }

    /// One row for each time the business really ran.
    fn call(&self, cx: &Cx) -> Result<(), StepError> {
        let mut db = self.db.lock().unwrap();
        let answer = barrier::once(&mut db, cx.key(), cx.epoch(), |tx, op| {
            let delta = if op == resilience_saga::Op::Do { 1 } else { -1 };
            tx.execute("INSERT INTO effect VALUES (?1, ?2)", rusqlite::params![cx.key().branch(), delta])?;
            Ok::<_, rusqlite::Error>(Entry::Applied(Vec::new()))
        });
        match answer.map_err(StepError::unknown)? {
            Answer::Applied(_) | Answer::NullUndo => Ok(()),
            Answer::Refused(_) | Answer::TooLate | Answer::Stale { .. } => Err(StepError::rejected("turned away")),
        }
    }
}

async fn act(cx: Cx) -> Result<(), StepError> {
    // Whoever kills counts the steps, and is late where the machine is busy: the child does not get to its end meanwhile.
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    let steps = std::env::var(STEPS).map_or(usize::MAX, |steps| steps.parse().unwrap());
    if BEGUN.fetch_add(1, Ordering::Relaxed) >= steps {
        return std::future::pending().await;
    }
    println!("> {}", cx.key().branch());
    // Long enough for the kill to find some in flight.
    SharedTimer::default().sleep(Duration::from_millis(2)).await;
    cx.service::<World>()?.call(&cx)
}

/// One in three is refused at the end of its way forward.
fn order() -> Saga<u32, ()> {
    saga("order", 1, |g, order: Input<'_, u32>| {
        let a = g.step("reserve", order, |cx, _| act(cx)).undo(|cx, _: Effect<()>| act(cx));
        let b = g.step("charge", order, |cx, _| act(cx)).undo(|cx, _: Effect<()>| act(cx));
        let _ = g.check("fraud", (order, a, b), |_, (order, (), ())| async move {
            if order % 3 == 0 { Err(StepError::rejected("every third")) } else { Ok(()) }
        });
        g.pivot();
        g.step("ship", (), |cx, ()| act(cx)).retriable()
    })
    .unwrap()
}

fn files(directory: &Path) -> (PathBuf, PathBuf) {
    (directory.join("sagas.db"), directory.join("world.db"))
}

async fn engine(directory: &Path) -> Engine<SqliteStore> {
    let (sagas, world) = files(directory);
    let store = SqliteStore::open(sagas).await.unwrap();
    Engine::builder(store).register(&order()).service(World::open(&world)).start().await.unwrap()
}

/// What the child does: starts every saga, or finds it, and waits for them all.
async fn work(directory: &Path) {
    let engine = engine(directory).await;
    let order = order();
    let room = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut runs = Vec::new();
    for key in 0..SAGAS {
        let room = room.clone().acquire_owned().await.unwrap();
        let (engine, order) = (engine.clone(), order.clone());
        runs.push(tokio::spawn(async move {
            let outcome = engine.run(&order, &key.to_string(), key).await.unwrap();
            assert!(matches!(outcome, Outcome::Completed(()) | Outcome::Compensated(_)), "{outcome:?}");
            drop(room);
        }));
    }
    for run in runs {
        run.await.unwrap();
    }
}

fn child(directory: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["killed_at_any_moment_nothing_is_lost_and_nothing_done_twice", "--exact", "--nocapture"]);
    child.env(DIRECTORY, directory).stdout(Stdio::piped());
    child
}

/// Kills a child when it has begun so many steps; whether there were so many.
fn killed_after(mut child: Command, steps: usize) -> bool {
    let mut child = child.env(STEPS, (steps + 50).to_string()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let begun = lines.filter(|line| line.starts_with("> ")).take(steps).count();
    // At its end it closes its output, and there are fewer.
    child.kill().unwrap();
    child.wait().unwrap();
    begun == steps
}

/// ES46.
#[test]
fn killed_at_any_moment_nothing_is_lost_and_nothing_done_twice() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    if let Ok(directory) = std::env::var(DIRECTORY) {
        return runtime.block_on(work(Path::new(&directory)));
    }
    let directory = tempfile::tempdir().unwrap();
    let mut rng = Rng::from_entropy();
    let (mut killed, mut ended) = (0, false);
    while killed < kills() && !ended {
        ended = !killed_after(child(directory.path()), 1 + rng.below(100) as usize);
        killed += u32::from(!ended);
    }
    let last = child(directory.path()).output().unwrap();
    assert!(last.status.success(), "the last child failed");
    println!("{killed} kills");
    runtime.block_on(audit(directory.path()));
}

async fn audit(directory: &Path) {
    let engine = engine(directory).await;
    engine.recovered().await.unwrap();
    assert!(engine.unfinished(None).await.unwrap().is_empty());
    let (_, world) = files(directory);
    let db = rusqlite::Connection::open(world).unwrap();
    let mut effects = db.prepare("SELECT coalesce(sum(delta), 0), count(*) FROM effect WHERE branch = ?1").unwrap();
    let mut adopted = 0;
    for key in 0..SAGAS {
        let id = SagaId::new("order", &key.to_string()).unwrap();
        let completed = engine.status(&id).await.unwrap().phase == Phase::Completed;
        assert_eq!(completed, key % 3 != 0, "{id}");
        let history = engine.history(&id).await.unwrap();
        adopted += history.iter().filter(|event| event.name() == "adopted").count();
        for (step, expected) in [("reserve", i64::from(completed)), ("charge", i64::from(completed)), ("ship", 1)] {
            let (net, ran): (i64, i64) =
                effects.query_row([format!("{id}/{step}")], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            match step {
                "ship" => assert_eq!((net, ran), if completed { (1, 1) } else { (0, 0) }, "{id} {step}"),
                _ => assert!(net == expected && ran == 2 - expected, "{id} {step}: {net} after {ran}"),
            }
        }
    }
    println!("{adopted} sagas were taken over in flight");
    assert!(adopted > 0, "no kill met a saga at work");
}
