//! What a transaction has decided, on its way to the tables: a statement a table, however much it is.

use sqlx::PgConnection;

use super::batch::{Written, position};
use super::error::Fault;
use crate::log::text::{join_tags, join_versions, to_sql};
use crate::log::{Position, Recorded};

/// Writes everything and moves the head from the first to the second position.
pub(super) async fn all(
    conn: &mut PgConnection,
    written: &Written,
    (base, head): (Position, Position),
) -> Result<(), Fault> {
    if !written.events.is_empty() {
        events(conn, &written.events).await?;
        tags(conn, &written.events).await?;
    }
    rows(conn, written).await?;
    commands(conn, written).await?;
    if base != head {
        sqlx::query("UPDATE log_head SET position = $1").bind(position(head)).execute(conn).await?;
    }
    Ok(())
}

async fn events(conn: &mut PgConnection, events: &[Recorded]) -> Result<(), Fault> {
    let positions: Vec<i64> = events.iter().map(|event| to_sql(event.position.get())).collect();
    let streams: Vec<&str> = events.iter().map(|event| event.stream.as_str()).collect();
    let versions: Vec<i64> = events.iter().map(|event| to_sql(event.version.get())).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    let times: Vec<i64> = events.iter().map(|event| to_sql(event.recorded_at.as_unix_millis())).collect();
    let tags: Vec<Option<String>> = events.iter().map(|event| join_tags(&event.tags)).collect();
    let payloads: Vec<&[u8]> = events.iter().map(|event| &*event.payload).collect();
    let field = |of: fn(&Recorded) -> Option<&str>| events.iter().map(of).collect::<Vec<Option<&str>>>();
    let insert = sqlx::query(
        "INSERT INTO log_event (position, stream, version, kind, recorded_at, tags, payload,
                                correlation, causation, actor, tenant, trace)
         SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[],
                              $7::bytea[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[])",
    );
    let insert = insert.bind(positions).bind(streams).bind(versions).bind(kinds).bind(times).bind(tags).bind(payloads);
    insert
        .bind(field(|event| event.metadata.correlation()))
        .bind(field(|event| event.metadata.causation()))
        .bind(field(|event| event.metadata.actor()))
        .bind(field(|event| event.metadata.tenant()))
        .bind(field(|event| event.metadata.trace()))
        .execute(conn)
        .await?;
    Ok(())
}

async fn tags(conn: &mut PgConnection, events: &[Recorded]) -> Result<(), Fault> {
    let (mut names, mut positions, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
    for event in events {
        for (nth, tag) in event.tags.iter().enumerate() {
            // Given twice, a tag is there once.
            if !event.tags[..nth].contains(tag) {
                names.push(tag.as_str());
                positions.push(to_sql(event.position.get()));
                kinds.push(event.kind.as_str());
            }
        }
    }
    if names.is_empty() {
        return Ok(());
    }
    let insert = sqlx::query(
        "INSERT INTO log_tag (tag, position, kind) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[])",
    );
    insert.bind(names).bind(positions).bind(kinds).execute(conn).await?;
    Ok(())
}

async fn rows(conn: &mut PgConnection, written: &Written) -> Result<(), Fault> {
    let (mut put, mut gone) = ((Vec::new(), Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for ((space, key), value) in &written.rows {
        match value {
            Some(value) => {
                put.0.push(space.as_str());
                put.1.push(&**key);
                put.2.push(&**value);
            }
            None => {
                gone.0.push(space.as_str());
                gone.1.push(&**key);
            }
        }
    }
    if !put.0.is_empty() {
        let upsert = sqlx::query(
            "INSERT INTO log_row (space, key, value) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bytea[])
             ON CONFLICT (space, key) DO UPDATE SET value = excluded.value",
        );
        upsert.bind(put.0).bind(put.1).bind(put.2).execute(&mut *conn).await?;
    }
    if !gone.0.is_empty() {
        let delete = sqlx::query(
            "DELETE FROM log_row USING unnest($1::text[], $2::bytea[]) AS gone (s, k) WHERE space = s AND key = k",
        );
        delete.bind(gone.0).bind(gone.1).execute(conn).await?;
    }
    Ok(())
}

async fn commands(conn: &mut PgConnection, written: &Written) -> Result<(), Fault> {
    if written.commands.is_empty() {
        return Ok(());
    }
    let commands = &written.commands;
    let ids: Vec<&str> = commands.iter().map(|(id, ..)| id.as_str()).collect();
    let digests: Vec<i64> = commands.iter().map(|(_, digest, _)| digest.cast_signed()).collect();
    let firsts: Vec<i64> = commands.iter().map(|(.., appended)| to_sql(appended.first.get())).collect();
    let lasts: Vec<i64> = commands.iter().map(|(.., appended)| to_sql(appended.last.get())).collect();
    let versions: Vec<String> = commands.iter().map(|(.., appended)| join_versions(&appended.versions)).collect();
    let insert = sqlx::query(
        "INSERT INTO log_command (id, digest, first, last, versions)
         SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[])",
    );
    insert.bind(ids).bind(digests).bind(firsts).bind(lasts).bind(versions).execute(conn).await?;
    Ok(())
}
