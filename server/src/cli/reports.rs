//! `waypost reports …`

use waypost_mta::reports::outgoing::ReportLine;

use crate::{
    admin::{Request, Response},
    cli::{
        Failure,
        arguments::{ConfigFile, ReportsCommand},
        maintenance::other,
        target, terminal,
    },
};

/// Runs the command.
pub async fn run(command: ReportsCommand) -> Result<(), Failure> {
    match command {
        ReportsCommand::Send { day, json, config } => send(&config, day, json).await,
    }
}

async fn send(config: &ConfigFile, day: String, json: bool) -> Result<(), Failure> {
    let answer = target::ask(config, Request::ReportsSend { day }).await?;
    let Response::ReportsSent(lines) = answer else { return Err(other()) };
    for line in &lines {
        terminal::say(&match json {
            true => serde_json::to_string(line).map_err(Failure::new)?,
            false => text(line),
        });
    }
    if lines.is_empty() {
        terminal::complain("waypost: no domain asks for a report about that day");
    }
    Ok(())
}

/// A line as a person reads it.
fn text(line: &ReportLine) -> String {
    let ReportLine { kind, domain, to, outcome, why } = line;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
    format!("{} {domain}{to} {outcome}{why}", kind.name())
}

#[cfg(test)]
mod tests {
    use waypost_mta::reports::outgoing::Kind;

    use super::*;

    #[test]
    fn one_reads_what_became_of_a_report() {
        let line = ReportLine {
            kind: Kind::Dmarc,
            domain: "a.test".into(),
            to: "mailto:d@a.test".into(),
            outcome: "sent".into(),
            why: None,
        };
        assert_eq!(text(&line), "DMARC a.test to mailto:d@a.test sent");
        let line = ReportLine {
            kind: Kind::Tls,
            to: String::new(),
            outcome: "later".into(),
            why: Some("no answer".into()),
            ..line
        };
        assert_eq!(text(&line), "TLS a.test later: no answer");
    }
}
