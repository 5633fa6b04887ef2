//! What can change while serving, as one value: sessions take it at connect, MAIL and login.

use std::sync::Arc;

use waypost_config::Config;

use crate::directory::Directory;

/// Configuration and directory of one moment. A reload, or a change of an account, makes a new one.
#[derive(Clone, Debug)]
pub struct Live {
    /// The configuration.
    pub config: Arc<Config>,
    /// Who is here.
    pub directory: Arc<Directory>,
}
