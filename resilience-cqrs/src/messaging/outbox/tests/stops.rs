//! Relays that are stopped while something is on its way.

use super::*;

/// Two keys' messages are on their way, and of another key one between them was sent and one could not be. The checkpoint stays
/// before the first, so all of them are met again: rows that were struck out by then would be messages that are not there.
#[tokio::test(start_paused = true)]
async fn what_was_sent_behind_a_message_that_was_not_is_still_whole_when_it_is_met_again() {
    let (store, broker) = (MemoryStore::new(), Broker::default());
    let outbox = Outbox::new("bank");
    for (id, key, payload) in
        [("m1", "a", "hang"), ("m2", "b", "2"), ("m3", "c", "hang"), ("m4", "b", "poison"), ("m5", "b", "4")]
    {
        let message = Message::new(id, "bank.told", payload).with_key(key);
        store.append(outbox.put(Append::new(), &message)).await.unwrap();
    }
    let rows = async |space: &str| store.rows(space, None, 10).await.unwrap().len();
    let running = relay(&store, &broker).start().unwrap();
    resilience_core::time::SharedTimer::default().sleep(Duration::from_millis(50)).await;
    assert_eq!(broker.payloads(), ["2"], "and two are on their way");
    running.stop().await.unwrap();
    assert_eq!(
        (saved(&store).await, rows("outbox/bank").await, rows("outbox.parked/bank").await),
        (Position::ORIGIN, 5, 0)
    );
    broker.mended.store(true, Ordering::Relaxed);
    let running = relay(&store, &broker).start().unwrap();
    relayed(&store, &running).await;
    running.stop().await.unwrap();
    assert_eq!(
        (broker.of_key("a"), broker.of_key("b")),
        (vec!["hang".into()], ["2", "2", "poison", "4"].map(String::from).into())
    );
    assert_eq!(broker.of_key("c"), ["hang"]);
    assert_eq!((rows("outbox/bank").await, rows("outbox.parked/bank").await), (0, 0));
}
