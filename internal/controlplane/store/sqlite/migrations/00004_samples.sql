-- +goose Up

-- What was measured of a job (owner), one row a minute.
CREATE TABLE samples (
    owner TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    vals  BLOB    NOT NULL,
    PRIMARY KEY (owner, at)
) WITHOUT ROWID;
CREATE INDEX samples_by_time ON samples (at);

-- Up to when each cluster has sent its samples.
CREATE TABLE sampled_through (
    cluster TEXT    NOT NULL PRIMARY KEY,
    at      INTEGER NOT NULL
);
