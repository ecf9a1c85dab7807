//! One caller's way to an answer.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::Cache;
use super::counts::Count;
use super::entry::Found;
use super::policy::Outcome;
use super::refresh::{Background, InCall, Refresh, Refreshing};
use crate::flight::{Joined, Leader, Turn, Waiter};
use crate::time::Timestamp;

/// What fetches an answer, once. Every `FnOnce() -> Future` does.
pub trait Load {
    /// The call.
    type Future: Future;

    /// Makes the call.
    fn load(self) -> Self::Future;
}

impl<F: FnOnce() -> L, L: Future> Load for F {
    type Future = L;

    fn load(self) -> L {
        self()
    }
}

pin_project! {
    /// An answer on its way; made by [`Cache::get_or_load`].
    #[must_use = "futures do nothing unless polled"]
    pub struct GetOrLoad<K, V, E, L, R = InCall>
    where
        K: Hash,
        K: Eq,
        K: Clone,
        L: Load,
    {
        found: Option<Result<V, E>>,
        asking: Option<Asking<K, V, E, L, R>>,
        waiter: Option<Waiter<K, Outcome<V, E>>>,
        #[pin]
        loading: Option<Loading<K, V, E, L>>,
    }
}

/// What is needed to ask, and to lead in somebody else's place.
struct Asking<K, V, E, L, R> {
    cache: Cache<K, V, E>,
    key: K,
    load: L,
    refresh: R,
}

impl<K: Hash + Eq + Clone, V, E, L: Load, R> GetOrLoad<K, V, E, L, R> {
    pub(super) fn found(answer: Result<V, E>) -> Self {
        Self { found: Some(answer), asking: None, waiter: None, loading: None }
    }

    pub(super) fn ask(cache: Cache<K, V, E>, key: K, load: L, refresh: R) -> Self {
        Self { found: None, asking: Some(Asking { cache, key, load, refresh }), waiter: None, loading: None }
    }

    /// Leaves it to a task to fetch a new answer while the old one may be served: this call is served at once.
    pub fn in_background(self, background: Background) -> GetOrLoad<K, V, E, L, Background> {
        let asking =
            self.asking.map(|Asking { cache, key, load, .. }| Asking { cache, key, load, refresh: background });
        GetOrLoad { found: self.found, asking, waiter: self.waiter, loading: self.loading }
    }
}

impl<K, V, E, L, R> Future for GetOrLoad<K, V, E, L, R>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone,
    L: Load,
    L::Future: Future<Output = Result<V, E>>,
    R: Refresh<Refreshing<K, V, E, L>>,
{
    type Output = Result<V, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(answer) = this.found.take() {
            return Poll::Ready(answer);
        }
        if this.loading.is_none() {
            let next = match this.waiter {
                Some(waiter) => match ready!(waiter.poll(cx)) {
                    Turn::Landed(outcome) => Next::Landed(outcome),
                    Turn::Lead(leader) => Next::Lead(leader),
                },
                None => match &this.asking {
                    Some(asking) => asking.look(cx),
                    None => unreachable!("a future is not polled after it is done"),
                },
            };
            match (next, this.asking.take()) {
                (Next::Wait(waiter), asking) => {
                    *this.asking = asking;
                    *this.waiter = Some(waiter);
                    return Poll::Pending;
                }
                (Next::Serve(answer), _) => return Poll::Ready(answer),
                (Next::Landed(outcome), asking) => {
                    *this.waiter = None;
                    if let (true, Some(asking)) = (outcome.is_stale, &asking) {
                        asking.cache.note(Count::ServedOnError);
                    }
                    return Poll::Ready((*outcome.answer).clone());
                }
                (Next::Lead(leader), Some(Asking { cache, load, .. })) => {
                    cache.note(Count::Missed);
                    *this.waiter = None;
                    this.loading.set(Some(Loading::new(cache, Some(leader), false, load)));
                }
                (Next::Refresh(leader, stale), Some(Asking { cache, load, refresh, .. })) => {
                    let loading = Loading::new(cache.clone(), Some(leader), false, load);
                    match refresh.begin(Refreshing { loading }) {
                        Some(Refreshing { loading }) => {
                            cache.note(Count::Missed);
                            this.loading.set(Some(loading));
                        }
                        None => {
                            cache.note(Count::ServedStale);
                            return Poll::Ready(stale);
                        }
                    }
                }
                (Next::Dry(leader), Some(Asking { cache, load, .. })) => {
                    this.loading.set(Some(Loading::new(cache, leader, true, load)));
                }
                (_, None) => unreachable!("a future that is not done has what it needs to ask"),
            }
        }
        match this.loading.as_mut().as_pin_mut() {
            Some(loading) => loading.poll(cx),
            None => unreachable!("set above"),
        }
    }
}

