//! Tenants beside each other, in memory; in files and schemas, in `tests/tenants.rs`.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::sync::Semaphore;

use super::*;
use crate::conformance::Engine;
use crate::{
    Append, AppendError, BoxError, EventStore, Expected, MemoryStore, Metadata, NewEvent, Position, Query, Version,
};

struct OneTenant;

impl Engine for OneTenant {
    type Store = Tenant<MemoryStore>;

    fn fresh(&self) -> Self::Store {
        futures::executor::block_on(Tenants::new(MemoryTenants::new()).create("acme")).unwrap()
    }
}

/// A tenant's log is a store like any other. Not `what_is_read_is_what_was_written`: it adds whose an event is, and keeps out
/// what is another's.
mod laws {
    crate::conformance_tests! { super::OneTenant;
        of_two_exact_writers_one_wins_and_the_other_learns_what_it_missed
        an_append_over_two_streams_is_all_or_nothing
        attempts_at_one_command_at_once_happen_once
        of_two_students_one_gets_the_last_place
        a_poller_sees_what_was_acknowledged_in_order_and_once
        catching_up_and_going_live_have_no_seam
        of_two_owners_behind_one_fence_one_commits
        row_changes_happen_in_order
    }
}

fn event() -> NewEvent {
    NewEvent::new("Placed", "")
}

async fn append(store: &impl EventStore, stream: &str) -> Position {
    store.append(Append::new().events(stream, Expected::Any, [event()])).await.unwrap().last
}

fn at_most(logs: usize) -> Tenants<MemoryTenants> {
    Tenants::builder(MemoryTenants::new()).max_open(NonZeroUsize::new(logs).unwrap()).build()
}

/// ES53: what was given to a client for one tenant is refused by another, each tenant's order is its own and without
/// gaps, and nothing of one is found in the other, whatever it is called.
#[tokio::test]
async fn what_is_one_tenants_is_denied_to_another_and_each_has_an_order_of_its_own() {
    let tenants = Tenants::new(MemoryTenants::new());
    let (acme, globex) = (tenants.create("acme").await.unwrap(), tenants.create("globex").await.unwrap());
    let mut last = Position::ORIGIN;
    for _ in 0..3 {
        last = append(&acme, "order-1").await;
        append(&globex, "order-1").await;
        append(&acme, "order-2").await;
    }
    let token = serde_json::to_string(&acme.at(last)).unwrap();
    let token: TenantPosition = serde_json::from_str(&token).unwrap();
    assert_eq!(acme.position(&token), Ok(last));
    let denied = ForeignPosition { of: acme.id().clone(), to: globex.id().clone() };
    assert_eq!(globex.position(&token), Err(denied));

    for (tenant, events) in [(&acme, 6), (&globex, 3)] {
        let page = tenant.read(Position::ORIGIN, &Query::all(), 100).await.unwrap();
        let positions: Vec<u64> = page.events.iter().map(|event| event.position.get()).collect();
        assert_eq!(positions, (1..=events).collect::<Vec<_>>());
        assert!(page.events.iter().all(|event| event.metadata.tenant() == Some(tenant.id().as_str())));
    }
    // The same stream, and another one.
    assert_eq!(acme.read_stream(&"order-1".into(), Version::EMPTY, 10).await.unwrap().len(), 3);
    let stolen = acme.read(Position::ORIGIN, &Query::all(), 1).await.unwrap().events.remove(0);
    let copied = event().metadata(stolen.metadata);
    let error = globex.append(Append::new().events("order-1", Expected::Any, [copied])).await.unwrap_err();
    let AppendError::Refused(error) = error else { panic!("{error:?}") };
    let foreign = error.downcast::<ForeignTenant>().unwrap();
    assert_eq!((foreign.of.as_str(), foreign.to.as_str()), ("acme", "globex"));
    let marked = event().metadata(Metadata::new().with_tenant("globex").with_actor("a"));
    globex.append(Append::new().events("order-1", Expected::Any, [marked])).await.unwrap();
}

/// A request names a tenant. Nothing is made for it.
#[tokio::test]
async fn a_tenant_that_nobody_has_made_is_not_made_by_asking() {
    let tenants = at_most(1);
    for name in ["nobody", "no-one"] {
        assert!(matches!(tenants.of(name).await, Err(TenantError::Unknown { .. })));
    }
    assert_eq!((tenants.list().await.unwrap(), tenants.open()), (vec![], 0));
    tenants.create("acme").await.unwrap();
    assert!(tenants.of("acme").await.is_ok());
    assert!(matches!(tenants.create("../acme").await, Err(TenantError::Name(_))));
}

