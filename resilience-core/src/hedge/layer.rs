//! Puts hedges around services.

use std::fmt;

use tower_layer::Layer;

use crate::ByResult;
use crate::retry::{Cloned, RetryIf};

use super::policy::Hedge;
use super::service::HedgeService;

/// Puts a [`Hedge`] around services; made by [`Hedge::layer`]. All of them are one policy.
#[derive(Clone)]
pub struct HedgeLayer<C = ByResult, R = Cloned> {
    hedge: Hedge,
    classify: C,
    replay: R,
}

impl Hedge {
    /// The policy as a layer. Requests are repeated by cloning them, answers classified by [`ByResult`].
    pub fn layer(&self) -> HedgeLayer {
        HedgeLayer { hedge: self.clone(), classify: ByResult, replay: Cloned }
    }
}

impl<C, R> HedgeLayer<C, R> {
    /// Classifies answers by `classify`, any [`Classify`](crate::Classify).
    pub fn classify<D>(self, classify: D) -> HedgeLayer<D, R> {
        HedgeLayer { hedge: self.hedge, classify, replay: self.replay }
    }

    /// Hedges only requests for which `predicate` holds: the gate for what must not be done twice.
    ///
    /// ```
    /// use resilience_core::hedge::Hedge;
    ///
    /// #[derive(Clone)]
    /// struct Request { method: &'static str }
    ///
    /// let layer = Hedge::builder().build()?.layer().hedge_if(|request: &Request| request.method == "GET");
    /// # let _ = layer;
    /// # Ok::<(), resilience_core::ConfigError>(())
    /// ```
    pub fn hedge_if<F>(self, predicate: F) -> HedgeLayer<C, RetryIf<F, R>> {
        let replay = RetryIf::new(predicate, self.replay);
        HedgeLayer { hedge: self.hedge, classify: self.classify, replay }
    }

    /// Copies requests by `replay`, any [`Replay`](crate::retry::Replay): for requests that are not `Clone`, or not
    /// always.
    pub fn replay<Q>(self, replay: Q) -> HedgeLayer<C, Q> {
        HedgeLayer { hedge: self.hedge, classify: self.classify, replay }
    }
}

impl<S: Clone, C: Clone, R: Clone> Layer<S> for HedgeLayer<C, R> {
    type Service = HedgeService<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        HedgeService::new(inner, self.hedge.clone(), self.classify.clone(), self.replay.clone())
    }
}

impl<C, R> fmt::Debug for HedgeLayer<C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HedgeLayer").field("hedge", &self.hedge).finish_non_exhaustive()
    }
}
