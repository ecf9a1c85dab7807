//! Sealing on a store in memory; what a changed file is like is in `tests/audit.rs`.

use std::num::NonZeroUsize;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::block::{BLOCKS, key};
use super::*;
use crate::testing::{Fault, FaultyStore};
use crate::{Append, EventStore, Expected, MemoryStore, Metadata, NewEvent, Position, RowChange};

/// By tokio's clock, which is stopped in these tests.
async fn sleep(duration: Duration) {
    resilience_core::time::SharedTimer::default().sleep(duration).await;
}

async fn append(store: &impl EventStore, payloads: impl IntoIterator<Item = String>) {
    let events = payloads.into_iter().map(|payload| NewEvent::new("Happened", payload));
    store.append(Append::new().events("s", Expected::Any, events)).await.unwrap();
}

fn some(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|n| n.to_string())
}

async fn found(store: &impl EventStore) -> (u64, Evidence) {
    match verify(store).await {
        Err(VerifyError::Tampered(Tampered { position, evidence })) => (position.get(), evidence),
        other => panic!("{other:?}"),
    }
}

async fn seal_in_blocks_of(store: &MemoryStore, events: usize) {
    let block = NonZeroUsize::new(events).unwrap();
    Sealer::builder(store.clone()).block(block).start().stop().await.unwrap();
}

#[tokio::test]
async fn every_append_is_sealed_in_the_order_of_the_log_and_none_of_it_costs_the_append() {
    let store = MemoryStore::new();
    append(&store, some(10)).await;
    seal_in_blocks_of(&store, 4).await;
    append(&store, some(3)).await;
    let verified = verify(&store).await.unwrap();
    assert_eq!((verified.seal.position(), verified.unsealed), (Position::new(10), 3));
    let sealed = seal(&store).await.unwrap();
    assert_eq!(verify(&store).await.unwrap(), Verified { seal: sealed, unsealed: 0 });
    assert_eq!(store.rows(BLOCKS.as_str(), None, 10).await.unwrap().len(), 4, "4, 4, 2 and 3 events");
}

/// The blocks depend on when a sealer looked, the entries do not: a log that was copied event by event has the same seal.
#[tokio::test]
async fn the_seal_does_not_depend_on_how_the_log_was_cut_into_blocks() {
    let seal_of = async |block: usize| {
        let timer = resilience_core::time::ManualTimer::new();
        let store = MemoryStore::builder().timer(timer).build();
        append(&store, some(23)).await;
        seal_in_blocks_of(&store, block).await;
        verify(&store).await.unwrap().seal
    };
    assert_eq!(seal_of(1).await, seal_of(7).await);
    assert_eq!(seal_of(7).await, seal_of(1000).await);
}

/// Two processes seal one log: of each block, one finds it written. Neither fails, and the chain is whole.
#[tokio::test]
async fn sealers_that_run_at_once_write_one_chain() {
    let store = MemoryStore::new();
    append(&store, some(200)).await;
    let sealers: Vec<_> =
        (1..5).map(|size| Sealer::builder(store.clone()).block(NonZeroUsize::new(size).unwrap()).start()).collect();
    append(&store, some(50)).await;
    for sealer in sealers {
        assert_eq!(sealer.stop().await.unwrap().position(), store.head());
    }
    assert_eq!(verify(&store).await.unwrap().unsealed, 0);
}

/// A sealer that was held up between its look and its write must not take back what another has sealed meanwhile.
#[tokio::test]
async fn a_sealer_that_was_overtaken_takes_nothing_back() {
    let store = FaultyStore::new(MemoryStore::new());
    append(store.inner(), some(5)).await;
    let held = store.hold_appends();
    let late = tokio::spawn({
        let store = store.clone();
        async move { seal(&store).await }
    });
    held.arrived(1).await;
    append(store.inner(), some(5)).await;
    let sealed = seal(store.inner()).await.unwrap();
    drop(held);
    assert_eq!(late.await.unwrap().unwrap(), sealed);
    assert_eq!(verify(store.inner()).await.unwrap(), Verified { seal: sealed, unsealed: 0 });
}

