//! Commands that are tried more than once.

use std::sync::Barrier;

use super::{Engine, append, conflict, each, ok, stream, to, wait};
use crate::log::{Append, AppendError, Expected, Position, RowChange, Version};
use crate::store::EventStore;

fn command(id: &str) -> Append {
    to("s", Expected::NoStream, [1, 2]).row(RowChange::put("rows", "k", id.to_owned())).command_id(id)
}

/// The second attempt gets the first one's result, whatever the stream looks like by then.
// ES39.
pub fn a_command_appended_twice_happens_once(engine: &impl Engine) {
    let store = engine.fresh();
    assert_eq!(ok(wait(store.committed(&"c".into()))), None);
    let first = append(&store, command("c"));
    assert!(!first.already_committed);
    append(&store, to("s", Expected::Any, [3]));
    let second = append(&store, command("c"));
    assert!(second.already_committed);
    assert_eq!((second.first, second.last, &second.versions), (first.first, first.last, &first.versions));
    let remembered = ok(wait(store.committed(&"c".into()))).expect("the command was committed");
    assert_eq!(remembered.appended, second);
    assert_eq!(Some(remembered.fingerprint), command("c").command().map(|(_, digest)| digest));
    assert_eq!(stream(&store, "s").len(), 3);
    // A command may consist of rows alone.
    let rows_only = || Append::new().row(RowChange::put("rows", "other", "1")).command_id("r");
    assert!(append(&store, rows_only()).is_empty());
    assert!(append(&store, rows_only()).already_committed);
}

/// Sixteen attempts at the same moment: one set of events, one result.
pub fn attempts_at_one_command_at_once_happen_once(engine: &impl Engine) {
    let store = engine.fresh();
    let gate = Barrier::new(16);
    let results = each(16, |_| {
        gate.wait();
        append(&store, command("c"))
    });
    assert_eq!(results.iter().filter(|appended| !appended.already_committed).count(), 1);
    assert!(results.iter().all(|appended| appended.last == Position::new(2)));
    assert_eq!(store.head(), Position::new(2));
}

/// A lost acknowledgement is answered by whoever runs the program next.
pub fn a_command_is_remembered_after_a_restart(engine: &impl Engine) {
    let store = engine.fresh();
    let first = append(&store, command("c"));
    let Some(store) = engine.reopen(store) else { return };
    let second = append(&store, command("c"));
    assert!(second.already_committed);
    assert_eq!((second.first, second.last, second.versions), (first.first, first.last, first.versions));
    assert_eq!(store.head(), Position::new(2));
}

/// The same id with another content is a mistake, and is called one.
// ES40.
pub fn a_command_id_serves_one_command_only(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, command("c"));
    let other = wait(store.append(to("t", Expected::Any, [9]).command_id("c")));
    assert!(matches!(&other, Err(AppendError::IdMisuse { id }) if *id == "c"), "{other:?}");
    // A second attempt reads again and expects another version; it is the same command nevertheless.
    let again = Append::new().events("s", Expected::Exact(Version::new(2)), command("c").streams()[0].events.clone());
    assert!(append(&store, again.row(RowChange::put("rows", "k", "c")).command_id("c")).already_committed);
    // Content that differs from attempt to attempt is recognised by what the caller says.
    let stamped = |at: &str| to("u", Expected::Any, [at]).command_id("d").fingerprint(b"deposit 5");
    append(&store, stamped("12:00"));
    assert!(append(&store, stamped("12:01")).already_committed);
}

/// A refused attempt is not the command's result.
pub fn a_command_that_conflicted_may_try_again(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s", Expected::Any, [0]));
    conflict(wait(store.append(command("c"))));
    assert_eq!(ok(wait(store.committed(&"c".into()))), None);
    let retried = Append::new().events("s", Expected::Exact(Version::new(1)), command("c").streams()[0].events.clone());
    let retried = append(&store, retried.row(RowChange::put("rows", "k", "c")).command_id("c"));
    assert!(!retried.already_committed);
    assert_eq!(retried.version("s"), Some(Version::new(3)));
}
