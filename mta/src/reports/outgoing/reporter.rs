//! Sends the reports of each day that has ended, once, with some hours' delay; and again when an administrator says so.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};
use waypost_auth::Live;
use waypost_mail::Timestamp;
use waypost_net::Shutdown;
use waypost_storage::Store;

use super::{
    Counts, Day, Kind,
    counts::DayCounts,
    destinations::{self, Destinations},
    dispatch::{Means, Outcome},
    document::{Document, Identity},
    plan::Plan,
};
use crate::{
    Random,
    authenticity::Signers,
    dns::Resolver,
    tls_policy::{
        Policies, WRITE_INTERVAL,
        results::{self, DAYS_MAX, files},
    },
};

/// How often it is looked what is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// How many days back reports are sent that were not: a server that was away for longer begins anew.
const DAYS_BACK: i64 = 2;
/// Where plans are, below the folder of reports.
const PLANS: &str = "plans";

/// Sends reports. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reporter {
    counts: Counts,
    tls: Policies,
    means: Means,
    plans: Arc<Plans>,
}

/// The plans of days; held by whoever sends.
#[derive(Debug)]
struct Plans {
    folder: PathBuf,
    known: Mutex<BTreeMap<Day, Plan>>,
}

/// What became of a report for one destination, for people and programs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReportLine {
    /// `dmarc` or `tls`.
    pub kind: Kind,
    /// The domain that it is about.
    pub domain: String,
    /// Where it goes; empty: nowhere.
    pub to: String,
    /// `sent`, `refused` or `later`.
    pub outcome: String,
    /// Why, where it was not sent.
    pub why: Option<String>,
}

/// What there is to be told of a day.
#[derive(Debug, Default)]
struct DayData {
    dmarc: DayCounts,
    tls: results::Day,
}

impl Reporter {
    /// Keeps its plans in a folder.
    pub fn new(
        folder: &Path,
        counts: Counts,
        tls: Policies,
        (store, resolver, signers, random): (Store, Resolver, Signers, Random),
    ) -> Self {
        let plans = Arc::new(Plans { folder: folder.join(PLANS), known: Mutex::default() });
        Self { counts, tls, means: Means { store, resolver, signers, random }, plans }
    }

    /// Writes counts and sends what is due, until shutdown.
    pub async fn run(self, live: watch::Receiver<Arc<Live>>, shutdown: Shutdown) {
        let (mut written, mut told) = (Instant::now(), None);
        loop {
            tokio::select! {
                () = shutdown.stopping() => break,
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
            }
            if written.elapsed() >= WRITE_INTERVAL {
                self.counts.write(self.now()).await;
                written = Instant::now();
            }
            let live = live.borrow().clone();
            let today = Day::of(self.now());
            match self.obstacle(&live) {
                None => self.look(&live, &shutdown).await,
                Some(obstacle) if live.config.reports.send && told.replace(today) != Some(today) => {
                    tracing::info!(obstacle, "reports about others' mail are not sent");
                }
                Some(_) => {}
            }
        }
        self.counts.write(self.now()).await;
    }

    fn now(&self) -> Timestamp {
        self.means.store.now()
    }

    /// What keeps reports from being sent at all.
    fn obstacle(&self, live: &Live) -> Option<String> {
        if !live.config.reports.send {
            return Some("[reports] send is false".to_owned());
        }
        let Some(by) = Identity::of(live) else { return Some("no domain is delivered here".to_owned()) };
        let Means { store, signers, .. } = &self.means;
        let is_signed = !signers.of(&live.config, store, &by.from.domain).is_empty();
        let domain = &by.from.domain;
        (!is_signed)
            .then(|| format!("mail of {domain} is not signed: `waypost dkim list {domain}` says whether there are keys, and what they wait for"))
    }

    /// Sends what is due of the last days.
    async fn look(&self, live: &Live, shutdown: &Shutdown) {
        let mut plans = self.plans.known.lock().await;
        let today = Day::of(self.now());
        for day in (1..=DAYS_BACK).rev().map(|back| today.earlier(back)) {
            let problem = match self.plans.of(&mut plans, day, self.means.random.next()).await {
                Ok(plan) => self.work(live, day, plan, shutdown).await.err(),
                Err(error) => Some(error),
            };
            if let Some(error) = problem {
                tracing::warn!(%day, %error, "reports are not sent");
            }
        }
        plans.retain(|day, _| *day >= today.earlier(DAYS_BACK));
    }

