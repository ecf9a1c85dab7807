//! A bulkhead as a tower layer.

use tower_layer::Layer;

use super::{Bulkhead, BulkheadService};

/// Limits the calls that run at once; made by [`Bulkhead::layer`]. All services it makes share one limit.
#[derive(Clone, Debug)]
pub struct BulkheadLayer {
    bulkhead: Bulkhead,
}

impl From<Bulkhead> for BulkheadLayer {
    fn from(bulkhead: Bulkhead) -> Self {
        Self { bulkhead }
    }
}

impl<S> Layer<S> for BulkheadLayer {
    type Service = BulkheadService<S>;

    fn layer(&self, inner: S) -> BulkheadService<S> {
        BulkheadService::new(inner, self.bulkhead.clone())
    }
}
