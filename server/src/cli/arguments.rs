//! What can be written on the command line.

mod acl;
mod certificate;
mod dkim;
mod import;
mod queue;
mod reports;
mod suppression;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::port::Layout;
pub use acl::AclCommand;
pub use certificate::CertificateCommand;
pub use dkim::{DkimCommand, DkimDomain, DnsOptions};
pub use import::{ForeignOptions, ImportOptions, ImportOrigin};
pub use queue::{QueueCommand, QueueList, SomeMessages, SomeOrAll};
pub use reports::{ReportsCommand, ReportsOptions};
pub use suppression::SuppressionCommand;

/// A mail server: SMTP, IMAP and POP3 over one store.
#[derive(Debug, Parser)]
#[command(name = "waypost", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Two domains on loopback: a mail crosses them and is read over IMAP and POP3
    Demo(DemoOptions),
    /// Runs the server
    Serve(ConfigFile),
    /// Checks and explains the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Accounts in the store
    #[command(subcommand)]
    Account(AccountCommand),
    /// Who may do what with mailboxes of others
    #[command(subcommand)]
    Acl(AclCommand),
    /// Prints the hash of a password, for the configuration file
    HashPassword,
    /// Sends a message, as a mail program does
    Send(SendOptions),
    /// Mail on its way out
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Addresses that are sent no mail any more
    #[command(subcommand)]
    Suppression(SuppressionCommand),
    /// What other servers report of mail in the name of our domains, of TLS with us, and of single messages; what they are told
    Reports(ReportsOptions),
    /// The keys that mail of a domain is signed with
    #[command(subcommand)]
    Dkim(DkimCommand),
    /// Prints all records to publish for a domain, as a zone file
    Dns(DnsOptions),
    /// Tells what would become of a message, and why, without sending it
    Route(RouteOptions),
    /// The store: moving mail in and out, deleted mail, checks
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Which configuration.
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(long, short, env = "WAYPOST_CONFIG", default_value = "/etc/waypost/waypost.toml")]
    pub config: PathBuf,
}

