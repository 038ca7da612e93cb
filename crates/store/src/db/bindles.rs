//! Bindle's index: which invoices an account has, and which parcels it has sent. The content is in the blob store.

use gyre_model::{AccountId, Digest};
use jiff::Timestamp;

use super::{db_methods, rows::InvoiceRow};

db_methods! {
    /// Keeps an invoice with the digests that it lists.
    ///
    /// # Errors
    /// The account has one by that name and version.
    write fn put_invoice(invoice: InvoiceRow, parcels: Vec<Digest>) -> () = bindles::put;
    /// The account's invoice by that name and version.
    read fn invoice(account: AccountId, name: String, version: String) -> Option<InvoiceRow>
        = bindles::by_name;
    /// Marks an invoice as yanked and keeps this text of it; returns whether it is there.
    write fn yank_invoice(account: AccountId, name: String, version: String, invoice: String) -> bool
        = bindles::yank;
    /// Names and versions of the account's invoices whose names have that word in them, by name; yanked ones only if asked for.
    read fn invoice_names(account: AccountId, word: String, with_yanked: bool) -> Vec<(String, String)>
        = bindles::names;
    /// Notes that the account has sent a parcel.
    write fn put_parcel(account: AccountId, digest: Digest, size: u64, now: Timestamp) -> ()
        = bindles::put_parcel;
    /// The parcel's size in bytes if the account has sent it, as a parcel or as a blob of one of its repositories.
    read fn parcel(account: AccountId, digest: Digest) -> Option<u64> = bindles::parcel;
}