#[tokio::test]
async fn no_more_than_max_open_are_open_and_what_is_held_is_not_closed() {
    let tenants = at_most(2);
    let first = tenants.create("first").await.unwrap();
    append(&first, "s").await;
    drop(tenants.create("second").await.unwrap());
    let third = tenants.create("third").await.unwrap(); // in place of the second, which nobody holds
    assert_eq!(tenants.open(), 2);
    let error = tenants.create("fourth").await.unwrap_err();
    assert!(error.is_retryable() && matches!(error, TenantError::TooMany { open: 2 }));
    let clone = first.clone();
    drop(first);
    assert!(tenants.of("second").await.is_err(), "a clone holds it");
    append(&clone, "s").await;
    drop(clone);
    tenants.of("second").await.unwrap();
    drop(third);
    // Opened again, it is what it was.
    assert_eq!(tenants.of("first").await.unwrap().head(), Position::new(2));
}

#[tokio::test]
async fn of_those_that_nobody_holds_the_one_not_used_for_longest_goes() {
    let tenants = at_most(3);
    for name in ["a", "b", "c", "a", "d", "a"] {
        tenants.create(name).await.unwrap();
    }
    // `b` went for `d`; so `c` is next.
    let open: Vec<_> = {
        let slots = tenants.open_now();
        slots.into_iter().map(|id| id.as_str().to_owned()).collect()
    };
    assert_eq!(open, ["a", "c", "d"]);
    tenants.create("b").await.unwrap();
    assert_eq!(tenants.open_now().iter().map(TenantId::as_str).collect::<Vec<_>>(), ["a", "b", "d"]);
}