    /// Sends all reports of a day now, whether they were sent before or not. Errors: a sentence.
    pub async fn send(&self, live: &Live, day: Day) -> Result<Vec<ReportLine>, String> {
        if let Some(obstacle) = self.obstacle(live) {
            return Err(format!("no reports are sent: {obstacle}"));
        }
        let now = self.now();
        if day.end() > now {
            return Err(format!("{day} has not ended (UTC): reports tell of whole days"));
        }
        let mut plans = self.plans.known.lock().await;
        let reports =
            self.data(day).await.map(|data| data.reports(live)).map_err(|error| error.to_string())?;
        if reports.is_empty() {
            return Err(format!("nothing is known of {day} that anybody wants to be told"));
        }
        let plan = plans.entry(day).or_insert_with(|| Plan::new(day, 0));
        *plan = Plan::at_once(reports, now);
        self.work(live, day, plan, &Shutdown::new()).await.map_err(|error| error.to_string())
    }

    /// Sends what is due of a day. Errors: the plan cannot be kept, what is known of the day cannot be read.
    async fn work(
        &self,
        live: &Live,
        day: Day,
        plan: &mut Plan,
        shutdown: &Shutdown,
    ) -> io::Result<Vec<ReportLine>> {
        let is_new = plan.is_to_be_filled(self.now());
        if !is_new && plan.due(self.now()).is_empty() {
            return Ok(Vec::new());
        }
        let mut data = self.data(day).await?;
        if is_new {
            plan.fill(data.reports(live));
            self.plans.keep(day, plan).await?;
        }
        let Some(by) = Identity::of(live) else { return Ok(Vec::new()) };
        let mut lines = Vec::new();
        for place in plan.due(self.now()) {
            if shutdown.is_stopping() {
                break;
            }
            lines.extend(self.report(live, &by, day, plan, (place, &mut data)).await?);
        }
        self.plans.keep(day, plan).await?;
        Ok(lines)
    }

    /// Sends one report to all who get it.
    async fn report(
        &self,
        live: &Live,
        by: &Identity,
        day: Day,
        plan: &mut Plan,
        (place, data): (usize, &mut DayData),
    ) -> io::Result<Vec<ReportLine>> {
        let Some(item) = plan.item(place).cloned() else { return Ok(Vec::new()) };
        let found = match item.kind {
            Kind::Dmarc => {
                let uris = data.dmarc.get(&item.domain).map_or("", |counts| counts.report_uris.as_str());
                destinations::of_dmarc(&self.means.resolver, &item.domain, uris).await
            }
            Kind::Tls => destinations::of_tls(&self.means.resolver, &item.domain).await,
        };
        let Destinations { wanted, refused, open } = found;
        let refused = refused.into_iter().map(|(to, why)| (to, Outcome::Refused(why.to_owned())));
        let open = open.into_iter().map(|why| (String::new(), Outcome::Later(why)));
        let mut outcomes: Vec<(String, Outcome)> = refused.chain(open).collect();
        let wanted: Vec<_> = wanted.into_iter().filter(|to| !item.sent.contains(&to.to_string())).collect();
        if !wanted.is_empty() {
            let document = data.document(item.kind, by, &item.domain, day).await?;
            for to in wanted {
                let outcome = self.means.send(live, &document, &to).await;
                if outcome == Outcome::Sent {
                    plan.sent(place, to.to_string());
                    self.plans.keep(day, plan).await?;
                }
                outcomes.push((to.to_string(), outcome));
            }
        }
        let is_open = outcomes.iter().any(|(_, outcome)| matches!(outcome, Outcome::Later(_)));
        match is_open {
            true if !plan.later(place, self.now()) => {
                tracing::warn!(%day, domain = item.domain, kind = item.kind.name(), "a report is given up");
            }
            true => {}
            false => plan.done(place),
        }
        let line = |(to, outcome)| line(item.kind, &item.domain, to, outcome);
        let lines: Vec<ReportLine> = outcomes.into_iter().map(line).collect();
        lines.iter().for_each(|line| log(day, line));
        Ok(lines)
    }

