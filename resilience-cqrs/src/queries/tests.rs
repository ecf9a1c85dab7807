use std::convert::Infallible;
use std::time::Duration;

use resilience_core::context;
use resilience_core::time::SharedTimer;
use tower::ServiceExt as _;

use super::*;
use crate::log::{Append, BoxError, Expected, NewEvent, Position, Query, Recorded};
use crate::projection::{Projection, ProjectionHandle, ProjectionRunner, Rows, Serving, Versions};
use crate::{EventStore, MemoryStore};

/// Counts what it has seen.
struct Census;

impl Projection for Census {
    fn name(&self) -> &str {
        "census@1"
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        rows.put("census", "count", event.position.get().to_string());
        Ok(())
    }
}

struct HowMany;

/// Of whoever waits for a model, in time that stands still and in real time.
const PATIENCE: Duration = Duration::from_secs(60);

fn queries(
    store: &MemoryStore,
    running: &ProjectionHandle,
) -> Queries<impl Handler<HowMany, Answer = u64, Error = Infallible>> {
    let store = store.clone();
    let count = move |HowMany| {
        let store = store.clone();
        async move {
            let count = store.row("census", b"count").await.unwrap();
            Ok(count.map_or(0, |count| std::str::from_utf8(&count).unwrap().parse().unwrap()))
        }
    };
    Queries::new(count).follow(running.progress(), PATIENCE)
}

async fn append(store: &MemoryStore) -> Position {
    let event = [NewEvent::new("Counted", "")];
    store.append(Append::new().events("s", Expected::Any, event)).await.unwrap().last
}

/// ES28, the first half.
#[tokio::test]
async fn whoever_has_written_sees_it() {
    let store = MemoryStore::new();
    let running = ProjectionRunner::builder(store.clone(), Census).start();
    let queries = queries(&store, &running);
    for _ in 0..100 {
        let written = append(&store).await;
        let answer = queries.clone().oneshot(Ask::new(HowMany).at_least(written)).await.unwrap();
        assert!(answer.value >= written.get() && answer.position >= written, "{answer:?}");
    }
}

/// ES28, the second half: it says so after that time, and not before.
#[tokio::test(start_paused = true)]
async fn a_model_that_stands_still_is_said_to() {
    let store = MemoryStore::new();
    let running = ProjectionRunner::builder(store.clone(), Census).start();
    let queries = queries(&store, &running);
    let seen = append(&store).await;
    running.at_least(seen, Duration::from_secs(1)).await.unwrap();
    let wanted = seen.next();
    let timer = SharedTimer::default();
    let start = timer.now();
    let stale = queries.clone().oneshot(Ask::new(HowMany).at_least(wanted)).await.unwrap_err();
    assert_eq!(stale, QueryError::Stale(crate::projection::StaleRead { at: seen, wanted }));
    assert_eq!(timer.now().since(start), PATIENCE);
    // A nearer deadline of the call is not waited past.
    let start = timer.now();
    let hurried = context::Context::new().with_deadline(timer.now() + Duration::from_millis(100));
    let ask = queries.clone().oneshot(Ask::new(HowMany).at_least(wanted));
    hurried.scope(ask).await.unwrap_err();
    assert_eq!(timer.now().since(start), Duration::from_millis(100));
    // Who wants nothing in particular does not wait.
    assert_eq!(queries.oneshot(Ask::new(HowMany)).await.unwrap().value, 1);
}

#[tokio::test]
async fn a_model_nobody_follows_promises_nothing() {
    let queries = Queries::new(|HowMany| async { Ok::<_, Infallible>(3) });
    assert_eq!(queries.clone().oneshot(Ask::new(HowMany)).await.unwrap().value, 3);
    let stale = queries.oneshot(Ask::new(HowMany).at_least(Position::new(1))).await;
    assert!(matches!(stale, Err(QueryError::Stale(_))));
}

#[tokio::test]
async fn the_handlers_own_error_comes_through() {
    let queries = Queries::new(|HowMany| async { Err::<u64, _>("broken") });
    let failed = queries.oneshot(Ask::new(HowMany)).await.unwrap_err();
    assert_eq!(failed.into_failed(), Some("broken"));
}

