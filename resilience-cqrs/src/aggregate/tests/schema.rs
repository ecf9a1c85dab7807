//! Events of former releases.

use serde_json::{Value, json};

use super::*;

/// Today: version 3 of what was once one event with a name and a sum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Today {
    Paid { cents: i64 },
    Noted { text: String },
}

fn renamed(payload: Value) -> Result<Value, crate::BoxError> {
    Ok(json!({ "amount": payload.get("sum").ok_or("no sum")?, "note": payload["note"] }))
}

fn split(payload: Value) -> Result<Vec<Replacement>, crate::BoxError> {
    let cents = payload["amount"].as_i64().ok_or("no amount")? * 100;
    Ok(vec![
        Replacement::new("Paid", 1, json!({ "cents": cents })),
        Replacement::new("Noted", 1, json!({ "text": payload["note"] })),
    ])
}

/// As in ES35, told in any order: field renamed, then split in two.
fn schemas() -> [Schema; 2] {
    let forward = Schema::builder()
        .event("Paid", 1)
        .event("Noted", 1)
        .upcast("Payment", 1, renamed)
        .replace("Payment", 2, ["Paid", "Noted"], split)
        .replace("Forgotten", 1, [], |_| Ok(vec![]));
    let backward = Schema::builder()
        .replace("Forgotten", 1, [], |_| Ok(vec![]))
        .replace("Payment", 2, ["Noted", "Paid"], split)
        .upcast("Payment", 1, renamed)
        .event("Noted", 1)
        .event("Paid", 1);
    [forward.build().unwrap(), backward.build().unwrap()]
}

fn today(schema: &Schema, kind: &str, payload: &str) -> Result<Vec<Today>, CodecError> {
    let mut events = Vec::new();
    schema.decode_each(&recorded(kind, payload), &mut |event| events.push(event)).map(|()| events)
}

