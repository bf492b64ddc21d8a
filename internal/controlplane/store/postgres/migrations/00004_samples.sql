-- +goose Up

-- What was measured of a job (owner), one row a minute.
CREATE TABLE samples (
    owner TEXT COLLATE "C" NOT NULL,
    at    BIGINT NOT NULL,
    vals  BYTEA  NOT NULL,
    PRIMARY KEY (owner, at)
);
CREATE INDEX samples_by_time ON samples (at);

-- Up to when each cluster has sent its samples.
CREATE TABLE sampled_through (
    cluster TEXT COLLATE "C" PRIMARY KEY,
    at      BIGINT NOT NULL
);
