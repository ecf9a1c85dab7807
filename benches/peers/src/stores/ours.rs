//! The stores of this workspace: what is asked of each is the same, and does not know which one it is.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use resilience_cqrs::aggregate::Repository;
use resilience_cqrs::decision::Decisions;
use resilience_cqrs::{Append, Condition, EventStore, Expected, Marker, NewEvent, Position, Query, StreamId, Version};

use super::domain::{Account, Deposit};
use super::sample::{self, HISTORY, Held, Load, PAYLOAD, Sample};

/// States and models kept: more than there are tasks, fewer than there will be accounts.
const KEPT: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// What one step of a task is.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// An append at the version that the stream must have.
    Append,
    /// The stream is read first, as by a command.
    Read,
    /// A command decided on a state that the program keeps.
    Kept,
    /// An append unless something new has the account's tag.
    Tagged,
    /// A decision on what has the account's tag: read, fold, decide, append.
    Decision,
    /// The same on a model that the program keeps.
    KeptDecision,
}

/// One sample. A conflict is a refusal, whether or not it would be tried again: no two tasks share an account.
pub async fn sample<S: EventStore>(store: S, load: Load, work: Work) -> Sample {
    match work {
        Work::Append | Work::Read => appends(store, load, matches!(work, Work::Read)).await,
        Work::Kept => kept(store, load).await,
        Work::Tagged => tagged(store, load).await,
        Work::Decision => decisions(Decisions::new(store), load).await,
        Work::KeptDecision => decisions(Decisions::builder(store).keep_models(KEPT).build(), load).await,
    }
}

async fn appends<S: EventStore>(store: S, load: Load, reads: bool) -> Sample {
    sample::run(load, move |task, index| {
        let store = store.clone();
        async move {
            let stream = sample::stream(task, index / HISTORY);
            let mut version = Version::new(index % HISTORY);
            if reads {
                match store.read_stream(&stream.as_str().into(), Version::EMPTY, 100).await {
                    Ok(history) => version = Version::new(history.len() as u64),
                    Err(_) => return false,
                }
            }
            let append = Append::new().events(stream, Expected::Exact(version), [NewEvent::new("Deposited", PAYLOAD)]);
            store.append(append).await.is_ok()
        }
    })
    .await
}

async fn kept<S: EventStore>(store: S, load: Load) -> Sample {
    let accounts: Repository<Account, S> = Repository::builder(store).keep_states(KEPT).build();
    sample::run(load, move |task, index| {
        let accounts = accounts.clone();
        async move {
            let reference = sample::stream(task, index / HISTORY);
            let id = reference.trim_start_matches("account-").to_owned();
            let done = accounts.execute(&id, &Deposit { cents: 1_250, reference }).await;
            done.is_ok_and(|done| done.attempts == 1 && done.state.entries == index % HISTORY + 1)
        }
    })
    .await
}

async fn tagged<S: EventStore>(store: S, load: Load) -> Sample {
    // Where each task's last event is: what it has seen of its account.
    let seen: Arc<Vec<AtomicU64>> = Arc::new((0..load.tasks).map(|_| AtomicU64::new(0)).collect());
    sample::run(load, move |task, index| {
        let (store, seen) = (store.clone(), seen.clone());
        async move {
            let stream = sample::stream(task, index / HISTORY);
            // Relaxed: only this task reads and writes it.
            let after = match (index % HISTORY, seen[task as usize].load(Ordering::Relaxed)) {
                (0, _) => Marker::START,
                (_, last) => Marker::seen_through(Position::new(last)),
            };
            let event = NewEvent::new("Deposited", PAYLOAD).tag(stream.as_str());
            let append = Append::new().require(Condition::no_match(Account::query(&stream), after)).events(
                StreamId::from(stream),
                Expected::Any,
                [event],
            );
            let Ok(appended) = store.append(append).await else { return false };
            seen[task as usize].store(appended.last.get(), Ordering::Relaxed);
            true
        }
    })
    .await
}

async fn decisions<S: EventStore>(decisions: Decisions<Account, S>, load: Load) -> Sample {
    sample::run(load, move |task, index| {
        let decisions = decisions.clone();
        async move {
            let reference = sample::stream(task, index / HISTORY);
            let query = Account::query(&reference);
            let deposit = Deposit { cents: 1_250, reference };
            let done = decisions.decide(query, |account| account.deposit(&deposit)).await;
            done.is_ok_and(|done| done.attempts == 1 && done.model.entries == index % HISTORY + 1)
        }
    })
    .await
}

/// What a freshly opened store holds.
pub async fn held<S: EventStore>(store: &S) -> Result<Held, String> {
    let (mut held, mut after) = (Held::default(), Position::ORIGIN);
    loop {
        let page = store.read(after, &Query::all(), 1_000).await.map_err(|error| error.to_string())?;
        for event in &page.events {
            *held.0.entry(event.stream.to_string()).or_default() += 1;
        }
        if page.is_last() {
            return Ok(held);
        }
        after = page.next;
    }
}