/// ES35.
#[test]
fn an_event_of_two_releases_ago_is_what_it_means_today_in_whatever_order_the_ways_are_told() {
    for schema in schemas() {
        let both = [Today::Paid { cents: 500 }, Today::Noted { text: "rent".into() }];
        assert_eq!(today(&schema, "Payment", r#"{"sum":5,"note":"rent"}"#).unwrap(), both);
        assert_eq!(today(&schema, "Payment.v2", r#"{"amount":5,"note":"rent"}"#).unwrap(), both);
        assert_eq!(today(&schema, "Paid", r#"{"cents":500}"#).unwrap(), both[..1]);
        assert_eq!(today(&schema, "Forgotten", "null").unwrap(), []);
        assert_eq!(schema.stored_as("Paid"), ["Paid", "Payment", "Payment.v2"]);
        assert_eq!(schema.stored_as("Payment"), [""; 0], "there is none today");
    }
}

#[test]
fn what_cannot_be_brought_up_to_date_is_an_error_and_never_half_an_event() {
    let [schema, _] = schemas();
    for (kind, payload) in
        [("Payment", r#"{"note":"rent"}"#), ("Payment.v2", r#"{"amount":5}"#), ("Paid", "{}"), ("Payment", "")]
    {
        let error = today(&schema, kind, payload).unwrap_err();
        assert!(matches!(error, CodecError::Malformed { .. }), "{kind} {payload}: {error:?}");
    }
    // A newer program's events, and another's.
    for kind in ["Paid.v2", "Payment.v3", "Elsewhere"] {
        assert!(matches!(today(&schema, kind, "{}"), Err(CodecError::UnknownType { .. })), "{kind}");
    }
    let one: Result<Today, _> = schema.decode(&recorded("Payment", r#"{"sum":5,"note":"rent"}"#));
    assert_eq!(one.unwrap_err().to_string(), "event 1 of type Payment cannot be decoded");
}

#[test]
fn an_event_is_written_in_its_newest_version_and_read_without_a_detour() {
    let schema =
        Schema::builder().event("Noted", 1).event("Paid", 2).upcast("Paid", 1, |old| Ok(json!({ "cents": old })));
    let schema = schema.build().unwrap();
    let written = EventCodec::encode(&schema, &Today::Paid { cents: 7 }).unwrap();
    assert_eq!((written.kind.as_str(), &written.payload[..]), ("Paid.v2", &br#"{"cents":7}"#[..]));
    assert_eq!(today(&schema, "Paid.v2", r#"{"cents":7}"#).unwrap(), [Today::Paid { cents: 7 }]);
    assert_eq!(today(&schema, "Paid", "9").unwrap(), [Today::Paid { cents: 9 }]);
    let partial = Schema::builder().event("Noted", 1).build().unwrap();
    assert!(matches!(EventCodec::encode(&partial, &Today::Paid { cents: 7 }), Err(CodecError::Encode(_))));
}

#[test]
fn a_schema_that_does_not_hold_together_is_refused_at_the_start() {
    let keep = |payload: Value| Ok(payload);
    let none = |_: Value| Ok(vec![]);
    let to_b = |_: Value| Ok(vec![Replacement::new("B", 1, Value::Null)]);
    let cases = [
        (Schema::builder().event("A", 3).upcast("A", 2, keep), SchemaError::Gap { name: "A", version: 1 }),
        (Schema::builder().event("A", 3).upcast("A", 1, keep), SchemaError::Gap { name: "A", version: 2 }),
        (Schema::builder().upcast("A", 1, keep), SchemaError::Gap { name: "A", version: 1 }),
        (Schema::builder().event("A", 0), SchemaError::VersionZero { name: "A" }),
        (Schema::builder().event("A", 1).upcast("A", 0, keep), SchemaError::VersionZero { name: "A" }),
        (
            Schema::builder().event("A", 2).upcast("A", 1, keep).event("A.v2", 1),
            SchemaError::Twice { name: "A.v2", version: 1 },
        ),
        (Schema::builder().event("A", 1).event("A", 2), SchemaError::Twice { name: "A", version: 2 }),
        (
            Schema::builder().event("A", 2).upcast("A", 1, keep).replace("A", 1, [], none),
            SchemaError::Twice { name: "A", version: 1 },
        ),
        (
            Schema::builder().event("A", 1).upcast("A", 1, keep),
            SchemaError::Beyond { name: "A", version: 1, newest: 1 },
        ),
        (
            Schema::builder().replace("A", 1, ["B"], to_b),
            SchemaError::UnknownTarget { name: "A", version: 1, target: "B" },
        ),
        (Schema::builder().event("A", 1).rename("B", 2, "A", 1), SchemaError::Gap { name: "B", version: 1 }),
        (Schema::builder().event("A", 1).drop("A", 1), SchemaError::Beyond { name: "A", version: 1, newest: 1 }),
        (
            Schema::builder().replace("A", 1, ["B"], to_b).replace("B", 1, ["A"], none),
            SchemaError::Circle { name: "A" },
        ),
    ];
    for (schema, expected) in cases {
        assert_eq!(schema.build().unwrap_err(), expected);
    }
}

/// The aggregate sees the events of today only, and its version counts those that are stored.
#[derive(Clone, Debug, Default, PartialEq)]
struct Ledger {
    seen: Vec<Today>,
}

impl Decider for Ledger {
    const STREAM: &'static str = "ledger";
    type Command = i64;
    type Event = Today;
    type Error = ();

    fn evolve(&mut self, event: &Today) {
        self.seen.push(event.clone());
    }

    fn decide(&self, cents: &i64) -> Result<Vec<Today>, ()> {
        Ok(vec![Today::Paid { cents: *cents }])
    }
}

#[tokio::test]
async fn an_aggregate_goes_on_where_its_former_release_left_it() {
    let store = MemoryStore::new();
    let old = [NewEvent::new("Forgotten", "null"), NewEvent::new("Payment", r#"{"sum":5,"note":"rent"}"#)];
    store.append(Append::new().events("ledger-1", Expected::NoStream, old)).await.unwrap();
    let [schema, _] = schemas();
    let ledgers: Repository<Ledger, _, _> = Repository::builder(store).codec(schema).build();
    let done = ledgers.execute("1", &7).await.unwrap();
    assert_eq!(done.version, Version::new(3));
    let seen = [Today::Paid { cents: 500 }, Today::Noted { text: "rent".into() }, Today::Paid { cents: 7 }];
    assert_eq!(done.state.seen, seen);
    assert_eq!(ledgers.load("1").await.unwrap().state.seen, seen);
    let entries = ledgers.history("1", Version::EMPTY, 10).await.unwrap();
    let entries: Vec<_> = entries.into_iter().map(|entry| (entry.record.version.get(), entry.event)).collect();
    assert_eq!(entries, [2, 2, 3].into_iter().zip(seen).collect::<Vec<_>>());
}
