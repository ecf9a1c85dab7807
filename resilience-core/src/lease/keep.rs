//! Keeping a lease alive.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::{Acquired, Lease, Leases, Ownership};
use crate::time::Timestamp;

/// A lease is renewed when this share of its time is over: two renewals may fail before it does.
const RENEW_AFTER: u32 = 3;
/// The least time between two questions to the engine, however short the leases are.
const A_MOMENT: Duration = Duration::from_millis(1);

impl Ownership {
    /// Acquires `resource` for `owner` and keeps it, for as long as this future is polled: waits while another has it,
    /// renews it at a third of `ttl`, and begins anew when it was lost. [`token`](Self::token) says how it stands at
    /// any time.
    ///
    /// It never completes; drop it to stop. Then this process owns nothing any more, and the engine finds out when the
    /// lease runs out; to hand over at once, [release](Leases::release) the [lease](Self::lease) first. An engine that
    /// cannot be reached is asked again after a third of `ttl`, and one that does not answer for so long is asked anew,
    /// and the ownership lasts as long as its lease.
    ///
    /// ```
    /// use std::time::Duration;
    /// use resilience_core::lease::{MemoryLeases, Ownership};
    /// use resilience_core::time::SharedTimer;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let leases = MemoryLeases::default();
    /// let ownership = Ownership::builder().name("relay").build().unwrap();
    /// let relay = async {
    ///     let timer = SharedTimer::default();
    ///     timer.sleep(Duration::from_secs(60)).await; // many times as long as one lease
    ///     ownership.token()
    /// };
    /// let token = tokio::select! {
    ///     token = relay => token,
    ///     _ = ownership.keep(&leases, "relay", "node-1", Duration::from_secs(10)) => unreachable!(),
    /// };
    /// assert!(token.is_some());
    /// assert_eq!(ownership.token(), None); // nobody keeps it any more
    /// # });
    /// ```
    pub async fn keep<L: Leases>(
        &self,
        leases: &L,
        resource: &str,
        owner: &str,
        ttl: Duration,
    ) -> std::convert::Infallible {
        let _left = Left(self);
        let pause = (ttl / RENEW_AFTER).max(A_MOMENT);
        loop {
            let wait = match self.lease() {
                Some(lease) => self.renew(leases, &lease, ttl).await,
                None => self.acquire(leases, resource, owner, ttl).await,
            };
            self.timer().sleep(wait.unwrap_or(pause)).await;
        }
    }

    /// How long to wait before the next step; `None` for as long as usual.
    async fn acquire<L: Leases>(&self, leases: &L, resource: &str, owner: &str, ttl: Duration) -> Option<Duration> {
        let asked = self.timer().now();
        match self.within(ttl / RENEW_AFTER, leases.acquire(resource, owner, ttl)).await {
            Some(Ok(Acquired::Granted(lease))) => {
                self.grant(since(&lease, asked, ttl));
                None
            }
            // Whoever has it may give it up early, so it is worth asking more often than it ends.
            Some(Ok(Acquired::Held { retry_after, .. })) => {
                retry_after.map(|wait| wait.min(ttl / RENEW_AFTER).max(A_MOMENT))
            }
            Some(Err(_)) => None,
            None => Some(A_MOMENT),
        }
    }

    async fn renew<L: Leases>(&self, leases: &L, lease: &Lease, ttl: Duration) -> Option<Duration> {
        let asked = self.timer().now();
        let answer = self.within(ttl / RENEW_AFTER, leases.renew(lease, ttl)).await;
        // Waited for long enough already, if there was no answer.
        let wait = if answer.is_none() { Some(A_MOMENT) } else { None };
        match answer {
            Some(Ok(Some(renewed))) => self.grant(since(&renewed, asked, ttl)),
            // Lost => ask for it again at once.
            Some(Ok(None)) => {
                self.revoke();
                return Some(Duration::ZERO);
            }
            // Unknown => it lasts until its time is over, by this clock; and then it is lost.
            Some(Err(_)) | None if self.timer().now() >= lease.until() => self.revoke(),
            Some(Err(_)) | None => {}
        }
        wait
    }

    /// What the engine answers, or `None` if it takes longer: a connection that is dead and does not say so must not end
    /// a lease for good.
    async fn within<T>(&self, limit: Duration, question: impl Future<Output = T>) -> Option<T> {
        let (mut question, mut late) = (pin!(question), self.timer().sleep(limit.max(A_MOMENT)));
        poll_fn(|cx| match question.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Pin::new(&mut late).poll(cx).map(|()| None),
        })
        .await
    }
}

/// The lease as its owner may believe in it: not for longer than from before the engine was asked.
fn since(lease: &Lease, asked: Timestamp, ttl: Duration) -> Lease {
    Lease::new(lease.resource(), lease.owner(), lease.token(), lease.until().min(asked + ttl))
}

/// Revokes an ownership that is not kept any more.
struct Left<'a>(&'a Ownership);

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.0.revoke();
    }
}
