mod dispatch;
mod lock;
mod past;
mod schema;
mod snapshots;
mod states;
mod unknown;

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use resilience_core::time::ManualTimer;
use serde::{Deserialize, Serialize};

use super::*;
use crate::log::{Append, AppendError, EventType, Expected, NewEvent, Position, Recorded, StreamId, Version};
use crate::testing::FaultyStore;
use crate::{EventStore, MemoryStore, Query};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Counted {
    Added {
        by: i64,
    },
    Set(i64),
    Moved(i64, i64),
    #[serde(rename = "was-reset", alias = "Zeroed")]
    Reset,
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, Default)]
struct Counter {
    total: i64,
}

/// How often anything was decided, by the test that runs on this thread.
fn decisions() -> &'static AtomicU32 {
    thread_local! {
        static DECISIONS: &'static AtomicU32 = Box::leak(Box::default());
    }
    DECISIONS.with(|counter| *counter)
}

#[derive(Serialize)]
enum Command {
    Add(i64),
    /// Adds, but never beyond the limit.
    AddUpTo(i64, i64),
    /// Only makes sense on what was seen.
    SetOnce(i64),
    Nothing,
}

impl Decider for Counter {
    const STREAM: &'static str = "counter";
    type Command = Command;
    type Event = Counted;
    type Error = &'static str;

    fn evolve(&mut self, event: &Counted) {
        match event {
            Counted::Added { by } => self.total += by,
            Counted::Set(to) => self.total = *to,
            Counted::Moved(from, to) => self.total += to - from,
            Counted::Reset | Counted::Other => self.total = 0,
        }
    }

    fn decide(&self, command: &Command) -> Result<Vec<Counted>, &'static str> {
        decisions().fetch_add(1, Ordering::Relaxed);
        match command {
            Command::Add(by) => Ok(vec![Counted::Added { by: *by }]),
            Command::AddUpTo(by, limit) if self.total + by > *limit => Err("limit"),
            Command::AddUpTo(by, _) => Ok(vec![Counted::Moved(0, *by)]),
            Command::SetOnce(to) => Ok(vec![Counted::Set(*to)]),
            Command::Nothing => Ok(vec![]),
        }
    }

    fn on_conflict(&self, decided: &[Counted], missed: &[Counted]) -> OnConflict {
        let adds = |events: &[Counted]| events.iter().all(|event| matches!(event, Counted::Added { .. }));
        match decided {
            [Counted::Set(_)] => OnConflict::Reject,
            _ if adds(decided) && adds(missed) => OnConflict::Commute,
            _ => OnConflict::Rebase,
        }
    }

    fn tags(event: &Counted) -> Vec<crate::Tag> {
        if matches!(event, Counted::Added { .. }) { vec!["added".into()] } else { vec![] }
    }
}

/// A store that lets somebody else in before each of the next appends of the one under test.
#[derive(Clone, Debug)]
struct Contended {
    inner: MemoryStore,
    rival: NewEvent,
    times: std::sync::Arc<AtomicU32>,
}

impl Contended {
    fn new(rival: &Counted, times: u32) -> Self {
        let rival = Json.encode(rival).unwrap();
        Self { inner: MemoryStore::new(), rival, times: std::sync::Arc::new(AtomicU32::new(times)) }
    }
}

impl EventStore for Contended {
    async fn append(&self, append: Append) -> Result<crate::Appended, AppendError> {
        if self.times.load(Ordering::Relaxed) > 0 {
            self.times.fetch_sub(1, Ordering::Relaxed);
            let rival = Append::new().events("counter-1", Expected::Any, [self.rival.clone()]);
            self.inner.append(rival).await?;
        }
        self.inner.append(append).await
    }

    async fn committed(&self, command: &crate::CommandId) -> Result<Option<crate::Committed>, crate::ReadError> {
        self.inner.committed(command).await
    }

    async fn read(&self, after: Position, query: &Query, limit: usize) -> Result<crate::Page, crate::ReadError> {
        self.inner.read(after, query, limit).await
    }

    async fn read_stream(
        &self,
        id: &StreamId,
        after: Version,
        limit: usize,
    ) -> Result<Vec<Recorded>, crate::ReadError> {
        self.inner.read_stream(id, after, limit).await
    }

    async fn row(&self, space: &str, key: &[u8]) -> Result<Option<bytes::Bytes>, crate::ReadError> {
        self.inner.row(space, key).await
    }

