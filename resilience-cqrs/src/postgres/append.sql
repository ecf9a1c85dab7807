-- Some appends in one call: lock the head, look at everything they name, and if all is as assumed, write it.
--
-- Each statement of a VOLATILE function at READ COMMITTED sees what was committed before it began, so what is looked at
-- after the lock is what nobody can change until the commit. In one statement, common table expressions and all, it would
-- be what was there before the wait for the lock.
CREATE FUNCTION log_append(
    me bigint,                -- the store that writes; 0 for a transaction of a caller's
    guard bigint,             -- write only if this was the last turn; null: whichever it was
    only_look boolean,
    lazily boolean,           -- the commit does not wait for the disk; null: as the transaction says
    -- Streams that are named, and their versions as assumed: null any, -1 at least one event.
    streams text[], assumed bigint[],
    -- Commands that must be new.
    ids text[],
    -- Rows, and the values they must have.
    if_spaces text[], if_keys bytea[], if_values bytea[],
    -- Events that must not be: the nth condition, an item of its query each.
    if_nths int[], if_afters bigint[], if_tags text[], if_rests text[], if_kinds text[],
    -- The events, of the nth stream, so many versions after the one it has.
    written_at bigint, e_streams text[], e_nths int[], e_offsets bigint[], e_kinds text[], e_tags text[],
    e_correlations text[], e_causations text[], e_actors text[], e_tenants text[], e_traces text[], e_payloads bytea[],
    -- The tags, of the nth event.
    t_tags text[], t_events bigint[], t_kinds text[],
    -- Rows to write, and to remove.
    put_spaces text[], put_keys bytea[], put_values bytea[], del_spaces text[], del_keys bytea[],
    -- The commands, the positions they lead to after the head, and for each of their streams how far it got.
    c_ids text[], c_digests bigint[], c_firsts bigint[], c_lasts bigint[],
    p_commands bigint[], p_nths int[], p_offsets bigint[], p_streams text[],
    OUT written boolean, OUT turn bigint, OUT base bigint, OUT versions bigint[], OUT hits int[], OUT row_values bytea[],
    OUT known_ids text[], OUT known_digests bigint[], OUT known_firsts bigint[], OUT known_lasts bigint[],
    OUT known_versions text[]
) LANGUAGE plpgsql AS $$
DECLARE
    head log_head;
    setting text;
    -- Some appends only ask: they take no turn, and nobody waits for the disk on their account.
    changes boolean := coalesce(cardinality(e_kinds), cardinality(put_keys), cardinality(del_keys), cardinality(c_ids), 0) > 0;
