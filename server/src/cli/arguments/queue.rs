//! `waypost queue`

use clap::{Args, Subcommand};
use waypost_mail::{Address, Domain, EntryId};

use super::ConfigFile;

/// `waypost queue`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Lists the messages in the queue
    List(QueueList),
    /// Shows everything about a message: each try, what was said, when it is tried next
    Show {
        /// Its id
        id: EntryId,
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Prints a message as it would be sent: header and body
    Cat {
        /// Its id
        id: EntryId,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Tries messages now, also where the destination rests
    Retry {
        /// Which.
        #[command(flatten)]
        which: SomeOrAll,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Holds messages: they are not tried until they are released
    Hold {
        /// Which.
        #[command(flatten)]
        which: SomeMessages,
        /// Why, in words
        #[arg(long, value_name = "TEXT", default_value = "held by hand")]
        why: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lets messages go that are held
    Release {
        /// Which.
        #[command(flatten)]
        which: SomeOrAll,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Takes messages out of the queue; their senders are not told
    Remove {
        /// Which.
        #[command(flatten)]
        which: SomeMessages,
        /// Does not ask
        #[arg(long)]
        yes: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sends messages back to their senders
    Bounce {
        /// Their ids
        #[arg(required = true)]
        ids: Vec<EntryId>,
        /// Why, in words, for the sender
        #[arg(long, value_name = "TEXT", default_value = "the postmaster has sent this message back")]
        why: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lists destinations: what waits, connections, and what a server said that takes nothing
    Destinations {
        /// Prints JSON, one object in a line
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sends nothing to a destination until it is resumed
    Pause {
        /// Its name, as `destinations` prints it
        destination: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Sends to a destination again that is paused
    Resume {
        /// Its name, as `destinations` prints it
        destination: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `waypost queue list`
#[derive(Args, Debug)]
pub struct QueueList {
    /// Only messages to this domain
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub to: Option<String>,
    /// Only messages from this sender; "<>": notifications
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    pub from: Option<String>,
    /// Only messages that are held
    #[arg(long)]
    pub held: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Prints JSON, one object in a line
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// Some messages.
#[derive(Args, Debug)]
pub struct SomeMessages {
    /// Their ids
    #[arg(value_name = "ID", required_unless_present_any = ["from", "to"], conflicts_with_all = ["from", "to"])]
    pub ids: Vec<EntryId>,
    /// All from this sender; "<>": notifications
    #[arg(long, value_name = "ADDRESS", value_parser = sender)]
    pub from: Option<String>,
    /// All with a recipient in this domain
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub to: Option<String>,
}

/// Some messages, or all.
#[derive(Args, Debug)]
pub struct SomeOrAll {
    /// Their ids
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["from", "to", "all"],
        conflicts_with_all = ["from", "to", "all"]
    )]
    pub ids: Vec<EntryId>,
    /// All from this sender; "<>": notifications
    #[arg(long, value_name = "ADDRESS", value_parser = sender, conflicts_with = "all")]
    pub from: Option<String>,
    /// All with a recipient in this domain
    #[arg(long, value_name = "DOMAIN", value_parser = domain, conflicts_with = "all")]
    pub to: Option<String>,
    /// All
    #[arg(long)]
    pub all: bool,
}

fn domain(text: &str) -> Result<String, String> {
    Domain::new(text).map(|domain| domain.to_string()).map_err(|error| error.to_string())
}

fn sender(text: &str) -> Result<String, String> {
    match text {
        "" | "<>" => Ok("<>".to_owned()),
        address => {
            Address::parse(address).map(|address| address.to_string()).map_err(|error| error.to_string())
        }
    }
}
