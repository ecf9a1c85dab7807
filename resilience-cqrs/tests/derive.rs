//! What the derive writes is what is stored and read back.
#![cfg(feature = "derive")]

use resilience_cqrs::aggregate::{
    Decider, Event, EventCodec, EventShape, FieldShape, Json, Repository, Schema, SchemaLock,
};
use resilience_cqrs::{EventStore, MemoryStore, Position, Query, Recorded, Tag};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Event, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
enum Bank {
    Opened {
        #[event(tag)]
        owner: String,
        #[event(tag = "branch")]
        opened_in: Option<u32>,
        #[event(tag = "witness")]
        witnesses: Vec<String>,
    },
    #[event(name = "MoneyDeposited", version = 2)]
    Deposited {
        cents: i64,
        #[serde(default)]
        memo: String,
        #[serde(skip)]
        seen: bool,
    },
    #[serde(rename = "moved")]
    Moved(#[event(tag = "account")] u64, i64),
    Closed,
}

/// A struct is one event.
#[derive(Debug, PartialEq, Event, Serialize, Deserialize)]
#[event(version = 1)]
struct Audited {
    r#type: String,
}

fn opened(opened_in: Option<u32>) -> Bank {
    Bank::Opened { owner: "ann".into(), opened_in, witnesses: vec!["bob".into(), "eve".into()] }
}

#[test]
fn an_event_is_described_as_it_is_stored() {
    const EXPECTED: &[EventShape] = &[
        EventShape::new(
            "Opened",
            1,
            &[
                FieldShape::new("owner", "String"),
                FieldShape::new("openedIn", "Option<u32>").optional(),
                FieldShape::new("witnesses", "Vec<String>"),
            ],
        ),
        EventShape::new(
            "MoneyDeposited",
            2,
            &[FieldShape::new("cents", "i64"), FieldShape::new("memo", "String").optional()],
        )
        .serde_name("Deposited"),
        EventShape::new("moved", 1, &[FieldShape::new("0", "u64"), FieldShape::new("1", "i64")]),
        EventShape::new("Closed", 1, &[]),
    ];
    const AUDITED: &[EventShape] = &[EventShape::new("Audited", 1, &[FieldShape::new("type", "String")])];
    assert_eq!(Bank::SHAPES, EXPECTED);
    assert_eq!(Audited::SHAPES, AUDITED);
    for (event, shape) in [opened(None), Bank::Moved(1, 2), Bank::Closed].iter().zip([0, 2, 3]) {
        assert_eq!(event.shape(), &Bank::SHAPES[shape]);
    }
    // Stored for ever, in lock files and in the labels of snapshots: the same on every machine and by every compiler.
    assert_eq!(Bank::fingerprint(), 0x3f793c219ac3c376);
}

#[test]
fn tags_are_of_what_is_there() {
    assert_eq!(opened(None).tags(), ["owner:ann", "witness:bob", "witness:eve"]);
    assert_eq!(opened(Some(7)).tags(), ["owner:ann", "branch:7", "witness:bob", "witness:eve"]);
    assert_eq!(Bank::Moved(9, 1).tags(), ["account:9"]);
    assert_eq!(Bank::Closed.tags(), [""; 0]);
    assert_eq!(Audited { r#type: "a".into() }.tags(), [""; 0]);
}

fn schema() -> Schema<Bank> {
    let schema = Schema::of::<Bank>()
        .rename_field("MoneyDeposited", 1, "amount", "cents")
        .rename("PaidIn", 1, "MoneyDeposited", 1)
        .drop("InterestRateChanged", 2);
    schema.build().unwrap()
}

fn recorded(event: resilience_cqrs::NewEvent) -> Recorded {
    Recorded {
        position: Position::new(1),
        stream: "s".into(),
        version: resilience_cqrs::Version::new(1),
        kind: event.kind,
        tags: event.tags,
        payload: event.payload,
        metadata: event.metadata,
        recorded_at: resilience_core::time::WallTime::from_unix_millis(0),
    }
}

#[test]
fn every_event_comes_back_from_the_store_under_its_own_name_and_version() {
    let schema = schema();
    let deposited = Bank::Deposited { cents: 5, memo: "rent".into(), seen: false };
    let kinds = ["Opened", "MoneyDeposited.v2", "moved", "Closed"];
    for (event, kind) in [opened(Some(7)), deposited, Bank::Moved(1, 2), Bank::Closed].into_iter().zip(kinds) {
        let written = schema.encode(&event).unwrap();
        assert_eq!((written.kind.as_str(), &written.tags), (kind, &event.tags()));
        assert_eq!(schema.decode(&recorded(written)).unwrap(), event);
    }
    let audited = Schema::of::<Audited>().build().unwrap();
    let written = audited.encode(&Audited { r#type: "a".into() }).unwrap();
    assert_eq!((written.kind.as_str(), &written.payload[..]), ("Audited", &br#"{"type":"a"}"#[..]));
    assert_eq!(audited.decode(&recorded(written)).unwrap().r#type, "a");
}

/// ES35, with names and versions taken from the type: what was written by earlier releases is an event of today.
#[test]
fn events_of_former_releases_are_events_of_the_derived_type() {
    let schema = schema();
    for kind in ["MoneyDeposited", "PaidIn"] {
        let old = resilience_cqrs::NewEvent::new(kind, r#"{"amount":5}"#);
        let now = schema.decode(&recorded(old)).unwrap();
        assert_eq!(now, Bank::Deposited { cents: 5, memo: String::new(), seen: false });
    }
    for kind in ["InterestRateChanged", "InterestRateChanged.v2"] {
        let mut events = Vec::new();
        schema
            .decode_each(&recorded(resilience_cqrs::NewEvent::new(kind, "")), &mut |event| events.push(event))
            .unwrap();
        assert_eq!(events, [], "{kind}");
    }
    let gap = Schema::of::<Bank>().build().unwrap_err();
    assert_eq!(gap.to_string(), "event MoneyDeposited has no way from version 1 to 2");
}

#[derive(Debug, Default)]
struct Account(i64);

impl Decider for Account {
    const STREAM: &'static str = "account";
    type Command = Bank;
    type Event = Bank;
    type Error = ();

    fn evolve(&mut self, event: &Bank) {
        if let Bank::Deposited { cents, .. } = event {
            self.0 += cents;
        }
    }

    fn decide(&self, command: &Bank) -> Result<Vec<Bank>, ()> {
        Ok(vec![command.clone()])
    }
}

#[tokio::test]
async fn an_aggregate_is_found_by_the_tags_its_events_say_they_have() {
    let store = MemoryStore::new();
    let accounts: Repository<Account, _, _> = Repository::builder(store.clone()).codec(schema()).build();
    accounts.execute("1", &opened(None)).await.unwrap();
    accounts.execute("1", &Bank::Deposited { cents: 5, memo: String::new(), seen: true }).await.unwrap();
    assert_eq!(accounts.load("1").await.unwrap().state.0, 5);
    let found = store.read(Position::ORIGIN, &Query::tags([Tag::from("witness:eve")]), 10).await.unwrap();
    assert_eq!(found.events.len(), 1);
    // Without a schema names and tags are the application's own affair, as ever.
    assert_eq!(Json.encode(&opened(None)).unwrap().tags, [""; 0]);
}

#[test]
fn the_lock_beside_this_test_holds() {
    SchemaLock::of::<(Bank, Audited)>().reads(&schema()).check("tests/derive.lock").unwrap();
}
