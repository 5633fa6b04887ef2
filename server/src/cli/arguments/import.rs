//! `waypost store import`

use std::path::PathBuf;

use clap::Args;

use super::ConfigFile;
use crate::port::{ForeignTls, Layout};

/// `waypost store import`
#[derive(Args, Debug)]
pub struct ImportOptions {
    /// The account's address
    pub address: String,
    /// Where from.
    #[command(flatten)]
    pub origin: ImportOrigin,
    /// How the folders of a Maildir lie
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["mbox", "imap"])]
    pub layout: Layout,
    /// The mailbox that a single mbox goes to; else INBOX
    #[arg(long, value_name = "NAME", conflicts_with_all = ["maildir", "imap"])]
    pub mailbox: Option<String>,
    /// The other server.
    #[command(flatten)]
    pub foreign: ForeignOptions,
    /// Ends at the first message that cannot be imported
    #[arg(long)]
    pub strict: bool,
    /// Imports once more what was imported earlier
    #[arg(long)]
    pub again: bool,
    /// Prints what was done as JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// One of three.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct ImportOrigin {
    /// A Maildir with its folders
    #[arg(long, value_name = "PATH")]
    pub maildir: Option<PathBuf>,
    /// A folder with one mbox for each mailbox, or a single mbox
    #[arg(long, value_name = "PATH")]
    pub mbox: Option<PathBuf>,
    /// Another server, by IMAP: nothing is changed there
    #[arg(long, value_name = "HOST[:PORT]", requires = "user")]
    pub imap: Option<String>,
}

/// How another server is spoken to, and what is taken of it.
#[derive(Args, Debug)]
pub struct ForeignOptions {
    /// User name there
    #[arg(long, value_name = "NAME", requires = "imap")]
    pub user: Option<String>,
    /// File whose first line is the password there; else a prompt, or standard input
    #[arg(long, value_name = "FILE", requires = "imap")]
    pub password_file: Option<PathBuf>,
    /// How TLS is had; default: starttls on port 143, else implicit
    #[arg(long, requires = "imap")]
    pub tls: Option<ForeignTls>,
    /// PEM file of the authority that the certificate there is checked against; default: the system's
    #[arg(long, value_name = "FILE", requires = "imap")]
    pub ca: Option<PathBuf>,
    /// Only this folder, with those below it; may be repeated
    #[arg(long, value_name = "NAME", requires = "imap")]
    pub folder: Vec<String>,
    /// Not this folder, nor those below it; may be repeated
    #[arg(long, value_name = "NAME", requires = "imap")]
    pub exclude: Vec<String>,
}
