//! Who may log in, and where an address leads: the directory snapshot, password hashes, SASL exchanges. No sockets.

pub mod apop;
pub mod app_password;
mod bounded;
pub mod directory;
pub mod live;
pub mod login;
pub mod login_delay;
pub mod password;
pub mod sasl;
pub mod seats;
pub mod srs;
mod throttle;
pub mod token;
pub mod totp;
pub mod url_access;
mod verifiers;
mod verp;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use apop::Apop;
pub use directory::{
    DeadEnd, Directory, DirectoryError, Identity, Leads, Means, Resolution, SendRight, Step,
};
pub use live::Live;
pub use login::{Authenticator, LoginError, Origin};
pub use login_delay::LoginDelays;
pub use password::{HashError, Secrets, hash_password};
pub use seats::{Seat, Seats};
pub use srs::Srs;

/// Each change of what is locked here is one step: a panic leaves nothing half done.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
