//! `waypost acl`

use clap::Subcommand;

use super::ConfigFile;

/// `waypost acl`
#[derive(Debug, Subcommand)]
pub enum AclCommand {
    /// Lists who may do what with the mailboxes of an account, besides its owner
    List {
        /// The account's address
        address: String,
        /// One mailbox
        mailbox: Option<String>,
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Gives somebody rights on a mailbox, or takes them away
    Set {
        /// The account's address
        address: String,
        /// The mailbox
        mailbox: String,
        /// An address or "anyone"; with "-" before it these rights are taken away, whoever else gives them
        identifier: String,
        /// Letters of lrswipkxtea (RFC 4314), "" for none; "+" or "-" before them adds or removes
        rights: String,
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}
