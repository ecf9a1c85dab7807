//! Puts fallbacks around services.

use std::fmt;
use std::marker::PhantomData;

use tower_layer::Layer;

use crate::retry::Cloned;
use crate::{ByResult, Classification, Classify};

use super::join::{Joined, Original};
use super::policy::Fallback;
use super::service::{FallbackService, Rules};
use super::strategy::{Backup, FromAnswer, FromRequest, Function, NotKept, Value};

/// Puts a [`Fallback`] around services that fail with `E`; made by [`Fallback::value`] and its neighbours. All of them
/// are one policy.
///
/// | type | what | default |
/// |---|---|---|
/// | `St` | what it answers with: a [`Strategy`](super::Strategy) | |
/// | `E` | the error of the services, which a service keeps when one does not get ready | |
/// | `C` | what answers mean: a [`Classify`] | [`ByResult`] |
/// | `J` | what the caller is told when both fail: a [`Merge`](super::Merge) | [`Original`], or [`Joined`] where the fallback can fail |
/// | `R` | how requests are kept for the fallback: a [`Replay`](crate::retry::Replay) | not, or by `Clone` |
pub struct FallbackLayer<St, E, C = ByResult, J = Original, R = NotKept> {
    fallback: Fallback,
    strategy: St,
    classify: C,
    merge: J,
    replay: R,
    error: PhantomData<fn() -> E>,
}

impl Fallback {
    /// Answers with a copy of `value`.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// let service = ServiceBuilder::new()
    ///     .layer(Fallback::builder().name("recommendations").build()?.value(vec!["bestseller"]))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |_: u32| Err::<Vec<&str>, _>("down")));
    /// assert_eq!(service.oneshot(17).await, Ok(vec!["bestseller"]));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn value<T, E>(&self, value: T) -> FallbackLayer<Value<T>, E> {
        self.layer(Value(value))
    }

    /// Answers with what `make` makes of the failure, which cannot fail itself.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// let status = |answer: &Result<u16, Error<&str>>| match answer {
    ///     Err(Error::Elapsed(_)) => 504,
    ///     _ => 503,
    /// };
    /// let service = ServiceBuilder::new()
    ///     .layer(Fallback::builder().build()?.from_answer(status))
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |()| Err("down")));
    /// assert_eq!(service.oneshot(()).await, Ok(503));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    #[allow(clippy::wrong_self_convention)] // "Falls back from the answer to ..": it converts nothing.
    pub fn from_answer<F, T, E>(&self, make: F) -> FallbackLayer<FromAnswer<F>, E>
    where
        F: Fn(&Result<T, E>) -> T,
    {
        self.layer(FromAnswer(make))
    }

    /// Answers with what `function` makes of the failure, in time, if it does not fail itself.
    ///
    /// The future does not borrow the failure: take from it what it needs before. What the caller is told when both
    /// fail is up to [`Join`](super::Join), or to [`original`](FallbackLayer::original) and
    /// [`join`](FallbackLayer::join).
    pub fn function<F, Fut, T, E>(&self, function: F) -> FallbackLayer<Function<F>, E, ByResult, Joined>
    where
        F: Fn(&Result<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.layer(Function(function)).merging(Joined)
    }

    /// As [`function`](Self::function), with a copy of the request.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// type Answer = Result<u32, Error<&'static str>>;
    /// let yesterdays = |sku: &'static str, _: &Answer| async move {
    ///     if sku == "socks" { Ok(799) } else { Err(Error::Service("never seen")) }
    /// };
    /// let prices = ServiceBuilder::new()
    ///     .layer(Fallback::builder().build()?.from_request(yesterdays).original())
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |_| Err("down")));
    /// assert_eq!(prices.clone().oneshot("socks").await, Ok(799));
    /// assert_eq!(prices.oneshot("shoes").await, Err(Error::Service("down")));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    #[allow(clippy::wrong_self_convention)] // "Falls back from the request to ..": it converts nothing.
    pub fn from_request<F, Req, Fut, T, E>(
        &self,
        function: F,
    ) -> FallbackLayer<FromRequest<F>, E, ByResult, Joined, Cloned>
    where
        F: Fn(Req, &Result<T, E>) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.layer(FromRequest(function)).merging(Joined).replay(Cloned)
    }

    /// Sends a copy of the request to `backup`: to a clone of it, that is made ready when it is needed, and dropped
    /// after.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// let archive = LiftLayer.layer(service_fn(async |id: u32| Ok::<_, &str>(format!("order {id} of yesterday"))));
    /// let orders = ServiceBuilder::new()
    ///     .layer(Fallback::builder().build()?.service(archive).original())
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |_: u32| Err("down")));
    /// assert_eq!(orders.oneshot(17).await.unwrap(), "order 17 of yesterday");
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn service<B, E>(&self, backup: B) -> FallbackLayer<Backup<B>, E, ByResult, Joined, Cloned> {
        self.layer(Backup(backup)).merging(Joined).replay(Cloned)
    }

    /// Answers by a strategy of your own; without a copy of the request, unless
    /// [`replay`](FallbackLayer::replay) says how to make one.
    pub fn layer<St, E>(&self, strategy: St) -> FallbackLayer<St, E> {
        FallbackLayer {
            fallback: self.clone(),
            strategy,
            classify: ByResult,
            merge: Original,
            replay: NotKept,
            error: PhantomData,
        }
    }
}

