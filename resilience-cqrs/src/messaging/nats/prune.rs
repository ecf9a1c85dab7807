//! What nobody needs any more goes: streams are kept by limits, and the bus itself clears them.
//!
//! A message has been settled when every consumer that hears its subject is past it, and then it is purged, by subject. What
//! makes that safe:
//!
//! - The stream's end is read before the consumers are. A group that joins later hears from a later place on.
//! - How far a consumer is comes from the server that has its state. A list of consumers that is not complete, or has
//!   changed while it was read page by page, clears nothing.
//! - A purge is of what two looks, [`PAUSE`] apart, have both found settled. A consumer's place is on the server's disk a
//!   tenth of a second after it is reached, so a server that is killed does not come back with one that is waiting for a
//!   message that is gone. Only a publication that has no room does not wait.
//! - Servers before 2.10 reset each consumer whose filter is at least as wide as a purge's: they forget what it has in
//!   hand, and jump over what it was not given yet. So the first word of a purge's subject is `*`, which is wider than any
//!   consumer of the bus and the same messages.
//! - The last message of a stream stays. A server that empties a file truncates it and then notes the last number in
//!   another one; killed in between it begins again at a lower number, and consumers that were past it skip what comes. (Shown
//!   with `strace -e inject=ftruncate:signal=KILL` on 2.9.10: three messages sent to a work queue afterwards never came.)

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::jetstream::context::Context;
use futures::{StreamExt as _, TryStreamExt as _};
use resilience_core::time::{SharedTimer, Timestamp};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, Notify};

use super::granted::call;
use super::link::Link;
use super::wire;
use crate::messaging::error::BusError;
use crate::messaging::message::Way;
use crate::messaging::subject::{Filter, Subject};

/// Between two looks at a stream in which something happens.
const PAUSE: Duration = Duration::from_secs(1);
/// The same if the last looks have failed; doubled up to it.
const PAUSE_CAP: Duration = Duration::from_secs(60);
/// Subjects that one look is about; the next one goes on behind them.
const SUBJECTS: usize = 4_096;
/// Pages of the list of consumers, of 256 each by the server. With more of them nothing is cleared.
const PAGES: usize = 64;
/// Purges under way at once.
const AT_ONCE: usize = 8;

/// Clears the streams of one bus.
pub(super) struct Pruner {
    context: Context,
    prefix: String,
    topics: Mutex<Memory>,
    queues: Mutex<Memory>,
}

/// What is known from the looks before.
#[derive(Default)]
struct Memory {
    /// When the last look began.
    began: Timestamp,
    /// How far each subject was settled when it was looked at.
    seen: HashMap<String, u64>,
    /// How many messages of a subject were left, and up to where it was cleared: the same again would clear nothing.
    done: HashMap<String, (u64, u64)>,
    /// Where among the subjects it looks, and whether it has looked there once already.
    offset: usize,
    is_again: bool,
}

/// Whether to wait for a second look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Second,
    Only,
}

impl Pruner {
    pub(super) fn new(context: Context, prefix: &str) -> Self {
        Self { context, prefix: prefix.into(), topics: Mutex::default(), queues: Mutex::default() }
    }

    /// Clears after something was published or settled, until nothing is left to clear; ends with the connection.
    pub(super) async fn run(self: Arc<Self>, link: Weak<Link>, stirred: Arc<Notify>, timer: SharedTimer) {
        let (mut is_due, mut failures) = (false, 0_u32);
        loop {
            if !is_due {
                stirred.notified().await;
            }
            let doubled = PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
            timer.sleep(doubled.min(PAUSE_CAP)).await;
            let Some(link) = link.upgrade().filter(|link| !link.is_closed()) else { return };
            match self.clear(&link).await {
                Ok(is_left) => (is_due, failures) = (is_left, 0),
                Err(error) => {
                    if failures == 0 && link.is_up() {
                        tracing::warn!(bus = %link.name, %error, "streams cannot be cleared at the moment");
                    }
                    (is_due, failures) = (true, failures.saturating_add(1));
                }
            }
        }
    }

    async fn clear(&self, link: &Link) -> Result<bool, BusError> {
        let topics = self.look(link, Way::Publish, &mut *self.topics.lock().await, Look::Second).await?;
        let queues = self.look(link, Way::Send, &mut *self.queues.lock().await, Look::Second).await?;
        Ok(topics || queues)
    }

