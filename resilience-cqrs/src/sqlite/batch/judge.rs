//! Whether an append may go ahead, decided before anything of it is written.

use std::ops::RangeInclusive;

use super::super::query::matching;
use super::super::{error::Fault, read};
use super::{Batcher, Head, to_sql};
use crate::log::limits::MISSED_EVENTS;
use crate::log::{Append, Condition, Expected, Missed, Query, Version, Violation};

impl Batcher<'_> {
    /// What an append asks for and is not so, with what its writer has missed; nothing if it may go ahead.
    pub(super) fn violations(&mut self, append: &Append, heads: &[Option<Head>]) -> Result<Vec<Violation>, Fault> {
        let mut violations = Vec::new();
        for (part, head) in append.streams().iter().zip(heads) {
            let actual = Version::new(head.map_or(0, |head| head.version.unsigned_abs()));
            if !part.expected.admits(actual) {
                let missed = self.missed_of_stream(*head, part.expected)?;
                violations.push(Violation::Stream {
                    stream: part.stream.clone(),
                    expected: part.expected,
                    actual,
                    missed,
                });
            }
        }
        for (nth, condition) in append.conditions().iter().enumerate() {
            match condition {
                Condition::NoMatch { query, after } => {
                    let after = to_sql(after.position().get());
                    if after >= self.head || !self.tags.may_match(query, after)? {
                        continue;
                    }
                    let within = after.saturating_add(1)..=self.head;
                    let missed = self.missed_of_query(query, &within)?;
                    if !missed.events.is_empty() {
                        violations.push(Violation::Matched { condition: nth, missed });
                    }
                }
                Condition::Row { space, key, equals } => {
                    let actual = read::row(self.conn, space.as_str(), key)?;
                    if actual != *equals {
                        violations.push(Violation::Row { space: space.clone(), key: key.clone(), actual });
                    }
                }
            }
        }
        Ok(violations)
    }

    fn missed_of_stream(&mut self, head: Option<Head>, expected: Expected) -> Result<Missed, Fault> {
        let Some(head) = head else { return Ok(Missed::default()) };
        let after = to_sql(expected.known().get());
        let mut events = read::stream(self.conn, &mut self.names, head.id, after, MISSED_EVENTS + 1)?;
        let more = events.len() > MISSED_EVENTS;
        events.truncate(MISSED_EVENTS);
        Ok(Missed { events, more })
    }

    fn missed_of_query(&mut self, query: &Query, within: &RangeInclusive<i64>) -> Result<Missed, Fault> {
        let mut positions = if query.is_all() {
            within.clone().take(MISSED_EVENTS + 1).collect()
        } else {
            matching(self.conn, query, within, MISSED_EVENTS + 1)?
        };
        let more = positions.len() > MISSED_EVENTS;
        positions.truncate(MISSED_EVENTS);
        let events = positions.iter().map(|position| read::event(self.conn, &mut self.names, *position));
        Ok(Missed { events: events.collect::<Result<_, _>>()?, more })
    }
}
