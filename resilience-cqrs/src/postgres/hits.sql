SELECT DISTINCT i.nth
    FROM unnest(:if_nths:, :if_afters:, :if_tags:, :if_rests:, :if_kinds:) AS i (nth, after, tag, rest, kinds)
    WHERE i.after < :base: AND CASE
        WHEN i.tag IS NOT NULL THEN EXISTS (
            SELECT FROM log_tag AS t
            WHERE t.tag = i.tag AND t.position > i.after
            AND (i.kinds IS NULL OR t.kind = ANY (string_to_array(i.kinds, E'\n')))
            AND (i.rest IS NULL OR NOT EXISTS (
                SELECT FROM unnest(string_to_array(i.rest, E'\n')) AS further (tag)
                WHERE NOT EXISTS (
                    SELECT FROM log_tag AS u
                    WHERE u.tag = further.tag AND u.position >= t.position AND u.position <= t.position))))
        WHEN i.kinds IS NOT NULL THEN EXISTS (
            SELECT FROM unnest(string_to_array(i.kinds, E'\n')) AS one_of (kind)
            WHERE EXISTS (
                SELECT FROM log_event AS e WHERE e.kind = one_of.kind AND e.position > i.after))
        ELSE true
    END
