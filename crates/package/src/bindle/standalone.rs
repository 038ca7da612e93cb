//! A bindle on its own: a folder, or an archive of one, with its invoice and those of its parcels that are at hand.
//!
//! `<digest of the id>/invoice.toml` and `<digest of the id>/parcels/<sha256>.dat`.

use std::{
    io,
    path::{Path, PathBuf},
};

use flate2::Compression;
use gyre_model::Digest;

use super::{BindleId, Invoice, InvoiceError, Label, Role, SecretKey, SignError};
use crate::{
    archive::{self, ArchiveError, Caps},
    artifact::BlobSource,
    digests, limits,
};

const INVOICE: &str = "invoice.toml";
const PARCELS: &str = "parcels";

/// Why a bindle on its own cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StandaloneError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its invoice.
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    /// It cannot be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The archive that it is in.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There is no invoice where one should be.
    #[error("{0:?} is no bindle: there is no invoice.toml, and no folder with one")]
    NoInvoice(PathBuf),
    /// A parcel is not what its label says.
    #[error("the parcel {name:?} ({sha256}) is not what its label says: {reason}")]
    Parcel {
        /// The label's name.
        name: String,
        /// The label's digest.
        sha256: String,
        /// What is different.
        reason: &'static str,
    },
}

/// A bindle in a folder.
#[derive(Debug)]
pub struct Standalone {
    invoice: Invoice,
    folder: PathBuf,
    /// Where an archive was unpacked; goes with this.
    _unpacked: Option<tempfile::TempDir>,
}

impl Standalone {
    /// Opens the bindle at `path`: its folder, a folder with that of `id` in it, or an archive of it (`.tar.gz`).
    pub fn open(path: &Path, id: Option<&BindleId>) -> Result<Self, StandaloneError> {
        if path.is_file() {
            return Self::open_archive(path, id);
        }
        let within = id.map(|id| path.join(id.digest().hex()));
        let folder = match within {
            Some(within) if within.join(INVOICE).is_file() => within,
            _ if path.join(INVOICE).is_file() => path.to_owned(),
            _ => return Err(StandaloneError::NoInvoice(path.to_owned())),
        };
        Self::open_folder(folder, None)
    }

    fn open_archive(path: &Path, id: Option<&BindleId>) -> Result<Self, StandaloneError> {
        let unpacked = tempfile::Builder::new().prefix("bindle-").tempdir()?;
        let root = unpacked.path().join("content");
        archive::extract(path, &root, &Caps::default())?;
        if let Some(id) = id
            && root.join(id.digest().hex()).join(INVOICE).is_file()
        {
            return Self::open_folder(root.join(id.digest().hex()), Some(unpacked));
        }
        if root.join(INVOICE).is_file() {
            return Self::open_folder(root, Some(unpacked));
        }
        let mut folders = fs_err::read_dir(&root)?
            .map(|entry| entry.map(|entry| entry.path()))
            .filter(|folder| folder.as_ref().map_or(true, |folder| folder.join(INVOICE).is_file()));
        match (folders.next().transpose()?, folders.next().transpose()?) {
            (Some(only), None) => Self::open_folder(only, Some(unpacked)),
            _ => Err(StandaloneError::NoInvoice(path.to_owned())),
        }
    }

    fn open_folder(
        folder: PathBuf,
        unpacked: Option<tempfile::TempDir>,
    ) -> Result<Self, StandaloneError> {
        let file = folder.join(INVOICE);
        let limit = limits::INVOICE_BYTES;
        if fs_err::metadata(&file)?.len() > limit {
            return Err(InvoiceError::TooLarge { limit, of: "bytes" }.into());
        }
        let invoice = Invoice::from_toml(&fs_err::read_to_string(&file)?)?;
        Ok(Self { invoice, folder, _unpacked: unpacked })
    }

