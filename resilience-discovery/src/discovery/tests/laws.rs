//! What holds whatever a source says, and whenever.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use proptest::collection::{btree_set, vec};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use resilience_core::time::Timestamp;

use crate::{Endpoint, EndpointSet, Freshness, Rules, Update};

#[derive(Clone, Debug)]
enum Input {
    State(BTreeSet<u16>),
    Confirm,
    Fail,
    Tick,
}

fn inputs() -> impl Strategy<Value = Vec<(Input, u64)>> {
    let input = prop_oneof![
        6 => btree_set(1u16..12, 0..12).prop_map(Input::State),
        2 => Just(Input::State(BTreeSet::new())),
        2 => Just(Input::Confirm),
        1 => Just(Input::Fail),
        2 => Just(Input::Tick),
    ];
    vec((input, 0u64..20_000), 1..60)
}

fn rules() -> impl Strategy<Value = Rules> {
    let spans = (0u64..40_000, 0u64..40_000, 0u64..20_000, 0u64..300);
    (1u32..4, 0.0..=1.0f64, spans).prop_map(|(confirmations, max_shrink, (empty, shrink, grace, debounce))| Rules {
        empty_confirmations: confirmations,
        empty_span: Duration::from_millis(empty),
        max_shrink,
        shrink_span: Duration::from_millis(shrink),
        removal_grace: Duration::from_millis(grace),
        debounce: Duration::from_millis(debounce),
    })
}

fn endpoint(id: u16) -> Endpoint {
    Endpoint::new(format!("e{id:02}"), SocketAddr::from(([127, 0, 0, 1], id)))
}

fn published(set: &EndpointSet) -> BTreeSet<u16> {
    set.snapshot().endpoints().iter().map(|endpoint| endpoint.address().port()).collect()
}

proptest! {
    #[test]
    fn the_set_keeps_its_laws(rules in rules(), inputs in inputs()) {
        let mut now = Timestamp::ORIGIN + Duration::from_secs(1000);
        let mut set = EndpointSet::new(rules.clone(), now);
        let mut stated: Option<BTreeSet<u16>> = None;
        let mut empties = 0;
        for (input, wait) in inputs {
            now = now + Duration::from_millis(wait);
            let before = set.snapshot().clone();
            let changes = match &input {
                Input::State(ids) => {
                    empties = if ids.is_empty() { empties + 1 } else { 0 };
                    stated = Some(ids.clone());
                    set.apply(Update::Endpoints(ids.iter().copied().map(endpoint).collect()), now)
                }
                Input::Confirm => {
                    empties += u32::from(empties > 0);
                    set.apply(Update::Unchanged, now)
                }
                Input::Fail => set.fail(now),
                Input::Tick => set.tick(now),
            };
            let after = set.snapshot();

            // The version grows exactly when the endpoints change, or with the first word.
            let same = before.endpoints() == after.endpoints();
            prop_assert_eq!(after.version() == before.version(), same && (before.version() > 0 || stated.is_none()));
            prop_assert_eq!(changes.endpoints_changed(), !same);

            // A failure never changes who is in use, other than by what was decided before it.
            if matches!(input, Input::Fail) {
                prop_assert!(changes.removed.is_empty() || set.next_wake_up() != Some(now));
            }

            // Nobody who was in use is lost while the source names them.
            if let Some(stated) = &stated {
                let kept = published(&set);
                for endpoint in before.endpoints() {
                    let port = endpoint.address().port();
                    prop_assert!(!stated.contains(&port) || kept.contains(&port));
                }
            }

            // A set in use is emptied only after enough words that say so.
            if after.endpoints().is_empty() && !before.endpoints().is_empty() {
                prop_assert!(empties >= rules.empty_confirmations);
            }
            prop_assert!(after.freshness() != Freshness::Empty || after.endpoints().is_empty());

            // A wake-up that was asked for is not asked for again: no driver can spin.
            if let Some(wake_up) = set.next_wake_up() {
                let mut woken = set.clone();
                woken.tick(wake_up.max(now));
                prop_assert!(woken.next_wake_up().is_none_or(|next| next > wake_up));
            }
        }

        // A source that stands by its word is believed in the end, and at rest nothing is left to do.
        if let Some(stated) = stated {
            for _ in 0..8 {
                now = now + Duration::from_secs(100);
                set.apply(Update::Unchanged, now);
                set.tick(now + Duration::from_secs(50));
            }
            prop_assert_eq!(published(&set), stated.clone());
            prop_assert_eq!(set.snapshot().freshness(), if stated.is_empty() { Freshness::Empty } else { Freshness::Live });
            prop_assert_eq!(set.next_wake_up(), None);
            prop_assert!(set.snapshot().suspects().is_empty());
        }
    }

    #[test]
    fn no_duration_and_no_time_makes_the_set_panic(nanos in any::<u64>(), span in any::<u64>(), ids in btree_set(1u16..9, 0..9)) {
        let span = Duration::from_nanos(span);
        let rules = Rules { empty_span: span, shrink_span: span, removal_grace: span, debounce: span, ..Rules::default() };
        let now = Timestamp::from_nanos(nanos);
        let mut set = EndpointSet::new(rules, now);
        set.apply(Update::Endpoints((1..9).map(endpoint).collect()), now);
        set.apply(Update::Endpoints(ids.into_iter().map(endpoint).collect()), now + span);
        set.tick(Timestamp::NEVER);
        set.fail(Timestamp::ORIGIN);
        set.next_wake_up();
    }
}
