//! `waypost reports`

use clap::Subcommand;

use super::ConfigFile;

/// `waypost reports`
#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// Sends all reports about a day that has ended now: before their time, or once more, with the same names
    Send {
        /// The day (UTC), as 2026-11-25
        day: String,
        /// Prints JSON, one object for each destination in a line
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}
