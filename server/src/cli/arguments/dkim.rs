//! `waypost dkim` and `waypost dns`

use clap::{Args, Subcommand};

use super::ConfigFile;

/// `waypost dkim`
#[derive(Debug, Subcommand)]
pub enum DkimCommand {
    /// Makes the first keys of a domain, RSA and Ed25519, and prints the records to publish
    New(DkimDomain),
    /// Lists keys with their records
    List {
        /// Only those of this domain
        domain: Option<String>,
        /// Prints JSON, one object in a line
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Signs with the keys that wait, once their records are in DNS; where none waits, makes new ones
    Rotate(DkimDomain),
    /// Forgets a key for ever
    Remove {
        /// The domain
        domain: String,
        /// The key's selector
        selector: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// The keys of one domain.
#[derive(Args, Debug)]
pub struct DkimDomain {
    /// The domain
    pub domain: String,
    /// Signs with the new keys at once, whether their records are in DNS or not
    #[arg(long)]
    pub now: bool,
    /// Prints what was done as JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `waypost dns`
#[derive(Args, Debug)]
pub struct DnsOptions {
    /// The domain
    pub domain: String,
    /// Prints JSON, one object for each record in a line
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}