    async fn rows(
        &self,
        space: &str,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(bytes::Bytes, bytes::Bytes)>, crate::ReadError> {
        self.inner.rows(space, after, limit).await
    }

    fn head(&self) -> Position {
        self.inner.head()
    }

    async fn wait_past(&self, position: Position) -> Position {
        self.inner.wait_past(position).await
    }
}

fn counters<S: EventStore>(store: S) -> Repository<Counter, S> {
    Repository::builder(store).backoff(std::time::Duration::ZERO, std::time::Duration::ZERO).seed(1).build()
}

/// ES41.
#[tokio::test(start_paused = true)]
async fn events_that_commute_are_appended_again_without_deciding_again() {
    let before = decisions().load(Ordering::Relaxed);
    let counters = counters(Contended::new(&Counted::Added { by: 1 }, 3));
    let done = counters.execute("1", &Command::Add(10)).await.unwrap();
    assert_eq!((done.state.total, done.version, done.attempts), (13, Version::new(4), 4));
    assert_eq!(decisions().load(Ordering::Relaxed) - before, 1);
    assert_eq!(counters.load("1").await.unwrap().state.total, 13);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_that_matters_is_decided_again_on_what_was_missed() {
    // The rival takes what was left under the limit: the second decision must refuse, not overdraw.
    let counters = counters(Contended::new(&Counted::Moved(0, 5), 1));
    let refused = counters.execute("1", &Command::AddUpTo(6, 10)).await.unwrap_err();
    assert_eq!(refused.into_refused(), Some("limit"));
    assert_eq!(counters.load("1").await.unwrap().state.total, 5);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_conflict_and_one_attempt_too_many_show_the_conflict() {
    let rejecting = counters(Contended::new(&Counted::Added { by: 1 }, 1));
    let conflict = rejecting.execute("1", &Command::SetOnce(7)).await.unwrap_err();
    assert!(matches!(conflict, ExecuteError::Conflict { attempts: 1, .. }), "{conflict:?}");
    let store = Contended::new(&Counted::Added { by: 1 }, u32::MAX);
    let counters: Repository<Counter, _> =
        Repository::builder(store).attempts(NonZeroU32::new(3).unwrap()).seed(1).build();
    let conflict = counters.execute("1", &Command::Add(10)).await.unwrap_err();
    assert!(matches!(conflict, ExecuteError::Conflict { attempts: 3, .. }), "{conflict:?}");
    assert!(conflict.is_retryable());
    assert!(conflict.to_string().contains("stream counter-1 is at version 3, not 2"), "{conflict}");
}

#[tokio::test]
async fn waits_between_attempts_are_drawn_and_capped() {
    let timer = ManualTimer::new();
    let store = Contended::new(&Counted::Added { by: 1 }, 2);
    let base = std::time::Duration::from_millis(2);
    let counters: Repository<Counter, _> =
        Repository::builder(store).timer(timer.clone()).backoff(base, base).seed(1).build();
    let task = tokio::spawn(async move { counters.execute("1", &Command::Add(1)).await.unwrap().attempts });
    for _ in 0..2 {
        while timer.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        assert!(timer.next_wake_up().unwrap() <= resilience_core::time::Timer::now(&timer) + base);
        timer.advance(base);
        tokio::task::yield_now().await;
    }
    assert_eq!(task.await.unwrap(), 3);
}

#[tokio::test]
async fn a_command_executed_twice_happens_once_and_its_id_serves_no_other() {
    let counters = counters(MemoryStore::new());
    let first = counters.execute_once("1", "c1", &Command::AddUpTo(6, 10)).await.unwrap();
    // Decided on its own effect, the second attempt would be refused: 6 + 6 is beyond the limit.
    let second = counters.execute_once("1", "c1", &Command::AddUpTo(6, 10)).await.unwrap();
    assert_eq!(second.appended.as_ref().map(|appended| appended.last), first.appended.map(|appended| appended.last));
    assert!(second.appended.unwrap().already_committed && second.events.is_empty());
    assert_eq!(second.state.total, 6);
    for (id, command) in [("1", Command::Add(6)), ("2", Command::AddUpTo(6, 10))] {
        let misuse = counters.execute_once(id, "c1", &command).await.unwrap_err();
        assert!(matches!(misuse, ExecuteError::Append(AppendError::IdMisuse { .. })), "{misuse:?}");
    }
}

/// ES39.
/// The caller was told nothing of its first attempt and asks again, while the first is still on its way: it gets there
/// after the second has asked whether it did, and before it decides. Decided on its effect, the second is refused.
#[tokio::test]
async fn a_second_attempt_in_the_middle_of_the_first_is_answered_with_its_result() {
    for (second, appended) in [(Command::AddUpTo(6, 10), true), (Command::Nothing, false)] {
        let store = MemoryStore::new();
        let first = counters(store.clone());
        let late = FaultyStore::new(store).on_read(move |read| {
            if read == 2 {
                let first = first.execute_once("1", "c1", &Command::AddUpTo(6, 10));
                futures::executor::block_on(first).unwrap();
            }
            None
        });
        let answer = counters(late).execute_once("1", "c1", &second).await;
        match appended {
            true => assert_eq!(answer.unwrap().appended.map(|appended| appended.already_committed), Some(true)),
            // Another command under the same id, which has nothing to do: it learns that too.
            false => assert!(matches!(answer, Err(ExecuteError::Append(AppendError::IdMisuse { .. })))),
        }
    }
}

#[tokio::test]
async fn nothing_to_do_appends_nothing() {
    let counters = counters(MemoryStore::new());
    let done = counters.execute("1", &Command::Nothing).await.unwrap();
    assert_eq!((done.version, done.appended), (Version::EMPTY, None));
    assert_eq!(counters.store().head(), Position::ORIGIN);
}

#[tokio::test]
async fn an_aggregate_is_never_made_of_some_of_its_events() {
    let store = MemoryStore::new();
    let foreign = Append::new().events("counter-1", Expected::Any, [NewEvent::new("Renamed", "{}")]);
    store.append(foreign).await.unwrap();
    let error = counters(store.clone()).load("1").await.unwrap_err();
    assert!(matches!(error, ExecuteError::Codec(CodecError::UnknownType { .. })), "{error:?}");
    let garbled = Append::new().events("counter-2", Expected::Any, [NewEvent::new("Added", r#"{"by":"x"}"#)]);
    store.append(garbled).await.unwrap();
    let error = counters(store).load("2").await.unwrap_err();
    assert_eq!(error.to_string(), "event 2 of type Added cannot be decoded");
}

#[tokio::test]
async fn long_streams_are_folded_to_the_end_and_tags_go_with_the_events() {
    let store = MemoryStore::new();
    let one = Json.encode(&Counted::Added { by: 1 }).unwrap();
    store.append(Append::new().events("counter-1", Expected::Any, vec![one; 1024])).await.unwrap();
    let counters = counters(store);
    assert_eq!(counters.load("1").await.unwrap().state.total, 1024);
    counters.execute("1", &Command::Add(1)).await.unwrap();
    let tagged = counters.store().read(Position::ORIGIN, &Query::tags(["added"]), 10).await.unwrap();
    assert_eq!(tagged.events.len(), 1);
}

fn recorded(kind: &str, payload: &str) -> Recorded {
    Recorded {
        position: Position::new(1),
        stream: "s".into(),
        version: Version::new(1),
        kind: EventType::from(kind),
        tags: vec![],
        payload: payload.to_owned().into(),
        metadata: crate::Metadata::new(),
        recorded_at: resilience_core::time::WallTime::default(),
    }
}

#[test]
fn every_form_of_variant_survives_the_way_there_and_back() {
    for event in [Counted::Added { by: -3 }, Counted::Set(4), Counted::Moved(1, 2), Counted::Reset] {
        let encoded = EventCodec::<Counted>::encode(&Json, &event).unwrap();
        let payload = std::str::from_utf8(&encoded.payload).unwrap();
        let back: Counted = Json.decode(&recorded(encoded.kind.as_str(), payload)).unwrap();
        assert_eq!(back, event);
    }
    assert_eq!(Json.encode(&Counted::Reset).unwrap().kind, "was-reset");
    let former: Counted = Json.decode(&recorded("Zeroed", "null")).unwrap();
    assert_eq!(former, Counted::Reset);
}

#[test]
fn an_unknown_type_is_an_error_even_where_serde_would_take_it_for_another() {
    let unknown: Result<Counted, _> = Json.decode(&recorded("Vanished", "{}"));
    assert!(matches!(unknown, Err(CodecError::UnknownType { .. })));
    for (kind, payload) in [("Added", r#"{"by":1} x"#), ("Added", ""), ("was-reset", "1"), ("Set", "[]")] {
        let malformed: Result<Counted, _> = Json.decode(&recorded(kind, payload));
        assert!(matches!(malformed, Err(CodecError::Malformed { .. })), "{kind} {payload}");
    }
}

#[test]
fn a_struct_is_an_event_by_its_own_name_and_a_bare_value_is_none() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Renamed {
        to: String,
    }
    let event = Renamed { to: "b".into() };
    let encoded = EventCodec::<Renamed>::encode(&Json, &event).unwrap();
    assert_eq!((encoded.kind.as_str(), &encoded.payload[..]), ("Renamed", &br#"{"to":"b"}"#[..]));
    assert_eq!(EventCodec::<Renamed>::decode(&Json, &recorded("Renamed", r#"{"to":"b"}"#)).unwrap(), event);
    let other: Result<Renamed, _> = Json.decode(&recorded("Moved", r#"{"to":"b"}"#));
    assert!(matches!(other, Err(CodecError::UnknownType { .. })));
    assert!(matches!(EventCodec::<u32>::encode(&Json, &3), Err(CodecError::Encode(_))));
    assert!(matches!(EventCodec::<u32>::decode(&Json, &recorded("u32", "3")), Err(CodecError::Malformed { .. })));
}

#[test]
fn rules_are_tested_without_a_store() {
    given::<Counter>([Counted::Set(8)]).when(Command::AddUpTo(3, 10)).then_error("limit");
    let after = given::<Counter>([Counted::Set(8)]).when(Command::AddUpTo(2, 10)).then([Counted::Moved(0, 2)]);
    assert_eq!(after.state().total, 10);
    after.when(Command::Nothing).then([]);
}

/// Counts what must not go below zero, and has a rule that forgets about it.
#[derive(Clone, Debug, Default)]
struct Careless;

impl Decider for Careless {
    const STREAM: &'static str = "careless";
    type Command = i64;
    type Event = Counted;
    type Error = ();

    fn evolve(&mut self, _: &Counted) {}

    fn decide(&self, by: &i64) -> Result<Vec<Counted>, ()> {
        Ok(vec![Counted::Added { by: 1 }, Counted::Added { by: *by }])
    }

    fn validate(event: &Counted) -> Result<(), crate::BoxError> {
        match event {
            Counted::Added { by } if *by < 0 => Err("less than nothing was added".into()),
            _ => Ok(()),
        }
    }

    fn tags(event: &Counted) -> Vec<crate::Tag> {
        let long = matches!(event, Counted::Added { by } if *by == 99);
        vec!["t".repeat(if long { 256 } else { 1 }).into()]
    }
}

/// ES38: what is wrong with one event keeps its neighbours out of the log too, as every limit of the log does.
#[tokio::test]
async fn an_event_that_does_not_pass_validation_is_not_written_and_nothing_beside_it() {
    let store = MemoryStore::new();
    let counters: Repository<Careless, _> = Repository::new(store.clone());
    let error = counters.execute("1", &-5).await.unwrap_err();
    assert!(!error.is_retryable());
    assert!(
        matches!(&error, ExecuteError::Invalid(why) if why.to_string() == "less than nothing was added"),
        "{error:?}"
    );
    let oversized = counters.execute("1", &99).await.unwrap_err();
    assert!(matches!(oversized, ExecuteError::Append(AppendError::Invalid(_))), "{oversized:?}");
    assert_eq!(store.head(), Position::ORIGIN);
    counters.execute("1", &5).await.unwrap();
    assert_eq!(store.head(), Position::new(2));
}

#[test]
#[should_panic(expected = "Added { by: -5 } is not valid: less than nothing was added")]
fn the_fixture_lets_no_event_pass_that_the_repository_refuses() {
    given::<Careless>([]).when(-5).then([Counted::Added { by: 1 }, Counted::Added { by: -5 }]);
}

/// Loading many is loading each, however long their streams are and whatever is known of them; and it asks once.
#[tokio::test]
async fn many_aggregates_are_what_each_is_alone_in_one_read() {
    let store = crate::testing::FaultyStore::new(MemoryStore::new());
    let counters: Repository<Counter, _> = Repository::new(store.clone());
    for id in 0..70 {
        counters.execute(&id.to_string(), &Command::Add(id)).await.unwrap();
    }
    let long = (0..1100).map(|_| Json.encode(&Counted::Added { by: 1 }).unwrap());
    store.append(Append::new().events("counter-long", Expected::Any, long)).await.unwrap();
    let ids: Vec<String> = (0..60).map(|id| id.to_string()).collect();
    let before = store.reads();
    let loaded = counters.load_many(&ids).await.unwrap();
    assert_eq!(store.reads() - before, 1);
    assert_eq!(loaded.iter().map(|loaded| loaded.state.total).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());

    let kept: Repository<Counter, _> = Repository::builder(store).keep_states(100.try_into().unwrap()).build();
    kept.load("3").await.unwrap();
    counters.execute("3", &Command::Add(1)).await.unwrap();
    for _ in 0..2 {
        let loaded = kept.load_many(["long", "3", "nobody", "3"]).await.unwrap();
        let states: Vec<_> = loaded.iter().map(|loaded| (loaded.state.total, loaded.version.get())).collect();
        assert_eq!(states, [(1100, 1100), (4, 2), (0, 0), (4, 2)]);
    }
}
