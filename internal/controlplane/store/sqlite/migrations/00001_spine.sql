-- +goose Up

-- meta has one row: the newest change's number, and the newest change that compaction has removed.
CREATE TABLE meta (
    id           INTEGER PRIMARY KEY CHECK (id = 1),
    last_seq     INTEGER NOT NULL,
    change_floor INTEGER NOT NULL
);
INSERT INTO meta (id, last_seq, change_floor) VALUES (1, 0, 0);

CREATE TABLE records (
    seq        INTEGER PRIMARY KEY,
    key        TEXT    NOT NULL UNIQUE,
    id         TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    parent     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    body       BLOB,
    internal   BLOB,
    secret     BLOB,
    archived   BOOLEAN NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    created_by TEXT    NOT NULL,
    updated_by TEXT    NOT NULL
);
-- Both end in the rowid, which is seq: pages are read in order without sorting.
CREATE INDEX records_by_parent ON records (type, parent, archived);
CREATE INDEX records_by_type ON records (type, archived);

CREATE TABLE operations (
    id         TEXT    NOT NULL PRIMARY KEY,
    key        TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    error      BLOB,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL
);
CREATE INDEX operations_unfinished ON operations (key) WHERE status NOT IN ('Succeeded', 'Failed', 'Canceled');

CREATE TABLE changes (
    seq     INTEGER PRIMARY KEY,
    kind    TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    deleted BOOLEAN NOT NULL,
    at      INTEGER NOT NULL
);

CREATE TABLE desired (
    cluster TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    value   BLOB,
    seq     INTEGER NOT NULL,
    deleted BOOLEAN NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (cluster, key)
);
CREATE INDEX desired_by_seq ON desired (cluster, seq);
CREATE INDEX desired_tombstones ON desired (at) WHERE deleted;

-- desired_floors remembers, per cluster, the newest tombstone that compaction has removed.
CREATE TABLE desired_floors (
    cluster TEXT    NOT NULL PRIMARY KEY,
    seq     INTEGER NOT NULL
);

CREATE TABLE observed (
    cluster TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    value   BLOB,
    seq     INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (cluster, key)
);
