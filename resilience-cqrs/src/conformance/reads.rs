//! Reading, in one's own time and along with the writers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::{Engine, append, assert_versions, each, event, ok, payloads, stream, to, wait};
use crate::log::limits::{PAGE_BYTES, PAGE_EVENTS};
use crate::log::{Append, Expected, Metadata, NewEvent, Position, Query, Recorded, StreamId, Version};
use crate::store::EventStore;

/// Every byte and every field comes back.
pub fn what_is_read_is_what_was_written(engine: &impl Engine) {
    let store = engine.fresh();
    let metadata = Metadata::new()
        .with_correlation("order-17")
        .with_causation("c-4")
        .with_actor("Ångström")
        .with_tenant("t")
        .with_trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let payload: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let full = NewEvent::new("Überwiesen", payload).tags(["b:2", "a:1", "ä"]).metadata(metadata);
    let bare = NewEvent::new("E", "");
    let partly = NewEvent::new("E", "x").metadata(Metadata::new().with_tenant("t"));
    let written = [full, bare, partly];
    append(&store, Append::new().events("Größe/1", Expected::NoStream, written.clone()));
    let read = stream(&store, "Größe/1");
    let page = ok(wait(store.read(Position::ORIGIN, &Query::all(), 10)));
    assert_eq!(page.events, read);
    for (event, new) in read.iter().zip(written) {
        let Recorded { stream, kind, tags, payload, metadata, .. } = event.clone();
        assert_eq!((kind, tags, payload, metadata), (new.kind, new.tags, new.payload, new.metadata));
        assert_eq!(stream, "Größe/1");
    }
    assert!(read[0].recorded_at.as_unix_millis() > 0 && read[0].recorded_at == read[2].recorded_at);
}

/// Eight writers and a poller: what is delivered is what was acknowledged, in order, once. This is the law that stores
/// with a number from a sequence break, because a number can be taken before and become visible after another.
// ES13.
pub fn a_poller_sees_what_was_acknowledged_in_order_and_once(engine: &impl Engine) {
    const EACH: usize = 150;
    let store = engine.fresh();
    let done = AtomicBool::new(false);
    let (delivered, mut acknowledged) = thread::scope(|scope| {
        let poller = scope.spawn(|| {
            let mut delivered: Vec<Recorded> = Vec::new();
            let mut after = Position::ORIGIN;
            loop {
                let last = done.load(Ordering::Acquire); // Pairs with the store below: nothing is appended after.
                let page = ok(wait(store.read(after, &Query::all(), 64)));
                assert!(page.next <= store.head(), "a page does not run ahead of the head");
                delivered.extend(page.events);
                let caught_up = page.next == page.head;
                after = page.next;
                if last && caught_up {
                    return delivered;
                }
                thread::yield_now();
            }
        });
        let acknowledged = each(8, |n| {
            let one = |m| {
                let appended =
                    append(&store, to(&format!("s-{}", m % 5), Expected::Any, [format!("{n}-{m}"), "x".into()]));
                assert!(store.head() >= appended.last, "an acknowledged event is below the head");
                (appended.first.get(), format!("{n}-{m}"))
            };
            (0..EACH).map(one).collect::<Vec<_>>()
        });
        done.store(true, Ordering::Release);
        (poller.join().expect("the poller keeps the law"), acknowledged.concat())
    });
    acknowledged.sort_unstable();
    let positions: Vec<u64> = delivered.iter().map(|event| event.position.get()).collect();
    assert_eq!(positions, (1..=8 * EACH as u64 * 2).collect::<Vec<_>>());
    let first: Vec<(u64, String)> =
        delivered.chunks(2).map(|pair| (pair[0].position.get(), payloads(pair)[0].to_owned())).collect();
    assert_eq!(first, acknowledged);
}

/// A reader that catches up and then waits for more misses nothing and sees nothing twice where the one becomes the other.
// ES20.
pub fn catching_up_and_going_live_have_no_seam(engine: &impl Engine) {
    const TOTAL: u64 = 600;
    let store = engine.fresh();
    append(&store, to("s", Expected::Any, 1..=TOTAL / 3));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut seen = 0;
                let mut after = Position::ORIGIN;
                while seen < TOTAL {
                    let page = ok(wait(store.read(after, &Query::all(), 50)));
                    for event in &page.events {
                        seen += 1;
                        assert_eq!(event.position.get(), seen);
                    }
                    after = page.next;
                    if page.is_last() && seen < TOTAL {
                        let head = wait(store.wait_past(after));
                        assert!(head > after, "woken at {head} while waiting past {after}");
                    }
                }
            });
        }
        for n in TOTAL / 3..TOTAL {
            append(&store, to("s", Expected::Any, [n + 1]));
        }
    });
    // Whoever is late need not wait.
    assert_eq!(wait(store.wait_past(Position::new(1))), Position::new(TOTAL));
}

