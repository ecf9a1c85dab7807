//! The shapes of events, against the file they were written to.

use std::fs;

use super::*;
use crate::BoxError;

/// A type with the given events.
macro_rules! events {
    ($name:ident: $($shape:expr),* $(,)?) => {
        struct $name;

        impl Event for $name {
            const SHAPES: &'static [EventShape] = &[$($shape),*];

            fn shape(&self) -> &'static EventShape {
                &Self::SHAPES[0]
            }
        }
    };
}

const OWNER: FieldShape = FieldShape::new("owner", "String");
const CENTS: FieldShape = FieldShape::new("cents", "i64");

events!(Bank: EventShape::new("Opened", 1, &[OWNER]), EventShape::new("Paid", 1, &[CENTS, OWNER]));

/// What the file says of [`Bank`].
fn locked(path: &std::path::Path) -> SchemaLock {
    let lock = SchemaLock::of::<Bank>();
    lock.write(path).unwrap();
    lock.check(path).unwrap();
    lock
}

#[track_caller]
fn changed<E: EventTypes>() -> Vec<(String, u32, What)> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.lock");
    locked(&path);
    match SchemaLock::of::<E>().check(&path).unwrap_err() {
        LockError::Incompatible { changes } => {
            assert!(changes.iter().all(|change| !change.what.is_compatible()));
            changes.into_iter().map(|change| (change.event, change.version, change.what)).collect()
        }
        LockError::Outdated { changes, .. } => {
            assert!(changes.iter().all(|change| change.what.is_compatible()));
            changes.into_iter().map(|change| (change.event, change.version, change.what)).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// Each would be found when an old log is read, which no test of the new release does.
#[test]
fn a_change_that_old_events_cannot_follow_is_named_with_its_event() {
    let of = |event: &str, what| vec![(event.to_owned(), 1, what)];
    let owner = || "owner".to_owned();
    events!(Gone: EventShape::new("Opened", 1, &[OWNER]), EventShape::new("Paid", 1, &[CENTS]));
    assert_eq!(changed::<Gone>(), of("Paid", What::FieldGone { field: owner() }));
    events!(Typed: EventShape::new("Opened", 1, &[FieldShape::new("owner", "u64")]), Bank::SHAPES[1]);
    let what = What::TypeChanged { field: owner(), was: "String".into(), is: "u64".into() };
    assert_eq!(changed::<Typed>(), of("Opened", what));
    events!(Added: EventShape::new("Opened", 1, &[OWNER, CENTS]), Bank::SHAPES[1]);
    assert_eq!(changed::<Added>(), of("Opened", What::FieldAdded { field: "cents".into() }));
    events!(Optional: EventShape::new("Opened", 1, &[OWNER.optional()]), Bank::SHAPES[1]);
    assert_eq!(changed::<Optional>(), of("Opened", What::OptionalityChanged { field: owner(), optional: true }));
    events!(Less: Bank::SHAPES[1]);
    assert_eq!(changed::<Less>(), of("Opened", What::Gone));
    events!(Unread: EventShape::new("Opened", 2, &[CENTS]), Bank::SHAPES[1]);
    assert_eq!(changed::<Unread>(), of("Opened", What::Unread { today: 2 }));
    events!(Twice: Bank::SHAPES[0], Bank::SHAPES[1], EventShape::new("Opened", 1, &[]));
    let error = SchemaLock::of::<Twice>().check("nowhere");
    assert!(matches!(error, Err(LockError::Missing { .. })));
    let directory = tempfile::tempdir().unwrap();
    let error = SchemaLock::of::<(Twice, Bank)>().write(directory.path().join("schema.lock")).unwrap_err();
    assert!(error.to_string().contains("two types have an event of this name"), "{error}");
}

#[test]
fn what_old_events_can_follow_makes_the_file_old_and_nothing_else() {
    events!(More: EventShape::new("Opened", 1, &[OWNER, CENTS.optional()]), Bank::SHAPES[1]);
    assert_eq!(changed::<More>(), [("Opened".into(), 1, What::OptionalFieldAdded { field: "cents".into() })]);
    events!(New: EventShape::new("Closed", 1, &[]));
    assert_eq!(changed::<(Bank, New)>(), [("Closed".into(), 1, What::New)]);
    // The order of events and fields is nobody's concern.
    events!(Turned: EventShape::new("Paid", 1, &[OWNER, CENTS]), EventShape::new("Opened", 1, &[OWNER]));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.lock");
    locked(&path);
    SchemaLock::of::<Turned>().check(&path).unwrap();
    assert_eq!(Turned::fingerprint(), Bank::fingerprint());
}

/// ES35, before anything runs: what the schema cannot bring up to date is named while it is still a test that fails.
#[test]
fn an_earlier_version_stays_in_the_file_and_must_stay_readable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.lock");
    locked(&path);
    events!(Later: EventShape::new("Opened", 3, &[CENTS]));
    let to = |payload| Ok::<_, BoxError>(payload);
    let reads = || Schema::of::<Later>().upcast("Opened", 1, to).upcast("Opened", 2, to);
    let whole = reads().drop("Paid", 1).build().unwrap();
    let later = SchemaLock::of::<Later>();
    let error = later.clone().reads(&whole).check(&path).unwrap_err();
    assert!(matches!(&error, LockError::Outdated { changes, .. } if changes.len() == 1), "{error}");
    later.clone().reads(&whole).write(&path).unwrap();
    later.clone().reads(&whole).check(&path).unwrap();
    // A year later somebody tidies up.
    let tidied = reads().build().unwrap();
    let error = later.reads(&tidied).check(&path).unwrap_err();
    let gone = "stored events could not be read any more:\n  Paid v1: it is gone, and no schema says what becomes of those \
                that are stored";
    assert_eq!(error.to_string(), gone);
    // And going back to the former release is not possible without a word either.
    let back = SchemaLock::of::<Bank>().check(&path).unwrap_err();
    assert!(back.to_string().contains("Opened v3: it is back in version 1"), "{back}");
}

#[test]
fn a_file_that_somebody_edited_or_merged_wrongly_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("schema.lock");
    let lock = locked(&path);
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        (good.replace("cents: i64", "cents: u64"), 7, "the fingerprint of Paid is not that of its fields"),
        (good.replace("Paid v1", "Paid 1"), 7, "an event is a name"),
        (good.replace("    cents: i64", "    cents"), 8, "a field is a name"),
        (good.replace("\n    owner: String\n", "\n    owner: String\n    owner: u8\n"), 6, "the field is there twice"),
        (good.clone() + "\nPaid v1 00\n", 11, "the event is there twice"),
        ("    cents: i64\n".into(), 1, "a field of no event"),
    ];
    for (text, at, expected) in cases {
        fs::write(&path, &text).unwrap();
        match lock.check(&path).unwrap_err() {
            LockError::Malformed { line, what, .. } => {
                assert!(line == at && what.contains(expected), "line {line}: {what}\n{text}");
            }
            other => panic!("{other:?}\n{text}"),
        }
    }
    // Only what is no schema lock at all is left alone by a writer.
    fs::write(&path, good.replace("cents: i64", "cents: u64")).unwrap();
    lock.write(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), good);
    fs::write(&path, "[package]\n").unwrap();
    assert!(matches!(lock.write(&path), Err(LockError::Malformed { line: 1, .. })));
}
