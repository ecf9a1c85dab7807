//! Tenants in files and in schemas.
#![cfg(any(feature = "sqlite", all(feature = "postgres", unix)))]

use std::num::NonZeroUsize;

use resilience_cqrs::tenant::{TenantEngine, TenantError, Tenants};
use resilience_cqrs::{Append, EventStore, Expected, NewEvent, Position, Query, Version};

async fn write(store: &impl EventStore, stream: &str) {
    for n in 0..20 {
        let event = NewEvent::new("Placed", n.to_string()).tag("order:1");
        store.append(Append::new().events(stream, Expected::Any, [event])).await.unwrap();
    }
}

/// ES53 on a real engine: two tenants write at once, more come than may be open, and all is as it was when they are
/// opened again; whoever is another's is told so.
async fn tenants_are_apart_and_come_back<E: TenantEngine + Clone>(engine: E) {
    let max_open = NonZeroUsize::new(2).unwrap();
    let tenants = Tenants::builder(engine.clone()).max_open(max_open).build();
    assert!(matches!(tenants.of("acme").await, Err(TenantError::Unknown { .. })));
    {
        let (acme, globex) = (tenants.create("acme").await.unwrap(), tenants.create("globex").await.unwrap());
        futures::join!(write(&acme, "order-1"), write(&globex, "order-1"), write(&acme, "order-2"));
        assert_eq!((acme.head(), globex.head()), (Position::new(40), Position::new(20)));
        let page = globex.read(Position::ORIGIN, &Query::tags(["order:1"]), 100).await.unwrap();
        assert!(page.events.len() == 20 && page.events.iter().all(|event| event.metadata.tenant() == Some("globex")));
        let token = acme.at(acme.head());
        assert!(acme.position(&token).is_ok() && globex.position(&token).is_err());
        assert!(matches!(tenants.create("initech").await, Err(TenantError::TooMany { open: 2 })));
    }
    // Closed for another, and opened again: the file's lock, or the connections, were given up in time.
    for _ in 0..3 {
        for (name, head) in [("initech", 0), ("acme", 40), ("globex", 20)] {
            assert_eq!(tenants.create(name).await.unwrap().head(), Position::new(head), "{name}");
        }
    }
    tenants.close().await;
    let tenants = Tenants::new(engine);
    let names: Vec<_> = tenants.list().await.unwrap().iter().map(|id| id.as_str().to_owned()).collect();
    assert_eq!(names, ["acme", "globex", "initech"]);
    let acme = tenants.of("acme").await.unwrap();
    let events = acme.read_stream(&"order-2".into(), Version::EMPTY, 100).await.unwrap();
    assert_eq!(events.len(), 20);
    tenants.close().await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn tenants_in_files_are_apart_and_come_back() {
    use resilience_cqrs::tenant::SqliteTenants;

    let directory = tempfile::tempdir().unwrap();
    // What else is there is nobody's log.
    for name in ["acme.db", "tenant-.db", "tenant-Big.db", "tenant-x.db-wal"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    tenants_are_apart_and_come_back(SqliteTenants::new(directory.path())).await;
    let missing = Tenants::new(SqliteTenants::new(directory.path().join("missing")));
    assert!(matches!(missing.create("acme").await, Err(TenantError::Open { .. })));
    assert!(matches!(missing.list().await, Err(TenantError::List(_))));
    assert_eq!(missing.open(), 0);
}

#[cfg(all(feature = "postgres", unix))]
#[tokio::test]
async fn tenants_in_schemas_are_apart_and_come_back() {
    use resilience_cqrs::tenant::PostgresTenants;

    let server = testkit::postgres::Postgres::start().unwrap();
    tenants_are_apart_and_come_back(PostgresTenants::new(server.url())).await;
}
