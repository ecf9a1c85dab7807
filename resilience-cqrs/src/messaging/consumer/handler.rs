//! What handles messages.

use std::future::{Future, poll_fn};

use tower_service::Service;

use crate::log::BoxError;
use crate::messaging::message::Message;

/// Handles messages: any `tower` service of [`Message`]s that answers nothing, so that the layers of resilience-core go around
/// it as around any other service.
///
/// A clone is made for each message, so what is not shared by clones is not shared by messages. Readiness is waited for
/// within the message's [time](super::ConsumerBuilder::within).
///
/// ```
/// use resilience_cqrs::messaging::Message;
/// use resilience_cqrs::messaging::consumer::Handler;
/// use resilience_cqrs::BoxError;
/// use tower::service_fn;
///
/// fn is_handler(_: impl Handler) {}
/// is_handler(service_fn(async |message: Message| {
///     println!("{}", message.id);
///     Ok::<(), BoxError>(())
/// }));
/// ```
pub trait Handler: Clone + Send + 'static {
    /// Handles one message.
    fn handle(self, message: Message) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<T> Handler for T
where
    T: Service<Message, Response = ()> + Clone + Send + 'static,
    T::Error: Into<BoxError>,
    T::Future: Send,
{
    async fn handle(mut self, message: Message) -> Result<(), BoxError> {
        poll_fn(|cx| self.poll_ready(cx)).await.map_err(Into::into)?;
        self.call(message).await.map_err(Into::into)
    }
}
