//! The call of a store that was alone: one plain statement instead of the function.
//!
//! A store that wrote the last turn, or saw it, knows what the log was like then. The statement takes the head only if that
//! is still the last turn. If it does, nobody has written since, so what the statement's snapshot shows is what is there
//! under the lock: to look and to write can be one statement, and the versions of streams that this store remembers need
//! not be looked up at all. The function has to lock first and look then, in statements of its own, each with a snapshot;
//! that is more than half of its time.
//!
//! Why the snapshot is right: the turn was known to this connection before the statement began, so the snapshot has it; and
//! if somebody else writes while the statement waits for the lock, the turn it finds then is another. A turn is known only
//! over the connection it was seen on: a crash may take turns back and let others have their numbers, and ends all
//! connections.
//!
//! Statements are made to measure: one for each combination of things that a batch may have.

use std::sync::OnceLock;

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::batch::Done;
use super::call::{self, Bound, Facts, column};
use super::draft::Draft;
use super::error::Fault;
use super::schema::HITS;
use crate::cache::Cache;
use crate::log::text::to_sql;
use crate::log::{Corrupt, Position, StreamId, Version};

/// Streams whose versions are remembered; twice as many at most. As many as the engine in a file remembers.
const STREAMS: usize = 32_768;

/// What a store knows of the log as of the last turn, while nobody else writes.
#[derive(Debug)]
pub(super) struct Memory {
    /// The last turn this store saw.
    turn: u64,
    /// Where the log ended then.
    head: Position,
    /// Whether it was seen over the connection that is open.
    is_proved: bool,
    /// Whether nobody else wrote before that turn.
    is_alone: bool,
    streams: Cache<StreamId, Version>,
}

impl Memory {
    pub(super) fn new(turn: u64) -> Self {
        Self { turn, head: Position::ORIGIN, is_proved: false, is_alone: true, streams: Cache::new(STREAMS) }
    }

    /// Whether somebody else wrote lately.
    pub(super) fn has_company(&self) -> bool {
        !self.is_alone
    }

    /// What a batch found and left.
    pub(super) fn seen(&mut self, done: &Done) {
        let Done { turn, wrote, head, .. } = *done;
        self.is_alone = turn <= self.turn + u64::from(wrote);
        if !self.is_alone || !self.is_proved {
            self.streams.clear();
        }
        (self.turn, self.head) = (turn, head);
        self.is_proved = true;
        for appended in done.results.iter().flatten().filter(|appended| !appended.already_committed) {
            for (stream, version) in &appended.versions {
                self.streams.insert(stream.clone(), *version);
            }
        }
    }

    /// The connection is gone, and with it what it proved.
    pub(super) fn forget(&mut self) {
        self.is_proved = false;
        self.streams.clear();
    }
}

/// What a batch has, besides events.
#[derive(Clone, Copy, Default)]
struct Shape {
    /// Streams whose versions are not remembered.
    asks: bool,
    commands: bool,
    queries: bool,
    tags: bool,
    metadata: bool,
}

impl Shape {
    const COUNT: usize = 1 << 5;

    fn number(self) -> usize {
        [self.asks, self.commands, self.queries, self.tags, self.metadata]
            .into_iter()
            .fold(0, |number, has| (number << 1) | usize::from(has))
    }

