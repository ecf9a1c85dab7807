use super::limits::{self, Invalid};
use super::{Append, Expected, Metadata, NewEvent, Position, Query, QueryItem, RowChange, Version};

fn one(event: NewEvent) -> Append {
    Append::new().events("s", Expected::Any, [event])
}

#[test]
fn an_exact_expectation_refuses_a_stream_that_is_behind_as_well_as_one_that_is_ahead() {
    // A store that only has a unique index on (stream, version) accepts version 10 on a stream of 3 and leaves a hole.
    let three = Expected::Exact(Version::new(3));
    assert_eq!([2, 3, 4].map(|actual| three.admits(Version::new(actual))), [false, true, false]);
    assert!(Expected::NoStream.admits(Version::EMPTY) && !Expected::NoStream.admits(Version::new(1)));
    assert!(!Expected::Exists.admits(Version::EMPTY) && Expected::Exists.admits(Version::new(1)));
}

#[test]
fn each_limit_holds_at_its_figure_and_refuses_one_more() {
    let name = |bytes: usize| "n".repeat(bytes);
    let accepts = |append: Append| assert_eq!(append.validate(), Ok(()));
    let refuses = |append: Append, what: &str| {
        let invalid = append.validate().unwrap_err();
        assert!(invalid.to_string().contains(what), "{invalid}");
    };
    let stream = |bytes| Append::new().events(name(bytes), Expected::Any, []);
    accepts(stream(limits::NAME_BYTES));
    refuses(stream(limits::NAME_BYTES + 1), "stream has 256 bytes");
    let tags = |count: usize| one(NewEvent::new("E", "").tags((0..count).map(|n| n.to_string())));
    accepts(tags(limits::TAGS));
    refuses(tags(limits::TAGS + 1), "65 tags");
    let payload = |bytes| one(NewEvent::new("E", vec![0; bytes]));
    accepts(payload(limits::PAYLOAD_BYTES));
    refuses(payload(limits::PAYLOAD_BYTES + 1), "payload");
    let key = |bytes| Append::new().row(RowChange::put("s", vec![0; bytes], ""));
    accepts(key(limits::KEY_BYTES));
    refuses(key(limits::KEY_BYTES + 1), "row key");
    let events = |count| Append::new().events("s", Expected::Any, vec![NewEvent::new("E", ""); count]);
    accepts(events(limits::APPEND_ITEMS));
    refuses(events(limits::APPEND_ITEMS + 1), "65537 events");
    let whole = vec![NewEvent::new("E", vec![0; limits::PAYLOAD_BYTES]); limits::APPEND_BYTES / limits::PAYLOAD_BYTES];
    accepts(Append::new().events("s", Expected::Any, whole.clone()));
    refuses(Append::new().events("s", Expected::Any, whole).row(RowChange::put("s", "k", "")), "append has");
}

#[test]
fn names_that_would_break_a_listing_are_refused() {
    assert_eq!(one(NewEvent::new("", "")).validate(), Err(Invalid::EmptyName { what: "event type" }));
    assert_eq!(one(NewEvent::new("a\nb", "")).validate(), Err(Invalid::ControlCharacter { what: "event type" }));
    assert_eq!(one(NewEvent::new("E", "").tag("\u{7f}")).validate(), Err(Invalid::ControlCharacter { what: "tag" }));
    let actor = Metadata::new().with_actor("\0");
    assert_eq!(
        one(NewEvent::new("E", "").metadata(actor)).validate(),
        Err(Invalid::ControlCharacter { what: "actor" })
    );
    assert_eq!(one(NewEvent::new("Überwiesen", "")).validate(), Ok(()));
    let twice = Append::new().events("s", Expected::Any, []).events("s", Expected::NoStream, []);
    assert_eq!(twice.validate(), Err(Invalid::StreamTwice));
}

#[test]
fn a_second_attempt_is_recognised_by_what_it_writes_and_not_by_what_it_expected() {
    let attempt = |expected, payload: &'static str| {
        Append::new().events("s", expected, [NewEvent::new("E", payload)]).command_id("c")
    };
    let digest = |append: &Append| append.command().unwrap().1;
    let first = digest(&attempt(Expected::NoStream, "1"));
    assert_eq!(first, digest(&attempt(Expected::Exact(Version::new(1)), "1")));
    assert_ne!(first, digest(&attempt(Expected::NoStream, "2")));
    assert_ne!(first, digest(&attempt(Expected::NoStream, "1").row(RowChange::delete("s", "k"))));
    // A payload with a fresh timestamp in it: the command says itself what it is.
    let same = digest(&attempt(Expected::Any, "at 12:00").fingerprint(b"deposit 5"));
    assert_eq!(same, digest(&attempt(Expected::Any, "at 12:01").fingerprint(b"deposit 5")));
}

#[test]
fn a_query_without_items_matches_nothing_and_an_empty_item_everything() {
    assert!(!Query::any([]).matches(&"E".into(), &[]));
    assert!(Query::any([]).or(QueryItem::new()).is_all());
    let both = Query::tags(["a", "b"]);
    assert!(!both.matches(&"E".into(), &["a".into()]));
    assert!(both.matches(&"E".into(), &["b".into(), "a".into()]));
}

#[test]
fn positions_are_counted_without_overflow() {
    assert_eq!(Position::new(u64::MAX).next(), Position::new(u64::MAX));
    assert_eq!(Position::new(3).since(Position::new(5)), 0);
}
