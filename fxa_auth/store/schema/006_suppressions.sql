-- Verified accounts to whose address no mail is sent for a while, because it bounced for good or its owner complained.
-- A row stays for a while after its end: by then what was reported earlier cannot be reported again.
CREATE TABLE suppressions (
    uid BYTEA PRIMARY KEY REFERENCES accounts (uid) ON DELETE CASCADE,
    reason TEXT NOT NULL,
    reported_at_ms BIGINT NOT NULL,         -- when the mail bounced, as the reporter says
    until_ms BIGINT NOT NULL                -- no mail before; a lifted suppression is one that ended early
);

CREATE INDEX suppressions_by_end ON suppressions (until_ms);
