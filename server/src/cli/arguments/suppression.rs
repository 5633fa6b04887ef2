//! `waypost suppression`

use clap::Subcommand;

use super::ConfigFile;

/// `waypost suppression`
#[derive(Debug, Subcommand)]
pub enum SuppressionCommand {
    /// Lists addresses that bounced for good, or complained, and those that were put there by hand
    List {
        /// Prints JSON, one object in a line
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sends no more mail to an address: it comes back to its sender at once
    Add {
        /// The address
        address: String,
        /// Only mail of this sender
        #[arg(long, value_name = "ADDRESS")]
        from: Option<String>,
        /// Why, in words, for senders
        #[arg(long, value_name = "TEXT", default_value = "this address takes no mail")]
        why: String,
        /// For how long, like "30d"; else until it is removed
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sends mail to an address again, and forgets what was counted
    Remove {
        /// The address
        address: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}
