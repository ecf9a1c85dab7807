//! What must hold, one function a claim, over nothing but what was read.

use std::collections::{BTreeMap, BTreeSet};

use super::books::{Books, Settlement};
use crate::domain::{Order, money};

/// A claim, and what speaks against it.
#[derive(Debug)]
pub(crate) struct Check {
    /// Few words, by which a failure is named.
    pub(crate) name: &'static str,
    /// The claim as a clause.
    pub(crate) claim: &'static str,
    /// How many things were looked at.
    pub(crate) examined: u64,
    /// How many of them break the claim.
    pub(crate) violated: u64,
    /// The first few of those, in words.
    pub(crate) violations: Vec<String>,
}

/// Violations told in words.
const SHOWN: usize = 5;

/// Reasons for cancelling an order, by a sign in their text, and how they are called in the outcomes.
pub(super) const CANCELLED: [(&str, &str); 6] = [
    ("out of stock", "undone: out of stock"),
    ("short of money", "undone: short of money"),
    ("screen", "undone: screened out"),
    ("as often as it may", "undone: no clear answer in time"),
    ("is unknown", "undone: no clear answer in time"),
    ("no account", "undone: no account"),
];

impl Check {
    fn new(name: &'static str, claim: &'static str) -> Self {
        Self { name, claim, examined: 0, violated: 0, violations: Vec::new() }
    }

    pub(crate) fn holds(&self) -> bool {
        self.violated == 0
    }

    /// Looks at one thing; `wrong` says in words what is wrong with it.
    fn look(&mut self, fine: bool, wrong: impl FnOnce() -> String) {
        self.examined += 1;
        if !fine {
            self.violated += 1;
            if self.violations.len() < SHOWN {
                self.violations.push(wrong());
            }
        }
    }
}

/// Every check.
pub(super) fn all(books: &Books) -> Vec<Check> {
    [
        intact(books),
        none_lost(books),
        none_invented(books),
        all_settled(books),
        sagas_agree(books),
        stock_conserved(books),
        none_open(books),
        reserved_once(books),
        money_conserved(books),
        charged_once(books),
        revenue_matches(books),
        shipped_once(books),
    ]
    .into_iter()
    .chain(books.notices.as_deref().map(|notices| told_once(books, notices)))
    .collect()
}

fn intact(books: &Books) -> Check {
    let mut check = Check::new("stores intact", "every file passes SQLite's check, every log is without gaps");
    for file in &books.files {
        let damage = books.damage.iter().find(|(damaged, _)| damaged == file);
        check.look(damage.is_none(), || format!("{file}: {}", damage.map_or("", |(_, word)| word)));
    }
    check
}

fn none_lost(books: &Books) -> Check {
    let mut check = Check::new("none lost", "every accepted order is in the orders store");
    for id in &books.accepted {
        check.look(books.orders.contains_key(id), || format!("{id} was accepted and is not there"));
    }
    check
}

fn none_invented(books: &Books) -> Check {
    let mut check = Check::new("none invented", "every stored order was sent, and says what was sent");
    for (id, kept) in &books.orders {
        let sent = books.sent.get(id);
        check.look(sent == Some(&kept.order), || match sent {
            None => format!("{id} was never sent"),
            Some(_) => format!("{id} does not say what was sent"),
        });
    }
    check
}

fn all_settled(books: &Books) -> Check {
    let mut check = Check::new("all settled", "every order is completed or cancelled");
    for (id, kept) in &books.orders {
        check.look(kept.settlement != Settlement::Open, || format!("{id} is neither completed nor cancelled"));
    }
    check
}

fn sagas_agree(books: &Books) -> Check {
    let mut check = Check::new("sagas agree", "every order has one saga, and it ended as the order did");
    for (id, kept) in &books.orders {
        let ended = books.sagas.get(id).map_or("missing", String::as_str);
        let due = match kept.settlement {
            Settlement::Completed => "saga.completed",
            Settlement::Cancelled(_) => "saga.compensated",
            Settlement::Open => "still open",
        };
        check.look(ended == due, || format!("{id} is {}, its saga is at {ended}", kept.settlement.label()));
    }
    for (id, ended) in books.sagas.iter().filter(|(id, _)| !books.orders.contains_key(*id)) {
        check.look(false, || format!("a saga without an order: {id}, at {ended}"));
    }
    check
}

fn stock_conserved(books: &Books) -> Check {
    let mut check = Check::new("stock conserved", "per sku: at first = on the shelf + reserved + shipped");
    let mut out: BTreeMap<&str, i64> = BTreeMap::new();
    for held in books.reservations.iter().filter(|held| held.state != "released") {
        *out.entry(&held.sku).or_default() += i64::from(held.qty);
    }
    let mut seen = BTreeSet::new();
    for stock in &books.stock {
        seen.insert(stock.sku.as_str());
        let first = books.world.stock.get(&stock.sku).map_or(0, |pieces| *pieces as i64);
        let out = out.get(stock.sku.as_str()).copied().unwrap_or_default();
        let fine = first == stock.initial && first == stock.available + out && stock.available >= 0;
        check.look(fine, || {
            format!("{}: {first} at first, {} on the shelf, {out} reserved or shipped", stock.sku, stock.available)
        });
    }
    for sku in books.world.stock.keys().filter(|sku| !seen.contains(sku.as_str())) {
        check.look(false, || format!("{sku} is gone from the store"));
    }
    check
}

fn none_open(books: &Books) -> Check {
    let mut check = Check::new("no open reservation", "what was reserved was shipped or given back");
    for held in &books.reservations {
        check.look(held.state != "held", || format!("{} still holds {} of {}", held.order_id, held.qty, held.sku));
    }
    check
}

/// Pieces per order and sku.
type Lines<'a> = BTreeMap<&'a str, BTreeMap<&'a str, u64>>;

