//! The command line. Exit codes: 0 done, 1 it failed, 2 wrong usage, 78 bad configuration.

pub mod account;
pub mod acl;
pub mod arguments;
pub mod backup;
pub mod config;
pub mod dkim;
pub mod dns;
pub mod logging;
pub mod maintenance;
pub mod progress;
pub mod queue;
pub mod reports;
pub mod route;
pub mod send;
pub mod serve;
pub mod store;
pub mod suppression;
pub mod target;
pub mod terminal;

use std::{future::Future, process::ExitCode};

use crate::demo;
use arguments::{Arguments, Command};
use clap::Parser;

/// Exit code for a bad configuration (EX_CONFIG).
pub const EXIT_CONFIGURATION: u8 = 78;

/// Why a command failed: what is said on standard error, and the exit code.
#[derive(Debug)]
pub struct Failure {
    /// What is said.
    pub text: String,
    /// The exit code.
    pub code: u8,
}

impl Failure {
    /// It failed: exit code 1.
    #[expect(clippy::needless_pass_by_value, reason = "errors are passed to it by map_err")]
    pub fn new(text: impl ToString) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// The configuration is bad: exit code 78.
    #[expect(clippy::needless_pass_by_value, reason = "errors are passed to it by map_err")]
    pub fn configuration(text: impl ToString) -> Self {
        Self { text: text.to_string(), code: EXIT_CONFIGURATION }
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    logging::start(if matches!(arguments.command, Command::Serve(_)) { "info" } else { "off" });
    match dispatch(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::complain(&format!("waypost: {}", failure.text));
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(options) => block_on(demo::run(options)),
        Command::Serve(options) => block_on(serve::run(options)),
        Command::Config(command) => block_on(config::run(command)),
        Command::Account(command) => block_on(account::run(command)),
        Command::Acl(command) => block_on(acl::run(command)),
        Command::HashPassword => {
            let hash = waypost_auth::hash_password(&terminal::read_new_password("Password: ")?);
            terminal::say(&hash.map_err(Failure::new)?);
            Ok(())
        }
        Command::Send(options) => block_on(send::run(options)),
        Command::Queue(command) => block_on(queue::run(command)),
        Command::Suppression(command) => block_on(suppression::run(command)),
        Command::Reports(options) => block_on(reports::run(options)),
        Command::Dkim(command) => block_on(dkim::run(command)),
        Command::Dns(options) => block_on(dns::run(options)),
        Command::Route(options) => block_on(route::run(options)),
        Command::Store(command) => block_on(store::run(command)),
    }
}

fn block_on(task: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(format!("no runtime: {error}")))?.block_on(task)
}
