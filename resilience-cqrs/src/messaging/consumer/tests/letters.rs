//! Dead letters that cannot be read: of a later release, or damaged.

use bytes::Bytes;

use super::*;
use crate::log::{ReadError, RowChange};
use crate::messaging::StoredLetter;

/// Puts other bytes into the row of a letter; returns those that were there.
async fn overwrite(store: &MemoryStore, lane: &str, number: u64, bytes: &Bytes) -> Bytes {
    let row = [lane.as_bytes(), b"\0", &number.to_be_bytes()].concat();
    let before = store.row("dead/worker", &row).await.unwrap().expect("the letter is there");
    store.append(Append::new().row(RowChange::put("dead/worker", row, bytes.clone()))).await.unwrap();
    before
}

/// Its key waits behind it, and nobody could look at it, handle what is behind it, or give it up.
#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_read_is_listed_and_is_handled_by_whoever_can_read_it() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).start().unwrap();
    for (n, payload) in ["poison", "2", "3"].into_iter().enumerate() {
        send(&bus, n, "k", payload).await;
    }
    until(&running, |status| status.dead == 3).await;
    effects.mended.store(true, Ordering::Relaxed);
    let dead = running.dead_letters();
    for garbled in [
        &b""[..],
        b"{}",
        b"\xff\xfe",
        br#"{"attempts":1,"error":"e","at":1}"#,
        br#"{"attempts":1,"error":"e","at":1}[]"#,
    ] {
        let garbled = Bytes::from_static(garbled);
        let readable = overwrite(&store, "k", 2, &garbled).await;
        let error = dead.of_key("k", None, 10).await.unwrap_err();
        assert!(matches!(&error, ReadError::Corrupt(what) if what.what.contains("letter 2")), "{error:?}");
        let stored = dead.stored("k", None, 10).await.unwrap();
        let told: Vec<_> = stored.iter().map(|letter| (letter.number, letter.read().is_ok())).collect();
        assert_eq!(told, [(1, true), (2, false), (3, true)]);
        assert_eq!(stored[1].bytes, garbled);
        overwrite(&store, "k", 2, &readable).await;
    }
    // What is before it is handled; it stays, with what is behind it.
    let readable = overwrite(&store, "k", 2, &Bytes::from_static(b"of a later release")).await;
    let stopped = running.redrive("k").await.unwrap_err();
    assert!(matches!(stopped, DeadLetterError::Unreadable { number: 2, handled: 1, .. }), "{stopped:?}");
    let stopped = running.redrive("k").await.unwrap_err();
    assert!(matches!(stopped, DeadLetterError::Unreadable { number: 2, handled: 0, .. }), "{stopped:?}");
    assert_eq!(effects.of_key("k"), ["poison"]);
    assert_eq!(until(&running, |status| status.dead == 2).await.health, Health::Degraded);
    // The deploy that can read it.
    overwrite(&store, "k", 2, &readable).await;
    assert_eq!(running.redrive("k").await.unwrap(), 2);
    assert_eq!(effects.of_key("k"), ["poison", "2", "3"]);
    running.stop().await.unwrap();
}

