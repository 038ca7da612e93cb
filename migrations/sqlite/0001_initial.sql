-- The platform's own state. Conventions, here and in every later migration:
--   ids are 16-byte UUIDs (version 7), digests and hashes 32 bytes, times nanoseconds since 1970 (UTC);
--   every row names its account, so that no query has to join to know whose it is;
--   tables are STRICT; what is added later is added so that the version before keeps working.

CREATE TABLE accounts (
    id       BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    name     TEXT NOT NULL UNIQUE,
    is_admin INTEGER NOT NULL DEFAULT 0,
    created  INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id BLOB NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    -- Tokens of one login (session and refresh tokens, each replacing the one before) share a family: a stolen
    -- refresh token that is used twice ends them all.
    family     BLOB NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('session', 'personal', 'refresh')),
    hash       BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    name       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    expires    INTEGER,
    revoked    INTEGER,
    last_used  INTEGER
) STRICT;
CREATE INDEX tokens_by_account ON tokens (account_id, created);
CREATE INDEX tokens_by_family ON tokens (family);
CREATE INDEX tokens_by_expiry ON tokens (expires) WHERE expires IS NOT NULL;

CREATE TABLE device_codes (
    device_hash BLOB PRIMARY KEY NOT NULL CHECK (length(device_hash) = 32),
    user_code   TEXT NOT NULL UNIQUE,
    client      TEXT NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    interval    INTEGER NOT NULL, -- seconds
    status      TEXT NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'approved', 'denied', 'redeemed')),
    account_id  BLOB REFERENCES accounts (id) ON DELETE CASCADE, -- who decided
    last_poll   INTEGER
) STRICT;
CREATE INDEX device_codes_by_expiry ON device_codes (expires);

CREATE TABLE apps (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    name        TEXT NOT NULL,
    storage_id  TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    -- Stays taken after the app is deleted, so that a link to it never leads to someone else's.
    host_label  TEXT NOT NULL UNIQUE,
    -- Counts changes of the app's variables, of all its channels.
    variables_version INTEGER NOT NULL DEFAULT 0,
    created     INTEGER NOT NULL,
    modified    INTEGER NOT NULL,
    deleted     INTEGER
) STRICT;
CREATE UNIQUE INDEX apps_by_name ON apps (account_id, name) WHERE deleted IS NULL;
CREATE INDEX apps_by_storage_id ON apps (account_id, storage_id) WHERE deleted IS NULL;

CREATE TABLE revisions (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id BLOB NOT NULL REFERENCES accounts (id),
    app_id     BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    version    TEXT NOT NULL,
    manifest   BLOB NOT NULL, -- the OCI manifest, byte for byte what was digested
    settings   TEXT NOT NULL, -- of the manifest's annotation, JSON: what the routing table needs of it
    created    INTEGER NOT NULL,
    UNIQUE (app_id, digest)
) STRICT;

CREATE TABLE channels (
    id              BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id      BLOB NOT NULL REFERENCES accounts (id),
    app_id          BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    -- Desired is what was asked for last, active what is served. They differ while a release is made ready.
    desired_release BLOB REFERENCES releases (id) DEFERRABLE INITIALLY DEFERRED,
    active_release  BLOB REFERENCES releases (id) DEFERRABLE INITIALLY DEFERRED,
    created         INTEGER NOT NULL,
    modified        INTEGER NOT NULL,
    UNIQUE (app_id, name)
) STRICT;
CREATE INDEX channels_serving ON channels (id) WHERE active_release IS NOT NULL;

CREATE TABLE releases (
    id          BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id  BLOB NOT NULL REFERENCES accounts (id),
    app_id      BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    channel_id  BLOB NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    revision_id BLOB NOT NULL REFERENCES revisions (id),
    number      INTEGER NOT NULL, -- 1, 2, 3… of the channel
    variables_version INTEGER NOT NULL,
    state       TEXT NOT NULL
                CHECK (state IN ('pending', 'preparing', 'ready', 'active', 'failed', 'retired')),
    reason      TEXT,
    created     INTEGER NOT NULL,
    activated   INTEGER, -- when it was last made active; stays when it is retired
    UNIQUE (channel_id, number)
) STRICT;
CREATE INDEX releases_unfinished ON releases (created)
    WHERE state IN ('pending', 'preparing', 'ready');