/// An answer that is lost leaves a block written of which the sealer does not know: it looks before it writes again.
#[tokio::test(start_paused = true)]
async fn a_sealer_survives_any_fault_of_the_store_and_seals_each_event_once() {
    let faulty = FaultyStore::new(MemoryStore::new())
        .on_append(|nth| match nth % 3 {
            0 => Some(Fault::AnswerLost),
            1 => Some(Fault::Refused),
            _ => None,
        })
        .on_read(|nth| (nth % 5 == 0).then_some(Fault::Refused));
    append(faulty.inner(), some(100)).await;
    let sealing = Sealer::builder(faulty.clone()).block(NonZeroUsize::new(7).unwrap()).start();
    while sealing.latest().position() < Position::new(100) {
        sleep(Duration::from_millis(50)).await;
    }
    drop(sealing);
    assert_eq!(verify(faulty.inner()).await.unwrap().unsealed, 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_log_is_not_left_unsealed_for_longer_than_the_sealer_lingers() {
    let store = MemoryStore::new();
    let sealing = Sealer::builder(store.clone()).linger(Duration::from_secs(5)).start();
    tokio::task::yield_now().await;
    append(&store, some(1)).await;
    sleep(Duration::from_secs(4)).await;
    append(&store, some(1)).await;
    assert_eq!(sealing.latest().position(), Position::ORIGIN);
    sleep(Duration::from_millis(1001)).await;
    assert_eq!(sealing.latest().position(), Position::new(2));
    assert_eq!(store.rows(BLOCKS.as_str(), None, 10).await.unwrap().len(), 1, "they share a row");
}

/// Every field of an event is in its entry, and where one ends and the next begins.
#[tokio::test]
async fn no_two_events_have_the_same_entry() {
    let store = MemoryStore::builder().timer(resilience_core::time::ManualTimer::new()).build();
    let event = |kind: &str, payload: &str| NewEvent::new(kind.to_owned(), payload.to_owned());
    let events = [
        event("ab", "c"),
        event("a", "bc"),
        event("a", "c").tag("b"),
        event("a", "c").tags(["b", "d"]),
        event("a", "c").tag("bd"),
        event("a", "c").metadata(Metadata::new().with_actor("b")),
        event("a", "c").metadata(Metadata::new().with_tenant("b")),
    ];
    store.append(Append::new().events("s", Expected::Any, events)).await.unwrap();
    let page = store.read(Position::ORIGIN, &crate::Query::all(), 100).await.unwrap();
    let mut hashes = std::collections::BTreeSet::new();
    for event in &page.events {
        // At the same place, so that nothing but the fields tells them apart.
        let mut event = event.clone();
        (event.position, event.version) = (Position::new(1), crate::Version::new(1));
        assert!(hashes.insert(Seal::beginning().and(&event).hash()), "{event:?}");
        event.version = crate::Version::new(2);
        assert!(hashes.insert(Seal::beginning().and(&event).hash()), "{event:?}");
        event.recorded_at = resilience_core::time::WallTime::from_unix_millis(1);
        assert!(hashes.insert(Seal::beginning().and(&event).hash()), "{event:?}");
        event.stream = "t".into();
        assert!(hashes.insert(Seal::beginning().and(&event).hash()), "{event:?}");
    }
}

/// The chain in rows was changed, not the log. The entry after the changed one was made of what both should be.
#[tokio::test]
async fn an_entry_that_was_changed_is_told_from_an_event_that_was() {
    for (at, last) in [(2, false), (4, false), (5, false), (10, true)] {
        let store = MemoryStore::new();
        append(&store, some(10)).await;
        seal_in_blocks_of(&store, 4).await;
        let first = Position::new((at - 1) / 4 * 4 + 1);
        let mut value = store.row(BLOCKS.as_str(), &key(first)).await.unwrap().unwrap().to_vec();
        let entry = usize::try_from(at - first.get()).unwrap();
        value[1 + entry * 32] ^= 1;
        let change = RowChange::put(BLOCKS, key(first), value);
        store.append(Append::new().row(change)).await.unwrap();
        assert_eq!(found(&store).await, (at, Evidence::Entry), "{at} {last}");
    }
}

#[tokio::test]
async fn a_chain_with_a_hole_or_without_its_end_is_found() {
    let sealed = async || {
        let store = MemoryStore::new();
        append(&store, some(10)).await;
        seal_in_blocks_of(&store, 4).await;
        store
    };
    let remove = async |store: &MemoryStore, space: &'static str, key: Bytes| {
        store.append(Append::new().row(RowChange::delete(space, key))).await.unwrap();
    };
    for (first, found_at) in [(1, 1), (5, 5), (9, 9)] {
        let store = sealed().await;
        remove(&store, "audit-block", key(Position::new(first))).await;
        assert_eq!(found(&store).await, (found_at, Evidence::Entry));
    }
    let store = sealed().await;
    remove(&store, "audit", Bytes::from_static(b"head")).await;
    assert_eq!(found(&store).await, (1, Evidence::Entry));
    // A row of another make: nothing is taken for what it is not.
    let store = sealed().await;
    store.append(Append::new().row(RowChange::put("audit", "head", "x"))).await.unwrap();
    assert_eq!(found(&store).await, (1, Evidence::Entry));
    assert!(matches!(seal(&store).await, Err(SealError::Read(crate::ReadError::Corrupt(_)))));
}

/// Whoever can write to the store can write a chain to whatever he makes of it. What he cannot write to is the seals that
/// are elsewhere: the more there are, the closer they say where it began.
#[tokio::test]
async fn a_chain_that_was_written_anew_does_not_fit_a_seal_kept_elsewhere() {
    let store = MemoryStore::new();
    let mut kept = Vec::new();
    for _ in 0..3 {
        append(&store, some(5)).await;
        kept.push(seal(&store).await.unwrap());
    }
    verify_against(&store, kept.clone()).await.unwrap();

    let page = store.read(Position::ORIGIN, &crate::Query::all(), 100).await.unwrap();
    let forged = MemoryStore::builder().timer(resilience_core::time::ManualTimer::new()).build();
    append(&forged, page.events.iter().map(|event| String::from_utf8_lossy(&event.payload).into_owned())).await;
    seal(&forged).await.unwrap();
    verify(&forged).await.unwrap();
    let Err(VerifyError::Tampered(tampered)) = verify_against(&forged, kept.clone()).await else { panic!() };
    assert_eq!(tampered.position, Position::new(1));
    assert_eq!(tampered.evidence, Evidence::Rewritten { through: Position::new(5) });

    // Without rows at all, seals are checked against the events; and a log that is too short lacks one.
    let copied = MemoryStore::new();
    let Err(VerifyError::Tampered(tampered)) = verify_against(&copied, [kept[0]]).await else { panic!() };
    assert_eq!((tampered.position, tampered.evidence), (Position::new(1), Evidence::Missing));
}

#[tokio::test]
async fn a_seal_kept_elsewhere_says_after_which_other_seal_the_log_was_written_anew() {
    let store = MemoryStore::new();
    append(&store, some(5)).await;
    let good = seal(&store).await.unwrap();
    append(&store, some(5)).await;
    let bad = Seal::new(Position::new(9), [7; 32]);
    let Err(VerifyError::Tampered(tampered)) = verify_against(&store, [bad, good]).await else { panic!() };
    assert_eq!(tampered.position, Position::new(6));
    assert_eq!(tampered.evidence, Evidence::Rewritten { through: Position::new(9) });
    assert!(verify_against(&store, [good, Seal::new(good.position(), [7; 32])]).await.is_err());
}

#[test]
fn what_is_not_a_seal_is_not_read_as_one() {
    let seal = Seal::new(Position::new(7), [0xab; 32]).to_string();
    assert!(seal.parse::<Seal>().is_ok());
    for wrong in ["", ":", "7", "x:ab", &seal[..seal.len() - 1], &format!("{seal}0"), &seal.replace("ab", "+b")] {
        assert_eq!(wrong.parse::<Seal>(), Err(SealFormat), "{wrong}");
    }
}

proptest! {
    #[test]
    fn a_seal_survives_its_text(position: u64, hash: [u8; 32]) {
        let seal = Seal::new(Position::new(position), hash);
        prop_assert_eq!(seal.to_string().parse::<Seal>(), Ok(seal));
        prop_assert_eq!(serde_json::from_str::<Seal>(&serde_json::to_string(&seal).unwrap()).unwrap(), seal);
    }

    #[test]
    fn rows_of_another_make_are_no_blocks(key: Vec<u8>, value: Vec<u8>) {
        if let Some(block) = block::Block::read(&key, &value) {
            prop_assert_eq!(block.write(), RowChange::put(BLOCKS, key, value));
        }
    }
}

/// Whoever has changed an event of the third block sets the end of the chain back to the second, where all still fits, and
/// leaves the third to the next sealer to write anew. A chain that goes on after its end has been tampered with.
#[tokio::test]
async fn a_chain_that_goes_on_after_its_end_is_found() {
    let store = MemoryStore::new();
    append(&store, some(4)).await;
    seal_in_blocks_of(&store, 4).await;
    let (space, head) = super::block::head_row();
    let former = store.row(space, head).await.unwrap().unwrap();
    append(&store, some(4)).await;
    seal_in_blocks_of(&store, 4).await;
    assert_eq!(verify(&store).await.unwrap().unsealed, 0);
    store.append(Append::new().row(RowChange::put(space, head, former))).await.unwrap();
    assert_eq!(found(&store).await, (5, Evidence::Entry));
}

/// Whoever drops the handle does not wait for anything, so nothing more is done in his name: a sealer that went on would
/// hold its store open for as long as the log is long, or the store hangs.
#[tokio::test(start_paused = true)]
async fn a_sealer_whose_handle_is_dropped_ends_where_it_is() {
    let store = MemoryStore::new();
    let sealing = Sealer::builder(store.clone()).linger(Duration::from_secs(3_600)).start();
    tokio::task::yield_now().await;
    append(&store, some(3)).await;
    drop(sealing);
    sleep(Duration::from_secs(7_200)).await;
    assert_eq!(verify(&store).await.unwrap().unsealed, 3);
}
