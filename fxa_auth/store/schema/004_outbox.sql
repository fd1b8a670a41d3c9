-- Who has a mail in hand, what came of the last attempt, and which mails are tried no more.

ALTER TABLE mails ADD COLUMN claim BYTEA;         -- random; set while a daemon has it in hand, until due_at_ms at most
ALTER TABLE mails ADD COLUMN last_answer TEXT;    -- of the mail server, or why there was none; repeats no code
ALTER TABLE mails ADD COLUMN dead_at_ms BIGINT;   -- since when it is a dead letter

DROP INDEX mails_by_due_time;
CREATE INDEX mails_by_due_time ON mails (due_at_ms) WHERE dead_at_ms IS NULL;
CREATE INDEX mails_by_age ON mails (queued_at_ms) WHERE dead_at_ms IS NULL;
CREATE INDEX mails_by_death ON mails (dead_at_ms) WHERE dead_at_ms IS NOT NULL;
