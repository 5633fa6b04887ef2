//! `waypost reports`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigFile;

/// `waypost reports`
#[derive(Args, Debug)]
pub struct ReportsOptions {
    /// One of them, instead of what all say.
    #[command(subcommand)]
    pub command: Option<ReportsCommand>,
    /// Only what is said of this domain and those below it
    #[arg(long, value_name = "DOMAIN")]
    pub domain: Option<String>,
    /// Of how many days, today's included
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
    /// Lists what looked like reports and could not be read, or was wrong
    #[arg(long)]
    pub errors: bool,
    /// Prints JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The configuration file
    #[arg(long, short, env = "WAYPOST_CONFIG", default_value = "/etc/waypost/waypost.toml", global = true)]
    pub config: PathBuf,
}

/// `waypost reports …`
#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// Shows all that the mail with this id brought
    Show {
        /// The id
        id: String,
    },
    /// Sends all of ours about a day that has ended now: before their time, or once more, with the same names
    Send {
        /// The day (UTC), as 2026-11-25
        day: String,
    },
}

impl ReportsOptions {
    /// The configuration.
    pub fn file(&self) -> ConfigFile {
        ConfigFile { config: self.config.clone() }
    }
}
