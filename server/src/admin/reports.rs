//! The reports that arrived: what they say compared with what was sent, one by one, and what could not be read; and those of ours, sent
//! when an administrator says so.

use std::{collections::HashSet, io, net::IpAddr};

use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use waypost_auth::Live;
use waypost_config::Config;
use waypost_mta::reports::{
    incoming::{
        archive::{Kept, Line, Problem},
        summary::{Summary, Wanted},
    },
    outgoing::{Day, ReportLine, Reporter},
};
use waypost_storage::Store;

use super::{Parts, Response};

/// Most reports of one mail, and most problems, in one answer.
const LINES_MAX: usize = 1_000;

/// What is asked of them.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportsJob {
    /// What they say, by domain, day and provider.
    Summary {
        /// Only this domain and those below it.
        domain: Option<String>,
        /// Of how many days, today's included.
        days: u32,
    },
    /// All that one mail brought.
    Show {
        /// The mail's id.
        id: String,
    },
    /// What looked like reports and was none.
    Errors {
        /// Of how many days, today's included.
        days: u32,
    },
}

/// The answer.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReportsAnswer {
    /// What they say.
    Summary(Summary),
    /// What one mail brought; at least one.
    Reports(Vec<Kept>),
    /// What looked like reports, the last ones.
    Errors(Vec<Problem>),
}

/// Does what is asked. Errors: a sentence.
pub(super) async fn run(
    store: &Store,
    live: &Live,
    parts: &Parts,
    job: ReportsJob,
) -> Result<Response, String> {
    let (reports, now, own) = (parts.reports.clone(), store.now(), own(&live.config));
    let keep = live.config.reports.keep;
    let all = u32::try_from(keep.as_secs() / 86_400 + 2).unwrap_or(u32::MAX);
    let answer = spawn_blocking(move || match job {
        ReportsJob::Summary { domain, days } => {
            let domain = domain.map(|domain| domain.trim_end_matches('.').to_ascii_lowercase());
            let wanted = Wanted { domain, own, ..Wanted::default() };
            reports.summary(days, wanted, now).map(ReportsAnswer::Summary).map_err(unreadable)
        }
        ReportsJob::Show { id } => shown(&reports.lines_of(all, now).map_err(unreadable)?, &id),
        ReportsJob::Errors { days } => {
            Ok(ReportsAnswer::Errors(problems(&reports.lines_of(days, now).map_err(unreadable)?)))
        }
    });
    let answer = answer.await.map_err(|error| error.to_string())??;
    Ok(Response::Reports(Box::new(answer)))
}

/// Sends all of ours about a day. Errors: a sentence.
pub(super) async fn send(live: &Live, reporter: &Reporter, day: &str) -> Result<Vec<ReportLine>, String> {
    let day = Day::parse(day).ok_or_else(|| format!("{day:?} is no day, like 2026-11-25"))?;
    reporter.send(live, day).await
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to map_err")]
fn unreadable(error: io::Error) -> String {
    format!("the reports cannot be read: {error}")
}

fn shown(lines: &[Line], id: &str) -> Result<ReportsAnswer, String> {
    let of_mail = |line: &Line| match line {
        Line::Report(kept) if kept.mail == id => Some((**kept).clone()),
        _ => None,
    };
    let found: Vec<Kept> = lines.iter().filter_map(of_mail).take(LINES_MAX).collect();
    match found.is_empty() {
        true => Err(format!("no report came with the mail {id}, or it is kept no longer")),
        false => Ok(ReportsAnswer::Reports(found)),
    }
}

fn problems(lines: &[Line]) -> Vec<Problem> {
    let problem = |line: &Line| match line {
        Line::Problem(problem) => Some(problem.clone()),
        Line::Report(_) => None,
    };
    let mut last: Vec<Problem> = lines.iter().rev().filter_map(problem).take(LINES_MAX).collect();
    last.reverse();
    last
}

/// The addresses that mail goes out from, as far as the configuration says.
fn own(config: &Config) -> HashSet<IpAddr> {
    let routes = config.routes.iter().map(|route| &route.sources);
    let sources = std::iter::once(&config.queue.sources).chain(routes);
    sources.flat_map(|source| [source.v4.map(IpAddr::from), source.v6.map(IpAddr::from)]).flatten().collect()
}
