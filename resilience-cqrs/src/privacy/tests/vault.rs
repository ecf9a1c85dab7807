//! Keys, kept and destroyed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use resilience_core::time::ManualTimer;
use tokio::sync::Notify;

use crate::MemoryStore;
use crate::archive::Archive;
use crate::privacy::{
    Key, KeyError, KeyState, KeyStore, Personal, PrivateStore, StoreKeys, SubjectId, Vault, VaultError, View,
};
use crate::tenant::{TenantEngine, TenantId, Tenants};
use crate::testing::{Fault, FaultyStore};
use crate::{BoxError, EventStore, Position};

async fn name(vault: &Vault<impl KeyStore>) -> Personal<String> {
    vault.subject("s-1").await.unwrap().seal("Ann".to_owned()).unwrap()
}

/// Another program has forgotten somebody. This one has the key at hand, and uses it for as long as was said, not longer.
#[tokio::test]
async fn a_key_destroyed_elsewhere_is_used_for_max_age_and_not_longer() {
    let (keys, timer) = (MemoryStore::new(), ManualTimer::new());
    let vault = || Vault::builder(StoreKeys::new(keys.clone())).timer(timer.clone()).max_age(Duration::from_secs(60));
    let (here, elsewhere) = (vault().build(), vault().build());
    let name = name(&here).await;
    timer.advance(Duration::from_secs(10));
    elsewhere.forget("s-1").await.unwrap();
    assert!(elsewhere.open(name.clone()).await.unwrap().is_redacted(), "at once where it was done");
    timer.advance(Duration::from_millis(49_999));
    assert!(matches!(here.open(name.clone()).await.unwrap().view(), View::Known(_)));
    timer.advance(Duration::from_millis(1));
    assert!(here.open(name.clone()).await.unwrap().is_redacted());
    assert!(matches!(here.subject("s-1").await, Err(VaultError::Forgotten { .. })));
    // With no age at all, each read asks.
    let strict = vault().max_age(Duration::ZERO).build();
    let bob = strict.subject("s-2").await.unwrap().seal(1).unwrap();
    elsewhere.forget("s-2").await.unwrap();
    assert!(strict.open(bob).await.unwrap().is_redacted());
}

#[tokio::test]
async fn keys_at_hand_are_bounded_and_the_others_are_asked_for() {
    let keys = FaultyStore::new(MemoryStore::new());
    let vault = Vault::builder(StoreKeys::new(keys.clone())).cache(NonZeroUsize::MIN).build();
    let mut values = Vec::new();
    for n in 0..20 {
        values.push(vault.subject(format!("s-{n}")).await.unwrap().seal(n).unwrap());
    }
    let before = keys.reads();
    for (n, value) in values.into_iter().enumerate() {
        let value = value.subject().clone();
        let sealed = vault.subject(value).await.unwrap().seal(n).unwrap();
        assert_eq!(sealed.get(), Some(&n));
    }
    assert!(keys.reads() - before >= 18, "they were not all at hand");
}

/// Asks, and is answered before somebody is forgotten; the answer arrives afterwards.
#[derive(Clone)]
struct Slow {
    keys: StoreKeys<MemoryStore>,
    asked: Arc<Notify>,
    answer: Arc<Notify>,
}

impl KeyStore for Slow {
    async fn fetch(&self, subjects: &[SubjectId]) -> Result<Vec<KeyState>, KeyError> {
        let states = self.keys.fetch(subjects).await;
        self.asked.notify_one();
        self.answer.notified().await;
        states
    }

    async fn create(&self, subject: &SubjectId, key: &Key) -> Result<KeyState, KeyError> {
        self.keys.create(subject, key).await
    }

    async fn destroy(&self, subject: &SubjectId) -> Result<(), KeyError> {
        self.keys.destroy(subject).await
    }

