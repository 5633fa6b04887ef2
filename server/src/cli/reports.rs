//! `waypost reports …`

mod text;

use serde::Serialize;

use crate::{
    admin::{
        Request, Response,
        reports::{ReportsAnswer, ReportsJob},
    },
    cli::{
        Failure,
        arguments::{ConfigFile, ReportsCommand, ReportsOptions},
        maintenance::other,
        target, terminal,
    },
};

/// Runs the command.
pub async fn run(options: ReportsOptions) -> Result<(), Failure> {
    let (file, days) = (options.file(), options.days);
    let job = match options.command {
        Some(ReportsCommand::Show { id }) => ReportsJob::Show { id },
        Some(ReportsCommand::Send { day }) => return send(&file, day, options.json).await,
        None if options.errors => ReportsJob::Errors { days },
        None => ReportsJob::Summary { domain: options.domain, days },
    };
    let answer = target::ask(&file, Request::Reports { job }).await?;
    let Response::Reports(answer) = answer else { return Err(other()) };
    for line in lines(&answer, days, options.json)? {
        terminal::say(&line);
    }
    Ok(())
}

fn lines(answer: &ReportsAnswer, days: u32, json: bool) -> Result<Vec<String>, Failure> {
    Ok(match (answer, json) {
        (ReportsAnswer::Summary(summary), true) => vec![to_json(summary)?],
        (ReportsAnswer::Summary(summary), false) => text::summary(summary, days),
        (ReportsAnswer::Reports(reports), true) => reports.iter().map(to_json).collect::<Result<_, _>>()?,
        (ReportsAnswer::Reports(reports), false) => reports.iter().flat_map(text::report).collect(),
        (ReportsAnswer::Errors(problems), true) => problems.iter().map(to_json).collect::<Result<_, _>>()?,
        (ReportsAnswer::Errors(problems), false) => text::problems(problems, days),
    })
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(Failure::new)
}

async fn send(config: &ConfigFile, day: String, json: bool) -> Result<(), Failure> {
    let answer = target::ask(config, Request::ReportsSend { day }).await?;
    let Response::ReportsSent(lines) = answer else { return Err(other()) };
    for line in &lines {
        terminal::say(&if json { to_json(line)? } else { text::sent(line) });
    }
    if lines.is_empty() {
        terminal::complain("waypost: no domain asks for a report about that day");
    }
    Ok(())
}
