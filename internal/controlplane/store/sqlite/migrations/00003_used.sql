-- +goose Up

-- Ids that may be used once, such as those of client assertions; compaction removes them some time after until.
CREATE TABLE used (
    id    TEXT    NOT NULL PRIMARY KEY,
    until INTEGER NOT NULL
);
CREATE INDEX used_until ON used (until);