    async fn forgotten(&self, after: Option<&SubjectId>, limit: usize) -> Result<Vec<SubjectId>, KeyError> {
        self.keys.forgotten(after, limit).await
    }
}

#[tokio::test]
async fn a_key_that_arrives_after_its_subject_was_forgotten_is_not_used() {
    let keys = StoreKeys::new(MemoryStore::new());
    let name = name(&Vault::new(keys.clone())).await;
    let slow = Slow { keys, asked: Arc::default(), answer: Arc::default() };
    let vault = Vault::new(slow.clone());
    let reading = tokio::spawn({
        let (vault, name) = (vault.clone(), name.clone());
        async move { vault.open(name).await.unwrap() }
    });
    slow.asked.notified().await;
    vault.forget("s-1").await.unwrap();
    slow.answer.notify_one();
    assert!(reading.await.unwrap().is_redacted());
    assert!(vault.open(name).await.unwrap().is_redacted(), "and it is not kept");
}

#[tokio::test]
async fn of_two_who_make_a_key_at_once_both_use_the_same() {
    let keys = MemoryStore::new();
    let held = FaultyStore::new(keys.clone());
    let gate = held.hold_appends();
    let slow = Vault::new(StoreKeys::new(held));
    let late = tokio::spawn(async move { name(&slow).await });
    gate.arrived(1).await;
    let fast = name(&Vault::new(StoreKeys::new(keys))).await;
    drop(gate);
    let (late, fast) = (serde_json::to_string(&late.await.unwrap()), serde_json::to_string(&fast));
    assert_eq!(late.unwrap(), fast.unwrap());
}

#[tokio::test]
async fn keys_under_a_master_key_are_of_no_use_without_it() {
    let rows = MemoryStore::new();
    let master = Key::generate().unwrap();
    let vault = Vault::new(StoreKeys::encrypted(rows.clone(), master.clone()));
    let name = name(&vault).await;
    vault.subject("s-2").await.unwrap();
    let key = StoreKeys::encrypted(rows.clone(), master.clone()).fetch(&["s-1".into()]).await.unwrap().remove(0);
    let KeyState::Kept(key) = key else { panic!() };
    let stored = rows.rows("privacy-key", None, 10).await.unwrap();
    assert!(
        stored.len() == 2 && stored.iter().all(|(_, row)| !row.windows(16).any(|part| part == &key.as_bytes()[..16]))
    );
    for wrong in [StoreKeys::encrypted(rows.clone(), Key::generate().unwrap()), StoreKeys::new(rows.clone())] {
        let error = Vault::new(wrong).open(name.clone()).await.unwrap_err();
        assert!(!error.is_retryable());
    }
    // One subject's key under another's name is none.
    let swap = crate::RowChange::put("privacy-key", "s-1", stored[1].1.clone());
    rows.append(crate::Append::new().row(swap)).await.unwrap();
    assert!(Vault::new(StoreKeys::encrypted(rows, master)).open(name).await.is_err());
}

#[tokio::test]
async fn who_was_forgotten_can_be_listed_and_forgotten_again() {
    let keys = MemoryStore::new();
    let vault = Vault::new(StoreKeys::new(keys));
    for n in 0..600 {
        vault.forget(format!("s-{n:03}")).await.unwrap();
    }
    let mut all = vault.forgotten(None, 400).await.unwrap();
    all.extend(vault.forgotten(all.last(), 400).await.unwrap());
    assert_eq!((all.len(), all[0].as_str(), all[599].as_str()), (600, "s-000", "s-599"));
    let restored = Vault::new(StoreKeys::new(MemoryStore::new()));
    restored.subject("s-007").await.unwrap();
    assert_eq!(restored.forget_all(all.clone()).await.unwrap(), 600);
    assert_eq!(restored.forget_all(all).await.unwrap(), 0);
    assert!(restored.subject("s-007").await.is_err());
}