    /// The statement's text, made once.
    fn text(self) -> &'static str {
        static TEXTS: [OnceLock<String>; Shape::COUNT] = [const { OnceLock::new() }; Shape::COUNT];
        TEXTS[self.number()].get_or_init(|| self.write())
    }

    /// The parameters in their order, as [`bound`] binds them.
    fn parameters(self) -> impl Iterator<Item = &'static str> {
        let always = "me guard lazily base count written_at e_streams e_versions e_kinds e_payloads";
        let [asks, commands, queries, tags, metadata] = [
            (self.asks, "streams assumed e_nths"),
            (self.commands, "c_ids c_digests c_firsts c_lasts c_versions"),
            (self.queries, "if_nths if_afters if_tags if_rests if_kinds"),
            (self.tags, "e_tags t_tags t_events t_kinds"),
            (self.metadata, "e_correlations e_causations e_actors e_tenants e_traces"),
        ]
        .map(|(has, names)| if has { names } else { "" });
        [always, asks, commands, queries, tags, metadata].into_iter().flat_map(|names| names.split_whitespace())
    }

    /// Whether the server has to look at anything but the turn.
    fn looks(self) -> bool {
        self.asks || self.commands || self.queries
    }

    fn write(self) -> String {
        let (events, tags) = (self.events(), if self.tags { TAGS } else { "" });
        let text = match self.looks() {
            false => ["WITH ", HEAD, " WHERE h.turn = :guard:", RETURNING, ")", tags, " ", &events].concat(),
            true => {
                let commands = if self.commands { COMMANDS } else { "" };
                let looked = " FROM asked WHERE h.turn = :guard: AND asked.holds";
                let parts =
                    ["WITH ", &self.asked(), ", ", HEAD, looked, RETURNING, ", asked.versions)", tags, commands];
                [&parts.concat(), ", e AS (", &events, ")", RESULT].concat()
            }
        };
        self.parameters()
            .zip(1..)
            .fold(text, |text, (name, nth)| text.replace(&format!(":{name}:"), &format!("${nth}")))
    }

    /// What is there, and whether it is as assumed.
    fn asked(self) -> String {
        let of = |has: bool, text: &'static str| if has { text } else { "" };
        let hits = match self.queries {
            true => format!("(SELECT ARRAY({HITS}) AS hits OFFSET 0) AS q"),
            false => "(SELECT NULL::int[] AS hits) AS q".to_owned(),
        };
        [
            "asked AS MATERIALIZED (SELECT head.position AS base, head.turn, v.*, q.*, k.*, true",
            of(self.asks, HOLDS),
            of(self.commands, " AND k.known_ids IS NULL"),
            of(self.queries, " AND cardinality(q.hits) = 0"),
            " AS holds FROM log_head AS head, LATERAL ",
            if self.asks { VERSIONS } else { "(SELECT NULL::bigint[] AS versions) AS v" },
            ", LATERAL ",
            &hits,
            ", LATERAL ",
            if self.commands { KNOWN } else { NOTHING_KNOWN },
            ")",
        ]
        .concat()
    }

    fn events(self) -> String {
        let (asks, tags, metadata) = (self.asks, self.tags, self.metadata);
        let of = |has: bool, text: &'static str| if has { text } else { "" };
        [
            "INSERT INTO log_event (position, stream, version, kind, recorded_at, payload",
            of(tags, ", tags"),
            of(metadata, ", correlation, causation, actor, tenant, trace"),
            ") SELECT :base: + n.nth, n.stream, n.version",
            of(asks, " + coalesce(h.versions[n.of], 0)"),
            ", n.kind, :written_at:, n.payload",
            of(tags, ", n.tags"),
            of(metadata, ", n.correlation, n.causation, n.actor, n.tenant, n.trace"),
            " FROM h, unnest(:e_streams:, :e_versions:, :e_kinds:, :e_payloads:",
            of(asks, ", :e_nths:"),
            of(tags, ", :e_tags:"),
            of(metadata, ", :e_correlations:, :e_causations:, :e_actors:, :e_tenants:, :e_traces:"),
            ") WITH ORDINALITY AS n (stream, version, kind, payload",
            of(asks, ", of"),
            of(tags, ", tags"),
            of(metadata, ", correlation, causation, actor, tenant, trace"),
            ", nth)",
        ]
        .concat()
    }
}

/// `OFFSET 0` keeps what is used twice from being looked up twice.
const VERSIONS: &str = "(SELECT ARRAY(SELECT coalesce(
        (SELECT e.version FROM log_event AS e WHERE e.stream = n.stream ORDER BY e.version DESC LIMIT 1), 0)
    FROM unnest(:streams:) WITH ORDINALITY AS n (stream, nth) ORDER BY n.nth) AS versions OFFSET 0) AS v";

