//! What the shop sells to whom, in the words its services use with each other.

use serde::{Deserialize, Serialize};

/// One order, as it stands on one line of an orders file and in the body of `POST /orders`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// The order's own id; sending it twice places it once.
    pub(crate) order_id: String,
    /// Whose account is charged.
    pub(crate) customer: String,
    /// What is bought.
    pub(crate) items: Vec<Item>,
}

/// One position of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    /// What.
    pub(crate) sku: String,
    /// How many, 1 to 1,000.
    pub(crate) qty: u32,
    /// Price of one, in cents.
    pub(crate) cents: u64,
}

/// Longest id of an order, a customer or a sku, in bytes.
const MAX_ID: usize = 64;
/// Most positions of an order.
const MAX_ITEMS: usize = 50;
/// Most pieces of one position.
const MAX_QTY: u32 = 1_000;
/// Highest price of one piece, in cents.
const MAX_CENTS: u64 = 100_000_000;

impl Order {
    /// What the whole order costs, in cents.
    pub(crate) fn total(&self) -> u64 {
        self.items.iter().map(|item| u64::from(item.qty) * item.cents).sum()
    }

    /// The first rule the order breaks, as a clause.
    pub(crate) fn check(&self) -> Result<(), String> {
        check_id("order_id", &self.order_id)?;
        check_id("customer", &self.customer)?;
        if self.items.is_empty() {
            return Err("items is empty".into());
        }
        if self.items.len() > MAX_ITEMS {
            return Err(format!("items has {} positions, at most {MAX_ITEMS} are allowed", self.items.len()));
        }
        for (at, item) in self.items.iter().enumerate() {
            check_id("sku", &item.sku)?;
            if item.qty == 0 || item.qty > MAX_QTY {
                return Err(format!("qty of {} is {}, it must be 1 to {MAX_QTY}", item.sku, item.qty));
            }
            if item.cents == 0 || item.cents > MAX_CENTS {
                return Err(format!("cents of {} is {}, it must be 1 to {MAX_CENTS}", item.sku, item.cents));
            }
            if self.items[..at].iter().any(|earlier| earlier.sku == item.sku) {
                return Err(format!("{} stands in two positions", item.sku));
            }
        }
        Ok(())
    }
}

fn check_id(field: &str, id: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.is_empty() || id.len() > MAX_ID {
        return Err(format!("{field} must have 1 to {MAX_ID} characters"));
    }
    if !id.chars().all(allowed) {
        return Err(format!("{field} {id:?} may only have letters, digits, '-', '_' and '.'"));
    }
    Ok(())
}

/// The five services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServiceName {
    Gateway,
    Orders,
    Inventory,
    Payments,
    Shipping,
}

impl ServiceName {
    pub(crate) const ALL: [Self; 5] = [Self::Inventory, Self::Payments, Self::Shipping, Self::Orders, Self::Gateway];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payments => "payments",
            Self::Shipping => "shipping",
        }
    }
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whom a fault script can kill: a service, or the server behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Victim {
    Gateway,
    Orders,
    Inventory,
    Payments,
    Shipping,
    /// The database of a run with `--store postgres`.
    Postgres,
    /// The bus of a run with `--bus nats`.
    Nats,
}

impl Victim {
    pub(crate) const ALL: [Self; 7] =
        [Self::Inventory, Self::Payments, Self::Shipping, Self::Orders, Self::Gateway, Self::Postgres, Self::Nats];

    /// The service, if it is one.
    pub(crate) const fn service(self) -> Option<ServiceName> {
        match self {
            Self::Gateway => Some(ServiceName::Gateway),
            Self::Orders => Some(ServiceName::Orders),
            Self::Inventory => Some(ServiceName::Inventory),
            Self::Payments => Some(ServiceName::Payments),
            Self::Shipping => Some(ServiceName::Shipping),
            Self::Postgres | Self::Nats => None,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self.service() {
            Some(service) => service.as_str(),
            None if matches!(self, Self::Nats) => "nats",
            None => "postgres",
        }
    }
}

impl std::fmt::Display for Victim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Amounts as people write them: `1234` cents are `12.34`.
pub(crate) fn money(cents: u64) -> String {
    format!("{}.{:02}", thousands(cents / 100), cents % 100)
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        let item = Item { sku: "tea".into(), qty: 2, cents: 499 };
        Order { order_id: "o-1".into(), customer: "c-1".into(), items: vec![item] }
    }

    #[test]
    fn an_order_at_each_limit_passes_and_one_past_it_is_refused_with_the_rule() {
        let mut at_limits = order();
        at_limits.items[0].qty = MAX_QTY;
        at_limits.items[0].cents = MAX_CENTS;
        at_limits.order_id = "o".repeat(MAX_ID);
        assert_eq!(at_limits.check(), Ok(()));
        let broken = |change: fn(&mut Order)| {
            let mut order = order();
            change(&mut order);
            order.check().unwrap_err()
        };
        assert!(broken(|o| o.items[0].qty = MAX_QTY + 1).contains("qty of tea is 1001"));
        assert!(broken(|o| o.items[0].qty = 0).contains("qty of tea is 0"));
        assert!(broken(|o| o.items[0].cents = MAX_CENTS + 1).contains("cents of tea"));
        assert!(broken(|o| o.items.clear()).contains("empty"));
        assert!(broken(|o| o.items.push(o.items[0].clone())).contains("two positions"));
        assert!(broken(|o| o.order_id = "a/b".into()).contains("letters"));
        assert!(broken(|o| o.customer = "c".repeat(MAX_ID + 1)).contains("1 to 64"));
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(money(123_456_705), "1,234,567.05");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_000), "1,000");
    }
}
