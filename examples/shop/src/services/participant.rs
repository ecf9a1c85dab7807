//! What inventory, payments and shipping have in common: one call is one transaction, with the barrier's row in it.
//!
//! A checkout may call twice, call after its owner died, or undo what it cannot know was done. The barrier sorts these
//! out in the same transaction as the effect. Refusals are kept in it too: otherwise a first attempt that was held up
//! could succeed after a second one was refused, and nobody would undo it.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use resilience_core::rng::Rng;
use resilience_core::time::SharedTimer;
use resilience_saga::barrier::{self, Entry, Verdict};
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::json;

use super::call::Call;
use super::store::Store;
use crate::faults::{Fate, Trouble};
use crate::stats::Stats;

/// The effect was made.
pub(super) fn done() -> Entry {
    Entry::Applied(Vec::new())
}

/// Surely no effect, and there never will be one.
pub(super) fn refused(why: String) -> Entry {
    Entry::Refused(why.into_bytes())
}

/// A participant; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Participant {
    store: Store,
    stats: Stats,
    timer: SharedTimer,
    trouble: Trouble,
    rng: Arc<Mutex<Rng>>,
}

impl Participant {
    pub(crate) fn new(store: Store, stats: Stats, trouble: Trouble, seed: u64) -> Self {
        Self { store, stats, timer: SharedTimer::default(), trouble, rng: Arc::new(Mutex::new(Rng::seeded(seed))) }
    }

    /// Handles one call, `effect` being its business.
    ///
    /// The work goes on when the caller hangs up, as it would behind any queue: late effects are part of the exercise.
    pub(crate) async fn handle<B>(
        State(this): State<Self>,
        call: Call,
        Json(body): Json<B>,
        effect: fn(&Transaction<'_>, B) -> rusqlite::Result<Entry>,
    ) -> Response
    where
        B: for<'a> Deserialize<'a> + Send + 'static,
    {
        let work = tokio::spawn(async move { this.work(call, body, effect).await });
        work.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }

    async fn work<B: Send + 'static>(
        self,
        call: Call,
        body: B,
        effect: fn(&Transaction<'_>, B) -> rusqlite::Result<Entry>,
    ) -> Response {
        let fate = self.fate();
        if !fate.wait.is_zero() {
            self.timer.sleep(fate.wait).await;
        }
        if fate.fail_before {
            self.stats.count("injected.before");
            return failed("failed on purpose, nothing was done");
        }
        let name = call.label();
        let done = self.store.run(move |tx| once(tx, &call, |tx| effect(tx, body))).await;
        if fate.fail_after {
            self.stats.count("injected.after");
            return failed("failed on purpose, after the work was done");
        }
        match done {
            Ok((passed, answer)) => {
                self.stats.count(&format!("{name}.{passed}"));
                answer.into_response()
            }
            Err(error) => {
                tracing::error!(%error, call = name, "the store failed");
                self.stats.count("store.failed");
                failed("the store failed")
            }
        }
    }

    fn fate(&self) -> Fate {
        self.trouble.draw(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets `effect` happen once for this call; how the barrier took the call, and the answer.
fn once(
    tx: &Transaction<'_>,
    call: &Call,
    effect: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<Entry>,
) -> rusqlite::Result<(&'static str, Answer)> {
    let (branch, op) = (call.key.branch(), call.key.op());
    Ok(match barrier::enter(tx, branch, op, call.epoch)? {
        Verdict::Run => {
            let entry = effect(tx)?;
            barrier::record(tx, branch, op, &entry)?;
            match entry {
                Entry::Applied(_) => ("applied", Answer::Done),
                Entry::Refused(why) => ("refused", Answer::Refused(why)),
            }
        }
        Verdict::Duplicate { refused: false, .. } => ("repeated", Answer::Done),
        Verdict::Duplicate { refused: true, reply } => ("repeated", Answer::Refused(reply)),
        // The action never came or was refused, and now never will take effect.
        Verdict::NullUndo => ("nothing_to_undo", Answer::Done),
        Verdict::TooLate => ("too_late", Answer::Refused(b"the saga has undone this step already".to_vec())),
        Verdict::Stale { .. } => ("stale", Answer::Stale),
    })
}

/// What a call is answered.
enum Answer {
    Done,
    /// Surely no effect, and there never will be one.
    Refused(Vec<u8>),
    /// Whoever called does not own the saga any more.
    Stale,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Done => Json(json!({})).into_response(),
            Self::Refused(why) => {
                let why = String::from_utf8_lossy(&why);
                (StatusCode::CONFLICT, Json(json!({ "refused": why }))).into_response()
            }
            Self::Stale => StatusCode::PRECONDITION_FAILED.into_response(),
        }
    }
}

fn failed(why: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({ "error": why }))).into_response()
}

#[cfg(test)]
mod tests {
    use resilience_saga::Epoch;
    use rusqlite::Connection;

    use super::*;

    /// The first attempt is held up, the second is refused for want of stock, the saga ends without an undo. Then stock
    /// comes back, and so does the first attempt: were it let in, its reservation would stay for ever.
    #[test]
    fn a_late_attempt_stays_refused_even_when_it_could_succeed_by_then() {
        let mut db = Connection::open_in_memory().unwrap();
        barrier::create_table(&db).unwrap();
        let tx = db.transaction().unwrap();
        let call = Call { key: "checkout/o-1/reserve/do".parse().unwrap(), epoch: Epoch(1) };
        let refused = once(&tx, &call, |_| Ok(Entry::Refused(b"out of stock".to_vec()))).unwrap();
        assert!(matches!(refused, ("refused", Answer::Refused(_))));
        let late = once(&tx, &call, |_| unreachable!("the business must not run again")).unwrap();
        assert!(matches!(late, ("repeated", Answer::Refused(why)) if why == b"out of stock"));
    }
}
