use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use resilience_core::time::SharedTimer;
use serde::{Deserialize, Serialize};

use super::*;
use crate::aggregate::{Decider, ExecuteError, OnConflict};
use crate::projection::{Projection, Rows};
use crate::store::EventStore;
use crate::{Append, BoxError, Expected, MemoryStore, NewEvent, Position, Query, Recorded};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Bank {
    Deposited { cents: i64 },
    Withdrawn { cents: i64 },
    Doubled,
    Closed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
enum Command {
    Deposit(i64),
    Withdraw(i64),
    Double,
    Close,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Account {
    cents: i64,
    closed: bool,
}

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = Command;
    type Event = Bank;
    type Error = String;

    fn evolve(&mut self, event: &Bank) {
        match event {
            Bank::Deposited { cents } => self.cents += cents,
            Bank::Withdrawn { cents } => self.cents -= cents,
            Bank::Doubled => self.cents *= 2,
            Bank::Closed => self.closed = true,
        }
    }

    fn decide(&self, command: &Command) -> Result<Vec<Bank>, String> {
        match command {
            _ if self.closed => Err("closed".into()),
            Command::Deposit(0) => Ok(vec![]),
            Command::Deposit(cents) => Ok(vec![Bank::Deposited { cents: *cents }]),
            Command::Withdraw(cents) if *cents > self.cents => Err(format!("{cents} of {}", self.cents)),
            Command::Withdraw(cents) => Ok(vec![Bank::Withdrawn { cents: *cents }]),
            Command::Double => Ok(vec![Bank::Doubled]),
            Command::Close => Ok(vec![Bank::Closed]),
        }
    }

    fn on_conflict(&self, decided: &[Bank], _: &[Bank]) -> OnConflict {
        match decided {
            // Wrong where something was doubled in between, which is what a test is for.
            [Bank::Deposited { .. }] => OnConflict::Commute,
            [Bank::Closed] => OnConflict::Reject,
            _ => OnConflict::Rebase,
        }
    }
}

fn deposited(cents: i64) -> Bank {
    Bank::Deposited { cents }
}

fn withdrawn(cents: i64) -> Bank {
    Bank::Withdrawn { cents }
}

/// The message of a test that fails, as one of these should.
fn fails(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("the test must fail");
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string())).unwrap()
}

/// ES59. No store, no async.
#[test]
fn rules_are_tested_by_what_has_happened_what_is_asked_and_what_comes_of_it() {
    let history = || [deposited(10)];
    given::<Account>(history()).when(Command::Withdraw(20)).then_error("20 of 10".into());
    given::<Account>(history()).when(Command::Withdraw(5)).then([withdrawn(5)]);
    given::<Account>(history()).when(Command::Deposit(0)).then_nothing();
    given::<Account>(history()).when(Command::Withdraw(20)).then_refused(|why| assert!(why.starts_with("20")));
}

#[test]
fn a_test_that_expects_something_else_fails_and_says_what_was() {
    let history = || given::<Account>([deposited(10)]);
    assert!(
        fails(|| drop(history().when(Command::Withdraw(5)).then([withdrawn(6)]))).contains("Withdrawn { cents: 5 }")
    );
    assert!(fails(|| history().when(Command::Withdraw(5)).then_error("x".into())).contains("Withdrawn { cents: 5 }"));
    assert!(fails(|| history().when(Command::Withdraw(5)).then_refused(|_| ())).contains("Withdrawn { cents: 5 }"));
    assert!(fails(|| drop(history().when(Command::Withdraw(50)).then_nothing())).contains("50 of 10"));
    assert!(fails(|| history().when(Command::Withdraw(5)).then_conflict()).contains("no conflict"));
    let rejected = || history().when(Command::Close).meanwhile([deposited(1)]);
    assert!(fails(|| drop(rejected().then([Bank::Closed]))).contains("shown to the caller"));
}

#[test]
fn conflicts_are_resolved_as_the_repository_resolves_them() {
    let history = || given::<Account>([deposited(10)]);
    let after = history().when(Command::Withdraw(8)).meanwhile([deposited(1)]).then([withdrawn(8)]);
    assert_eq!(after.state().cents, 3, "what came in between is in the state");
    history().when(Command::Withdraw(8)).meanwhile([withdrawn(3)]).then_error("8 of 7".into());
    history().when(Command::Close).meanwhile([deposited(1)]).then_conflict();
    history().when(Command::Close).meanwhile([]).then([Bank::Closed]);
    history().when(Command::Deposit(0)).meanwhile([Bank::Closed]).then_nothing();
    history().when(Command::Deposit(5)).meanwhile([withdrawn(1)]).then_commutes([deposited(5)]);
}

/// An aggregate says that the order makes no difference, where it does.
#[test]
fn a_commutation_that_is_none_is_found() {
    let wrong = || {
        let given = given::<Account>([deposited(10)]);
        given.when(Command::Deposit(5)).meanwhile([Bank::Doubled]).then_commutes([deposited(5)]);
    };
    assert!(fails(wrong).contains("the order makes a difference"));
}

