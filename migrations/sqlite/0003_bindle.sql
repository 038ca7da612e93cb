-- Bindle: an account's invoices, what they list, and which parcels the account has sent. The bytes are in the blob store.
CREATE TABLE invoices (
    account_id BLOB NOT NULL REFERENCES accounts (id),
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    invoice    TEXT NOT NULL,
    is_yanked  INTEGER NOT NULL DEFAULT 0 CHECK (is_yanked IN (0, 1)),
    created    INTEGER NOT NULL,
    PRIMARY KEY (account_id, name, version)
) STRICT;

CREATE TABLE invoice_parcels (
    account_id BLOB NOT NULL,
    name       TEXT NOT NULL,
    version    TEXT NOT NULL,
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (account_id, name, version, digest),
    FOREIGN KEY (account_id, name, version) REFERENCES invoices (account_id, name, version) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX invoice_parcels_by_digest ON invoice_parcels (digest);

CREATE TABLE parcels (
    account_id BLOB NOT NULL REFERENCES accounts (id),
    digest     BLOB NOT NULL CHECK (length(digest) = 32),
    size       INTEGER NOT NULL,
    created    INTEGER NOT NULL,
    PRIMARY KEY (account_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX parcels_by_digest ON parcels (digest);
