-- +goose Up

-- For compaction, which removes operations some time after their end.
CREATE INDEX operations_ended ON operations (ended_at) WHERE ended_at > 0;
