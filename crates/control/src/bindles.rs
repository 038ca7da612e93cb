//! Bindle's domain: an account's bindles, what is put into them and what is found.
//!
//! As in the registry, names are the account's own and content is stored once for all, but nobody gets at it by its digest alone: a parcel
//! is there for an account that has sent it, and is read through an invoice that lists it. An invoice never changes but for its
//! being yanked.

use gyre_model::Digest;
use gyre_package::{
    bindle::{
        BindleId, Invoice, Label, Role, SecretKey, SignError, VerifyError,
        keys::{Keyring, PublicKey},
        search::{Matches, Query, QueryError},
    },
    limits,
};
use gyre_store::{DbError, InvoiceRow, Upload};

use crate::{
    Actor, Control, Error, ErrorKind, Result,
    registry::{Blob, blob_error},
};

/// What an invoice was answered with.
#[derive(Debug, Clone)]
pub struct Created {
    /// As it is kept, with our signature.
    pub invoice: Invoice,
    /// The parcels that have to be sent yet.
    pub missing: Vec<Label>,
}

/// A parcel on its way in.
#[derive(Debug)]
pub struct ParcelUpload {
    upload: Upload,
    digest: Digest,
    size: u64,
}

impl ParcelUpload {
    /// Appends bytes.
    ///
    /// # Errors
    /// There are more than the label says, or the disk is full.
    pub async fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.upload.offset() + bytes.len() as u64 > self.size {
            return Err(wrong_size());
        }
        self.upload.append(bytes).await.map_err(blob_error)
    }

    /// Gives it up. What is dropped without a word is swept later.
    pub async fn cancel(self) -> Result<()> {
        self.upload.abort().await.map_err(blob_error)
    }
}

impl Control {
    /// Takes in an invoice, verified and signed by us.
    ///
    /// # Errors
    /// There is one by that name and version; it is yanked; its signatures are not what the policy asks for.
    pub async fn create_bindle(&self, actor: &Actor, mut invoice: Invoice) -> Result<Created> {
        if invoice.yanked {
            let message = "bindle cannot be created as yanked";
            return Err(Error::invalid("bindle.created_yanked", message));
        }
        let id = invoice.id().map_err(|_| invalid_id())?;
        if self.invoice_row(actor, &id).await?.is_some() {
            return Err(exists());
        }
        let refused = |error: VerifyError| Error::invalid("bindle.signature", error.to_string());
        self.verify_bindle(&invoice).map_err(refused)?;
        let now = self.clock.now();
        let at = u64::try_from(now.as_second()).unwrap_or_default();
        let key = self.host_key();
        let refused = |error: SignError| Error::invalid("bindle.signature", error.to_string());
        invoice.sign(&key, Role::Host, at).map_err(refused)?;
        let row = InvoiceRow {
            account: actor.account,
            name: id.name().to_owned(),
            version: id.version().to_string(),
            invoice: invoice.to_toml(),
            is_yanked: false,
            created: now,
        };
        let parcels = invoice.parcel.iter().filter_map(|parcel| parcel.label.digest()).collect();
        match self.db.put_invoice(row, parcels).await {
            Ok(()) => {}
            // Somebody was faster.
            Err(DbError::Taken { .. }) => return Err(exists()),
            Err(error) => return Err(error.into()),
        }
        let missing = self.missing_of(actor, &invoice).await?;
        Ok(Created { invoice, missing })
    }