/// Limits outside of what makes sense are brought inside; a page is never so large that it hurts.
pub fn a_page_ends_at_its_limit_and_says_where_to_go_on(engine: &impl Engine) {
    let store = engine.fresh();
    let empty = ok(wait(store.read(Position::ORIGIN, &Query::all(), 10)));
    assert_eq!((empty.events.len(), empty.next, empty.is_last()), (0, Position::ORIGIN, true));
    append(&store, to("s", Expected::Any, 0..PAGE_EVENTS + 1));
    let read = |after, limit| ok(wait(store.read(after, &Query::all(), limit)));
    let one = read(Position::ORIGIN, 0);
    assert_eq!((one.events.len(), one.next), (1, Position::new(1)));
    let most = read(Position::ORIGIN, usize::MAX);
    assert_eq!((most.events.len(), most.next), (PAGE_EVENTS, Position::new(PAGE_EVENTS as u64)));
    let rest = read(most.next, usize::MAX);
    assert_eq!((rest.events.len(), rest.is_last()), (1, true));
    let beyond = read(Position::new(u64::MAX), 10);
    assert_eq!((beyond.events.len(), beyond.is_last()), (0, true));
    assert!(beyond.next >= beyond.head);
    let large = vec![0; PAGE_BYTES / 4];
    append(&store, Append::new().events("large", Expected::Any, vec![NewEvent::new("Large", large.clone()); 3]));
    append(&store, Append::new().events("large", Expected::Any, vec![NewEvent::new("Large", large); 3]));
    let filled = read(rest.next, 100);
    assert_eq!((filled.events.len(), filled.is_last()), (4, false));
    assert_eq!(read(filled.next, 100).events.len(), 2);
}

/// From any version, to any limit; and nothing where there is nothing.
pub fn a_stream_is_read_in_order_from_any_version(engine: &impl Engine) {
    let store = engine.fresh();
    for n in 0..20 {
        append(&store, to(["a", "b"][n % 2], Expected::Any, [n, n + 100]));
    }
    let all = stream(&store, "a");
    assert_versions(&all);
    assert_eq!(all.len(), 20);
    let read = |after, limit| ok(wait(store.read_stream(&"a".into(), Version::new(after), limit)));
    assert_eq!(read(5, 3), all[5..8]);
    assert_eq!(read(19, 100), all[19..]);
    assert!(read(20, 100).is_empty() && read(u64::MAX, 100).is_empty() && read(0, 0).is_empty());
    assert!(stream(&store, "c").is_empty());
}

/// What was acknowledged is there, in the same places, and the log goes on behind it.
pub fn the_log_is_there_after_a_restart(engine: &impl Engine) {
    let store = engine.fresh();
    for n in 0..50 {
        let event = NewEvent::new(["A", "B"][n % 2], n.to_string()).tag(format!("t{}", n % 3));
        append(&store, Append::new().events(format!("s-{}", n % 7), Expected::Any, [event]));
    }
    let before = ok(wait(store.read(Position::ORIGIN, &Query::all(), 100)));
    let tagged = ok(wait(store.read(Position::ORIGIN, &Query::tags(["t1"]), 100)));
    let Some(store) = engine.reopen(store) else { return };
    assert_eq!(store.head(), Position::new(50));
    assert_eq!(ok(wait(store.read(Position::ORIGIN, &Query::all(), 100))), before);
    assert_eq!(ok(wait(store.read(Position::ORIGIN, &Query::tags(["t1"]), 100))), tagged);
    let at = stream(&store, "s-0").len() as u64;
    let next = append(&store, to("s-0", Expected::Exact(Version::new(at)), ["next"]));
    assert_eq!((next.first, next.version("s-0")), (Position::new(51), Some(Version::new(at + 1))));
    // What is new now is not taken for anything that was there.
    let new = NewEvent::new("C", "new").tag("new");
    let new = append(&store, Append::new().events("new", Expected::NoStream, [new]));
    assert_eq!((new.first, new.version("new")), (Position::new(52), Some(Version::new(1))));
    let after = ok(wait(store.read(Position::ORIGIN, &Query::all(), 100)));
    assert_eq!(after.events[..50], before.events);
    for (n, event) in before.events.iter().enumerate() {
        let found = ok(wait(store.read_stream(&event.stream, Version::new(event.version.get() - 1), 1)));
        assert_eq!(found.as_slice(), &before.events[n..=n]);
    }
    for query in [Query::types(["C"]), Query::tags(["new"])] {
        assert_eq!(ok(wait(store.read(Position::ORIGIN, &query, 100))).events, after.events[51..]);
    }
    assert_eq!(stream(&store, "new"), after.events[51..]);
}

/// A repository that loads many at once must get what it would get one by one.
pub fn several_streams_are_read_as_each_would_be_alone(engine: &impl Engine) {
    let store = engine.fresh();
    for n in 0..30 {
        append(&store, to(&format!("s-{}", n % 3), Expected::Any, [n]));
    }
    let asked = [("s-2", 0), ("never", 0), ("s-0", 4), ("s-2", 9), ("s-1", 10), ("s-0", 0), ("s-1", u64::MAX)];
    let asked = asked.map(|(stream, after)| (StreamId::from(stream), Version::new(after)));
    for limit in [0, 1, 7, 100] {
        let together = ok(wait(store.read_streams(&asked, limit)));
        let alone: Vec<_> =
            asked.iter().map(|(stream, after)| ok(wait(store.read_stream(stream, *after, limit)))).collect();
        assert_eq!(together, alone);
    }
    assert_eq!(
        ok(wait(store.read_streams(&asked, 100))).iter().map(Vec::len).collect::<Vec<_>>(),
        [10, 0, 6, 1, 0, 10, 0]
    );
    assert!(ok(wait(store.read_streams(&[], 100))).is_empty());
}

/// A list of tags that was put together by hand may have one twice; that is no reason to refuse the event, or to fail.
pub fn a_tag_that_is_given_twice_is_there_once(engine: &impl Engine) {
    let store = engine.fresh();
    let mut twice = event("twice");
    twice.tags = vec!["t:1".into(), "t:2".into(), "t:1".into()];
    append(&store, Append::new().events("s", Expected::Any, [twice]));
    let page = ok(wait(store.read(Position::ORIGIN, &Query::tags(["t:1"]), 10)));
    assert_eq!(page.events.len(), 1);
    assert_eq!(page.events[0].tags, ["t:1", "t:2"]);
}
