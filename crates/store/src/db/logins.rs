//! Device logins under way.

use gyre_model::AccountId;
use jiff::Timestamp;

use super::{
    db_methods,
    rows::{Decision, DeviceCode, Token},
};

db_methods! {
    /// Adds a device login. `Taken` if one of its codes is: make another and try again.
    write fn create_device_code(code: DeviceCode) -> () = logins::create;
    /// The device login of that user code, unless it has expired at `now`.
    read fn device_code(user_code: String, now: Timestamp) -> Option<DeviceCode> = logins::by_user_code;
    /// Approves or denies a device login; returns whether there was one that nobody had decided on.
    write fn decide_device_code(user_code: String, decision: Decision, account: AccountId, now: Timestamp)
        -> bool = logins::decide;
    /// Notes a poll and returns the login as it was before it, expired or not.
    write fn poll_device_code(device_hash: [u8; 32], now: Timestamp) -> Option<DeviceCode> = logins::poll;
    /// Adds `tokens` for an approved device login that has not expired, which is thereby redeemed; returns whether
    /// it was. Works once.
    write fn redeem_device_code(device_hash: [u8; 32], tokens: Vec<Token>, now: Timestamp) -> bool
        = logins::redeem;
    /// Removes device logins that expired before `before`; returns how many.
    write fn purge_device_codes(before: Timestamp) -> u64 = logins::purge;
    /// How many device logins nobody has decided on yet and have not expired.
    read fn count_pending_device_codes(now: Timestamp) -> u64 = logins::count_pending;
}
