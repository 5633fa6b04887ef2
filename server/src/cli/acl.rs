//! `waypost acl …`

use crate::{
    admin::{
        Request, Response,
        acl::{AclJob, AclLine},
    },
    cli::{
        Failure,
        arguments::{AclCommand, ConfigFile},
        maintenance::other,
        target, terminal,
    },
};

/// Runs the command.
pub async fn run(command: AclCommand) -> Result<(), Failure> {
    match command {
        AclCommand::List { address, mailbox, json, config } => {
            show(&config, AclJob::List { address, mailbox }, json).await
        }
        AclCommand::Set { address, mailbox, identifier, rights, json, config } => {
            show(&config, AclJob::Set { address, mailbox, identifier, rights }, json).await
        }
    }
}

async fn show(config: &ConfigFile, job: AclJob, json: bool) -> Result<(), Failure> {
    let Response::Acl(lines) = target::ask(config, Request::Acl { job }).await? else { return Err(other()) };
    if json {
        terminal::say(&serde_json::to_string_pretty(&lines).map_err(Failure::new)?);
        return Ok(());
    }
    terminal::say(&format!("{:<40} {:<40} rights", "mailbox", "who"));
    for AclLine { mailbox, identifier, rights } in lines {
        terminal::say(&format!("{mailbox:<40} {identifier:<40} {rights}"));
    }
    Ok(())
}
