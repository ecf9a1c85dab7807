use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::*;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use super::machine::{Book, Newest, Verdict};
use super::*;
use crate::context::{self, Context, FencingToken};
use crate::event::Sink;
use crate::time::{ManualTimer, Timer, Timestamp};
use crate::{Error, Reason};

const TTL: Duration = Duration::from_secs(10);

type Answer = Result<Option<u64>, Error<()>>;

struct Memory(ManualTimer);

impl conformance::Engine for Memory {
    type Leases = MemoryLeases;

    fn fresh(&self) -> MemoryLeases {
        MemoryLeases::new(self.0.clone())
    }

    fn pass(&self, time: Duration) {
        self.0.advance(time);
    }
}

mod memory {
    crate::lease_conformance_tests!(super::Memory(crate::time::ManualTimer::new()));
}

#[derive(Default)]
struct Heard(Mutex<Vec<Event>>);

impl Sink for Heard {
    fn on_event(&self, event: &crate::event::Event<'_>) {
        self.0.lock().unwrap().extend(event.fact::<Event>().copied());
    }
}

fn lease(token: u64, until: Timestamp) -> Lease {
    Lease::new("relay", "node", FencingToken::new(token), until)
}

#[test]
fn a_lease_is_over_at_its_end_and_not_a_moment_before() {
    let timer = ManualTimer::new();
    let leases = MemoryLeases::new(timer.clone());
    let ask = |owner| futures::executor::block_on(leases.acquire("relay", owner, TTL)).unwrap();
    let lease = ask("a").granted().unwrap();
    assert_eq!(lease.until(), timer.now() + TTL);
    timer.advance(TTL - Duration::from_nanos(1));
    assert_eq!(ask("b"), Acquired::Held { owner: Some("a".into()), retry_after: Some(Duration::from_nanos(1)) });
    timer.advance(Duration::from_nanos(1));
    assert!(ask("b").granted().is_some());
}

/// Locks in a long-lived program are taken under names that never come again (a saga's id, say).
#[test]
fn a_book_forgets_what_is_over() {
    let (timer, mut book) = (ManualTimer::new(), Book::default());
    for n in 0..10_000 {
        timer.advance(Duration::from_secs(1));
        assert!(book.acquire(&n.to_string(), "a", TTL, timer.now()).granted().is_some());
        assert!(book.len() <= 65, "{} after {n}", book.len());
    }
}

#[test]
fn a_book_that_forgets_keeps_what_is_still_owned_and_nothing_that_ends_now() {
    let (timer, mut book) = (ManualTimer::new(), Book::default());
    let start = timer.now();
    for n in 0..100 {
        assert!(book.acquire(&format!("kept {n}"), "a", 2 * TTL, start).granted().is_some());
        assert!(book.acquire(&format!("over {n}"), "a", TTL, start).granted().is_some());
    }
    assert_eq!(book.len(), 200);
    timer.advance(TTL);
    // From here on each is over at once; the book looks through when it has doubled.
    for n in 0..1_000 {
        book.acquire(&format!("moment {n}"), "b", Duration::ZERO, timer.now());
        assert!(book.len() <= 400, "{} after {n}", book.len());
    }
    for n in 0..100 {
        let held = Acquired::Held { owner: Some("a".into()), retry_after: Some(TTL) };
        assert_eq!(book.acquire(&format!("kept {n}"), "b", TTL, timer.now()), held, "a second owner of {n}");
        assert!(book.acquire(&format!("over {n}"), "b", TTL, timer.now()).granted().is_some());
    }
}

#[test]
fn a_book_with_much_in_it_is_not_looked_through_for_each_newcomer() {
    // Looked through each time, ten thousand owners cost a hundred million looks.
    let (timer, mut book) = (ManualTimer::new(), Book::default());
    for n in 0..100 {
        book.acquire(&format!("kept {n}"), "a", TTL, timer.now());
    }
    let mut most = 0;
    for n in 0..1_000 {
        book.acquire(&format!("moment {n}"), "b", Duration::ZERO, timer.now());
        most = most.max(book.len());
    }
    // What is over stays until there is as much of it as of the rest.
    assert!((190..=260).contains(&most), "{most}");
}

