//! Accounts and their tokens.

use gyre_model::{AccountId, TokenId};
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{Account, Listing, Page, Rotation, Token},
};

db_methods! {
    /// Adds an account. `Taken` if its name is.
    write fn create_account(account: Account) -> () = accounts::create;
    /// The account of that id.
    read fn account(id: AccountId) -> Option<Account> = accounts::by_id;
    /// The account of that name.
    read fn account_by_name(name: String) -> Option<Account> = accounts::by_name;
    /// Accounts by name.
    read fn accounts(page: Page) -> Listing<Account> = accounts::list;

    /// Adds a token. `Taken` if its hash is, `Missing` if its account is.
    write fn create_token(token: Token) -> () = accounts::create_token;
    /// The token of that hash with its account, whether it still works or not.
    read fn token_by_hash(hash: [u8; 32]) -> Option<(Token, Account)> = accounts::token_by_hash;
    /// An account's tokens, newest first, but for those that no longer work at `now`.
    read fn tokens(account: AccountId, now: Timestamp) -> Vec<Token> = accounts::tokens;
    /// Notes that a token was used; does nothing if that was noted less than a minute ago.
    write fn touch_token(id: TokenId, now: Timestamp) -> () = accounts::touch_token;
    /// Revokes a token of that account; returns whether there was one that worked.
    write fn revoke_token(account: AccountId, id: TokenId, now: Timestamp) -> bool
        = accounts::revoke_token;
    /// Revokes all tokens of a login; returns how many worked.
    write fn revoke_family(account: AccountId, family: TokenId, now: Timestamp) -> u64
        = accounts::revoke_family;
    /// Spends the refresh token `old` and adds `new` ones, or, if it was spent before, revokes its family.
    write fn rotate_token(old: TokenId, new: Vec<Token>, now: Timestamp) -> Rotation
        = accounts::rotate_token;
    /// Removes tokens that expired or were revoked before `before`; returns how many.
    write fn purge_tokens(before: Timestamp) -> u64 = accounts::purge_tokens;
}
