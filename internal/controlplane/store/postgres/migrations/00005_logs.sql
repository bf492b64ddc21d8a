-- +goose Up

-- The log of one container, and up to where it is kept.
CREATE TABLE log_streams (
    owner     TEXT COLLATE "C" NOT NULL,
    id        TEXT COLLATE "C" NOT NULL,
    namespace TEXT COLLATE "C" NOT NULL,
    pod       TEXT COLLATE "C" NOT NULL,
    uid       TEXT COLLATE "C" NOT NULL,
    container TEXT COLLATE "C" NOT NULL,
    restart   BIGINT NOT NULL,
    node      TEXT COLLATE "C" NOT NULL,
    job       TEXT COLLATE "C" NOT NULL,
    workspace TEXT COLLATE "C" NOT NULL,
    file      TEXT COLLATE "C" NOT NULL,
    pos       BIGINT NOT NULL,
    object    TEXT COLLATE "C" NOT NULL,
    updated   BIGINT NOT NULL,
    PRIMARY KEY (owner, id)
);

-- The blobs that hold its lines.
CREATE TABLE log_objects (
    owner    TEXT COLLATE "C" NOT NULL,
    id       TEXT COLLATE "C" NOT NULL,
    stream   TEXT COLLATE "C" NOT NULL,
    first_at BIGINT NOT NULL,
    last_at  BIGINT NOT NULL,
    updated  BIGINT NOT NULL,
    bytes    BIGINT NOT NULL,
    PRIMARY KEY (owner, id)
);
CREATE INDEX log_objects_by_stream ON log_objects (owner, stream);
CREATE INDEX log_objects_by_time ON log_objects (owner, last_at);
CREATE INDEX log_objects_by_update ON log_objects (updated);
