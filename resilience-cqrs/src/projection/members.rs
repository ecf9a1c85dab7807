//! Who takes part in running a projection, and how many partitions each of them runs.
//!
//! Each member counts up a row of its own, and believes another to be there for as long as it sees that row change, by its
//! own clock. So no clocks are compared, and nobody has to be asked who is there. Members may disagree for a moment; it is
//! the leases that keep two from running one partition.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use resilience_core::time::Timestamp;

use crate::log::{Append, AppendError, ReadError, RowChange, Space};
use crate::store::EventStore;

/// The space of the members' rows, keyed by projection and member.
const SPACE: Space = Space::from_static("projection.member");

/// Most members that are looked at; more than partitions are idle anyway.
const MOST: usize = 1024;

/// The members that were seen, as far as they still change.
#[derive(Debug, Default)]
pub(super) struct Members {
    seen: BTreeMap<String, (u64, Timestamp)>,
}

impl Members {
    /// Those who are alive, in the order of their names: whose row has changed within `patience`. `me` always is.
    pub(super) fn observe(
        &mut self,
        rows: &BTreeMap<String, u64>,
        me: &str,
        now: Timestamp,
        patience: Duration,
    ) -> Vec<String> {
        self.seen.retain(|member, _| rows.contains_key(member));
        for (member, beat) in rows {
            match self.seen.get_mut(member) {
                Some((last, _)) if last == beat => {}
                _ => {
                    self.seen.insert(member.clone(), (*beat, now));
                }
            }
        }
        let is_alive = |since: Timestamp| now.since(since) <= patience;
        let others = self.seen.iter().filter(|(member, (_, since))| *member != me && is_alive(*since));
        let mut alive: Vec<String> = others.map(|(member, _)| member.clone()).collect();
        alive.push(me.to_owned());
        alive.sort_unstable();
        alive
    }

    /// Members whose row has not changed for so long that it may be struck out.
    pub(super) fn gone(&self, now: Timestamp, patience: Duration) -> impl Iterator<Item = &str> {
        let is_gone = move |since: Timestamp| now.since(since) > patience.saturating_mul(10);
        self.seen.iter().filter(move |(_, (_, since))| is_gone(*since)).map(|(member, _)| member.as_str())
    }
}

/// How many of the partitions a member runs, and with which it begins to look for free ones.
///
/// The shares of all add up to all partitions, and differ by one at most.
pub(super) fn fair_share(alive: &[String], me: &str, partitions: u32) -> (u32, u32) {
    let members = u32::try_from(alive.len()).unwrap_or(u32::MAX).max(1);
    let rank = alive.iter().position(|member| member == me).and_then(|rank| u32::try_from(rank).ok()).unwrap_or(0);
    let (each, more) = (partitions / members, partitions % members);
    (each + u32::from(rank < more), rank * each + rank.min(more))
}

/// Writes this member's row, and reads all.
pub(super) async fn beat<S: EventStore>(
    store: &S,
    projection: &str,
    (me, beat): (&str, u64),
    gone: Vec<String>,
) -> Result<BTreeMap<String, u64>, BeatError> {
    let put = RowChange::put(SPACE, key(projection, me), beat.to_be_bytes().to_vec());
    let struck = gone.iter().map(|member| RowChange::delete(SPACE, key(projection, member)));
    store.append(Append::new().rows(struck).row(put)).await?;
    let prefix = key(projection, "");
    let mut members = BTreeMap::new();
    for (row, beat) in store.rows(SPACE.as_str(), Some(&prefix), MOST).await? {
        let Some(member) = row.strip_prefix(&*prefix) else { break };
        if let (Ok(member), Ok(beat)) = (std::str::from_utf8(member), <[u8; 8]>::try_from(&*beat)) {
            members.insert(member.to_owned(), u64::from_be_bytes(beat));
        }
    }
    Ok(members)
}

pub(super) async fn leave<S: EventStore>(store: &S, projection: &str, me: &str) {
    // If it fails, the others find out by themselves.
    let _ = store.append(Append::new().row(RowChange::delete(SPACE, key(projection, me)))).await;
}

/// Why the members are not known; the next beat asks again.
#[derive(Debug)]
pub(super) struct BeatError;

impl From<AppendError> for BeatError {
    fn from(_: AppendError) -> Self {
        Self
    }
}

impl From<ReadError> for BeatError {
    fn from(_: ReadError) -> Self {
        Self
    }
}

/// `projection`, 0, `member`: a projection's name has no control characters.
fn key(projection: &str, member: &str) -> Bytes {
    [projection.as_bytes(), b"\0", member.as_bytes()].concat().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use resilience_core::time::{ManualTimer, Timer as _};

    use super::*;

    fn names(members: usize) -> Vec<String> {
        (0..members).map(|member| format!("node-{member:03}")).collect()
    }

    proptest! {
        #[test]
        fn shares_are_fair_and_begin_where_the_one_before_ends(members in 1_usize..40, partitions in 1_u32..200) {
            let alive = names(members);
            let mut next = 0;
            let mut sizes = Vec::new();
            for member in &alive {
                let (share, begin) = fair_share(&alive, member, partitions);
                prop_assert_eq!(begin, next);
                next += share;
                sizes.push(share);
            }
            prop_assert_eq!(next, partitions);
            prop_assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        }
    }

    #[test]
    fn a_member_whose_row_stands_still_is_gone_and_back_when_it_moves() {
        let timer = ManualTimer::new();
        let ttl = Duration::from_secs(10);
        let mut members = Members::default();
        let mut rows = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]);
        // A row that was never seen before may have stood still for years; that shows.
        assert_eq!(members.observe(&rows, "a", timer.now(), ttl), ["a", "b"]);
        timer.advance(ttl);
        assert_eq!(members.observe(&rows, "a", timer.now(), ttl), ["a", "b"]);
        timer.advance(Duration::from_millis(1));
        assert_eq!(members.observe(&rows, "a", timer.now(), ttl), ["a"], "and itself, whatever its row");
        rows.extend([("a".into(), 2), ("b".into(), 2)]);
        assert_eq!(members.observe(&rows, "a", timer.now(), ttl), ["a", "b"]);
        timer.advance(ttl * 10);
        assert_eq!(members.gone(timer.now(), ttl).count(), 0);
        timer.advance(Duration::from_millis(1));
        assert_eq!(members.gone(timer.now(), ttl).collect::<Vec<_>>(), ["a", "b"]);
        rows.clear();
        assert_eq!(members.observe(&rows, "c", timer.now(), ttl), ["c"]);
        assert_eq!(members.gone(timer.now(), ttl).count(), 0);
    }
}