impl<St, E, C, J, R> FallbackLayer<St, E, C, J, R> {
    /// Classifies answers by `classify`, any [`Classify`]. Replaced are failures, and refusals of the own stack, as far
    /// as the [builder](super::FallbackBuilder) says; what is ignored, a caller's own mistake, is not.
    pub fn classify<D>(self, classify: D) -> FallbackLayer<St, E, D, J, R> {
        let Self { fallback, strategy, merge, replay, error, .. } = self;
        FallbackLayer { fallback, strategy, classify, merge, replay, error }
    }

    /// Replaces responses for which `predicate` holds, too, as if the service had failed.
    ///
    /// If the fallback then fails, the caller gets the response: not a good one, but the only one.
    ///
    /// ```
    /// use resilience_core::fallback::Fallback;
    /// use resilience_core::{Error, LiftLayer};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # futures::executor::block_on(async {
    /// let fallback = Fallback::builder().build()?.value(vec![1]).or_when(|found: &Vec<u32>| found.is_empty());
    /// let service = ServiceBuilder::new()
    ///     .layer(fallback)
    ///     .layer(LiftLayer)
    ///     .service(service_fn(async |many| Ok::<_, &str>(vec![7; many])));
    /// assert_eq!(service.clone().oneshot(2).await, Ok(vec![7, 7]));
    /// assert_eq!(service.oneshot(0).await, Ok(vec![1]));
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// # }).unwrap();
    /// ```
    pub fn or_when<P>(self, predicate: P) -> FallbackLayer<St, E, OrWhen<C, P>, J, R> {
        let Self { fallback, strategy, classify, merge, replay, error } = self;
        FallbackLayer { fallback, strategy, classify: OrWhen { classify, predicate }, merge, replay, error }
    }

    /// The caller is told the original error when both fail; the fallback's shows in the
    /// [event](super::Event::FailedToo) only.
    pub fn original(self) -> FallbackLayer<St, E, C, Original, R> {
        self.merging(Original)
    }

    /// The caller is told what `join` makes of the original error and the fallback's.
    pub fn join<G: Fn(E, E) -> E>(self, join: G) -> FallbackLayer<St, E, C, G, R> {
        self.merging(join)
    }

    /// Copies requests by `replay`, any [`Replay`](crate::retry::Replay); of which it makes no copy, the original
    /// answer is the caller's.
    pub fn replay<Q>(self, replay: Q) -> FallbackLayer<St, E, C, J, Q> {
        let Self { fallback, strategy, classify, merge, error, .. } = self;
        FallbackLayer { fallback, strategy, classify, merge, replay, error }
    }

    fn merging<K>(self, merge: K) -> FallbackLayer<St, E, C, K, R> {
        let Self { fallback, strategy, classify, replay, error, .. } = self;
        FallbackLayer { fallback, strategy, classify, merge, replay, error }
    }
}

/// A classifier, and responses that count as failures besides; made by [`FallbackLayer::or_when`].
#[derive(Clone, Copy)]
pub struct OrWhen<C, P> {
    classify: C,
    predicate: P,
}

impl<C, P, T, E> Classify<T, E> for OrWhen<C, P>
where
    C: Classify<T, E>,
    P: Fn(&T) -> bool,
{
    fn classify(&self, answer: &Result<T, E>) -> Classification {
        match answer {
            Ok(response) if (self.predicate)(response) => Classification::FAILURE,
            _ => self.classify.classify(answer),
        }
    }
}

impl<S, St, E, C, J, R> Layer<S> for FallbackLayer<St, E, C, J, R>
where
    St: Clone,
    C: Clone,
    J: Clone,
    R: Clone,
{
    type Service = FallbackService<S, St, E, C, J, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { fallback, strategy, classify, merge, replay, .. } = self.clone();
        FallbackService::new(inner, strategy, Rules { fallback, classify, merge, replay })
    }
}

impl<St: Clone, E, C: Clone, J: Clone, R: Clone> Clone for FallbackLayer<St, E, C, J, R> {
    fn clone(&self) -> Self {
        Self {
            fallback: self.fallback.clone(),
            strategy: self.strategy.clone(),
            classify: self.classify.clone(),
            merge: self.merge.clone(),
            replay: self.replay.clone(),
            error: PhantomData,
        }
    }
}

impl<St, E, C, J, R> fmt::Debug for FallbackLayer<St, E, C, J, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackLayer").field("fallback", &self.fallback).finish_non_exhaustive()
    }
}

impl<C: fmt::Debug, P> fmt::Debug for OrWhen<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrWhen").field("classify", &self.classify).finish_non_exhaustive()
    }
}
