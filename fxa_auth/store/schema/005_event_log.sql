-- Events become a log: numbered after they were committed, read by publishers that each keep their place in it.

-- The stamp of the account's latest event: ms since the epoch, or one more than the stamp before where that is higher.
ALTER TABLE accounts ADD COLUMN last_stamp BIGINT NOT NULL DEFAULT 0;

ALTER TABLE events ADD COLUMN stamp BIGINT NOT NULL DEFAULT 0;  -- of one account, each commits later than the last
ALTER TABLE events ADD COLUMN number BIGINT;                    -- from 1 without a gap; none until it is committed

CREATE INDEX events_to_number ON events (stamp) WHERE number IS NULL;
CREATE UNIQUE INDEX events_by_number ON events (number) WHERE number IS NOT NULL;

-- How far each has come: the sequencer in giving numbers, a publisher in publishing.
CREATE TABLE event_cursors (
    name TEXT PRIMARY KEY,
    number BIGINT NOT NULL,                 -- the last that is done with
    attended_at_ms BIGINT NOT NULL          -- when a daemon last had this publisher in its settings
);