    /// Whether an invoice's signatures are what the policy asks for.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn verify_bindle(&self, invoice: &Invoice) -> std::result::Result<(), VerifyError> {
        let policy = &self.config.bindles;
        if invoice.signature.is_empty() {
            return if policy.is_signature_required { Err(VerifyError::Unsigned) } else { Ok(()) };
        }
        match &policy.trust {
            None => invoice.check_signatures(),
            Some(trust) => {
                let mut keyring = trust.keyring.clone();
                keyring.add(PublicKey::of(&self.host_key()));
                trust.strategy.verify(invoice, &keyring)
            }
        }
    }

    /// An invoice.
    ///
    /// # Errors
    /// It is not there, or yanked and `with_yanked` does not say that it may be.
    pub async fn bindle(&self, actor: &Actor, id: &BindleId, with_yanked: bool) -> Result<Invoice> {
        let row = self.invoice_row(actor, id).await?.ok_or_else(unknown)?;
        if row.is_yanked && !with_yanked {
            return Err(Error::new(ErrorKind::Forbidden, "bindle.yanked", "bindle is yanked"));
        }
        Invoice::from_toml(&row.invoice).map_err(Error::internal)
    }

    /// Says that nobody should use it any more. To say so twice is the same.
    pub async fn yank_bindle(&self, actor: &Actor, id: &BindleId) -> Result<()> {
        let mut invoice = self.bindle(actor, id, true).await?;
        invoice.yanked = true;
        let (name, version) = (id.name().to_owned(), id.version().to_string());
        let was_there =
            self.db.yank_invoice(actor.account, name, version, invoice.to_toml()).await?;
        if was_there { Ok(()) } else { Err(unknown()) }
    }

    /// The parcels of a bindle that have to be sent yet.
    pub async fn missing_parcels(&self, actor: &Actor, id: &BindleId) -> Result<Vec<Label>> {
        let invoice = self.bindle(actor, id, false).await?;
        self.missing_of(actor, &invoice).await
    }

    /// Begins to take in the parcel with that digest, as the invoice writes it.
    ///
    /// # Errors
    /// It is there, or the invoice has none such.
    pub async fn begin_parcel(
        &self,
        actor: &Actor,
        id: &BindleId,
        sha256: &str,
    ) -> Result<ParcelUpload> {
        let label = self.label(actor, id, sha256).await?;
        // What cannot be a digest fits no bytes.
        let digest = label.digest().ok_or_else(wrong_digest)?;
        if self.has_parcel(actor, &digest).await? {
            return Err(exists());
        }
        let upload = self.blobs.begin(label.size).await.map_err(blob_error)?;
        Ok(ParcelUpload { upload, digest, size: label.size })
    }

    /// Ends an upload: the bytes become a parcel if they are what its label says, and are thrown away if not.
    pub async fn finish_parcel(&self, actor: &Actor, upload: ParcelUpload) -> Result<()> {
        let ParcelUpload { upload, digest, size } = upload;
        if upload.offset() != size {
            upload.abort().await.map_err(blob_error)?;
            return Err(wrong_size());
        }
        match upload.commit(&digest).await {
            Ok(_) => {}
            Err(gyre_store::BlobError::Mismatch { .. }) => return Err(wrong_digest()),
            Err(error) => return Err(blob_error(error)),
        }
        Ok(self.db.put_parcel(actor.account, digest, size, self.clock.now()).await?)
    }

    /// A parcel's label, and whether its bytes are there.
    pub async fn find_parcel(
        &self,
        actor: &Actor,
        id: &BindleId,
        sha256: &str,
    ) -> Result<(Label, Digest)> {
        let label = self.label(actor, id, sha256).await?;
        let digest = label.digest().ok_or_else(unknown)?;
        if self.has_parcel(actor, &digest).await? { Ok((label, digest)) } else { Err(unknown()) }
    }

    /// A parcel's label and bytes.
    pub async fn read_parcel(
        &self,
        actor: &Actor,
        id: &BindleId,
        sha256: &str,
    ) -> Result<(Label, Blob)> {
        let (label, digest) = self.find_parcel(actor, id, sha256).await?;
        let found = self.blobs.read(&digest, None).await.map_err(blob_error)?;
        let (reader, size) = found.ok_or_else(unknown)?;
        Ok((label, Blob { reader, size }))
    }

    /// What fits, sorted by name and then by version.
    pub async fn search_bindles(&self, actor: &Actor, query: &Query) -> Result<Matches> {
        let versions = query
            .versions()
            .map_err(|error: QueryError| Error::invalid("bindle.query", error.to_string()))?;
        let word = query.term.split_whitespace().next().unwrap_or_default().to_owned();
        let names = self.db.invoice_names(actor.account, word, query.yanked).await?;
        let mut ids = Vec::new();
        for (name, version) in names {
            if query.fits_name(&name) {
                let version = version.parse().map_err(Error::internal)?;
                if versions.has(&version) {
                    ids.push(BindleId::new(name, version).map_err(Error::internal)?);
                }
            }
        }
        ids.sort_unstable();
        let total = ids.len() as u64;
        let offset = usize::try_from(query.offset).unwrap_or(usize::MAX);
        let mut page = Vec::new();
        let mut bytes = 0;
        for id in ids.iter().skip(offset).take(usize::from(query.limit)) {
            let Some(row) = self.invoice_row(actor, id).await? else { continue };
            // A page of the largest invoices would be a gigabyte; the client asks again from where this one ends.
            bytes += row.invoice.len() as u64;
            if bytes > limits::INVOICE_BYTES && !page.is_empty() {
                break;
            }
            page.push(Invoice::from_toml(&row.invoice).map_err(Error::internal)?);
        }
        Ok(Matches::new(query, total, page))
    }

    /// The keys with which we sign.
    pub fn bindle_keys(&self) -> Keyring {
        Keyring { keys: vec![PublicKey::of(&self.host_key())] }
    }

    fn host_key(&self) -> SecretKey {
        let seed = zeroize::Zeroizing::new(self.keyring.derive("bindle host key"));
        SecretKey::from_seed(format!("Gyre at {}", self.config.domain), vec![Role::Host], &seed)
    }

    async fn invoice_row(&self, actor: &Actor, id: &BindleId) -> Result<Option<InvoiceRow>> {
        let (name, version) = (id.name().to_owned(), id.version().to_string());
        Ok(self.db.invoice(actor.account, name, version).await?)
    }

    async fn label(&self, actor: &Actor, id: &BindleId, sha256: &str) -> Result<Label> {
        let invoice = self.bindle(actor, id, false).await?;
        invoice.label(sha256).cloned().ok_or_else(|| {
            let message = "the invoice lists no parcel of that digest";
            Error::invalid("bindle.parcel_unlisted", message)
        })
    }

    async fn missing_of(&self, actor: &Actor, invoice: &Invoice) -> Result<Vec<Label>> {
        let mut missing: Vec<Label> = Vec::new();
        for label in invoice.parcel.iter().map(|parcel| &parcel.label) {
            let is_there = match label.digest() {
                Some(digest) => self.has_parcel(actor, &digest).await?,
                None => false,
            };
            if !is_there && missing.iter().all(|other| other.sha256 != label.sha256) {
                missing.push(label.clone());
            }
        }
        Ok(missing)
    }

    async fn has_parcel(&self, actor: &Actor, digest: &Digest) -> Result<bool> {
        let is_sent = self.db.parcel(actor.account, *digest).await?.is_some();
        Ok(is_sent && self.blobs.stat(digest).is_some())
    }
}

/// Reads `NAME/VERSION`.
///
/// # Errors
/// It is none.
pub fn id(text: &str) -> Result<BindleId> {
    text.parse().map_err(|_| invalid_id())
}

// The texts of these are what Bindle's own server says: people look for them.

fn invalid_id() -> Error {
    Error::invalid("bindle.id_invalid", "invalid ID given")
}

fn exists() -> Error {
    Error::new(ErrorKind::Conflict, "bindle.exists", "resource already exists")
}

fn unknown() -> Error {
    let message =
        "resource not found: if an item does not appear in our records, it does not exist!";
    Error::new(ErrorKind::NotFound, "bindle.unknown", message)
}

fn wrong_digest() -> Error {
    Error::invalid("bindle.digest", "digest does not match")
}

fn wrong_size() -> Error {
    Error::invalid("bindle.size", "parcel size does not match invoice")
}