/// The model as a version of it has it: how far it has counted.
struct Version(&'static str);

impl Projection for Version {
    fn name(&self) -> &str {
        self.0
    }

    fn query(&self) -> Query {
        Query::all()
    }

    async fn apply(&self, event: &Recorded, rows: &mut Rows<'_>) -> Result<(), BoxError> {
        rows.put(self.0, "count", event.position.get().to_string());
        Ok(())
    }
}

/// A new version takes over, and the old one is stopped: whoever has written still finds it, in the version that is asked,
/// and is not kept waiting for one that nobody runs any more.
#[tokio::test(start_paused = true)]
async fn whoever_has_written_sees_it_in_whichever_version_serves() {
    let (store, second) = (MemoryStore::new(), Duration::from_secs(1));
    let (versions, timer) = (Versions::new(store.clone()), SharedTimer::default());
    let serving = Serving::new(versions.clone(), "counts");
    let model = store.clone();
    let count = move |Served { version, .. }: Served<HowMany>| {
        let model = model.clone();
        async move {
            let count = model.row(&version, b"count").await.unwrap().unwrap_or_default();
            let count: u64 = std::str::from_utf8(&count).unwrap().parse().unwrap_or(0);
            Ok::<_, Infallible>((version, count))
        }
    };
    let queries = Queries::new(count).follow_serving(serving.clone(), second);
    let ask = async |wanted| queries.clone().oneshot(Ask::new(HowMany).at_least(wanted)).await;
    let nobody = ask(Position::ORIGIN).await.unwrap_err();
    assert_eq!(nobody.to_string(), "nobody is known to answer: no version of counts serves");

    let old = ProjectionRunner::builder(store.clone(), Version("counts@1")).start();
    serving.runs("counts@1", old.progress());
    versions.serve("counts@1").await.unwrap();
    let written = append(&store).await;
    assert_eq!(ask(written).await.unwrap().value, ("counts@1".to_owned(), 1));

    // Asked while the old one stands still, and answered by the new one, which this program does not run.
    old.stop().await.unwrap();
    let written = append(&store).await;
    let asked = ask(written);
    let taking_over = async {
        timer.sleep(second / 2).await;
        let new = ProjectionRunner::builder(store.clone(), Version("counts@2")).start();
        new.at_least(written, second).await.unwrap();
        versions.serve("counts@2").await.unwrap();
        new
    };
    let (answer, new) = tokio::join!(asked, taking_over);
    let answer = answer.unwrap();
    assert_eq!((answer.value, answer.position >= written), (("counts@2".to_owned(), 2), true));

    // Told of, it is followed as it goes; what is not written yet is not waited for beyond the time.
    serving.runs("counts@2", new.progress());
    let written = append(&store).await;
    assert_eq!(ask(written).await.unwrap().value, ("counts@2".to_owned(), 3));
    let start = timer.now();
    let stale = ask(written.next()).await.unwrap_err();
    assert_eq!(stale, QueryError::Stale(crate::projection::StaleRead { at: written, wanted: written.next() }));
    assert_eq!(timer.now().since(start), second);
    // Nor does anybody wait who wants nothing in particular.
    assert_eq!(ask(Position::ORIGIN).await.unwrap().value.1, 3);
}

#[cfg(feature = "http")]
#[test]
fn a_header_from_outside_is_a_position_or_an_error_and_never_a_guess() {
    use http::{HeaderMap, HeaderValue};
    let of = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(LOG_POSITION, HeaderValue::from_str(value).unwrap());
        }
        position_of(&headers)
    };
    assert_eq!(of(&["5", "7", "6"]), Ok(Some(Position::new(7))));
    assert_eq!(of(&["9223372036854775807"]), Ok(Some(Position::new(i64::MAX as u64))));
    for bad in ["", "-1", "+1", " 1", "1.0", "0x1", "99999999999999999999", "one"] {
        assert_eq!(of(&["1", bad]), Err(InvalidPosition), "{bad:?}");
    }
}