    /// For a message that has no room. Callers at the same time are served by one look.
    pub(super) async fn make_room(&self, link: &Link, way: Way) -> Result<(), BusError> {
        let asked = link.timer.now();
        let mut memory = match way {
            Way::Publish => self.topics.lock().await,
            Way::Send => self.queues.lock().await,
        };
        if memory.began > asked {
            return Ok(());
        }
        self.look(link, way, &mut memory, Look::Only).await.map(drop)
    }

    /// One look at one stream; returns whether there is something for the next one.
    async fn look(&self, link: &Link, way: Way, memory: &mut Memory, look: Look) -> Result<bool, BusError> {
        memory.began = link.timer.now();
        let stream = wire::stream_name(&self.prefix, way);
        let ask = json!({ "subjects_filter": ">", "offset": memory.offset });
        let Some(found) = call::<Found>(link, &self.context, format!("STREAM.INFO.{stream}"), &ask).await? else {
            return Ok(false);
        };
        let subjects: Vec<_> = found.state.subjects.unwrap_or_default().into_iter().take(SUBJECTS).collect();
        let next = memory.offset + subjects.len();
        let goes_on = next < found.total && !subjects.is_empty();
        let is_part = goes_on || memory.offset > 0;
        memory.is_again = is_part && look == Look::Second && !memory.is_again;
        if !memory.is_again {
            memory.offset = if goes_on { next } else { 0 };
        }
        let hearers = self.hearers(link, &stream).await?;
        let (mut seen, mut done, mut purges) = (HashMap::new(), HashMap::new(), Vec::new());
        let mut is_left = goes_on;
        for (nth, (subject, messages)) in subjects.into_iter().enumerate() {
            if nth % 64 == 63 {
                // Many subjects and many consumers are a lot to compare.
                tokio::task::yield_now().await;
            }
            let Some(settled) = settled(way, &subject, &hearers) else { continue };
            let before = memory.seen.get(&subject).copied();
            let (upto, settled) = clears(settled, found.state.last_seq, before, look);
            is_left |= upto < settled;
            if upto >= found.state.first_seq.max(1) {
                match memory.done.get(&subject) {
                    Some(before) if *before == (messages, upto) => _ = done.insert(subject.clone(), *before),
                    _ => purges.push((subject.clone(), messages, upto)),
                }
            }
            seen.insert(subject, settled);
        }
        let purged = futures::stream::iter(purges)
            .map(|(subject, messages, upto)| self.purge(link, &stream, subject, messages, upto))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>();
        done.extend(purged.await?);
        (memory.seen, memory.done) = (seen, done);
        Ok(is_left)
    }

    /// Everything of a subject up to a place.
    async fn purge(
        &self,
        link: &Link,
        stream: &str,
        subject: String,
        messages: u64,
        upto: u64,
    ) -> Result<(String, (u64, u64)), BusError> {
        let ask = json!({ "filter": wider(&subject), "seq": upto + 1 });
        let answer = call::<Purged>(link, &self.context, format!("STREAM.PURGE.{stream}"), &ask).await?;
        let gone = answer.map_or(0, |answer| answer.purged);
        Ok((subject, (messages.saturating_sub(gone), upto)))
    }

    /// All who hear the stream; refused if it is not sure that these are all.
    async fn hearers(&self, link: &Link, stream: &str) -> Result<Vec<Hearer>, BusError> {
        let partial = || BusError::Refused { why: format!("the list of consumers of {stream} is not complete") };
        let (hearers, pages) = self.list(link, stream).await?.ok_or_else(partial)?;
        if pages > 1 {
            // One that goes while the pages are read makes another one move from the next page to one that was read before.
            let names = |list: &[Hearer]| list.iter().map(|hearer| hearer.name.clone()).collect::<Vec<_>>();
            let again = self.list(link, stream).await?;
            if again.is_none_or(|(again, _)| names(&again) != names(&hearers)) {
                return Err(partial());
            }
        }
        Ok(hearers)
    }

