//! Keyed rows beside the log.

use std::sync::Barrier;

use bytes::Bytes;

use super::{Engine, append, conflict, each, ok, stream, to, wait};
use crate::log::{Append, Condition, Expected, RowChange, Violation};
use crate::store::EventStore;

fn keys<S: EventStore>(store: &S, space: &str, after: Option<&[u8]>, limit: usize) -> Vec<Bytes> {
    ok(wait(store.rows(space, after, limit))).into_iter().map(|(key, _)| key).collect()
}

fn row<S: EventStore>(store: &S, space: &str, key: &[u8]) -> Option<Bytes> {
    ok(wait(store.row(space, key)))
}

/// Bytewise order, from any key, to any limit; the same key in two spaces is two rows.
pub fn rows_are_ordered_by_key_and_kept_apart_by_space(engine: &impl Engine) {
    let store = engine.fresh();
    let names: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"b", b"\xff\xff"];
    for key in names.iter().rev() {
        append(&store, Append::new().row(RowChange::put("one", key.to_vec(), key.to_vec())));
    }
    append(&store, Append::new().row(RowChange::put("two", "a", "other")));
    assert_eq!(keys(&store, "one", None, 100), names);
    assert_eq!(keys(&store, "one", None, 2), names[..2]);
    assert_eq!(keys(&store, "one", Some(b"a"), 100), names[3..]);
    assert_eq!(keys(&store, "one", Some(b"aa"), 1), names[4..5]);
    assert!(keys(&store, "one", Some(b"\xff\xff"), 1).is_empty());
    assert!(keys(&store, "three", None, 1).is_empty() && keys(&store, "one", None, 0).is_empty());
    assert_eq!(row(&store, "one", b"a").as_deref(), Some(&b"a"[..]));
    assert_eq!(row(&store, "two", b"a").as_deref(), Some(&b"other"[..]));
    assert_eq!((row(&store, "two", b"b"), row(&store, "three", b"a")), (None, None));
    assert_eq!(row(&store, "one", b"").as_deref(), Some(&b""[..]));
}

/// Two owners who both think that it is theirs: the row moves for one, and the other is told.
pub fn of_two_owners_behind_one_fence_one_commits(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, Append::new().row(RowChange::put("fence", "k", "1")).require(Condition::row_absent("fence", "k")));
    let gate = Barrier::new(2);
    let results = each(2, |n| {
        gate.wait();
        let moved = Append::new().row(RowChange::put("fence", "k", format!("2 by {n}")));
        wait(store.append(moved.require(Condition::row_is("fence", "k", "1"))))
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    let conflict = conflict(lost.into_iter().next().expect("one lost"));
    let [Violation::Row { actual, .. }] = &conflict.violations[..] else { panic!("{conflict:?}") };
    assert_eq!(*actual, row(&store, "fence", b"k"));
}

/// Rows share the fate of the events they go with.
pub fn a_refused_append_changes_no_row(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, to("s", Expected::Any, [1]).row(RowChange::put("r", "k", "1")));
    let stale = to("s", Expected::NoStream, [2]).row(RowChange::put("r", "k", "2")).row(RowChange::delete("r", "k"));
    conflict(wait(store.append(stale)));
    assert_eq!(row(&store, "r", b"k").as_deref(), Some(&b"1"[..]));
    let fenced = to("s", Expected::Any, [2]).require(Condition::row_is("r", "k", "other"));
    conflict(wait(store.append(fenced)));
    assert_eq!(stream(&store, "s").len(), 1);
}

/// Changes to the same row in one append happen one after the other; conditions are about what was there before.
pub fn row_changes_happen_in_order(engine: &impl Engine) {
    let store = engine.fresh();
    let changes = Append::new()
        .require(Condition::row_absent("r", "k"))
        .rows([RowChange::put("r", "k", "1"), RowChange::delete("r", "k"), RowChange::put("r", "k", "2")])
        .rows([RowChange::put("r", "gone", "1"), RowChange::delete("r", "gone"), RowChange::delete("r", "never")]);
    append(&store, changes);
    assert_eq!(row(&store, "r", b"k").as_deref(), Some(&b"2"[..]));
    assert_eq!(keys(&store, "r", None, 10), ["k"]);
}

/// Rows outlive the process as events do.
pub fn rows_are_there_after_a_restart(engine: &impl Engine) {
    let store = engine.fresh();
    append(&store, Append::new().row(RowChange::put("r", "k", vec![0, 255])));
    append(&store, Append::new().row(RowChange::put("r", "l", "")).row(RowChange::delete("r", "m")));
    let Some(store) = engine.reopen(store) else { return };
    let rows = ok(wait(store.rows("r", None, 10)));
    assert_eq!(rows, [("k".into(), vec![0, 255].into()), ("l".into(), Bytes::new())]);
    let moved = Append::new().require(Condition::row_is("r", "l", "")).row(RowChange::delete("r", "l"));
    append(&store, moved);
    assert_eq!(keys(&store, "r", None, 10), ["k"]);
}