const HOLDS: &str = " AND (:assumed: = v.versions OR NOT EXISTS (
    SELECT FROM unnest(:assumed:, v.versions) AS s (assumed, actual)
    WHERE CASE s.assumed WHEN -1 THEN s.actual = 0 ELSE s.assumed <> s.actual END))";

const KNOWN: &str = "(SELECT array_agg(c.id) AS known_ids, array_agg(c.digest) AS known_digests,
    array_agg(c.first) AS known_firsts, array_agg(c.last) AS known_lasts, array_agg(c.versions) AS known_versions
    FROM log_command AS c WHERE c.id = ANY (:c_ids:) OFFSET 0) AS k";

const NOTHING_KNOWN: &str = "(SELECT NULL::text[] AS known_ids, NULL::bigint[] AS known_digests,
    NULL::bigint[] AS known_firsts, NULL::bigint[] AS known_lasts, NULL::text[] AS known_versions) AS k";

const HEAD: &str = "h AS (UPDATE log_head AS h SET position = h.position + :count:, turn = h.turn + 1, writer = :me:,
    since = CASE WHEN h.writer = :me: THEN h.since ELSE h.position END";

const RETURNING: &str = " RETURNING CASE WHEN :lazily: THEN set_config('synchronous_commit', 'off', true) END, h.turn";

const TAGS: &str = ", t AS (INSERT INTO log_tag (tag, position, kind) SELECT n.tag, :base: + n.event, n.kind
    FROM h, unnest(:t_tags:, :t_events:, :t_kinds:) AS n (tag, event, kind))";

const COMMANDS: &str = ", c AS (INSERT INTO log_command (id, digest, first, last, versions)
    SELECT n.id, n.digest, :base: + n.first, :base: + n.last, n.versions
    FROM h, unnest(:c_ids:, :c_digests:, :c_firsts:, :c_lasts:, :c_versions:)
    AS n (id, digest, first, last, versions))";

const RESULT: &str = " SELECT h.turn IS NOT NULL, coalesce(h.turn, asked.turn), asked.base, asked.versions, asked.hits,
    NULL::bytea[], asked.known_ids, asked.known_digests, asked.known_firsts, asked.known_lasts, asked.known_versions,
    asked.holds FROM asked LEFT JOIN h ON true";

/// A draft, and how much of what it assumes is known.
struct Known<'d, 'a> {
    draft: &'d Draft<'a>,
    /// Each stream's version: as remembered, or else as it must be; `None` if only the server knows.
    versions: Vec<Option<i64>>,
    /// The streams that the server is to be asked about.
    asked: Vec<usize>,
}

impl<'d, 'a> Known<'d, 'a> {
    /// `None` if the draft is not for this statement, or is known not to be accepted.
    fn of(draft: &'d Draft<'a>, memory: &mut Memory) -> Option<Self> {
        if !memory.is_proved || !memory.is_alone || draft.events.is_empty() || draft.has_rows() {
            return None;
        }
        let (mut versions, mut asked) = (Vec::with_capacity(draft.streams.len()), Vec::new());
        for (nth, (stream, assumed)) in draft.streams.iter().zip(&draft.assumed).enumerate() {
            let remembered = memory.streams.get(*stream).map(|version| to_sql(version.get()));
            match (remembered, *assumed) {
                (Some(version), None) => versions.push(Some(version)),
                (Some(version), Some(-1)) if version > 0 => versions.push(Some(version)),
                (Some(version), Some(assumed)) if version == assumed => versions.push(Some(version)),
                (Some(_), Some(_)) => return None,
                (None, assumed) => {
                    asked.push(nth);
                    versions.push(assumed.filter(|version| *version >= 0));
                }
            }
        }
        let is_told = |(nth, _): &(usize, i64)| versions[*nth].is_some();
        // The result of a command is written down with its versions.
        draft.commands.iter().all(|command| command.parts.iter().all(is_told)).then_some(Self {
            draft,
            versions,
            asked,
        })
    }

