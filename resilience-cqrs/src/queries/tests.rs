use std::convert::Infallible;
use std::time::Duration;

use resilience_core::context;
use resilience_core::time::SharedTimer;
use tower::ServiceExt as _;

use super::*;
use crate::log::{Append, BoxError, Expected, NewEvent, Position, Query, Recorded};
use crate::projection::{Projection, ProjectionHandle, ProjectionRunner, Rows};
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
    Queries::new(count).follow(running.progress(), Duration::from_secs(1))
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

/// ES28, the second half: it says so after a second, and not before.
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
    assert_eq!(timer.now().since(start), Duration::from_secs(1));
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
