//! Who owns what, and whose token is the newest. Values in, values out.

use std::collections::HashMap;
use std::time::Duration;

use super::store::{Acquired, Lease};
use crate::context::FencingToken;
use crate::time::Timestamp;

/// The leases of one engine.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// The last token given, to whatever resource: one row of numbers for all grows for each of them, and a resource
    /// that nobody owns need not be remembered.
    last: u64,
    leases: HashMap<String, Lease>,
    /// How many entries make it worth looking for those that are over.
    tidy_at: usize,
}

/// Entries below which nobody looks for those that are over.
const FEW: usize = 64;

impl Book {
    pub(super) fn acquire(&mut self, resource: &str, owner: &str, ttl: Duration, now: Timestamp) -> Acquired {
        // Held => held: its time is not over, and the one who asks is another.
        if let Some(lease) = self.current(resource, now)
            && lease.owner() != owner
        {
            let retry_after = Some(lease.until() - now);
            return Acquired::Held { owner: Some(lease.owner().into()), retry_after };
        }
        // Free, over, or the owner's own from an earlier life => granted, under a new token.
        self.last += 1;
        let lease = Lease::new(resource, owner, FencingToken::new(self.last), now + ttl);
        if self.leases.len() >= self.tidy_at.max(FEW) {
            self.leases.retain(|_, lease| now < lease.until());
            self.tidy_at = 2 * self.leases.len();
        }
        self.leases.insert(resource.to_owned(), lease.clone());
        Acquired::Granted(lease)
    }

    pub(super) fn renew(&mut self, lease: &Lease, ttl: Duration, now: Timestamp) -> Option<Lease> {
        let current = self.current(lease.resource(), now).filter(|current| current.token() == lease.token())?;
        let renewed = Lease::new(current.resource(), current.owner(), current.token(), now + ttl);
        self.leases.insert(lease.resource().to_owned(), renewed.clone());
        Some(renewed)
    }

    pub(super) fn release(&mut self, lease: &Lease, now: Timestamp) -> bool {
        let is_current = self.current(lease.resource(), now).is_some_and(|current| current.token() == lease.token());
        is_current && self.leases.remove(lease.resource()).is_some()
    }

    /// Entries in the book, those that are over and not yet struck out included.
    #[cfg(test)]
    #[allow(dead_code)] // Which tests are built depends on the features.
    pub(super) fn len(&self) -> usize {
        self.leases.len()
    }

    /// The lease of a resource, if its time is not over: at `until` it is.
    fn current(&self, resource: &str, now: Timestamp) -> Option<&Lease> {
        self.leases.get(resource).filter(|lease| now < lease.until())
    }
}

/// The newest token of each resource that was ever let through.
#[derive(Debug)]
pub(super) struct Newest {
    tokens: HashMap<String, FencingToken>,
    limit: usize,
}

/// What a fence thinks of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As new as the newest.
    Passes,
    /// Newer than all before, and the newest from now on.
    Advances,
    /// Older than the newest.
    Stale,
    /// There is no room for another resource, and none may be forgotten.
    Full,
}

impl Newest {
    pub(super) fn new(limit: usize) -> Self {
        Self { tokens: HashMap::new(), limit }
    }

    pub(super) fn check(&mut self, resource: &str, token: FencingToken) -> Verdict {
        let known = self.tokens.len();
        match self.tokens.get_mut(resource) {
            Some(newest) if token < *newest => Verdict::Stale,
            Some(newest) if token == *newest => Verdict::Passes,
            Some(newest) => {
                *newest = token;
                Verdict::Advances
            }
            None if known >= self.limit => Verdict::Full,
            None => {
                self.tokens.insert(resource.to_owned(), token);
                Verdict::Advances
            }
        }
    }

    pub(super) fn of(&self, resource: &str) -> Option<FencingToken> {
        self.tokens.get(resource).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }
}