/// `waypost demo`
#[derive(Args, Debug)]
pub struct DemoOptions {
    /// Prints one JSON object instead of the picture
    #[arg(long)]
    pub json: bool,
    /// Keeps configurations, stores and ports in this folder, and keeps serving
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

/// `waypost config`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Names every error of a file with line and column
    Check {
        /// The file; else the one of --config
        file: Option<PathBuf>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Says what a key means and what its default is
    Explain {
        /// The key: `section.key`, or a section
        key: String,
    },
    /// Prints the annotated reference of all keys
    Reference,
}

/// `waypost account`
#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Creates an account; its password comes from a prompt or from standard input
    Add {
        /// Its address
        address: String,
        /// Bytes it may hold, like "5 GiB"
        #[arg(long)]
        quota: Option<String>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lists accounts
    List {
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Removes an account with its mail
    Remove {
        /// Its address
        address: String,
        /// Also an account that was taken out of the configuration file, whose mail is kept until then
        #[arg(long)]
        purge: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Changes a password; it comes from a prompt or from standard input
    Password {
        /// Its address
        address: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Changes a quota
    Quota {
        /// Its address
        address: String,
        /// Bytes it may hold, like "5 GiB", or "none"
        quota: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Protects the account's password by codes that a telephone shows (TOTP)
    Totp {
        /// Its address
        address: String,
        /// "on" prints what the telephone must know, this once; from then on the password logs in with a code behind it alone
        state: Switch,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Gives the account a secret for APOP, the old login of POP3
    Apop {
        /// Its address
        address: String,
        /// "on" makes a secret and prints it, this once; a former one is good no more
        state: Switch,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Further passwords, each for one program or device
    #[command(subcommand)]
    AppPassword(AppPasswordCommand),
    /// Certificates of clients that log in to an account of the store
    #[command(subcommand)]
    Certificate(CertificateCommand),
}

/// Whether something is to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// What lists something of one account takes.
#[derive(Debug, Args)]
pub struct OfAccount {
    /// The account's address
    pub address: String,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// What takes one thing away from an account takes.
#[derive(Debug, Args)]
pub struct NamedOfAccount {
    /// The account's address
    pub address: String,
    /// What it is called
    pub name: String,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `waypost account app-password`
#[derive(Debug, Subcommand)]
pub enum AppPasswordCommand {
    /// Makes an app password and prints it, this once
    Add {
        /// The account's address
        address: String,
        /// What it is called, like "telephone"
        name: String,
        /// What it may be used for
        #[arg(long, value_delimiter = ',', default_value = "imap,pop3,submission")]
        services: Vec<String>,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lists the app passwords of an account, not what they are
    List(OfAccount),
    /// Takes an app password away; who has it cannot log in any more
    Remove(NamedOfAccount),
}

/// How `waypost send` has TLS.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum SendTls {
    /// With the first octet (port 465)
    Implicit,
    /// After the greeting; without it nothing is sent
    Starttls,
    /// Not at all
    None,
}

/// `waypost send`
#[derive(Args, Debug)]
pub struct SendOptions {
    /// The server
    #[arg(long, value_name = "HOST:PORT")]
    pub server: String,
    /// The sender's address
    #[arg(long)]
    pub from: String,
    /// A recipient's address; may be repeated
    #[arg(long, required = true)]
    pub to: Vec<String>,
    /// The subject
    #[arg(long, default_value = "")]
    pub subject: String,
    /// File with the text; else standard input
    #[arg(long, value_name = "FILE")]
    pub body: Option<PathBuf>,
    /// File to attach; may be repeated
    #[arg(long, value_name = "FILE")]
    pub attach: Vec<PathBuf>,
    /// User name for login
    #[arg(long)]
    pub user: Option<String>,
    /// File whose first line is the password; else a prompt
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// How TLS is had; default: implicit on port 465, none on loopback port 25, else STARTTLS
    #[arg(long)]
    pub tls: Option<SendTls>,
    /// PEM file of the authority that the server's certificate is checked against; default: the system's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// `waypost route`
#[derive(Args, Debug)]
pub struct RouteOptions {
    /// The sender's address; "<>" for a notification
    pub from: String,
    /// The recipient's address
    pub to: String,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `waypost store`
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Backs everything up while the server runs; into the directory of an earlier backup, only what is new is copied
    Backup {
        /// An empty directory, or one with an earlier backup of the same store
        directory: PathBuf,
        /// Only reads the backup that is there and names what is damaged
        #[arg(long)]
        verify: bool,
        /// Prints what was done as JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Restores a backup into an empty state directory, or mail of one account into the store that is there
    Restore(RestoreOptions),
    /// Writes all mail of an account into a Maildir or mboxes; run again, it goes on where it ended
    Export {
        /// The account's address
        address: String,
        /// Where to.
        #[command(flatten)]
        place: Place,
        /// Ends lines with LF alone; else octets are kept as they are stored, with CRLF
        #[arg(long)]
        lf: bool,
        /// Prints what was done as JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Takes all mail of a Maildir, of mboxes or of another server into an account; run again, it goes on where it ended
    Import(ImportOptions),
    /// Reads everything: journal, index and messages against their checks and each other; names each problem
    Check {
        /// Prints JSON
        #[arg(long)]
        json: bool,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Makes the index anew from the journal
    Rebuild {
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Gives back the space of what nobody holds any more; the server does so by itself, too
    Compact {
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Lists deleted messages, and brings them back
    Undelete(Undelete),
    /// Erases the deleted messages of an account: nobody can bring them back
    Purge {
        /// The account's address
        address: String,
        /// The configuration.
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// `waypost store undelete`
#[derive(Args, Debug)]
pub struct Undelete {
    /// The account's address
    pub address: String,
    /// Brings back the messages with these numbers; without numbers and without --all they are listed
    pub numbers: Vec<u32>,
    /// Brings back all of them
    #[arg(long, conflicts_with = "numbers")]
    pub all: bool,
    /// Only those of this mailbox
    #[arg(long, value_name = "NAME", conflicts_with = "numbers")]
    pub mailbox: Option<String>,
    /// With --all: only those that were deleted since, like 2026-11-25T14:00:00Z
    #[arg(long, value_name = "TIME", requires = "all")]
    pub since: Option<String>,
    /// Lists what the mailbox (INBOX, if --mailbox says no other) held at a time, whether it was deleted since or not
    #[arg(long, value_name = "TIME", conflicts_with_all = ["numbers", "all"])]
    pub as_of: Option<String>,
    /// The mailbox they go to; else those they were in, which are made again where they are gone
    #[arg(long, value_name = "NAME", conflicts_with = "as_of")]
    pub to: Option<String>,
    /// Prints JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// `waypost store restore`
#[derive(Args, Debug)]
pub struct RestoreOptions {
    /// The backup
    pub directory: PathBuf,
    /// Brings back mail of this account only, beside what is there
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// Only this mailbox
    #[arg(long, value_name = "NAME", requires = "account")]
    pub mailbox: Option<String>,
    /// Only the message that had this UID
    #[arg(long, requires = "mailbox", conflicts_with = "message_id")]
    pub uid: Option<u32>,
    /// Only messages with this Message-ID
    #[arg(long, requires = "account")]
    pub message_id: Option<String>,
    /// Restores what is left of a damaged backup
    #[arg(long, conflicts_with = "account")]
    pub damaged: bool,
    /// Prints what was done as JSON
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigFile,
}

/// A Maildir or mboxes.
#[derive(Args, Debug)]
pub struct Place {
    /// A Maildir with its folders
    #[arg(long, value_name = "PATH", conflicts_with = "mbox", required_unless_present = "mbox")]
    pub maildir: Option<PathBuf>,
    /// A folder with one mbox for each mailbox
    #[arg(long, value_name = "PATH")]
    pub mbox: Option<PathBuf>,
    /// How the folders of a Maildir lie
    #[arg(long, value_enum, default_value_t, conflicts_with = "mbox")]
    pub layout: Layout,
}
