//! The orders and the world of a run that was given none: popular things sell out, some customers are short of money.

use std::collections::BTreeMap;

use resilience_core::rng::Rng;
use serde::{Deserialize, Serialize};

use crate::domain::{Item, Order};

/// What the stores hold before the first order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct World {
    /// Pieces on the shelf, by sku.
    pub(crate) stock: BTreeMap<String, u64>,
    /// Cents in the account, by customer.
    pub(crate) accounts: BTreeMap<String, u64>,
}

/// Exponent of the popularity of skus: the k-th most popular is bought `k^-0.7` as often as the first.
const SKEW: f64 = 0.7;
/// Share of demand the shelf covers of what every sku would sell if all were equally popular.
const SHELF: f64 = 3.0;
/// Every so many customers, one has too little money for all their orders.
const POOR: usize = 12;

/// `count` orders over a catalogue that grows with them, the same for the same seed.
pub(crate) fn orders(count: usize, seed: u64) -> Vec<Order> {
    let mut rng = Rng::seeded(seed ^ 0x0A11_0CA7_E0BD_E550);
    let skus = (count / 10).clamp(12, 400);
    let customers = (count / 8).clamp(4, 5_000);
    let popularity = Zipf::new(skus, SKEW);
    let width = (count.max(2) - 1).to_string().len().max(4);
    (0..count)
        .map(|number| {
            let mut items: Vec<Item> = Vec::new();
            for _ in 0..1 + rng.below(3) {
                let sku = popularity.draw(&mut rng);
                let id = format!("sku-{:03}", sku + 1);
                if items.iter().all(|item| item.sku != id) {
                    items.push(Item { sku: id, qty: 1 + rng.below(3) as u32, cents: price(sku) });
                }
            }
            Order {
                order_id: format!("o-{number:0width$}"),
                customer: format!("c-{:04}", rng.below(customers as u64)),
                items,
            }
        })
        .collect()
}

/// The shelf and the accounts for these orders: `stock` pieces of every sku if given, else so many that what is
/// popular runs out.
pub(crate) fn world(orders: &[Order], stock: Option<u64>) -> World {
    let mut demand: BTreeMap<&str, u64> = BTreeMap::new();
    let mut spending: BTreeMap<&str, u64> = BTreeMap::new();
    for order in orders {
        *spending.entry(&order.customer).or_default() += order.total();
        for item in &order.items {
            *demand.entry(&item.sku).or_default() += u64::from(item.qty);
        }
    }
    let mean = demand.values().sum::<u64>() as f64 / demand.len().max(1) as f64;
    let shelf = stock.unwrap_or((mean * SHELF).ceil() as u64);
    let accounts = spending.iter().enumerate().map(|(at, (customer, spent))| {
        let cents = if at % POOR == POOR - 1 { spent / 2 } else { spent + 10_000 };
        ((*customer).to_owned(), cents)
    });
    World { stock: demand.keys().map(|sku| ((*sku).to_owned(), shelf)).collect(), accounts: accounts.collect() }
}

/// A price a shop would print: 1.99 to 99.99.
fn price(sku: usize) -> u64 {
    let mut rng = Rng::seeded(sku as u64 + 1);
    199 + rng.below(99) * 100
}

/// Draws ranks by the Zipf law, by binary search in the cumulated weights.
struct Zipf {
    cumulated: Vec<f64>,
}

impl Zipf {
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let cumulated = (1..=ranks).map(|rank| {
            sum += (rank as f64).powf(-exponent);
            sum
        });
        Self { cumulated: cumulated.collect() }
    }

    fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.cumulated.last().copied().unwrap_or(0.0);
        let at = rng.unit() * total;
        self.cumulated.partition_point(|sum| *sum <= at).min(self.cumulated.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_orders_and_all_are_valid() {
        let orders = orders(2_000, 7);
        assert_eq!(orders, super::orders(2_000, 7));
        assert_ne!(orders, super::orders(2_000, 8));
        assert!(orders.iter().all(|order| order.check().is_ok()));
        let mut ids: Vec<_> = orders.iter().map(|order| &order.order_id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 2_000);
    }

    #[test]
    fn popular_skus_sell_out_and_most_do_not() {
        let orders = orders(2_000, 7);
        let world = world(&orders, None);
        let mut demand = BTreeMap::<&str, u64>::new();
        for item in orders.iter().flat_map(|order| &order.items) {
            *demand.entry(&item.sku).or_default() += u64::from(item.qty);
        }
        let short = demand.iter().filter(|(sku, wanted)| **wanted > world.stock[**sku]).count();
        assert!(short >= 5, "{short} skus run out");
        assert!(short * 4 < demand.len(), "{short} of {} skus run out", demand.len());
    }
}