    /// Its invoice.
    pub fn invoice(&self) -> &Invoice {
        &self.invoice
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with that parcel's bytes, if it is at hand. The bytes are not verified.
    pub fn parcel(&self, label: &Label) -> Option<PathBuf> {
        // A digest that is none could be a path.
        let digest = label.digest()?;
        let file = place(&self.folder, &digest);
        file.is_file().then_some(file)
    }

    /// Signs its invoice. See [`Invoice::sign`].
    ///
    /// # Errors
    /// That key has signed it, or the disk.
    pub fn sign(&mut self, key: &SecretKey, role: Role, at: u64) -> Result<(), StandaloneError> {
        self.invoice.sign(key, role, at)?;
        digests::write_whole(&self.folder.join(INVOICE), self.invoice.to_toml().as_bytes())?;
        Ok(())
    }

    /// Verifies the parcels that are at hand, and answers the labels of those that are not.
    pub fn verify(&self) -> Result<Vec<&Label>, StandaloneError> {
        let mut missing = Vec::new();
        for label in self.invoice.parcel.iter().map(|parcel| &parcel.label) {
            let Some(file) = self.parcel(label) else {
                missing.push(label);
                continue;
            };
            let (digest, size) = digests::of_file(&file)?;
            let reason = match () {
                () if Some(digest) != label.digest() => "another digest",
                () if size != label.size => "another size",
                () => continue,
            };
            return Err(StandaloneError::Parcel {
                name: label.name.clone(),
                sha256: label.sha256.clone(),
                reason,
            });
        }
        Ok(missing)
    }
}

impl BlobSource for Standalone {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(place(&self.folder, digest)).filter(|file| file.is_file())
    }
}

/// A bindle's folder that is being made. Its invoice is written last, so that a folder with one is whole.
#[derive(Debug)]
pub struct Writer {
    invoice: Invoice,
    folder: PathBuf,
}

impl Writer {
    /// Begins the folder of that bindle below `path`.
    pub fn new(path: &Path, invoice: Invoice) -> Result<Self, StandaloneError> {
        let id = invoice.id().map_err(InvoiceError::Id)?;
        let folder = path.join(id.digest().hex());
        fs_err::create_dir_all(folder.join(PARCELS))?;
        Ok(Self { invoice, folder })
    }

    /// Where the parcel of that label is, if its bytes were added.
    pub fn parcel(&self, label: &Label) -> Option<PathBuf> {
        Some(place(&self.folder, &label.digest()?)).filter(|file| file.is_file())
    }

    /// Whether the parcel of that label was there before, and is what the label says.
    pub fn has(&self, label: &Label) -> bool {
        let found = self.parcel(label).and_then(|file| digests::of_file(&file).ok());
        found.is_some_and(|(digest, size)| (Some(digest), size) == (label.digest(), label.size))
    }

    /// Adds a parcel's bytes, which have to be what the label says.
    pub fn add(&self, label: &Label, bytes: &mut dyn io::Read) -> Result<(), StandaloneError> {
        let wrong = |reason| StandaloneError::Parcel {
            name: label.name.clone(),
            sha256: label.sha256.clone(),
            reason,
        };
        let digest = label.digest().ok_or_else(|| wrong("its digest is none"))?;
        let mut file = tempfile::NamedTempFile::new_in(self.folder.join(PARCELS))?;
        let (found, size) = match digests::copy(bytes, &mut file, label.size) {
            Ok(copied) => copied,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(wrong("another size"));
            }
            Err(error) => return Err(error.into()),
        };
        if size != label.size {
            return Err(wrong("another size"));
        }
        if found != digest {
            return Err(wrong("another digest"));
        }
        file.persist(place(&self.folder, &digest)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Writes the invoice.
    pub fn finish(self) -> Result<Standalone, StandaloneError> {
        digests::write_whole(&self.folder.join(INVOICE), self.invoice.to_toml().as_bytes())?;
        Ok(Standalone { invoice: self.invoice, folder: self.folder, _unpacked: None })
    }
}

impl Standalone {
    /// Writes all of it into the archive `<digest of the id>.tar.gz` in that folder. Answers the archive's path.
    pub fn archive(&self, into: &Path) -> Result<PathBuf, StandaloneError> {
        let name = self.invoice.id().map_err(InvoiceError::Id)?.digest().hex();
        let mut files = vec![(format!("{name}/{INVOICE}"), self.folder.join(INVOICE))];
        let mut parcels: Vec<_> =
            self.invoice.parcel.iter().filter_map(|parcel| parcel.label.digest()).collect();
        parcels.sort_unstable();
        parcels.dedup();
        for digest in parcels {
            let file = place(&self.folder, &digest);
            if file.is_file() {
                files.push((format!("{name}/{PARCELS}/{}.dat", digest.hex()), file));
            }
        }
        fs_err::create_dir_all(into)?;
        let path = into.join(format!("{name}.tar.gz"));
        let mut to = tempfile::NamedTempFile::new_in(into)?;
        let entries = files.iter().map(|(name, file)| (name.as_str(), file.as_path()));
        archive::create(entries, &mut to, Compression::default())?;
        to.persist(&path).map_err(|error| error.error)?;
        Ok(path)
    }
}

fn place(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join(PARCELS).join(format!("{}.dat", digest.hex()))
}
