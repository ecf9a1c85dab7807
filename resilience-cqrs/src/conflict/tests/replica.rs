use serde::{Deserialize, Serialize};

use super::*;
use crate::aggregate::{Repository, given};
use crate::store::EventStore;
use crate::{MemoryStore, Position, Query};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: OrSet<String>,
    note: LwwRegister<String>,
}

impl Merge for Cart {
    fn merge(&mut self, other: Self) {
        self.items.merge(other.items);
        self.note.merge(other.note);
    }
}

impl Replicated for Cart {
    const STREAM: &'static str = "cart";
}

type Carts = Repository<Replica<Cart>, MemoryStore>;

fn add(by: usize, item: &str) -> Change<Cart> {
    let item = item.to_owned();
    Change::local(move |cart: &mut Cart| Cart { items: cart.items.add(node(by), item.clone()), ..Cart::default() })
}

fn remove(item: &str) -> Change<Cart> {
    let item = item.to_owned();
    Change::local(move |cart: &mut Cart| Cart { items: cart.items.remove(&item), ..Cart::default() })
}

async fn items(carts: &Carts) -> Vec<String> {
    carts.load("1").await.unwrap().state.state().items.iter().cloned().collect()
}

/// Reads another's log from wherever, and takes it in. Returns how many of its events said something new.
async fn pull(from: &Carts, to: &Carts, after: Position) -> usize {
    let page = from.store().read(after, &Query::types([Merged::<Cart>::KIND]), 1_000).await.unwrap();
    let mut news = 0;
    for recorded in &page.events {
        let delta = crate::aggregate::EventCodec::decode(&crate::aggregate::Json, recorded).unwrap();
        news += to.execute("1", &Change::remote(delta)).await.unwrap().events.len();
    }
    news
}

/// Two requests on one node load the same state. Were each change made but once, both would give their addition the same
/// dot, and to whoever hears of one the other would be known already.
#[tokio::test(start_paused = true)]
async fn changes_made_at_once_on_one_node_do_not_take_each_other_for_known() {
    let carts = Carts::new(MemoryStore::new());
    let wishes: Vec<_> = (0..4).map(|n| add(0, &n.to_string())).collect();
    for done in futures::future::join_all(wishes.iter().map(|wish| carts.execute("1", wish))).await {
        done.unwrap();
    }
    let elsewhere = Carts::new(MemoryStore::new());
    assert_eq!(pull(&carts, &elsewhere, Position::ORIGIN).await, 4);
    assert_eq!(items(&elsewhere).await, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn two_logs_that_read_each_other_converge_and_then_fall_silent() {
    let (a, b) = (Carts::new(MemoryStore::new()), Carts::new(MemoryStore::new()));
    a.execute("1", &add(0, "milk")).await.unwrap();
    pull(&a, &b, Position::ORIGIN).await;
    // Apart.
    a.execute("1", &remove("milk")).await.unwrap();
    b.execute("1", &add(1, "milk")).await.unwrap();
    b.execute("1", &add(1, "bread")).await.unwrap();
    // Together again, one way and the other, from the start each time.
    while pull(&a, &b, Position::ORIGIN).await + pull(&b, &a, Position::ORIGIN).await > 0 {}
    assert_eq!(
        (items(&a).await, items(&b).await),
        (vec!["bread".into(), "milk".into()], vec!["bread".into(), "milk".into()])
    );
    let heads = (a.store().head(), b.store().head());
    assert_eq!(pull(&a, &b, Position::ORIGIN).await + pull(&b, &a, Position::ORIGIN).await, 0);
    assert_eq!((a.store().head(), b.store().head()), heads, "an echo of an echo would never end");
    assert_eq!(a.load("1").await.unwrap().state, b.load("1").await.unwrap().state);
}

#[test]
fn a_change_that_changes_nothing_is_no_event() {
    given::<Replica<Cart>>([]).when(remove("milk")).then([]);
    let milk = Merged(Cart { items: OrSet::new().add(node(0), "milk".into()), ..Cart::default() });
    given::<Replica<Cart>>([milk.clone()]).when(Change::remote(milk)).then([]);
    assert_eq!(format!("{:?}", remove("milk")), r#"Change("local")"#);
}
