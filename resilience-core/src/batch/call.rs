//! One call on its way through a batch.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::config::Settings;
use super::dispatch::{Alike, Dispatch, GroupBy, Together, Weigh};
use super::error::Unanswered;
use super::group::{Arrival, Group, Seated};
use super::open::Open;
use super::policy::{Admitted, Batch};
use crate::Rejected;
use crate::sync::{Arc, Mutex, lock};

/// Calls to one destination, batched; made by [`Batch::over`]. Clones share batches.
pub struct Batched<Req, D: Dispatch<Req>, G: GroupBy<Req> = Together, W = Alike> {
    pub(super) shared: Arc<Destination<Req, D, G, W>>,
}

pub(super) struct Destination<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> {
    pub(super) batch: Batch,
    pub(super) dispatch: D,
    group_by: G,
    weigh: W,
    /// The batches others may join. Locked before the state of any of them.
    pub(super) open: Mutex<Open<G, Req, D>>,
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> Batched<Req, D, G, W> {
    pub(super) fn new(batch: Batch, dispatch: D, group_by: G, weigh: W) -> Self {
        let open = Mutex::new(Open::new());
        Self { shared: Arc::new(Destination { batch, dispatch, group_by, weigh, open }) }
    }

    /// One call. It joins a batch when it is first polled; dropped before that batch is sent, it is taken out again.
    ///
    /// # Errors
    ///
    /// What its place in the batch was answered, or the batch as a whole; a [`Rejected`] if too many calls wait; an
    /// [`Unanswered`] if the answers do not match the calls, or the call panicked.
    pub fn call(&self, request: Req) -> Call<Req, D, G, W> {
        Call { destination: self.clone(), request: Some(request), seated: None }
    }

    /// The policy.
    pub fn batch(&self) -> &Batch {
        &self.shared.batch
    }
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W: Weigh<Req>> Batched<Req, D, G, W> {
    fn join(&self, request: Req, admitted: Admitted, settings: Settings, cx: &Context<'_>) -> Seated<Req, D, G, W> {
        let destination = &*self.shared;
        // All that is the user's, or anybody's, before the locks.
        let key = destination.group_by.key(&request);
        let weight = destination.weigh.weight(&request).max(1);
        let arrival = Arrival { request, weight, waker: cx.waker().clone(), limits: settings.limits };
        let now = destination.batch.shared.config.timer.now();
        let (group, seat, gone);
        // Whose batch goes without them.
        let mut wakers = [None, None];
        {
            let mut open = lock(&destination.open);
            // Too heavy for the one that is open, which goes as it is.
            let overtaken = open.get(&key).and_then(|group| group.make_room(weight, settings.limits));
            let closed = overtaken.map(|driver| {
                wakers[0] = driver;
                open.remove(&key)
            });
            let joined = open.get(&key).cloned();
            let is_new = joined.is_none();
            group = joined.unwrap_or_else(|| Arc::new(Group::new(now + settings.delay, now)));
            let is_due;
            (seat, is_due) = group.sit(arrival);
            let mut full = None;
            if is_due {
                full = open.remove(&key);
            } else if is_new {
                if open.len() >= settings.keys {
                    full = open.remove_oldest();
                    wakers[1] = full.as_ref().and_then(|oldest| oldest.group.close());
                }
                open.insert(key.clone(), group.clone());
            }
            gone = (closed, full);
        }
        drop(gone);
        wakers.into_iter().flatten().for_each(Waker::wake);
        Seated::new(self.clone(), group, key, seat, admitted)
    }
}

/// One call of a batch; made by [`Batched::call`], and the future of a [`BatchService`](super::BatchService).
///
/// One of those who wait drives the batch: waits for its time, sends it and polls its call. Dropped, it leaves that to
/// another. So poll each of them when it is woken: a batch whose driver is kept unpolled waits for it.
#[must_use = "futures do nothing unless polled"]
pub struct Call<Req, D: Dispatch<Req>, G: GroupBy<Req> = Together, W = Alike> {
    destination: Batched<Req, D, G, W>,
    request: Option<Req>,
    seated: Option<Seated<Req, D, G, W>>,
}

// Nothing in it is pinned: what is polled lies in the batch.
impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> Unpin for Call<Req, D, G, W> {}

impl<Req, D, G, W> Future for Call<Req, D, G, W>
where
    D: Dispatch<Req>,
    D::Error: From<Rejected> + From<Unanswered>,
    G: GroupBy<Req>,
    W: Weigh<Req>,
{
    type Output = Result<D::Answer, D::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(request) = this.request.take() {
            let batch = &this.destination.shared.batch;
            let settings = batch.settings();
            match batch.admit(&settings) {
                Ok(admitted) => this.seated = Some(this.destination.join(request, admitted, settings, cx)),
                Err(rejected) => return Poll::Ready(Err(rejected.into())),
            }
        }
        let seated = this.seated.as_mut().expect("a future is not polled after it is done");
        let polled = seated.poll(cx);
        if polled.is_ready() {
            this.seated = None;
        }
        polled
    }
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> Clone for Batched<Req, D, G, W> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> fmt::Debug for Batched<Req, D, G, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = lock(&self.shared.open).len();
        f.debug_struct("Batched").field("batch", &self.shared.batch).field("open", &open).finish_non_exhaustive()
    }
}

impl<Req, D: Dispatch<Req>, G: GroupBy<Req>, W> fmt::Debug for Call<Req, D, G, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seated = self.seated.is_some();
        f.debug_struct("batch::Call").field("seated", &seated).finish_non_exhaustive()
    }
}