    /// What is known of a day.
    async fn data(&self, day: Day) -> io::Result<DayData> {
        let (counts, tls) = (self.counts.clone(), self.tls.clone());
        let read = move || Ok(DayData { dmarc: counts.day(day)?, tls: tls.day(&day.to_string())? });
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other)?
    }
}

impl DayData {
    /// The reports there are: of each kind as many as may be sent on a day, those that tell of most.
    fn reports(&self, live: &Live) -> Vec<(Kind, String)> {
        let most = live.config.reports.daily_max;
        let dmarc = self.dmarc.iter().map(|(domain, counts)| (counts.messages, domain));
        let sessions = |(domain, policies): (_, &Vec<results::PolicyResults>)| {
            let sum = |results: &results::PolicyResults| results.summary.successful + results.summary.failed;
            (policies.iter().map(sum).sum::<u64>(), domain)
        };
        let tls = self.tls.iter().map(sessions);
        let most_of = |kind: Kind, mut all: Vec<(u64, &String)>| {
            all.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
            if all.len() > most {
                tracing::warn!(
                    kind = kind.name(),
                    reports = all.len(),
                    most,
                    "not all reports of a day are sent"
                );
            }
            let some = all.into_iter().take(most);
            some.map(|(_, domain)| (kind, domain.clone())).collect::<Vec<_>>()
        };
        let mut reports = most_of(Kind::Dmarc, dmarc.collect());
        reports.extend(most_of(Kind::Tls, tls.collect()));
        reports
    }

    /// The report about a domain. It may be large: it is made off the async threads.
    async fn document(&self, kind: Kind, by: &Identity, domain: &str, day: Day) -> io::Result<Document> {
        let (by, name) = (by.clone(), domain.to_owned());
        let counts = self.dmarc.get(domain).cloned().filter(|_| kind == Kind::Dmarc);
        let policies = self.tls.get(domain).cloned().unwrap_or_default();
        let make = move || match counts {
            Some(counts) => Document::dmarc(&by, &name, day, counts),
            None => Document::tls(&by, &name, day, &policies),
        };
        tokio::task::spawn_blocking(make).await.map_err(io::Error::other)?
    }
}

impl Plans {
    /// The plan of a day, made where there is none. Errors: a file that cannot be read or written.
    async fn of<'a>(
        &self,
        known: &'a mut BTreeMap<Day, Plan>,
        day: Day,
        random: u64,
    ) -> io::Result<&'a mut Plan> {
        let place = match known.entry(day) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(place) => place,
        };
        let folder = self.folder.clone();
        let kept = tokio::task::spawn_blocking(move || Plan::read(&folder, day)).await;
        let plan = match kept.map_err(io::Error::other)?? {
            Some(plan) => plan,
            None => {
                let plan = Plan::new(day, random);
                self.keep(day, &plan).await?;
                plan
            }
        };
        Ok(place.insert(plan))
    }

    /// Writes a plan, and removes those that are outdated.
    async fn keep(&self, day: Day, plan: &Plan) -> io::Result<()> {
        let (folder, plan) = (self.folder.clone(), plan.clone());
        let keeping = move || {
            plan.write(&folder, day)?;
            let oldest = day.earlier(DAYS_MAX);
            for (name, file) in files(&folder) {
                if Day::parse(&name).is_none_or(|day| day < oldest) {
                    std::fs::remove_file(file)?;
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(keeping).await.map_err(io::Error::other)?
    }
}

fn line(kind: Kind, domain: &str, to: String, outcome: Outcome) -> ReportLine {
    let (outcome, why) = match outcome {
        Outcome::Sent => ("sent", None),
        Outcome::Refused(why) => ("refused", Some(why)),
        Outcome::Later(why) => ("later", Some(why)),
    };
    ReportLine { kind, domain: domain.to_owned(), to, outcome: outcome.to_owned(), why }
}

fn log(day: Day, line: &ReportLine) {
    let ReportLine { kind, domain, to, outcome, why } = line;
    tracing::info!(%day, domain, kind = kind.name(), to, outcome, why, "report");
}

#[cfg(test)]
mod tests;