#[test]
fn outgoing_calls_are_stamped_while_the_lease_lasts_and_refused_after() {
    let (timer, heard) = (ManualTimer::new(), std::sync::Arc::new(Heard::default()));
    let ownership = Ownership::builder().name("relay").timer(timer.clone()).listener(heard.clone()).build().unwrap();
    let service = ownership.layer().layer(service_fn(async |(): ()| {
        yield_once().await; // the stamp is there at each poll, not only at the call
        Answer::Ok(context::fencing_token().map(FencingToken::get))
    }));
    let call = || futures::executor::block_on(service.clone().oneshot(()));
    let refused = |answer: Answer| matches!(answer, Err(Error::Rejected(r)) if r.reason() == Reason::Fenced);
    assert!(refused(call()), "nothing is owned yet");
    ownership.grant(lease(7, timer.now() + TTL));
    assert_eq!(call(), Ok(Some(7)));
    ownership.grant(lease(6, timer.now() + TTL * 9)); // an answer that was under way for long
    ownership.grant(lease(7, timer.now() + TTL * 2)); // a renewal
    timer.advance(TTL);
    assert_eq!(call(), Ok(Some(7)));
    timer.advance(TTL);
    assert!(refused(call()), "nobody renewed it");
    ownership.grant(lease(8, timer.now() + TTL));
    ownership.revoke();
    ownership.revoke();
    assert!(refused(call()));
    let token = FencingToken::new;
    let no = Event::Rejected { reason: Reason::Fenced };
    let expected = [
        no,
        Event::Granted { token: token(7) },
        no,
        Event::Granted { token: token(8) },
        Event::Lost { token: token(8) },
        no,
    ];
    assert_eq!(*heard.0.lock().unwrap(), expected);
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// The story a fence is for: an owner is stopped, another takes over and writes, the first wakes up in the middle of
/// its call and writes too. Its own clock has said nothing; the receiver must.
#[test]
fn a_zombie_owner_is_stopped_where_its_write_arrives() {
    let timer = ManualTimer::new();
    let leases = MemoryLeases::new(timer.clone());
    let fence = Fence::builder().name("ledger").build().unwrap();
    let written = Mutex::new(Vec::new());
    let ledger = fence.layer(|_: &&str| "accounts").layer(service_fn(async |entry: &'static str| {
        written.lock().unwrap().push(entry);
        Answer::Ok(None)
    }));
    let own = |node| {
        let ownership = Ownership::builder().timer(timer.clone()).build().unwrap();
        let acquired = futures::executor::block_on(leases.acquire("accounts", node, TTL)).unwrap();
        ownership.grant(acquired.granted().unwrap());
        ownership
    };
    // Between the stamp and the ledger is the network: it holds the first owner's call back until the gate opens.
    let gate = Mutex::new(false);
    let network = |ownership: &Ownership| {
        let ledger = ledger.clone();
        let gate = &gate;
        ownership.layer().layer(service_fn(move |entry: &'static str| {
            let ledger = ledger.clone();
            async move {
                std::future::poll_fn(|_| {
                    if *gate.lock().unwrap() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
                })
                .await;
                ledger.oneshot(entry).await
            }
        }))
    };
    let poll = |call: std::pin::Pin<&mut dyn Future<Output = Answer>>| {
        call.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    let first = own("node-1");
    let mut zombie = std::pin::pin!(network(&first).oneshot("zombie"));
    assert!(poll(zombie.as_mut()).is_pending());
    timer.advance(TTL);
    *gate.lock().unwrap() = true;
    assert_eq!(futures::executor::block_on(network(&own("node-2")).oneshot("owner")), Ok(None));
    let std::task::Poll::Ready(Err(Error::Rejected(refused))) = poll(zombie.as_mut()) else { panic!("let through") };
    assert_eq!((refused.reason(), &**refused.policy()), (Reason::Fenced, "ledger"));
    assert_eq!(*written.lock().unwrap(), ["owner"]);
}

#[test]
fn a_call_without_a_token_is_refused_unless_the_fence_says_otherwise() {
    for (optional, passes) in [(false, false), (true, true)] {
        let fence = Fence::builder().optional(optional).build().unwrap();
        assert_eq!(fence.check("accounts", None).is_ok(), passes);
        fence.check("accounts", Some(FencingToken::new(2))).unwrap();
        assert!(
            fence.check("accounts", Some(FencingToken::new(1))).is_err(),
            "who says that it is old is refused in any case"
        );
    }
}

