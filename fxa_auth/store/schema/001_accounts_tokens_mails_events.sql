-- Times are ms since the epoch. Columns marked "sealed" hold what seal.py describes; every other column is plain.

CREATE TABLE sealing_keys (
    position BIGINT PRIMARY KEY,            -- 1 for the key made with the database, then one more for each
    key_id TEXT NOT NULL UNIQUE,            -- hex; the keys themselves are never in the database
    created_at_ms BIGINT NOT NULL
);

CREATE TABLE accounts (
    uid BYTEA PRIMARY KEY,
    email TEXT NOT NULL,
    normalized_email TEXT NOT NULL UNIQUE,  -- lower-cased by the application
    email_code BYTEA NOT NULL,              -- sealed
    email_verified BOOLEAN NOT NULL,
    ka BYTEA NOT NULL,                      -- sealed
    wrap_wrap_kb BYTEA NOT NULL,            -- sealed
    auth_salt BYTEA NOT NULL,
    verify_hash BYTEA NOT NULL,             -- sealed
    verifier_version BIGINT NOT NULL,
    verifier_set_at_ms BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    locale TEXT,
    locked_at_ms BIGINT,
    unlock_code BYTEA,                      -- sealed
    CHECK ((locked_at_ms IS NULL) = (unlock_code IS NULL))
);

CREATE TABLE tokens (
    id_hash BYTEA PRIMARY KEY,              -- SHA-256 of the token id
    kind TEXT NOT NULL,
    uid BYTEA NOT NULL REFERENCES accounts (uid) ON DELETE CASCADE,
    auth_key BYTEA NOT NULL,                -- sealed
    created_at_ms BIGINT NOT NULL,
    key_bundle BYTEA,                       -- sealed; keyFetchToken
    token_data BYTEA,                       -- sealed; passwordForgotToken, as are the next two
    pass_code BYTEA,                        -- sealed
    tries BIGINT,
    CHECK ((kind = 'keyFetchToken') = (key_bundle IS NOT NULL)),
    CHECK ((kind = 'passwordForgotToken') = (token_data IS NOT NULL)),
    CHECK ((kind = 'passwordForgotToken') = (pass_code IS NOT NULL)),
    CHECK ((kind = 'passwordForgotToken') = (tries IS NOT NULL))
);

CREATE INDEX tokens_by_account ON tokens (uid);

-- Of these kinds an account has one token at most, and they expire.
CREATE UNIQUE INDEX tokens_one_per_account ON tokens (uid, kind)
    WHERE kind IN ('accountResetToken', 'passwordForgotToken', 'passwordChangeToken');
CREATE INDEX tokens_by_age ON tokens (kind, created_at_ms)
    WHERE kind IN ('accountResetToken', 'passwordForgotToken', 'passwordChangeToken');

CREATE TABLE mails (
    id BYTEA PRIMARY KEY,
    uid BYTEA NOT NULL REFERENCES accounts (uid) ON DELETE CASCADE,
    letter BYTEA NOT NULL,                  -- sealed
    queued_at_ms BIGINT NOT NULL,
    due_at_ms BIGINT NOT NULL,
    attempts BIGINT NOT NULL
);

CREATE INDEX mails_by_account ON mails (uid);
CREATE INDEX mails_by_due_time ON mails (due_at_ms);

CREATE TABLE events (
    id BYTEA PRIMARY KEY,
    kind TEXT NOT NULL,
    uid BYTEA NOT NULL,                     -- outlives its account
    created_at_ms BIGINT NOT NULL,
    payload TEXT NOT NULL                   -- JSON
);

-- What only one daemon at a time does, and who does it now.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder BYTEA NOT NULL,                  -- random; a daemon has another one at each start
    expires_at_ms BIGINT NOT NULL
);
