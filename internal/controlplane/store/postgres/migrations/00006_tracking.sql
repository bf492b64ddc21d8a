-- +goose Up

-- Experiment tracking. workspace is a GUID; a run's other tables know it by its number.
CREATE TABLE tracked_runs (
    seq        BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace  TEXT COLLATE "C" NOT NULL,
    id         TEXT COLLATE "C" NOT NULL,
    experiment TEXT COLLATE "C" NOT NULL,
    name       TEXT COLLATE "C" NOT NULL,
    user_id    TEXT COLLATE "C" NOT NULL,
    status     TEXT COLLATE "C" NOT NULL,
    start_at   BIGINT NOT NULL,
    end_at     BIGINT NOT NULL,
    artifacts  TEXT COLLATE "C" NOT NULL,
    deleted    BOOLEAN NOT NULL,
    job        TEXT COLLATE "C" NOT NULL,
    models     BYTEA
);
CREATE UNIQUE INDEX tracked_runs_by_id ON tracked_runs (workspace, id);
CREATE INDEX tracked_runs_by_start ON tracked_runs (workspace, experiment, deleted, start_at DESC, id);
CREATE INDEX tracked_runs_by_job ON tracked_runs (workspace, job) WHERE job <> '';

-- Values are found by their beginning, since they may be too long for an index.
CREATE TABLE tracked_params (
    run   BIGINT NOT NULL,
    key   TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX tracked_params_by_value ON tracked_params (key, substr(value, 1, 64));

CREATE TABLE tracked_tags (
    run   BIGINT NOT NULL,
    key   TEXT COLLATE "C" NOT NULL,
    value TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX tracked_tags_by_value ON tracked_tags (key, substr(value, 1, 64));

-- The latest point of each metric.
CREATE TABLE tracked_metrics (
    run   BIGINT NOT NULL,
    key   TEXT COLLATE "C" NOT NULL,
    value DOUBLE PRECISION NOT NULL,
    nan   BOOLEAN NOT NULL,
    step  BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    PRIMARY KEY (run, key)
);
CREATE INDEX tracked_metrics_by_value ON tracked_metrics (key, value);

-- All points, packed: those of one metric that one request logged are one row.
CREATE TABLE tracked_points (
    id     BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run    BIGINT NOT NULL,
    key    TEXT COLLATE "C" NOT NULL,
    points BYTEA NOT NULL
);
CREATE INDEX tracked_points_by_run ON tracked_points (run, key, id);

CREATE TABLE tracked_datasets (
    run     BIGINT NOT NULL,
    name    TEXT COLLATE "C" NOT NULL,
    digest  TEXT COLLATE "C" NOT NULL,
    context TEXT COLLATE "C" NOT NULL,
    body    BYTEA NOT NULL,
    PRIMARY KEY (run, name, digest, context)
);
CREATE INDEX tracked_datasets_by_name ON tracked_datasets (name, digest);

-- Experiments and logged models.
CREATE TABLE tracked_docs (
    workspace TEXT COLLATE "C" NOT NULL,
    kind      TEXT COLLATE "C" NOT NULL,
    id        TEXT COLLATE "C" NOT NULL,
    parent    TEXT COLLATE "C" NOT NULL,
    body      BYTEA NOT NULL,
    PRIMARY KEY (workspace, kind, id)
);
CREATE INDEX tracked_docs_by_parent ON tracked_docs (workspace, kind, parent, id);
