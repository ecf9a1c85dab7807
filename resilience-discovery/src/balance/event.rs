//! What happens between the calls and the endpoints.

use std::time::Duration;

use resilience_core::event::{Fact, Severity};

use crate::Endpoint;

/// A fact of balancing.
///
/// ```
/// use std::{convert::Infallible, sync::mpsc::{Sender, channel}, time::Duration};
/// use resilience_core::event::{self, Sink};
/// use resilience_discovery::balance::{Balance, Event};
/// use resilience_discovery::{Address, Discovery, Endpoint, StaticSource};
///
/// struct Added(Sender<Endpoint>);
///
/// impl Sink for Added {
///     fn on_event(&self, event: &event::Event<'_>) {
///         if let Some(Event::EndpointAdded { endpoint }) = event.fact::<Event>() {
///             let _ = self.0.send(endpoint.clone());
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = Endpoint::at(Address::try_from("10.0.0.7:80")?);
/// let discovery = Discovery::builder().build(StaticSource::new([endpoint.clone()]))?;
/// let (added, heard) = channel();
/// let echo = |_: &Endpoint| tower::service_fn(|n: u32| async move { Ok::<_, Infallible>(n) });
/// let _balance = Balance::builder().listener(Added(added)).build(&discovery, echo)?;
/// tokio::time::sleep(Duration::from_secs(1)).await;
/// assert_eq!(heard.try_recv()?, endpoint);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A service was made for a new endpoint, and calls may pick it.
    EndpointAdded {
        /// Who it is.
        endpoint: Endpoint,
    },
    /// An endpoint was removed: no call picks it from now on, those in flight finish.
    EndpointRemoved {
        /// Who it was.
        endpoint: Endpoint,
        /// How many calls it had in flight.
        in_flight: usize,
    },
    /// An endpoint's address changed, and a service at the new address took the place of the old one.
    EndpointMoved {
        /// The endpoint as it was.
        from: Endpoint,
        /// The endpoint as it is.
        to: Endpoint,
    },
    /// The last call to a removed or moved endpoint has ended.
    EndpointDrained {
        /// Who it was.
        endpoint: Endpoint,
    },
    /// An endpoint's service answered readiness with an error; it is made anew after a backoff.
    EndpointBroken {
        /// Who it is.
        endpoint: Endpoint,
        /// How many times in a row.
        failures: u32,
        /// How long until a new service is made.
        retry_in: Duration,
    },
    /// An endpoint's own stack refused a call, and is left alone for a while.
    EndpointAvoided {
        /// Who it is.
        endpoint: Endpoint,
        /// For how long.
        wait: Duration,
    },
    /// A call was refused because no endpoint was ready.
    NoEndpoint {
        /// How many endpoints there were.
        endpoints: usize,
        /// How long the call had waited.
        waited: Duration,
    },
}

impl Fact for Event {
    fn pattern(&self) -> &'static str {
        "balance"
    }

    fn name(&self) -> &'static str {
        match self {
            Self::EndpointAdded { .. } => "endpoint_added",
            Self::EndpointRemoved { .. } => "endpoint_removed",
            Self::EndpointMoved { .. } => "endpoint_moved",
            Self::EndpointDrained { .. } => "endpoint_drained",
            Self::EndpointBroken { .. } => "endpoint_broken",
            Self::EndpointAvoided { .. } => "endpoint_avoided",
            Self::NoEndpoint { .. } => "no_endpoint",
        }
    }

    fn severity(&self) -> Severity {
        match self {
            Self::EndpointAdded { .. } | Self::EndpointRemoved { .. } | Self::EndpointMoved { .. } => Severity::Info,
            Self::EndpointDrained { .. } | Self::EndpointAvoided { .. } => Severity::Debug,
            Self::EndpointBroken { .. } | Self::NoEndpoint { .. } => Severity::Warn,
        }
    }

    fn reason(&self) -> Option<&'static str> {
        match self {
            Self::NoEndpoint { endpoints: 0, .. } => Some("none_known"),
            Self::NoEndpoint { .. } => Some("none_ready"),
            _ => None,
        }
    }

    fn duration(&self) -> Option<(&'static str, Duration)> {
        match self {
            Self::NoEndpoint { waited, .. } => Some(("waited", *waited)),
            _ => None,
        }
    }
}
