//! Chaos as a tower layer.

use std::fmt;

use tower_layer::Layer;

use super::policy::Chaos;
use super::service::ChaosService;

/// Puts a [`Chaos`] in front of a service; made by [`Chaos::layer`].
pub struct ChaosLayer<Req, Res, E> {
    chaos: Chaos<Req, Res, E>,
}

impl<Req, Res, E> Chaos<Req, Res, E> {
    /// This policy as a layer. All services it makes share its faults, and the numbers of its calls.
    pub fn layer(&self) -> ChaosLayer<Req, Res, E> {
        ChaosLayer { chaos: self.clone() }
    }
}

impl<S, Req, Res, E> Layer<S> for ChaosLayer<Req, Res, E> {
    type Service = ChaosService<S, Req, Res, E>;

    fn layer(&self, inner: S) -> Self::Service {
        ChaosService::new(inner, self.chaos.clone())
    }
}

impl<Req, Res, E> Clone for ChaosLayer<Req, Res, E> {
    fn clone(&self) -> Self {
        Self { chaos: self.chaos.clone() }
    }
}

impl<Req, Res, E> fmt::Debug for ChaosLayer<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosLayer").field("chaos", &self.chaos).finish()
    }
}