fn add<'a>(lines: &mut Lines<'a>, order: &'a str, sku: &'a str, qty: u32) {
    *lines.entry(order).or_default().entry(sku).or_default() += u64::from(qty);
}

/// Compares, for every order anybody knows, what left the house with what should have.
fn compare(check: &mut Check, books: &Books, found: &Lines<'_>, verb: &str) {
    let nothing = BTreeMap::new();
    for (id, kept) in &books.orders {
        let found = found.get(id.as_str()).unwrap_or(&nothing);
        let due = if kept.settlement == Settlement::Completed { due(&kept.order) } else { BTreeMap::new() };
        check.look(*found == due, || {
            let (found, due) = (found.values().sum::<u64>(), due.values().sum::<u64>());
            format!("{id} ({}): {found} pieces {verb}, {due} due", kept.settlement.label())
        });
    }
    for id in found.keys().filter(|id| !books.orders.contains_key(**id)) {
        check.look(false, || format!("{id} is in no orders store, and pieces were {verb} for it"));
    }
}

fn due(order: &Order) -> BTreeMap<&str, u64> {
    order.items.iter().map(|item| (item.sku.as_str(), u64::from(item.qty))).collect()
}

fn reserved_once(books: &Books) -> Check {
    let mut check = Check::new("reserved once", "a completed order took what it ordered, a cancelled one nothing");
    let mut found = Lines::new();
    for held in books.reservations.iter().filter(|held| held.state != "released") {
        add(&mut found, &held.order_id, &held.sku, held.qty);
    }
    compare(&mut check, books, &found, "taken");
    check
}

fn shipped_once(books: &Books) -> Check {
    let mut check =
        Check::new("shipped once", "a completed order was shipped once, to its customer, a cancelled one not");
    let mut found = Lines::new();
    for line in &books.shipments {
        add(&mut found, &line.order_id, &line.sku, line.qty);
    }
    compare(&mut check, books, &found, "shipped");
    for line in &books.shipments {
        if let Some(kept) = books.orders.get(&line.order_id) {
            let fine = kept.order.customer == line.customer;
            check.look(fine, || format!("{} went to {}", line.order_id, line.customer));
        }
    }
    check
}

fn told_once(books: &Books, notices: &[String]) -> Check {
    let mut check = Check::new("told once", "the customer of a completed order was told once, no other");
    let mut told: BTreeMap<&str, u64> = BTreeMap::new();
    for order in notices {
        *told.entry(order).or_default() += 1;
    }
    for (id, kept) in &books.orders {
        let (found, due) =
            (told.remove(id.as_str()).unwrap_or_default(), u64::from(kept.settlement == Settlement::Completed));
        check.look(found == due, || format!("{id} ({}): told {found} times, {due} due", kept.settlement.label()));
    }
    for id in told.keys() {
        check.look(false, || format!("{id} is in no orders store, and its customer was told"));
    }
    check
}

fn money_conserved(books: &Books) -> Check {
    let mut check = Check::new("money conserved", "per account: at first = balance + charges - refunds");
    let mut spent: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &books.ledger {
        let sign = if entry.kind == "charge" { 1 } else { -1 };
        *spent.entry(&entry.customer).or_default() += sign * entry.cents;
    }
    let mut seen = BTreeSet::new();
    for account in &books.accounts {
        seen.insert(account.customer.as_str());
        let first = books.world.accounts.get(&account.customer).map_or(0, |cents| *cents as i64);
        let spent = spent.get(account.customer.as_str()).copied().unwrap_or_default();
        let fine = first == account.opening && first == account.balance + spent && account.balance >= 0;
        check.look(fine, || {
            format!("{}: {first} cents at first, {} now, {spent} spent", account.customer, account.balance)
        });
    }
    for customer in books.world.accounts.keys().filter(|customer| !seen.contains(customer.as_str())) {
        check.look(false, || format!("the account of {customer} is gone from the store"));
    }
    check
}

fn charged_once(books: &Books) -> Check {
    let mut check =
        Check::new("charged once", "a completed order was charged once, a cancelled one got all of it back");
    let mut entries: BTreeMap<&str, (Vec<i64>, Vec<i64>)> = BTreeMap::new();
    for entry in &books.ledger {
        let (charges, refunds) = entries.entry(&entry.order_id).or_default();
        if entry.kind == "charge" { charges } else { refunds }.push(entry.cents);
    }
    let none = (Vec::new(), Vec::new());
    for (id, kept) in &books.orders {
        let (charges, refunds) = entries.get(id.as_str()).unwrap_or(&none);
        let fine = match kept.settlement {
            Settlement::Completed => *charges == [kept.order.total() as i64] && refunds.is_empty(),
            Settlement::Cancelled(_) => charges.len() <= 1 && charges == refunds,
            Settlement::Open => charges.len() <= 1,
        };
        check.look(fine, || {
            let label = kept.settlement.label();
            format!("{id} ({label}, {} cents): charged {charges:?}, refunded {refunds:?}", kept.order.total())
        });
    }
    for id in entries.keys().filter(|id| !books.orders.contains_key(**id)) {
        check.look(false, || format!("{id} is in no orders store, and money moved for it"));
    }
    check
}

fn revenue_matches(books: &Books) -> Check {
    let mut check = Check::new("revenue matches", "charges - refunds = what completed orders cost together");
    let sign = |kind: &str| if kind == "charge" { 1 } else { -1 };
    let earned: i64 = books.ledger.iter().map(|entry| sign(&entry.kind) * entry.cents).sum();
    let due = books.revenue() as i64;
    check.look(earned == due, || format!("earned {}, due {}", money(earned.unsigned_abs()), money(due.unsigned_abs())));
    check
}