    async fn list(&self, link: &Link, stream: &str) -> Result<Option<(Vec<Hearer>, usize)>, BusError> {
        let mut hearers: Vec<Hearer> = Vec::new();
        for pages in 1..=PAGES {
            let ask = json!({ "offset": hearers.len() });
            let page = call::<Page>(link, &self.context, format!("CONSUMER.LIST.{stream}"), &ask).await?;
            match page.and_then(|page| add(&mut hearers, page)) {
                Some(true) => return Ok(Some((hearers, pages))),
                Some(false) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Adds a page to the list; whether that was the last one. `None` if the list cannot be whole.
fn add(hearers: &mut Vec<Hearer>, page: Page) -> Option<bool> {
    let Page { total, consumers, missing } = page;
    // Of a cluster not all may have answered.
    let some: Vec<Listed> = consumers.unwrap_or_default().into_iter().collect::<Option<_>>()?;
    if missing.is_some_and(|missing| !missing.is_empty()) {
        return None;
    }
    let is_last = some.is_empty();
    hearers.extend(some.into_iter().map(Hearer::from));
    if hearers.len() < total && !is_last {
        return Some(false);
    }
    let names: HashSet<&str> = hearers.iter().map(|hearer| hearer.name.as_str()).collect();
    (names.len() == total && hearers.len() == total).then_some(true)
}

/// Up to where a subject that is settled so far is cleared by this look, and by the next one at most.
fn clears(settled: u64, last: u64, before: Option<u64>, look: Look) -> (u64, u64) {
    let settled = settled.min(last.saturating_sub(1));
    match look {
        Look::Only => (settled, settled),
        Look::Second => (settled.min(before.unwrap_or(0)), settled),
    }
}

/// Up to where a subject is settled; `None` if it is to wait for somebody who hears it.
fn settled(way: Way, subject: &str, hearers: &[Hearer]) -> Option<u64> {
    let subject = Subject::from(subject);
    let lowest = hearers.iter().filter(|hearer| hearer.hears(&subject)).map(|hearer| hearer.settled).min();
    match way {
        // What no group wants is wanted by nobody.
        Way::Publish => Some(lowest.unwrap_or(u64::MAX)),
        Way::Send => lowest,
    }
}

/// The same messages in words that are no part of any consumer's filter: see [the top](self).
fn wider(subject: &str) -> String {
    subject.split_once('.').map_or_else(|| "*".into(), |(_, rest)| format!("*.{rest}"))
}

#[derive(Deserialize)]
struct Found {
    state: State,
    #[serde(default)]
    total: usize,
}

#[derive(Deserialize)]
struct State {
    first_seq: u64,
    last_seq: u64,
    /// In order, as the server counts through them.
    subjects: Option<BTreeMap<String, u64>>,
}

#[derive(Deserialize)]
struct Purged {
    #[serde(default)]
    purged: u64,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    total: usize,
    consumers: Option<Vec<Option<Listed>>>,
    missing: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    delivered: Place,
    ack_floor: Place,
    #[serde(default)]
    num_ack_pending: u64,
    config: Heard,
}

#[derive(Deserialize)]
struct Place {
    stream_seq: u64,
}

#[derive(Deserialize)]
struct Heard {
    #[serde(default)]
    filter_subject: String,
    filter_subjects: Option<Vec<String>>,
}

/// A consumer: of a lane of a group or queue, or somebody's own.
#[derive(Clone, Debug)]
struct Hearer {
    name: String,
    /// Nothing: everything.
    filters: Vec<Filter>,
    /// It needs nothing of what it hears up to there.
    settled: u64,
}

impl Hearer {
    fn hears(&self, subject: &Subject) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(subject))
    }
}

impl From<Listed> for Hearer {
    fn from(listed: Listed) -> Self {
        let Listed { name, delivered, ack_floor, num_ack_pending, config } = listed;
        let filters = config.filter_subjects.unwrap_or_default().into_iter().chain([config.filter_subject]);
        // The floor stays behind where nothing is under way: a consumer that has settled nothing has none.
        let settled = match num_ack_pending {
            0 => delivered.stream_seq,
            _ => ack_floor.stream_seq.min(delivered.stream_seq),
        };
        let filters = filters.filter(|filter| !filter.is_empty()).map(|filter| filter.as_str().into()).collect();
        Self { name, filters, settled }
    }
}

#[cfg(test)]
mod tests;