/// With its id it would leave behind that the message is buried: sent again, it would be acknowledged and be nowhere.
#[tokio::test(start_paused = true)]
async fn a_letter_that_cannot_be_read_is_given_up_with_all_that_was_noted_of_it() {
    let (store, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let running = consumer(&store, &bus, &effects).start().unwrap();
    for (n, payload) in ["poison", "2"].into_iter().enumerate() {
        send(&bus, n, "k", payload).await;
    }
    // More than are looked through at once.
    for n in 2..700 {
        send(&bus, n, "", "poison").await;
    }
    until(&running, |status| status.dead == 700).await;
    let dead = running.dead_letters();
    let readable = dead.stored("k", None, 1).await.unwrap().pop().unwrap();
    overwrite(&store, "k", 1, &Bytes::from_static(b"damaged")).await;
    assert!(!dead.discard_stored(&readable).await.unwrap(), "it has changed since it was read");
    let damaged = dead.stored("k", None, 1).await.unwrap().pop().unwrap();
    assert!(dead.discard_stored(&damaged).await.unwrap());
    assert!(!dead.discard_stored(&damaged).await.unwrap(), "once");
    let ids = store.rows("dead.ids/worker", None, 1_000).await.unwrap();
    assert!(ids.len() == 699 && ids.iter().all(|(id, _)| id.as_ref() != b"m0"), "{} ids", ids.len());
    let letters: Vec<StoredLetter> = dead.stored("k", None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.number).collect::<Vec<_>>(), [2], "the other one is still there");
    // One that can be read goes the same way, with its lane.
    assert!(dead.discard_stored(&letters[0]).await.unwrap());
    running.recount().await;
    until(&running, |status| status.dead == 698).await;
    // Sent again, after the bus has forgotten that it had it.
    SharedTimer::default().sleep(Duration::from_secs(300)).await;
    send(&bus, 0, "k", "poison").await;
    until(&running, |status| status.dead == 699).await;
    assert_eq!(dead.of_key("k", None, 10).await.unwrap()[0].message.id.as_str(), "m0");
    running.stop().await.unwrap();
}

/// Two programs lay a message of one key aside at the same time: each must find out that the other did, or one letter is
/// written over by the other, and its message was acknowledged.
#[tokio::test(start_paused = true)]
async fn of_two_letters_that_are_put_into_one_place_at_once_one_is_refused() {
    let (store, at) = (MemoryStore::new(), SharedTimer::default().wall());
    let dead = DeadLetters::new(store.clone(), "worker");
    let message = |id: &str| Message::new(id, "work", "").with_key("k");
    for place in ["first", "second"] {
        let last = dead.last("k").await.unwrap();
        dead.put("k", last.clone(), &message(place), (1, "poison", at)).await.unwrap();
        let late = dead.put("k", last, &message("late"), (1, "poison", at)).await;
        assert!(matches!(late, Err(crate::log::AppendError::Conflict(_))), "{late:?}");
    }
    let letters = dead.of_key("k", None, 10).await.unwrap();
    let ids: Vec<_> = letters.iter().map(|letter| letter.message.id.as_str()).collect();
    assert_eq!(ids, ["first", "second"]);
}

/// A message is to get behind the letters of its key, and before it is there the last of them is given up: it has nothing to
/// wait for, and nobody would ever redrive a key without a letter that has failed.
#[tokio::test(start_paused = true)]
async fn what_is_to_wait_behind_a_letter_that_is_gone_by_then_is_handled() {
    let (there, bus, effects) = (MemoryStore::new(), MemoryBus::new(), Effects::default());
    let (dead, at) = (DeadLetters::new(there.clone(), "worker"), SharedTimer::default().wall());
    let poison = Message::new("m0", "work", "poison").with_key("k");
    dead.put("k", None, &poison, (1, "poison", at)).await.unwrap();
    let (is_armed, reads) = (Arc::new(AtomicBool::new(false)), AtomicU32::new(0));
    let armed = is_armed.clone();
    let store = FaultyStore::new(there).on_read(move |_| {
        // Once it has seen that there are letters, and before it looks where they end.
        if armed.load(Ordering::Relaxed) && reads.fetch_add(1, Ordering::Relaxed) == 1 {
            let given_up = async {
                let letter = dead.of_key("k", None, 1).await.unwrap().pop().unwrap();
                assert!(dead.discard(&letter).await.unwrap());
            };
            futures::FutureExt::now_or_never(given_up).expect("nothing waits in memory");
        }
        None
    });
    let running = consumer(&store, &bus, &effects).start().unwrap();
    until(&running, |status| status.health == Health::Degraded).await;
    is_armed.store(true, Ordering::Relaxed);
    send(&bus, 1, "k", "2").await;
    until(&running, |status| status.handled + status.dead == 2).await;
    assert_eq!((effects.of_key("k"), running.dead_letters().counts().await.unwrap().len()), (vec!["2".into()], 0));
    running.stop().await.unwrap();
}