#[test]
fn a_full_fence_forgets_nobody() {
    let fence = Fence::builder().max_resources(1).build().unwrap();
    fence.observe("a", FencingToken::new(5));
    let refused = fence.check("b", Some(FencingToken::new(9))).unwrap_err();
    assert_eq!(refused.reason(), Reason::Full { limit: 1, queued: 0 });
    assert!(fence.check("a", Some(FencingToken::new(4))).is_err());
    assert!(fence.check("a", Some(FencingToken::new(6))).is_ok());
    assert_eq!((fence.newest("a"), fence.newest("b")), (Some(FencingToken::new(6)), None));
    assert_eq!(Fence::builder().max_resources(0).build().unwrap_err().field(), "max_resources");
}

#[test]
fn a_fence_shows_of_how_many_resources_it_knows() {
    let fence = Fence::builder().timer(ManualTimer::new()).build().unwrap();
    for resource in ["accounts", "invoices", "accounts"] {
        fence.observe(resource, FencingToken::new(7));
    }
    assert!(format!("{fence:?}").contains("resources: 2"), "{fence:?}");
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let heard = std::sync::Arc::new(Heard::default());
    let fence = Fence::builder().dry_run(true).listener(heard.clone()).build().unwrap();
    for token in [Some(2), Some(1), None] {
        fence.check("a", token.map(FencingToken::new)).unwrap();
    }
    let would = Event::WouldReject { reason: Reason::Fenced };
    assert_eq!(*heard.0.lock().unwrap(), [Event::Advanced { token: FencingToken::new(2) }, would, would]);
}

#[test]
fn the_token_of_an_owner_reaches_the_fence_through_whatever_context_there_is() {
    let fence = Fence::builder().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(fence.layer(|resource: &String| resource.clone()))
        .service(service_fn(async |_: String| Answer::Ok(None)));
    let call = |token| {
        let context = Context::new().with_correlation_id("c").with_fencing_token(FencingToken::new(token));
        futures::executor::block_on(context.scope(async { service.clone().oneshot("a".into()).await }))
    };
    assert!(call(2).is_ok());
    assert!(call(1).is_err());
    assert!(call(2).is_ok(), "the owner may call as often as it likes");
}

proptest! {
    /// A fence lets through exactly what is not older than the newest it let through before, resource by resource.
    #[test]
    fn a_fence_is_the_greatest_token_so_far(calls in prop::collection::vec((0..3_u8, 0..6_u64), 0..40)) {
        let mut newest = Newest::new(3);
        let mut model = [None::<u64>; 3];
        for (resource, token) in calls {
            let known = &mut model[usize::from(resource)];
            let expected = match *known {
                Some(known) if token < known => Verdict::Stale,
                Some(known) if token == known => Verdict::Passes,
                _ => Verdict::Advances,
            };
            *known = (*known).max(Some(token));
            prop_assert_eq!(newest.check(&resource.to_string(), FencingToken::new(token)), expected);
            prop_assert_eq!(newest.of(&resource.to_string()).map(FencingToken::get), *known);
        }
    }

    /// Whoever asks, renews, releases and lets time pass in whatever order: at no time has a resource two owners, and
    /// its tokens grow.
    #[test]
    fn a_resource_never_has_two_owners(steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..12_u64), 0..60)) {
        let timer = ManualTimer::new();
        let mut book = Book::default();
        let mut held: Vec<Lease> = Vec::new();
        let mut last = 0;
        for (step, owner, seconds) in steps {
            let owner = owner.to_string();
            let mine = held.iter().rev().find(|lease| lease.owner() == owner).cloned();
            let now = timer.now();
            match (step, mine) {
                (0, _) => {
                    let alive = held.iter().any(|lease| now < lease.until() && lease.owner() != owner);
                    match book.acquire("relay", &owner, TTL, now) {
                        Acquired::Granted(lease) => {
                            prop_assert!(!alive && lease.token().get() > last);
                            last = lease.token().get();
                            held = vec![lease];
                        }
                        Acquired::Held { .. } => prop_assert!(alive),
                    }
                }
                (1, Some(mine)) => {
                    let renewed = book.renew(&mine, TTL, now);
                    prop_assert_eq!(renewed.is_some(), now < mine.until());
                    held = renewed.into_iter().collect();
                }
                (2, Some(mine)) => {
                    prop_assert_eq!(book.release(&mine, now), now < mine.until());
                    held.clear();
                }
                _ => timer.advance(Duration::from_secs(seconds)),
            }
        }
    }
}

mod keep;
