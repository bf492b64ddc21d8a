-- +goose Up

-- Experiment tracking. workspace is a GUID; a run's other tables know it by its number.
CREATE TABLE tracked_runs (
    seq        INTEGER PRIMARY KEY,
    workspace  TEXT NOT NULL,
    id         TEXT NOT NULL,
    experiment TEXT NOT NULL,
    name       TEXT NOT NULL,
    user_id    TEXT NOT NULL,
    status     TEXT NOT NULL,
    start_at   INTEGER NOT NULL,
    end_at     INTEGER NOT NULL,
    artifacts  TEXT NOT NULL,
    deleted    BOOLEAN NOT NULL,
    job        TEXT NOT NULL,
    models     BLOB
);
CREATE UNIQUE INDEX tracked_runs_by_id ON tracked_runs (workspace, id);
CREATE INDEX tracked_runs_by_start ON tracked_runs (workspace, experiment, deleted, start_at DESC, id);
CREATE INDEX tracked_runs_by_job ON tracked_runs (workspace, job) WHERE job <> '';

-- Values are found by their beginning, since they may be too long for an index.
CREATE TABLE tracked_params (
    run   INTEGER NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX tracked_params_by_value ON tracked_params (key, substr(value, 1, 64));

CREATE TABLE tracked_tags (
    run   INTEGER NOT NULL,
    key   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX tracked_tags_by_value ON tracked_tags (key, substr(value, 1, 64));

-- The latest point of each metric.
CREATE TABLE tracked_metrics (
    run   INTEGER NOT NULL,
    key   TEXT NOT NULL,
    value REAL NOT NULL,
    nan   BOOLEAN NOT NULL,
    step  INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (run, key)
) WITHOUT ROWID;
CREATE INDEX tracked_metrics_by_value ON tracked_metrics (key, value);

-- All points, packed: those of one metric that one request logged are one row.
CREATE TABLE tracked_points (
    id     INTEGER PRIMARY KEY,
    run    INTEGER NOT NULL,
    key    TEXT NOT NULL,
    points BLOB NOT NULL
);
CREATE INDEX tracked_points_by_run ON tracked_points (run, key, id);

CREATE TABLE tracked_datasets (
    run     INTEGER NOT NULL,
    name    TEXT NOT NULL,
    digest  TEXT NOT NULL,
    context TEXT NOT NULL,
    body    BLOB NOT NULL,
    PRIMARY KEY (run, name, digest, context)
);
CREATE INDEX tracked_datasets_by_name ON tracked_datasets (name, digest);

-- Experiments and logged models.
CREATE TABLE tracked_docs (
    workspace TEXT NOT NULL,
    kind      TEXT NOT NULL,
    id        TEXT NOT NULL,
    parent    TEXT NOT NULL,
    body      BLOB NOT NULL,
    PRIMARY KEY (workspace, kind, id)
);
CREATE INDEX tracked_docs_by_parent ON tracked_docs (workspace, kind, parent, id);