BEGIN
    SELECT * INTO head FROM log_head FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    turn := head.turn;
    base := head.position;
    written := NOT only_look AND (guard IS NULL OR guard = turn);

    IF streams IS NOT NULL THEN
        versions := ARRAY(
            SELECT coalesce(
                (SELECT e.version FROM log_event AS e WHERE e.stream = streams[n.nth] ORDER BY e.version DESC LIMIT 1), 0)
            FROM generate_series(1, cardinality(streams)) AS n (nth) ORDER BY n.nth);
        -- Exact versions, as most are, are compared at once.
        IF assumed <> versions THEN
            written := written AND NOT EXISTS (
                SELECT FROM unnest(assumed, versions) AS s (assumed, actual)
                WHERE CASE s.assumed WHEN -1 THEN s.actual = 0 ELSE s.assumed <> s.actual END);
        END IF;
    END IF;
    IF ids IS NOT NULL THEN
        SELECT array_agg(c.id), array_agg(c.digest), array_agg(c.first), array_agg(c.last), array_agg(c.versions)
        INTO known_ids, known_digests, known_firsts, known_lasts, known_versions
        FROM log_command AS c WHERE c.id = ANY (ids);
        written := written AND known_ids IS NULL;
    END IF;
    IF if_keys IS NOT NULL THEN
        -- Locked, because rows also change beside the log, without its lock.
        row_values := ARRAY(
            SELECT (SELECT r.value FROM log_row AS r WHERE r.space = n.space AND r.key = n.key FOR UPDATE)
            FROM unnest(if_spaces, if_keys) WITH ORDINALITY AS n (space, key, nth) ORDER BY n.nth);
        written := written AND NOT EXISTS (
            SELECT FROM unnest(row_values, if_values) AS r (actual, wanted) WHERE r.actual IS DISTINCT FROM r.wanted);
    END IF;
    IF if_nths IS NOT NULL THEN
        -- Both ends of a range, where one position is meant, so that the plan is always a probe of the index and never a
        -- hash of the table.
        hits := ARRAY(
            :hits:);
        written := written AND cardinality(hits) = 0;
    END IF;

    -- A lock alone leaves nothing that must not be lost.
    IF lazily OR (lazily IS NOT NULL AND NOT (written AND changes)) THEN
        -- An assignment is evaluated on the spot; a statement would be planned and run.
        setting := set_config('synchronous_commit', 'off', true);
    END IF;
    IF NOT (written AND changes) THEN
        RETURN;
    END IF;

    turn := head.turn + 1;
    IF e_kinds IS NOT NULL THEN
        -- Arrays of arguments are taken apart once, so a subscript costs the same wherever it points.
        INSERT INTO log_event (position, stream, version, kind, recorded_at, tags,
                               correlation, causation, actor, tenant, trace, payload)
        SELECT base + n.nth, e_streams[n.nth], versions[e_nths[n.nth]] + e_offsets[n.nth], e_kinds[n.nth], written_at,
               e_tags[n.nth], e_correlations[n.nth], e_causations[n.nth], e_actors[n.nth], e_tenants[n.nth],
               e_traces[n.nth], e_payloads[n.nth]
        FROM generate_series(1, cardinality(e_kinds)) AS n (nth);
    END IF;
    IF t_tags IS NOT NULL THEN
        INSERT INTO log_tag (tag, position, kind)
        SELECT t_tags[n.nth], base + t_events[n.nth], t_kinds[n.nth]
        FROM generate_series(1, cardinality(t_tags)) AS n (nth);
    END IF;
    IF put_keys IS NOT NULL THEN
        INSERT INTO log_row (space, key, value, turn)
        SELECT put_spaces[n.nth], put_keys[n.nth], put_values[n.nth], log_append.turn
        FROM generate_series(1, cardinality(put_keys)) AS n (nth)
        ON CONFLICT ON CONSTRAINT log_row_pkey DO UPDATE SET value = excluded.value, turn = excluded.turn;
    END IF;
    IF del_keys IS NOT NULL THEN
        DELETE FROM log_row AS r USING unnest(del_spaces, del_keys) AS n (space, key)
        WHERE r.space = n.space AND r.key = n.key;
    END IF;
    IF c_ids IS NOT NULL THEN
        INSERT INTO log_command (id, digest, first, last, versions)
        SELECT n.id, n.digest, base + n.first, base + n.last, coalesce(p.versions, '')
        FROM unnest(c_ids, c_digests, c_firsts, c_lasts) WITH ORDINALITY AS n (id, digest, first, last, nth)
        LEFT JOIN (
            SELECT s.command,
                   string_agg((log_append.versions[s.of] + s.after) || ' ' || s.stream || E'\n', '' ORDER BY s.nth) AS versions
            FROM unnest(p_commands, p_nths, p_offsets, p_streams) WITH ORDINALITY AS s (command, of, after, stream, nth)
            GROUP BY s.command
        ) AS p ON p.command = n.nth;
    END IF;
    UPDATE log_head AS h SET
        position = base + coalesce(cardinality(e_kinds), 0),
        turn = log_append.turn,
        writer = me,
        since = CASE WHEN me <> 0 AND h.writer = me THEN h.since ELSE base END,
        gone = CASE WHEN del_keys IS NULL THEN h.gone ELSE log_append.turn END;
END
$$;
