//! `waypost dkim …`

use crate::{
    admin::{
        Request, Response,
        dkim::{DkimAnswer, DkimJob, DkimLine, DkimWaits},
    },
    cli::{
        Failure,
        arguments::{ConfigFile, DkimCommand, DkimDomain},
        maintenance::{other, say_json},
        target, terminal,
    },
    zone,
};

/// Said where keys mean nothing.
const NOT_SIGNED: &str = "waypost: mail of this domain is not signed: its [[domain]] has dkim = false";

/// Runs the command.
pub async fn run(command: DkimCommand) -> Result<(), Failure> {
    match command {
        DkimCommand::List { domain, json, config } => {
            let answer = ask(&config, DkimJob::List { domain }).await?;
            for line in &answer.keys {
                terminal::say(&match json {
                    true => serde_json::to_string(line).map_err(Failure::new)?,
                    false => text(line),
                });
            }
            Ok(())
        }
        DkimCommand::New(DkimDomain { domain, now, json, config }) => {
            done(&ask(&config, DkimJob::New { domain, now }).await?, json)
        }
        DkimCommand::Rotate(DkimDomain { domain, now, json, config }) => {
            done(&ask(&config, DkimJob::Rotate { domain, now }).await?, json)
        }
        DkimCommand::Remove { domain, selector, config } => {
            let text = format!("the key {selector} of {domain} is gone");
            ask(&config, DkimJob::Remove { domain, selector }).await?;
            terminal::say(&text);
            Ok(())
        }
    }
}

/// What the server, or the store, answers.
pub(super) async fn ask(config: &ConfigFile, job: DkimJob) -> Result<DkimAnswer, Failure> {
    match target::ask(config, Request::Dkim { job }).await? {
        Response::Dkim(answer) => Ok(answer),
        _ => Err(other()),
    }
}

fn done(answer: &DkimAnswer, json: bool) -> Result<(), Failure> {
    if json {
        say_json(answer)?;
    } else {
        sentences(answer).iter().for_each(|line| terminal::say(line));
    }
    if !answer.signed {
        terminal::complain(NOT_SIGNED);
    }
    Ok(())
}

/// What was done, and what is to be done now.
fn sentences(answer: &DkimAnswer) -> Vec<String> {
    let DkimAnswer { keys, made, activated, waiting, .. } = answer;
    let mut lines: Vec<String> =
        activated.iter().map(|selector| format!("; {selector} signs from now on")).collect();
    let waits = |waits: &DkimWaits| format!("; {} waits: {}", waits.selector, waits.why);
    lines.extend(waiting.iter().map(waits));
    let retired = keys.iter().filter(|key| key.state == "retired" && !activated.is_empty());
    lines.extend(retired.map(|key| format!("; {} signs no more: leave its record for now", key.selector)));
    let fresh: Vec<_> = keys.iter().filter(|key| made.contains(&key.selector)).collect();
    if let Some(first) = fresh.first() {
        lines.push("; publish these records:".to_owned());
        lines.extend(fresh.iter().map(|key| zone::txt(&key.name, &key.record)));
        if activated.is_empty() {
            lines.push(format!(
                "; the server signs with them once it sees them; `waypost dkim rotate {}` looks now",
                first.domain
            ));
        }
    }
    lines
}

/// A key as a person reads it, and its record.
fn text(line: &DkimLine) -> String {
    let since = match (&line.retired, &line.activated, &line.created) {
        (Some(at), _, _) | (None, Some(at), _) | (None, None, Some(at)) => format!(" since {at}"),
        (None, None, None) => String::new(),
    };
    let file = if line.in_file { ", in a file" } else { "" };
    let DkimLine { domain, selector, algorithm, state, name, record, .. } = line;
    format!("; {domain} {selector} {algorithm}: {state}{since}{file}\n{}", zone::txt(name, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(selector: &str, state: &str) -> DkimLine {
        DkimLine {
            domain: "a.test".into(),
            selector: selector.into(),
            algorithm: "rsa".into(),
            state: state.into(),
            in_file: false,
            created: Some("C".into()),
            activated: None,
            retired: None,
            name: format!("{selector}._domainkey.a.test"),
            record: "v=DKIM1; k=rsa; p=AAAA".into(),
        }
    }

    #[test]
    fn one_reads_what_was_done_and_what_to_do() {
        let answer = DkimAnswer {
            keys: vec![line("old", "active"), line("new", "waiting")],
            made: vec!["new".into()],
            ..DkimAnswer::default()
        };
        let record = "new._domainkey.a.test. 3600 IN TXT \"v=DKIM1; k=rsa; p=AAAA\"";
        let looks = "; the server signs with them once it sees them; `waypost dkim rotate a.test` looks now";
        assert_eq!(sentences(&answer), ["; publish these records:", record, looks]);
        let answer = DkimAnswer {
            keys: vec![line("old", "retired"), line("new", "active")],
            activated: vec!["new".into()],
            waiting: vec![DkimWaits { selector: "ed".into(), why: "no record".into() }],
            ..DkimAnswer::default()
        };
        assert_eq!(
            sentences(&answer),
            [
                "; new signs from now on",
                "; ed waits: no record",
                "; old signs no more: leave its record for now"
            ]
        );
        let of_file = DkimLine { in_file: true, created: None, ..line("s", "active") };
        let expected =
            "; a.test s rsa: active, in a file\ns._domainkey.a.test. 3600 IN TXT \"v=DKIM1; k=rsa; p=AAAA\"";
        assert_eq!(text(&of_file), expected);
        assert!(text(&line("s", "waiting")).starts_with("; a.test s rsa: waiting since C\n"));
    }
}
