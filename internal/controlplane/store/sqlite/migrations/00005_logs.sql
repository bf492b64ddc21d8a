-- +goose Up

-- The log of one container, and up to where it is kept.
CREATE TABLE log_streams (
    owner     TEXT    NOT NULL,
    id        TEXT    NOT NULL,
    namespace TEXT    NOT NULL,
    pod       TEXT    NOT NULL,
    uid       TEXT    NOT NULL,
    container TEXT    NOT NULL,
    restart   INTEGER NOT NULL,
    node      TEXT    NOT NULL,
    job       TEXT    NOT NULL,
    workspace TEXT    NOT NULL,
    file      TEXT    NOT NULL,
    pos       INTEGER NOT NULL,
    object    TEXT    NOT NULL,
    updated   INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
);

-- The blobs that hold its lines.
CREATE TABLE log_objects (
    owner    TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    stream   TEXT    NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (owner, id)
);
CREATE INDEX log_objects_by_stream ON log_objects (owner, stream);
CREATE INDEX log_objects_by_time ON log_objects (owner, last_at);
CREATE INDEX log_objects_by_update ON log_objects (updated);
