//! Every engine keeps every law.

use resilience_cqrs::MemoryStore;
use resilience_cqrs::conformance::Engine;

struct Memory;

impl Engine for Memory {
    type Store = MemoryStore;

    fn fresh(&self) -> MemoryStore {
        MemoryStore::new()
    }
}

mod memory {
    resilience_cqrs::conformance_tests!(super::Memory);
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use futures::executor::block_on;
    use resilience_cqrs::SqliteStore;
    use resilience_cqrs::conformance::Engine;

    struct Sqlite {
        directory: tempfile::TempDir,
    }

    impl Sqlite {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }
    }

    impl Engine for Sqlite {
        type Store = SqliteStore;

        fn fresh(&self) -> SqliteStore {
            block_on(SqliteStore::open(self.directory.path().join("log.db"))).unwrap()
        }

        fn reopen(&self, store: SqliteStore) -> Option<SqliteStore> {
            block_on(store.close());
            Some(block_on(SqliteStore::open(store.path())).unwrap())
        }
    }

    resilience_cqrs::conformance_tests!(Sqlite::new());
}

#[cfg(feature = "redb")]
mod redb {
    use futures::executor::block_on;
    use resilience_cqrs::RedbStore;
    use resilience_cqrs::conformance::Engine;

    struct Redb {
        directory: tempfile::TempDir,
    }

    impl Redb {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }
    }

    impl Engine for Redb {
        type Store = RedbStore;

        fn fresh(&self) -> RedbStore {
            block_on(RedbStore::open(self.directory.path().join("log.redb"))).unwrap()
        }

        fn reopen(&self, store: RedbStore) -> Option<RedbStore> {
            block_on(store.close());
            Some(block_on(RedbStore::open(store.path())).unwrap())
        }
    }

    resilience_cqrs::conformance_tests!(Redb::new());
}