#[tokio::test]
async fn a_subject_without_a_proper_name_has_no_key() {
    let keys = MemoryStore::new();
    let vault = Vault::new(StoreKeys::new(keys.clone()));
    for name in [String::new(), "a\nb".into(), "s".repeat(201)] {
        assert!(matches!(vault.subject(name).await, Err(VaultError::Name { .. })));
    }
    assert_eq!(keys.rows("privacy-key", None, 10).await.unwrap().len(), 0);
    vault.subject("s".repeat(200)).await.unwrap();
    let store = crate::privacy::PrivateStore::open(MemoryStore::new(), vault).await.unwrap();
    store.forget("s".repeat(200)).await.unwrap();
    assert_eq!(store.head(), Position::new(1), "the longest name fits into stream, tag and command id");
}

/// A process dies between the two steps of forgetting somebody, and nobody asks again. Had the key gone first, those who
/// have made something of the values would never hear of it. So the log says it first, and the next start does the rest.
#[tokio::test]
async fn forgetting_that_was_cut_short_is_done_by_the_next_start_or_was_not_begun() {
    let cut = |at: bool, fault| move |_| at.then_some(fault);
    for (in_log, fault) in
        [(true, Fault::Hung), (true, Fault::HungAfterwards), (false, Fault::Hung), (false, Fault::HungAfterwards)]
    {
        let (log, keys) = (MemoryStore::new(), MemoryStore::new());
        let name = name(&Vault::new(StoreKeys::new(keys.clone()))).await;
        {
            let vault = Vault::new(StoreKeys::new(FaultyStore::new(keys.clone()).on_append(cut(!in_log, fault))));
            let store = FaultyStore::new(log.clone()).on_append(cut(in_log, fault));
            let store = PrivateStore::open(store, vault).await.unwrap();
            let mut forgetting = std::pin::pin!(store.forget("s-1"));
            assert!(futures::poll!(&mut forgetting).is_pending());
        }
        let vault = Vault::new(StoreKeys::new(keys));
        let store = PrivateStore::open(log, vault.clone()).await.unwrap();
        let is_said = store.head() == Position::new(1);
        assert_eq!(vault.open(name).await.unwrap().is_redacted(), is_said, "{in_log} {fault:?}");
        assert_eq!(is_said, (in_log, fault) != (true, Fault::Hung));
    }
}

/// What could be no subject is not said to be forgotten: the log would say so for good, and each start would ask for it.
#[tokio::test]
async fn who_cannot_be_is_not_forgotten() {
    let vault = Vault::new(StoreKeys::new(MemoryStore::new()));
    let store = PrivateStore::open(MemoryStore::new(), vault).await.unwrap();
    for name in [String::new(), "s".repeat(201)] {
        assert!(store.forget(name).await.is_err());
    }
    assert_eq!(store.head(), Position::ORIGIN);
}

/// Each tenant's log is this one.
struct One(super::Store);

impl TenantEngine for One {
    type Store = super::Store;

    async fn exists(&self, _: &TenantId) -> Result<bool, BoxError> {
        Ok(true)
    }

    async fn open(&self, _: &TenantId) -> Result<Self::Store, BoxError> {
        Ok(self.0.clone())
    }

    async fn close(&self, _: Self::Store) {}

    async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
        Ok(Vec::new())
    }
}

/// Who keeps what was read through another store must hear of it all the same.
#[tokio::test]
async fn a_store_in_front_hands_on_when_somebody_is_forgotten() {
    let store = super::private().await;
    let tenant = Tenants::new(One(store.clone())).create("acme").await.unwrap();
    let (archive, faulty) = (Archive::new(store.clone()), FaultyStore::new(store.clone()));
    let epochs =
        || [archive.forgetting(), faulty.forgetting(), tenant.forgetting()].map(|forgetting| forgetting.epoch());
    let before = epochs();
    store.forget("s-1").await.unwrap();
    assert!(before.into_iter().zip(epochs()).all(|(before, after)| before != after));
}
