CREATE TABLE invites (
    id BYTEA PRIMARY KEY,
    normalized_email TEXT,                  -- the one address that it lets in, without a code
    code_hash BYTEA UNIQUE,                 -- or the SHA-256 of the code by which it lets in any address
    uses BIGINT NOT NULL,
    uses_left BIGINT NOT NULL,
    created_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT,                   -- NULL: never
    last_used_at_ms BIGINT,
    CHECK ((normalized_email IS NULL) <> (code_hash IS NULL)),
    CHECK (uses_left BETWEEN 0 AND uses)
);

CREATE INDEX invites_by_address ON invites (normalized_email);

-- By which invite an account came, so that its address need not use the invite again while nobody has verified it.
CREATE TABLE invite_uses (
    uid BYTEA PRIMARY KEY REFERENCES accounts (uid) ON DELETE CASCADE,
    invite_id BYTEA NOT NULL REFERENCES invites (id) ON DELETE CASCADE
);

CREATE INDEX invite_uses_by_invite ON invite_uses (invite_id);