CREATE INDEX releases_by_app ON releases (app_id, created);
CREATE INDEX releases_by_revision ON releases (revision_id);

-- Each change of a variable adds a row and closes the one before, so that a release finds the variables as they
-- were: those with since <= version < until.
CREATE TABLE variables (
    account_id BLOB NOT NULL REFERENCES accounts (id),
    app_id     BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    channel_id BLOB REFERENCES channels (id) ON DELETE CASCADE, -- null: of all channels
    name       TEXT NOT NULL,
    value      BLOB, -- sealed by the keyring; null: removed
    since      INTEGER NOT NULL,
    until      INTEGER, -- null: current
    changed    INTEGER NOT NULL
) STRICT;
CREATE INDEX variables_by_app ON variables (app_id, since);
CREATE UNIQUE INDEX variables_current ON variables (app_id, coalesce(channel_id, x''), name)
    WHERE until IS NULL;

CREATE TABLE repositories (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id BLOB NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    UNIQUE (account_id, name)
) STRICT;

-- The blobs a repository has: what may be read through it and mounted from it.
CREATE TABLE repository_blobs (
    repository_id BLOB NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    account_id    BLOB NOT NULL REFERENCES accounts (id),
    digest        BLOB NOT NULL CHECK (length(digest) = 32),
    size          INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_blobs_by_digest ON repository_blobs (digest, account_id);

CREATE TABLE manifests (
    repository_id BLOB NOT NULL REFERENCES repositories (id) ON DELETE CASCADE,
    account_id    BLOB NOT NULL REFERENCES accounts (id),
    digest        BLOB NOT NULL CHECK (length(digest) = 32),
    media_type    TEXT NOT NULL,
    size          INTEGER NOT NULL,
    created       INTEGER NOT NULL,
    PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX manifests_by_digest ON manifests (digest);

CREATE TABLE manifest_blobs (
    repository_id   BLOB NOT NULL,
    account_id      BLOB NOT NULL REFERENCES accounts (id),
    manifest_digest BLOB NOT NULL,
    blob_digest     BLOB NOT NULL CHECK (length(blob_digest) = 32),
    PRIMARY KEY (repository_id, manifest_digest, blob_digest),
    FOREIGN KEY (repository_id, manifest_digest)
        REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX manifest_blobs_by_blob ON manifest_blobs (blob_digest);

CREATE TABLE tags (
    repository_id BLOB NOT NULL,
    account_id    BLOB NOT NULL REFERENCES accounts (id),
    name          TEXT NOT NULL,
    digest        BLOB NOT NULL,
    modified      INTEGER NOT NULL,
    PRIMARY KEY (repository_id, name),
    FOREIGN KEY (repository_id, digest)
        REFERENCES manifests (repository_id, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_digest ON tags (repository_id, digest);

-- Key-value stores and databases: owned by an account, linked to apps under a label.
CREATE TABLE stores (
    id         BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    account_id BLOB NOT NULL REFERENCES accounts (id),
    kind       TEXT NOT NULL CHECK (kind IN ('key_value', 'database')),
    name       TEXT NOT NULL,
    created    INTEGER NOT NULL,
    UNIQUE (account_id, kind, name)
) STRICT;

CREATE TABLE links (
    app_id     BLOB NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
    account_id BLOB NOT NULL REFERENCES accounts (id),
    kind       TEXT NOT NULL CHECK (kind IN ('key_value', 'database')),
    label      TEXT NOT NULL,
    store_id   BLOB NOT NULL REFERENCES stores (id) ON DELETE CASCADE,
    created    INTEGER NOT NULL,
    PRIMARY KEY (app_id, kind, label)
) STRICT, WITHOUT ROWID;
CREATE INDEX links_by_store ON links (store_id);
