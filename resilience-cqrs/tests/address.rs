//! Stores by their address: the engine is a setting.

use futures::executor::block_on;
use resilience_cqrs::conformance::Engine;
use resilience_cqrs::{AddressError, AnyStore};
#[cfg(any(feature = "sqlite", feature = "redb", feature = "postgres"))]
use resilience_cqrs::{Append, EventStore, Expected, NewEvent};

struct Memory;

impl Engine for Memory {
    type Store = AnyStore;

    fn fresh(&self) -> AnyStore {
        block_on(AnyStore::open("memory:")).unwrap()
    }
}

mod memory {
    resilience_cqrs::conformance_tests!(super::Memory);
}

#[cfg(any(feature = "sqlite", feature = "redb", feature = "postgres"))]
fn one() -> Append {
    Append::new().events("a", Expected::Any, [NewEvent::new("Happened", "")])
}

async fn error(address: &str) -> AddressError {
    AnyStore::open(address).await.unwrap_err()
}

#[tokio::test]
async fn an_address_without_an_engine_is_one_sentence_and_never_told_again() {
    for (address, said) in [
        (
            "mysql://ann:secret@host/bank",
            "no engine is called `mysql`; an address begins with memory:, sqlite:, redb: or postgres:",
        ),
        ("bank.db", "no engine is called ``; an address begins with memory:, sqlite:, redb: or postgres:"),
        ("", "no engine is called ``; an address begins with memory:, sqlite:, redb: or postgres:"),
    ] {
        let error = error(address).await;
        assert_eq!(error.to_string(), said);
        assert!(!format!("{error:?}").contains("secret"));
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn a_file_is_found_again_by_either_form_of_its_address() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.db");
    let store = AnyStore::open(&format!("sqlite:{}", path.display())).await.unwrap();
    let done = store.append(one()).await.unwrap();
    store.close().await;
    let again = AnyStore::open(&format!("sqlite://{}", path.display())).await.unwrap();
    assert_eq!(again.head(), done.last);
    let nowhere = error(&format!("sqlite:{}/no/such.db", directory.path().display())).await;
    assert!(matches!(nowhere, AddressError::Sqlite(_)), "{nowhere:?}");
    for nameless in ["sqlite:", "sqlite://", "sqlite::memory:"] {
        assert_eq!(error(nameless).await.to_string(), "an address of sqlite must have the path of a file");
    }
}

#[cfg(feature = "redb")]
#[tokio::test]
async fn a_file_of_redb_is_found_again_and_another_engine_s_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log.redb").display().to_string();
    let store = AnyStore::open(&format!("redb:{path}")).await.unwrap();
    let done = store.append(one()).await.unwrap();
    store.close().await;
    let again = AnyStore::open(&format!("redb://{path}")).await.unwrap();
    assert_eq!(again.head(), done.last);
    again.close().await;
    #[cfg(feature = "sqlite")]
    assert_eq!(error(&format!("sqlite:{path}")).await.to_string(), format!("{path} is not a database"));
    std::fs::write(&path, "SQLite format 3").unwrap();
    assert_eq!(error(&format!("redb:{path}")).await.to_string(), format!("{path} is not a database of redb"));
    assert_eq!(error("redb://").await.to_string(), "an address of redb must have the path of a file");
}

#[cfg(not(all(feature = "sqlite", feature = "redb", feature = "postgres")))]
#[tokio::test]
async fn an_engine_that_was_left_out_is_named_with_its_feature() {
    for (built, engine) in [
        (cfg!(feature = "sqlite"), "sqlite"),
        (cfg!(feature = "redb"), "redb"),
        (cfg!(feature = "postgres"), "postgres"),
    ] {
        if !built {
            let said = format!(
                "{engine} needs the feature `{engine}` of resilience-cqrs, without which this program was built"
            );
            assert_eq!(error(&format!("{engine}:log")).await.to_string(), said);
        }
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn logs_in_two_schemas_of_one_database_are_two() {
    let server = testkit::postgres::shared();
    let with = |option: &str| format!("{server}{}{option}", if server.contains('?') { '&' } else { '?' });
    let (one_log, other) =
        (AnyStore::open(&with("schema=one")).await.unwrap(), AnyStore::open(&with("schema=two")).await.unwrap());
    let done = one_log.append(one()).await.unwrap();
    assert_eq!(AnyStore::open(&with("schema=one")).await.unwrap().head(), done.last);
    assert_ne!(other.head(), done.last);
    assert_eq!(error(&with("schema=")).await.to_string(), "an address of postgres must have a name after `schema=`");
    assert_eq!(error("postgres://ann:secret@127.0.0.1:1/bank").await.to_string(), "cannot open the log");
}
