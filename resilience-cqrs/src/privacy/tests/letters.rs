//! Messages in rows of a private store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tower::service_fn;

use super::private;
use crate::BoxError;
use crate::messaging::{Bus as _, Consumer, MemoryBus, Message, Poison, Subscribe};

/// A handler's error quotes the field that it could not read, as serde's errors do. In the row of the dead letter that is a
/// value like any other: longer when it is read than it is at rest. The letter must be whole all the same, or its key waits
/// for one that nobody can read, handle or discard.
#[tokio::test(start_paused = true)]
async fn a_dead_letter_whose_error_quotes_a_personal_value_can_be_read_and_handled_again() {
    let (store, bus) = (private().await, MemoryBus::new());
    let ann = store.vault().subject("s-1").await.unwrap();
    let name = serde_json::to_string(&ann.seal("Ann".to_owned()).unwrap()).unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let handler = service_fn({
        let mended = mended.clone();
        move |message: Message| {
            let mended = mended.load(Ordering::Relaxed);
            async move {
                let name = String::from_utf8_lossy(message.payload()).into_owned();
                let error = || Poison::new(format!("invalid type: string {name}, expected u64"));
                if mended { Ok(()) } else { Err(BoxError::from(error())) }
            }
        }
    });
    let running = Consumer::builder(store, bus.clone(), "mailer", Subscribe::queue("work"), handler).start().unwrap();
    let message = Message::new("m1", "work", name.clone()).with_key("ann");
    bus.send(message).await.unwrap();
    running.wait_until(|status| status.dead == 1).await;
    let letters = running.dead_letters().of_key("ann", None, 10).await.unwrap();
    assert!(letters[0].error.starts_with("invalid type"), "{}", letters[0].error);
    mended.store(true, Ordering::Relaxed);
    assert_eq!(running.redrive("ann").await.unwrap(), 1);
    running.stop().await.unwrap();
}