/// The fixture and the repository agree, for each command and what may come in between.
#[tokio::test(start_paused = true)]
async fn what_the_fixture_says_of_a_conflict_is_what_happens_on_a_store() {
    let commands = [Command::Deposit(5), Command::Withdraw(8), Command::Close, Command::Double];
    let between = [deposited(1), withdrawn(3), Bank::Doubled, Bank::Closed];
    for command in &commands {
        for missed in &between {
            let app = App::new();
            app.given::<Account>("1", [deposited(10)]).await;
            let held = app.store().hold_appends();
            let accounts = app.repository::<Account>();
            let (done, ()) = futures::join!(accounts.execute("1", command), async {
                held.arrived(1).await;
                app.given::<Account>("1", [missed.clone()]).await;
                drop(held);
            });
            let outcome = given::<Account>([deposited(10)]).when(command.clone()).meanwhile([missed.clone()]);
            match done {
                Ok(done) => {
                    assert_eq!(done.state, *outcome.then(done.events.clone()).state(), "{command:?}, {missed:?}");
                }
                Err(ExecuteError::Refused(why)) => outcome.then_error(why),
                Err(ExecuteError::Conflict { .. }) => outcome.then_conflict(),
                Err(other) => panic!("{command:?}, {missed:?}: {other}"),
            }
        }
    }
}

/// How many cents went in and out, by account; an account that is doubled it cannot take in.
struct Turnover;

impl Projection for Turnover {
    fn name(&self) -> &str {
        "turnover@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        use crate::aggregate::{EventCodec, Json};
        let (Bank::Deposited { cents } | Bank::Withdrawn { cents }) = Json.decode(event)? else {
            return Err("not a turnover".into());
        };
        let key = event.stream.as_str().to_owned();
        let sum: i64 = match rows.get("turnover", &key).await? {
            Some(sum) => std::str::from_utf8(&sum)?.parse()?,
            None => 0,
        };
        rows.put("turnover", key, (sum + cents).to_string());
        Ok(())
    }
}

async fn turnover(app: &App) -> String {
    let row = app.store().inner().row("turnover", b"account-1").await.unwrap();
    row.map(|sum| String::from_utf8_lossy(&sum).into_owned()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_app_settles_when_its_read_models_show_all_that_happened_also_after_a_restart() {
    let mut app = App::new().project(|| Turnover);
    app.given::<Account>("1", [deposited(10)]).await;
    app.execute::<Account>("1", &Command::Withdraw(4)).await.unwrap();
    assert_eq!(app.settle().await, Position::new(2));
    assert_eq!(turnover(&app).await, "14");
    app.restart();
    app.execute::<Account>("1", &Command::Withdraw(4)).await.unwrap();
    app.settle().await;
    assert_eq!(turnover(&app).await, "18", "nothing is counted twice");
    assert_eq!(app.history::<Account>("1").await, [deposited(10), withdrawn(4), withdrawn(4)]);
}

#[tokio::test(start_paused = true)]
async fn an_app_does_not_settle_over_a_parked_event() {
    let app = App::new().project(|| Turnover);
    app.given::<Account>("1", [Bank::Doubled]).await;
    let panic = AssertUnwindSafe(app.settle()).catch_unwind().await.unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("turnover@1 has parked events"));
    assert_eq!(app.projection("turnover@1").status().parked.len(), 1);
}

/// A projection's commits fail, one at a time and in each way, and the model is right all the same.
#[tokio::test(start_paused = true)]
async fn a_projection_survives_each_fault_at_each_of_its_commits() {
    let runs = at_every_append([Fault::Refused, Fault::AnswerLost], async |store| {
        let app = App::on(store).project(|| Turnover);
        for _ in 0..3 {
            app.given::<Account>("1", [deposited(1)]).await;
            app.settle().await;
        }
        assert_eq!(turnover(&app).await, "3");
    })
    .await;
    assert!(runs > 6, "{runs}");
}

/// Without an id, a command whose answer was lost is executed twice; the tool must find that.
#[tokio::test(start_paused = true)]
async fn a_command_without_an_id_is_found_to_happen_twice() {
    let careless = at_every_append([Fault::AnswerLost], async |store| {
        let app = App::on(store);
        while app.execute::<Account>("1", &Command::Deposit(5)).await.is_err() {}
        assert_eq!(app.history::<Account>("1").await.len(), 1);
    });
    assert!(AssertUnwindSafe(careless).catch_unwind().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_hung_append_is_in_the_log_or_not_as_the_fault_says_and_never_answers() {
    for (fault, written) in [(Fault::Hung, 0), (Fault::HungAfterwards, 1)] {
        let store = FaultyStore::new(MemoryStore::new()).on_append(move |_| Some(fault));
        let append = store.append(Append::new().events("s", Expected::Any, [NewEvent::new("E", "")]));
        let timer = SharedTimer::default();
        let gone = timer.sleep(Duration::from_secs(3_600));
        futures::pin_mut!(append, gone);
        assert!(matches!(futures::future::select(append, gone).await, futures::future::Either::Right(_)));
        assert_eq!(store.inner().head(), Position::new(written), "{fault:?}");
    }
    let store = FaultyStore::new(MemoryStore::new()).on_read(|_| Some(Fault::Hung));
    assert!(store.row("s", b"k").now_or_never().is_none());
}

#[tokio::test]
async fn appends_that_are_held_go_on_when_the_last_hold_is_dropped() {
    let store = FaultyStore::new(MemoryStore::new());
    let (first, second) = (store.hold_appends(), store.hold_appends());
    let append = store.append(Append::new().events("s", Expected::Any, [NewEvent::new("E", "")]));
    futures::pin_mut!(append);
    assert!(futures::poll!(append.as_mut()).is_pending());
    first.arrived(1).await;
    drop(first);
    assert!(futures::poll!(append.as_mut()).is_pending());
    assert_eq!(format!("{second:?}"), "Held { waiting: 1 }");
    drop(second);
    append.await.unwrap();
    store.append(Append::new().events("s", Expected::Any, [NewEvent::new("E", "")])).await.unwrap();
}
