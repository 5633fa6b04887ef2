//! `waypost queue …`

use crate::{
    admin::{QueueLine, Request, Response},
    cli::{Failure, arguments::QueueCommand, target, terminal},
};

/// Runs the command.
pub async fn run(command: QueueCommand) -> Result<(), Failure> {
    let QueueCommand::List { json, config } = command;
    let Response::Queue(lines) = target::ask(&config, Request::QueueList).await? else { return Ok(()) };
    if json {
        terminal::say(&serde_json::to_string_pretty(&lines).map_err(Failure::new)?);
    } else if lines.is_empty() {
        terminal::say("the queue is empty");
    } else {
        lines.iter().for_each(print);
    }
    Ok(())
}

fn print(line: &QueueLine) {
    let QueueLine { id, accepted, size, from, attempts, next_attempt, recipients } = line;
    terminal::say(&format!(
        "{id}  {accepted}  {size} octets  from <{from}>  tried {attempts}×, next {next_attempt}"
    ));
    for recipient in recipients {
        let said = if recipient.last_reply.is_empty() { "not tried yet" } else { &recipient.last_reply };
        terminal::say(&format!("    <{}>  {said}", recipient.address));
    }
}
