//! Personal values through stores in memory; on SQLite with backups, in `tests/privacy.rs`.

mod letters;
mod tokens;
mod values;
mod vault;

use crate::MemoryStore;
use crate::conformance::Engine;
use crate::privacy::{PrivateStore, StoreKeys, Vault};

type Store = PrivateStore<MemoryStore, StoreKeys<MemoryStore>>;

async fn private() -> Store {
    let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    PrivateStore::open(MemoryStore::new(), vault).await.unwrap()
}

struct Private;

impl Engine for Private {
    type Store = Store;

    fn fresh(&self) -> Store {
        futures::executor::block_on(private())
    }
}

/// It is a store like any other to whom has nothing to hide.
mod laws {
    crate::conformance_tests!(super::Private);
}