    fn shape(&self) -> Shape {
        let draft = self.draft;
        Shape {
            asks: !self.asked.is_empty(),
            commands: !draft.commands.is_empty(),
            queries: !draft.queries.nths.is_empty(),
            tags: !draft.tags.is_empty(),
            metadata: draft.has_metadata(),
        }
    }

    fn bound(&self, memory: &Memory, me: i64, lazily: bool) -> Bound<'a> {
        let (draft, shape) = (self.draft, self.shape());
        let events = &draft.events;
        let begins = |nth: usize| self.versions[nth].unwrap_or_default();
        let mut query = sqlx::query(AssertSqlSafe(shape.text()))
            .bind(me)
            .bind(to_sql(memory.turn))
            .bind(lazily)
            .bind(to_sql(memory.head.get()))
            .bind(events.len() as i64)
            .bind(to_sql(draft.now.as_unix_millis()))
            .bind(column(events.iter().map(|event| draft.streams[event.stream]).collect()))
            .bind(events.iter().map(|event| begins(event.stream) + event.offset).collect::<Vec<i64>>())
            .bind(call::kinds(draft))
            .bind(call::payloads(draft));
        if shape.asks {
            // Where a stream is among those asked about, if only the server knows its version; else nowhere.
            let mut places = vec![0_i32; draft.streams.len()];
            for (nth, stream) in (1..).zip(&self.asked) {
                if self.versions[*stream].is_none() {
                    places[*stream] = nth;
                }
            }
            query = query
                .bind(self.asked.iter().map(|nth| draft.streams[*nth]).collect::<Vec<&str>>())
                .bind(self.asked.iter().map(|nth| draft.assumed[*nth]).collect::<Vec<Option<i64>>>())
                .bind(events.iter().map(|event| places[event.stream]).collect::<Vec<i32>>());
        }
        if shape.commands {
            query = call::command_columns(query, draft);
            let versions = draft.commands.iter().map(|command| {
                let part =
                    |(nth, offset): &(usize, i64)| format!("{} {}\n", begins(*nth) + offset, draft.streams[*nth]);
                command.parts.iter().map(part).collect::<String>()
            });
            query = query.bind(versions.collect::<Vec<String>>());
        }
        if shape.queries {
            query = call::queries(query, draft);
        }
        if shape.tags {
            query = call::tags(query.bind(call::joined_tags(draft)), draft);
        }
        if shape.metadata {
            query = call::metadata(query, draft);
        }
        query
    }
}

/// What came of the statement.
pub(super) enum Tried {
    /// It was written, or cannot be, and these are the facts.
    Told(Facts),
    /// This is not for the statement, or somebody else has written.
    Otherwise,
}

/// One round trip, with the commit.
pub(super) async fn append(
    conn: &mut PgConnection,
    draft: &Draft<'_>,
    memory: &mut Memory,
    (me, lazily): (i64, bool),
) -> Result<Tried, Fault> {
    let Some(known) = Known::of(draft, memory) else { return Ok(Tried::Otherwise) };
    let statement = known.bound(memory, me, lazily);
    let mut facts = if known.shape().looks() {
        // All rows, as in `call::append`.
        let rows = statement.fetch_all(conn).await?;
        let row = rows.first().ok_or_else(|| Corrupt::new("the log has no head"))?;
        let facts = call::facts(row)?;
        let is_last = facts.turn == memory.turn + u64::from(facts.written);
        if !facts.written && (!is_last || row.try_get("holds")?) {
            return Ok(Tried::Otherwise);
        }
        facts
    } else {
        if statement.execute(conn).await?.rows_affected() == 0 {
            return Ok(Tried::Otherwise);
        }
        Facts { written: true, turn: memory.turn + 1, base: memory.head, ..Facts::default() }
    };
    let asked = std::mem::take(&mut facts.versions);
    let remembered = known.versions.iter().map(|version| Version::new(version.unwrap_or_default().unsigned_abs()));
    facts.versions = remembered.collect();
    for (nth, version) in known.asked.iter().zip(asked) {
        facts.versions[*nth] = version;
    }
    Ok(Tried::Told(facts))
}
