//! `waypost account certificate`

use clap::Subcommand;

use super::{ConfigFile, NamedOfAccount, OfAccount};

/// `waypost account certificate`
#[derive(Debug, Subcommand)]
pub enum CertificateCommand {
    /// Lets a certificate log in; with one there, no others do
    Add {
        /// The account's address
        address: String,
        /// What it is called, like "laptop"
        name: String,
        /// The certificate as a PEM file, or its SHA-256 fingerprint
        certificate: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lists the certificates of an account
    List(OfAccount),
    /// Takes a certificate away; who has it cannot log in by it any more
    Remove(NamedOfAccount),
}