/// What a caller does next.
enum Next<K: Hash + Eq + Clone, V, E> {
    Serve(Result<V, E>),
    Landed(Outcome<V, E>),
    Wait(Waiter<K, Outcome<V, E>>),
    Lead(Leader<K, Outcome<V, E>>),
    Refresh(Leader<K, Outcome<V, E>>, Result<V, E>),
    /// Make the call for its caller alone; and keep its answer, if nobody else fetches one.
    Dry(Option<Leader<K, Outcome<V, E>>>),
}

impl<K: Hash + Eq + Clone, V: Clone, E: Clone, L, R> Asking<K, V, E, L, R> {
    fn look(&self, cx: &Context<'_>) -> Next<K, V, E> {
        let Self { cache, key, .. } = self;
        let shared = &*cache.shared;
        let found = shared.kept.get(key).map(|entry| (entry.find(&shared.timer), entry));
        if shared.is_dry_run() {
            let would_hit = found.is_some_and(|(found, _)| found != Found::Nothing);
            cache.note(if would_hit { Count::WouldHit } else { Count::Missed });
            return Next::Dry(shared.flights.lead(key, || false));
        }
        // What is looked at under the lock of the flights and not served.
        let mut aside = None;
        match found {
            Some((Found::Fresh, entry)) => {
                cache.note(Count::Hit);
                Next::Serve(entry.into_answer())
            }
            Some((Found::Calm, entry)) => {
                cache.note(Count::ServedStale);
                Next::Serve(entry.into_answer())
            }
            Some((Found::Revalidate, entry)) => {
                match shared.flights.lead(key, || cache.has_landed(key, &mut aside).is_some()) {
                    Some(leader) => Next::Refresh(leader, entry.into_answer()),
                    None => {
                        cache.note(Count::ServedStale);
                        Next::Serve(entry.into_answer())
                    }
                }
            }
            Some((Found::Nothing, _)) | None => {
                match shared.flights.join(key, cx.waker(), || cache.landed(key, &mut aside)) {
                    Joined::Leader(leader) => Next::Lead(leader),
                    Joined::Waiter(waiter) => {
                        cache.note(Count::Coalesced);
                        Next::Wait(waiter)
                    }
                    Joined::Landed(outcome) => {
                        cache.note(if outcome.is_stale { Count::ServedStale } else { Count::Hit });
                        Next::Serve((*outcome.answer).clone())
                    }
                }
            }
        }
    }
}

pin_project! {
    /// A call under way for all who wait for it; or, in a dry run, for its caller alone.
    pub(super) struct Loading<K, V, E, L>
    where
        K: Hash,
        K: Eq,
        K: Clone,
        L: Load,
    {
        cache: Cache<K, V, E>,
        // Before the leader: dropped, what the call holds goes before another is woken to make it anew.
        #[pin]
        call: Option<L::Future>,
        leader: Option<Leader<K, Outcome<V, E>>>,
        is_dry: bool,
        load: Option<L>,
        began: Timestamp,
    }
}

impl<K: Hash + Eq + Clone, V, E, L: Load> Loading<K, V, E, L> {
    fn new(cache: Cache<K, V, E>, leader: Option<Leader<K, Outcome<V, E>>>, is_dry: bool, load: L) -> Self {
        Self { cache, leader, is_dry, load: Some(load), call: None, began: Timestamp::ORIGIN }
    }
}

impl<K, V, E, L> Future for Loading<K, V, E, L>
where
    K: Hash + Eq + Clone,
    V: Clone,
    E: Clone,
    L: Load,
    L::Future: Future<Output = Result<V, E>>,
{
    type Output = Result<V, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Held here while the user's code runs: a panic in it frees the key at once, whoever keeps this future.
        let leader = this.leader.take();
        if let Some(load) = this.load.take() {
            *this.began = this.cache.shared.timer.now();
            this.call.set(Some(load.load()));
        }
        let Some(call) = this.call.as_mut().as_pin_mut() else {
            unreachable!("a future is not polled after it is done")
        };
        let Poll::Ready(answer) = call.poll(cx) else {
            *this.leader = leader;
            return Poll::Pending;
        };
        // What the call holds goes before others hear of its answer.
        this.call.set(None);
        Poll::Ready(match leader {
            Some(leader) => this.cache.land(leader, answer, *this.began, *this.is_dry),
            None => answer,
        })
    }
}

impl<K: Hash + Eq + Clone, V, E, L: Load, R> fmt::Debug for GetOrLoad<K, V, E, L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match (&self.found, &self.waiter, &self.loading) {
            (Some(_), ..) => "found",
            (_, Some(_), _) => "waiting",
            (.., Some(_)) => "loading",
            _ => "asking",
        };
        f.debug_struct("GetOrLoad").field("stage", &stage).finish_non_exhaustive()
    }
}
