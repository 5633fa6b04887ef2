//! Who may log in, and where an address leads: the directory snapshot, password hashes, SASL exchanges. No sockets.

pub mod directory;
pub mod live;
pub mod password;
pub mod sasl;
pub mod seats;
pub mod srs;

pub use directory::{Directory, DirectoryError, Identity, Resolution};
pub use live::Live;
pub use password::{Authenticator, HashError, LoginError, hash_password};
pub use seats::{Seat, Seats};
pub use srs::Srs;
