-- +goose Up

-- meta has one row: the newest change's number, and the newest change that compaction has removed.
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    last_seq     BIGINT NOT NULL,
    change_floor BIGINT NOT NULL
);
INSERT INTO meta (id, last_seq, change_floor) VALUES (1, 0, 0);

-- Keys collate "C" so that prefixes and order are of bytes, as in SQLite. JSON is BYTEA: kept as it was given.
CREATE TABLE records (
    key        TEXT COLLATE "C" PRIMARY KEY,
    seq        BIGINT  NOT NULL,
    id         TEXT    NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    parent     TEXT COLLATE "C" NOT NULL,
    name       TEXT    NOT NULL,
    version    BIGINT  NOT NULL,
    body       BYTEA,
    internal   BYTEA,
    secret     BYTEA,
    archived   BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL,
    created_by TEXT    NOT NULL,
    updated_by TEXT    NOT NULL
) WITH (fillfactor = 85);
CREATE UNIQUE INDEX records_by_parent ON records (type, parent, archived, seq);
CREATE UNIQUE INDEX records_by_type ON records (type, archived, seq);

CREATE TABLE operations (
    id         TEXT COLLATE "C" PRIMARY KEY,
    key        TEXT COLLATE "C" NOT NULL,
    status     TEXT    NOT NULL,
    error      BYTEA,
    started_at BIGINT  NOT NULL,
    ended_at   BIGINT  NOT NULL
);
CREATE INDEX operations_unfinished ON operations (key) WHERE status NOT IN ('Succeeded', 'Failed', 'Canceled');

CREATE TABLE changes (
    seq     BIGINT PRIMARY KEY,
    kind    TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    deleted BOOLEAN NOT NULL,
    at      BIGINT  NOT NULL
);

CREATE TABLE desired (
    cluster TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    value   BYTEA,
    seq     BIGINT  NOT NULL,
    deleted BOOLEAN NOT NULL,
    at      BIGINT  NOT NULL,
    PRIMARY KEY (cluster, key)
);
CREATE INDEX desired_by_seq ON desired (cluster, seq);
CREATE INDEX desired_tombstones ON desired (at) WHERE deleted;

-- desired_floors remembers, per cluster, the newest tombstone that compaction has removed.
CREATE TABLE desired_floors (
    cluster TEXT COLLATE "C" PRIMARY KEY,
    seq     BIGINT NOT NULL
);

-- A heartbeat rewrites one row again and again: room on the page keeps those updates off the index.
CREATE TABLE observed (
    cluster TEXT COLLATE "C" NOT NULL,
    key     TEXT COLLATE "C" NOT NULL,
    value   BYTEA,
    seq     BIGINT NOT NULL,
    at      BIGINT NOT NULL,
    PRIMARY KEY (cluster, key)
) WITH (fillfactor = 70);
