CREATE TABLE log_meta (
    name text PRIMARY KEY,
    value bigint NOT NULL
);

-- One row: where the log ends. Whoever appends locks it until the commit, so positions have no gaps and no reader can
-- see one before those below it.
CREATE TABLE log_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL,
    turn bigint NOT NULL,        -- one more with each transaction that wrote something, events or not
    writer bigint NOT NULL,      -- the store that wrote last; 0 if it was a transaction of a caller's
    since bigint NOT NULL,       -- from which position on nobody else has written
    gone bigint NOT NULL         -- the turn in which a row was last removed
);

CREATE TABLE log_event (
    position bigint PRIMARY KEY,
    stream text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    recorded_at bigint NOT NULL, -- milliseconds since 1970, for people
    tags text,                   -- one a line
    correlation text,
    causation text,
    actor text,
    tenant text,
    trace text,
    payload bytea NOT NULL
);
CREATE UNIQUE INDEX log_event_stream ON log_event (stream, version);
CREATE INDEX log_event_kind ON log_event (kind, position);

CREATE TABLE log_tag (
    tag text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    kind text COLLATE "C" NOT NULL,
    PRIMARY KEY (tag, position)
);

CREATE TABLE log_row (
    space text COLLATE "C" NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    turn bigint NOT NULL DEFAULT 0, -- the one that wrote it; that of a durable one, if it was written beside the log
    PRIMARY KEY (space, key)
);

CREATE TABLE log_command (
    id text COLLATE "C" PRIMARY KEY,
    digest bigint NOT NULL,
    first bigint NOT NULL,
    last bigint NOT NULL,
    versions text NOT NULL       -- version, space, stream; one a line
);

INSERT INTO log_head (position, turn, writer, since, gone) VALUES (0, 0, 0, 0, 0);
INSERT INTO log_meta (name, value) VALUES ('version', 2);