/// Opens slowly, and says when one log is open twice.
#[derive(Clone)]
struct Slow {
    inner: MemoryTenants,
    open: Arc<std::sync::Mutex<std::collections::BTreeSet<TenantId>>>,
    most: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl TenantEngine for Slow {
    type Store = Named;

    async fn exists(&self, tenant: &TenantId) -> Result<bool, BoxError> {
        self.inner.exists(tenant).await
    }

    async fn open(&self, tenant: &TenantId) -> Result<Named, BoxError> {
        self.gate.acquire().await?.forget();
        {
            let mut open = self.open.lock().unwrap();
            assert!(open.insert(tenant.clone()), "{tenant} is open twice");
            self.most.fetch_max(open.len(), Ordering::Relaxed);
        }
        let store = self.inner.open(tenant).await?;
        Ok(Tenant { id: tenant.clone(), store, held: Arc::default() })
    }

    async fn close(&self, store: Named) {
        tokio::task::yield_now().await;
        assert!(self.open.lock().unwrap().remove(store.id()), "{} is closed twice", store.id());
    }

    async fn list(&self) -> Result<Vec<TenantId>, BoxError> {
        self.inner.list().await
    }
}

type Named = Tenant<MemoryStore>;

fn slow(gate: usize) -> Slow {
    Slow {
        inner: MemoryTenants::new(),
        open: Arc::default(),
        most: Arc::default(),
        gate: Arc::new(Semaphore::new(gate)),
    }
}

/// Many ask for few tenants of which fewer may be open: each gets the log it asked for or is told that there is no room, none
/// is open twice, and an acknowledged append is there at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tenants_that_come_and_go_are_never_open_twice_and_lose_nothing() {
    let engine = slow(Semaphore::MAX_PERMITS);
    let tenants = Tenants::builder(engine.clone()).max_open(NonZeroUsize::new(3).unwrap()).build();
    let tasks: Vec<_> = (0..8)
        .map(|task: usize| {
            let tenants = tenants.clone();
            tokio::spawn(async move {
                let mut appended = [0_u64; 5];
                for round in 0..200 {
                    let which = (task * 7 + round * 3) % 5;
                    match tenants.create(&format!("t-{which}")).await {
                        Ok(tenant) => {
                            assert_eq!(tenant.id().as_str(), format!("t-{which}"));
                            append(&tenant, &format!("by-{task}")).await;
                            appended[which] += 1;
                        }
                        Err(TenantError::TooMany { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                appended
            })
        })
        .collect();
    let mut total = [0; 5];
    for task in tasks {
        total.iter_mut().zip(task.await.unwrap()).for_each(|(total, appended)| *total += appended);
    }
    for (which, appended) in total.into_iter().enumerate() {
        if appended > 0 {
            let tenant = tenants.of(&format!("t-{which}")).await.unwrap();
            assert_eq!(tenant.head(), Position::new(appended));
        }
    }
    assert!(engine.most.load(Ordering::Relaxed) <= 3);
    tenants.close().await;
    assert_eq!((tenants.open(), engine.open.lock().unwrap().len()), (0, 0));
    assert!(matches!(tenants.of("t-1").await, Err(TenantError::Closed)));
}

/// One who asks goes away while the log is being opened: its place is free again, and the next one opens it.
#[tokio::test]
async fn who_gives_up_while_a_log_is_opened_leaves_no_place_taken() {
    let engine = slow(0);
    let tenants = Tenants::builder(engine.clone()).max_open(NonZeroUsize::MIN).build();
    let mut asking = Box::pin(tenants.create("acme"));
    assert!(futures::poll!(asking.as_mut()).is_pending());
    assert_eq!(tenants.open(), 1);
    assert!(matches!(tenants.create("globex").await, Err(TenantError::TooMany { .. })));
    drop(asking);
    assert_eq!(tenants.open(), 0);
    engine.gate.add_permits(1);
    tenants.create("globex").await.unwrap();
}

proptest! {
    #[test]
    fn a_name_is_never_a_path_and_stays_what_it_is(name in "\\PC{0,60}") {
        if let Ok(id) = name.parse::<TenantId>() {
            prop_assert_eq!(id.as_str(), &name);
            prop_assert!(!name.contains(['/', '\\', '.', '\0', ':', ' ']) && !name.is_empty() && name.len() <= 48);
            prop_assert_eq!(name.to_lowercase(), name);
        }
    }

    #[test]
    fn a_position_survives_its_text(name in "[a-z0-9][a-z0-9_-]{0,47}", position in 0..=i64::MAX as u64) {
        let token = TenantPosition { tenant: name.parse().unwrap(), position: Position::new(position) };
        prop_assert_eq!(token.to_string().parse(), Ok(token));
    }

    #[test]
    fn what_is_no_position_is_not_read_as_one(text in ".{0,30}") {
        if let Ok(token) = text.parse::<TenantPosition>() {
            prop_assert_eq!(token.tenant().as_str().parse::<TenantId>(), Ok(token.tenant().clone()));
        }
    }
}

#[test]
fn a_name_at_the_limit_is_one_and_one_past_it_is_none() {
    assert!("a".repeat(48).parse::<TenantId>().is_ok());
    assert!("a".repeat(49).parse::<TenantId>().is_err());
    assert!("acme:99999999999999999999".parse::<TenantPosition>().is_err());
    assert!("acme:+1".parse::<TenantPosition>().is_err());
}

/// A name that nobody has made costs those who are there nothing: neither is one of them closed for it, nor is it told
/// that there is no place, which would be retried for ever.
#[tokio::test]
async fn a_name_that_nobody_has_made_puts_no_tenant_out() {
    let tenants = at_most(1);
    let acme = tenants.create("acme").await.unwrap();
    assert!(matches!(tenants.of("nobody").await, Err(TenantError::Unknown { .. })), "though all places are taken");
    drop(acme);
    assert!(matches!(tenants.of("nobody").await, Err(TenantError::Unknown { .. })));
    assert_eq!(tenants.open_now().len(), 1, "acme is as it was");
}

/// One who asks goes away while another's log is being closed for it. That log is neither opened again before it is closed,
/// which on SQLite is a file with two writers, nor is its place given to a third one meanwhile.
#[tokio::test]
async fn who_gives_up_while_a_log_is_closed_leaves_it_to_the_next_one() {
    for next in ["acme", "initech"] {
        let engine = slow(Semaphore::MAX_PERMITS);
        let tenants = Tenants::builder(engine.clone()).max_open(NonZeroUsize::MIN).build();
        drop(tenants.create("acme").await.unwrap());
        let mut asking = Box::pin(tenants.create("globex"));
        assert!(futures::poll!(asking.as_mut()).is_pending(), "acme is being closed");
        drop(asking);
        let given = tenants.create(next).await.unwrap();
        assert_eq!((engine.most.load(Ordering::Relaxed), tenants.open()), (1, 1));
        drop(given);
        tenants.close().await;
        assert_eq!((tenants.open(), engine.open.lock().unwrap().len()), (0, 0));
    }
}
