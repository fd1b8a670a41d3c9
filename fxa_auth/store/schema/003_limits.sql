-- What the builtin abuse policy counts, and whom an operator has banned. Times are ms since the epoch.

-- One row for each address for which something is counted. Who counts changes it first, so that of all daemons
-- one at a time decides about an address.
CREATE TABLE limit_addresses (
    email TEXT PRIMARY KEY,                 -- lower-cased by the application; there need be no such account
    forgiven_at_ms BIGINT NOT NULL,         -- failed logins up to here no longer count towards a lockout
    expires_at_ms BIGINT NOT NULL
);

CREATE INDEX limit_addresses_by_age ON limit_addresses (expires_at_ms);

CREATE TABLE limit_events (
    email TEXT NOT NULL,
    client TEXT NOT NULL,                   -- an IPv4 address or IPv6 /64; '' where it does not matter
    id BYTEA NOT NULL,
    rule TEXT NOT NULL,
    at_ms BIGINT NOT NULL,
    leased_until_ms BIGINT,                 -- set while a password is being checked: until when it counts at most
    expires_at_ms BIGINT NOT NULL,          -- when it matters to no rule any more
    PRIMARY KEY (email, client, id)
);

CREATE INDEX limit_events_by_age ON limit_events (expires_at_ms);

CREATE TABLE bans (
    subject TEXT PRIMARY KEY,               -- a lower-cased address, or the key of a network
    reason TEXT NOT NULL,
    banned_at_ms BIGINT NOT NULL,
    expires_at_ms BIGINT NOT NULL
);

CREATE INDEX bans_by_age ON bans (expires_at_ms);
