//! Mail comes in from another server, by IMAP. Nothing is changed there.
//!
//! ```text
//! connect ─► List ─► Count ─► for each folder: Examine ─► Survey ─► Bring ─► Survey … until nothing is left
//!    ▲                                                        │
//!    └────────── the connection broke: after a pause ◄────────┘
//! ```
//!
//! A folder's messages are known by UIDVALIDITY and UID. Of a survey, UIDs and sizes are in memory, of a message a piece. A message that
//! does not come is asked for once more by itself; one at which the connection breaks again and again is passed over.

mod folders;
mod link;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waypost_imap::client::{
    Done, Examined, Folder, Heard, MESSAGE_BYTES_MAX, Message, Namespaces, Order, Window, windows,
};
use waypost_mail::{DateTime, MailboxId};
use waypost_mta::dns::Resolver;
use waypost_net::ClientTls;
use waypost_storage::Written;

use super::{
    Ended, Event, Work,
    intake::{Arrived, Intake, Origin, Present, Reading, Refused, noting},
    ledger::{Kind, Ledger, Subject},
    target::Targets,
    uids::Uids,
};
use folders::{Plan, Planned, Wanted, plan};
use link::{Link, Over, Told};

/// Pauses before the connection is taken up again, where nothing came since it was the last time.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];
/// How often the connection may break at one message before that is passed over.
const BREAKS_MAX: u32 = 3;
/// Most messages of one survey; the others come with the next one.
const ROWS_MAX: usize = 1_000_000;

/// Another server, and what of it is wanted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Foreign {
    /// Its name, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How TLS is had.
    pub tls: ForeignTls,
    /// PEM file of the authority that its certificate is checked against; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Who we are there.
    pub user: String,
    /// The password there.
    pub password: Password,
    /// Only these folders, with those below them; none: all of the user's own.
    pub folders: Vec<String>,
    /// Not these, nor those below them.
    pub excludes: Vec<String>,
}

/// A secret; it is not shown.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// How TLS is had with another server.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignTls {
    /// With the first octet (port 993)
    Implicit,
    /// After the greeting; without it nothing is sent
    Starttls,
    /// Not at all: who listens has the password and the mail
    None,
}

impl ForeignTls {
    /// The port where it is had.
    pub fn port(self) -> u16 {
        if self == Self::Implicit { 993 } else { 143 }
    }
}

impl Foreign {
    /// What the notes know it by. A port of another number is another server.
    fn name(&self) -> String {
        let Self { user, host, port, .. } = self;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match port {
            143 | 993 => format!("{user}@{host}"),
            port => format!("{user}@{host}:{port}"),
        }
    }
}

/// Imports.
pub(super) fn run(
    work: &mut Work,
    state_dir: &Path,
    resolver: Resolver,
    from: Foreign,
    strict: bool,
    again: bool,
) -> Result<(), Ended> {
    let tls = link::client_tls(&from).map_err(|error| Ended::Unfit(error.to_string()))?;
    let subject =
        Subject { account: work.account.id().0, format: Kind::Imap, source: from.name(), mailbox: None };
    let ledger = Ledger::open(state_dir, &subject, again).map_err(noting)?;
    // Who waits is told something while the connection is made.
    work.tell(Event::Progress(work.progress.clone()))?;
    let (intake, broken) = (Intake::new(ledger), Broken::default());
    let mut import = Import { work, intake, from, tls, resolver, strict, link: None, broken };
    import.all()?;
    let Broken { times, why, .. } = import.broken;
    if times > 0 {
        let note =
            format!("the connection broke {times} times, and was taken up again; the last time: {why}");
        work.summary.warnings.push(note);
    }
    Ok(())
}

struct Import<'a> {
    work: &'a mut Work,
    intake: Intake,
    from: Foreign,
    tls: ClientTls,
    resolver: Resolver,
    strict: bool,
    link: Option<Link>,
    broken: Broken,
}

/// Connections that broke.
#[derive(Debug, Default)]
struct Broken {
    /// In a row, before something came.
    in_a_row: usize,
    times: usize,
    /// Why the last one did.
    why: String,
}

/// Why a piece of work is not done.
enum Stop {
    /// The connection broke.
    Broken(Over),
    /// It cannot be.
    All(Ended),
}

impl From<Ended> for Stop {
    fn from(ended: Ended) -> Self {
        Self::All(ended)
    }
}

/// What there is.
#[derive(Default)]
struct Listed {
    folders: Vec<Folder>,
    subscribed: BTreeSet<Vec<u8>>,
    unreadable: Vec<String>,
    namespaces: Namespaces,
}

/// How far a folder is; it stays when the connection breaks.
struct State<'a> {
    folder: &'a Planned,
    /// What the notes know it by.
    key: String,
    mailbox: MailboxId,
    uid_validity: u32,
    done: Uids,
    /// Messages that are passed over in this run.
    skipped: BTreeSet<u32>,
    /// Messages that did not come with others, and are asked for by themselves.
    alone: BTreeSet<u32>,
    /// How often the connection broke at a message.
    breaks: BTreeMap<u32, u32>,
    /// What the mailbox holds, where UIDs tell nothing of it.
    present: Option<Present>,
    held: Uids,
    lost_keywords: bool,
    is_counted: bool,
}

/// UIDs and sizes of messages, ascending.
struct Survey {
    rows: Vec<(u32, u64)>,
    /// Whether there are no others among them.
    is_whole: bool,
}

/// What was read of a message, or came in place of it.
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
enum Read {
    Message(Message, Result<Written, Refused>),
    Window(Window),
    Done,
}

impl Import<'_> {
    fn all(&mut self) -> Result<(), Ended> {
        let listed = self.retry(Self::list)?;
        let Plan { folders, subscriptions, uses, notes, absent } = self.plan(listed)?;
        if let Some(name) = absent {
            return Err(Ended::Unfit(format!("the server has no folder {name} that is wanted")));
        }
        self.work.summary.warnings.extend(notes);
        self.resolve_doubt()?;
        let total = self.retry(|import| import.count(&folders))?;
        self.work.progress.messages_total = Some(total);
        let names = folders.iter().filter_map(|folder| folder.mailbox.clone()).collect();
        let targets = Targets::with_uses(names, Some(subscriptions), uses);
        for folder in &folders {
            let Some(name) = &folder.mailbox else {
                self.refuse(&folder.text, "its name cannot be the name of a mailbox")?;
                continue;
            };
            match targets.mailbox(self.work, name)? {
                Ok(mailbox) => self.folder(folder, mailbox)?,
                Err(why) => self.refuse(&folder.text, why)?,
            }
        }
        self.intake.finish(self.work)?;
        targets.subscribe(self.work)?;
        if let Some(link) = self.link.take() {
            self.work.wait(link.close());
        }
        Ok(())
    }

    /// Something is not imported.
    fn refuse(&mut self, what: impl Into<String>, why: impl Into<String>) -> Result<(), Ended> {
        self.intake.refuse(self.work, what, why, self.strict)
    }

    /// Does something, if need be over several connections.
    fn retry<T>(&mut self, mut task: impl FnMut(&mut Self) -> Result<T, Stop>) -> Result<T, Ended> {
        loop {
            match task(self) {
                Ok(done) => return Ok(done),
                Err(Stop::All(ended)) => return Err(ended),
                Err(Stop::Broken(over)) => self.pause(over)?,
            }
        }
    }

    /// Waits before the connection is taken up again; the end, where that is of no use.
    fn pause(&mut self, over: Over) -> Result<(), Ended> {
        self.link = None;
        let pause = PAUSES.get(self.broken.in_a_row).filter(|_| !over.lasts);
        let Some(pause) = pause else {
            self.intake.finish(self.work)?;
            return Err(Ended::Foreign(over.why, over.lasts));
        };
        self.broken =
            Broken { in_a_row: self.broken.in_a_row + 1, times: self.broken.times + 1, why: over.why };
        self.work.wait_while_asked(tokio::time::sleep(*pause))
    }

    /// Something came: the next failure is a first one.
    fn got_on(&mut self) {
        self.broken.in_a_row = 0;
    }

    /// Gives an order, on a connection that is made where there is none.
    fn order(&mut self, order: Order) -> Result<(), Stop> {
        if self.link.is_none() {
            let link = Link::open(&self.work.runtime, &self.from, &self.tls, &self.resolver);
            self.link = Some(link);
            match self.hear()? {
                Told::Next(_) => {}
                told => return Err(unexpected(&told)),
            }
        }
        if let Some(link) = &self.link {
            self.work.wait_while_asked(link.order(order))?;
        }
        Ok(())
    }

    /// What comes next over the connection.
    fn hear(&mut self) -> Result<Told, Stop> {
        hear(self.work, &mut self.link)
    }

    fn list(&mut self) -> Result<Listed, Stop> {
        self.order(Order::List)?;
        let mut listed = Listed::default();
        loop {
            match self.hear()? {
                Told::Heard(Heard::Folder(folder)) => listed.folders.push(folder),
                Told::Heard(Heard::Subscribed(name)) => drop(listed.subscribed.insert(name)),
                Told::Heard(Heard::Unreadable(text)) => listed.unreadable.push(text),
                Told::Next(Some(Done::Listed(namespaces))) => {
                    self.got_on();
                    return Ok(Listed { namespaces, ..listed });
                }
                Told::Next(Some(Done::Refused(text))) => {
                    return Err(Ended::Foreign(
                        format!("the server does not list its folders: {text}"),
                        false,
                    )
                    .into());
                }
                told => return Err(unexpected(&told)),
            }
        }
    }

    fn plan(&mut self, listed: Listed) -> Result<Plan, Ended> {
        let Listed { folders, subscribed, unreadable, namespaces } = listed;
        for text in unreadable {
            self.refuse(text, "the name of the folder cannot be read")?;
        }
        let (folders_wanted, excludes) = (self.from.folders.clone(), self.from.excludes.clone());
        let wanted = Wanted { folders: folders_wanted, excludes };
        Ok(plan(folders, &subscribed, &namespaces, &wanted))
    }

    /// How many messages there are.
    fn count(&mut self, folders: &[Planned]) -> Result<u64, Stop> {
        self.order(Order::Count(folders.iter().map(|folder| folder.name.clone()).collect()))?;
        let mut total = 0;
        loop {
            match self.hear()? {
                Told::Heard(Heard::Count(messages)) => total += u64::from(messages),
                Told::Next(Some(Done::Counted)) => return Ok(total),
                told => return Err(unexpected(&told)),
            }
        }
    }

    /// Finds out whether the last group of a run that was broken off is in the store.
    fn resolve_doubt(&mut self) -> Result<(), Ended> {
        let Some(group) = self.intake.ledger.in_doubt().cloned() else { return Ok(()) };
        let arrived = Arrived::since(self.work, &group)?;
        let is_there = match &group.first {
            Some(print) if !arrived.is_empty() => arrived.holds_print(self.work, print)?,
            _ => false,
        };
        if is_there { self.intake.ledger.settle() } else { self.intake.ledger.void() }.map_err(noting)
    }

    fn folder(&mut self, folder: &Planned, mailbox: MailboxId) -> Result<(), Ended> {
        let key = String::from_utf8_lossy(&folder.name).into_owned();
        self.intake.turn_to(self.work, &key, mailbox)?;
        self.work.summary.mailboxes += 1;
        let mut state = State {
            folder,
            key,
            mailbox,
            uid_validity: 0,
            done: Uids::default(),
            skipped: BTreeSet::new(),
            alone: BTreeSet::new(),
            breaks: BTreeMap::new(),
            present: None,
            held: Uids::default(),
            lost_keywords: false,
            is_counted: false,
        };
        self.retry(|import| {
            let done = import.messages(&mut state);
            if let Err(Stop::Broken(over)) = &done {
                import.blame(&mut state, over)?;
            }
            done
        })?;
        if !state.held.is_empty() {
            self.intake.ledger.hold(&state.key, &state.held).map_err(noting)?;
        }
        if state.lost_keywords {
            let note = format!("{}: keywords that cannot be kept were left out", folder.text);
            self.work.summary.warnings.push(note);
        }
        Ok(())
    }

    /// The connection broke: perhaps at a message. That one is asked for by itself from then on, and passed over when the connection
    /// breaks at it again and again.
    fn blame(&mut self, state: &mut State<'_>, over: &Over) -> Result<(), Ended> {
        let Some(uid) = over.expected else { return Ok(()) };
        state.alone.insert(uid);
        let breaks = state.breaks.entry(uid).or_default();
        *breaks += 1;
        if *breaks >= BREAKS_MAX && state.skipped.insert(uid) {
            self.got_on();
            self.refuse(state.message(uid, &over.why), "the connection breaks at it")?;
            self.work.passed(0)?;
        }
        Ok(())
    }

    /// Brings all messages of a folder that are not there yet.
    fn messages(&mut self, state: &mut State<'_>) -> Result<(), Stop> {
        let Some(exists) = self.examine(state)? else { return Ok(()) };
        if exists == 0 {
            return Ok(());
        }
        loop {
            let Some(survey) = self.survey(state)? else { return Ok(()) };
            self.count_earlier(state, exists, survey.rows.len())?;
            let wanted: Vec<_> =
                survey.rows.iter().copied().filter(|(uid, _)| !state.skipped.contains(uid)).collect();
            let wanted = self.sized(state, wanted)?;
            if wanted.is_empty() {
                return Ok(());
            }
            if state.present.is_none() && self.intake.ledger.is_renumbered(&state.key) {
                state.present = Some(Present::of(self.work, state.mailbox)?);
            }
            let windows = state.windows(&wanted);
            self.bring(state, &survey, windows)?;
        }
    }

    /// Selects the folder; how many messages it holds. `None`: it cannot be imported.
    fn examine(&mut self, state: &mut State<'_>) -> Result<Option<u32>, Stop> {
        self.order(Order::Examine(state.folder.name.clone()))?;
        let Examined { exists, uid_validity } = match self.hear()? {
            Told::Next(Some(Done::Examined(examined))) => examined,
            Told::Next(Some(Done::Refused(text))) => {
                self.refuse(&state.folder.text, format!("the server does not open it: {text}"))?;
                return Ok(None);
            }
            told => return Err(unexpected(&told)),
        };
        let Some(uid_validity) = uid_validity else {
            self.refuse(&state.folder.text, "the server gives its messages no lasting UIDs")?;
            return Ok(None);
        };
        self.number(state, uid_validity)?;
        Ok(Some(exists))
    }

    /// What UIDs tell of what was imported before.
    fn number(&mut self, state: &mut State<'_>, uid_validity: u32) -> Result<(), Ended> {
        if state.uid_validity == uid_validity {
            return Ok(());
        }
        state.uid_validity = uid_validity;
        let known = self.intake.ledger.done(&state.key).map(|(known, done)| (known, done.clone()));
        match known {
            Some((known, done)) if known == uid_validity => state.done = done,
            None if state.done.is_empty() => {}
            _ => {
                // Of this run something may be on its way.
                self.intake.turn_to(self.work, &state.key, state.mailbox)?;
                self.intake.finish(self.work)?;
                self.intake.ledger.renumber(&state.key, uid_validity).map_err(noting)?;
                (state.done, state.held, state.present) = (Uids::default(), Uids::default(), None);
                (state.skipped, state.alone, state.breaks) = Default::default();
                let note = "the server numbered its messages anew (UIDVALIDITY): each was compared with those that are here";
                self.work.summary.warnings.push(format!("{}: {note}", state.folder.text));
            }
        }
        Ok(())
    }

    /// Which messages are not done yet; `None`: the server does not tell.
    fn survey(&mut self, state: &State<'_>) -> Result<Option<Survey>, Stop> {
        self.order(Order::Survey(state.done.others()))?;
        let (mut rows, mut is_whole) = (Vec::new(), true);
        loop {
            match self.hear()? {
                // Of a range without end a server tells the last message always.
                Told::Heard(Heard::Row(uid, _)) if state.done.holds(uid) => {}
                Told::Heard(Heard::Row(uid, size)) if rows.len() < ROWS_MAX => rows.push((uid, size)),
                Told::Heard(Heard::Row(..)) => is_whole = false,
                Told::Next(Some(Done::Surveyed)) => break,
                Told::Next(Some(Done::Refused(text))) => {
                    self.refuse(
                        &state.folder.text,
                        format!("the server does not tell what is in it: {text}"),
                    )?;
                    return Ok(None);
                }
                told => return Err(unexpected(&told)),
            }
        }
        rows.sort_unstable();
        rows.dedup_by_key(|(uid, _)| *uid);
        Ok(Some(Survey { rows, is_whole }))
    }

    /// Messages of earlier runs are behind us.
    fn count_earlier(&mut self, state: &mut State<'_>, exists: u32, left: usize) -> Result<(), Ended> {
        if std::mem::replace(&mut state.is_counted, true) {
            return Ok(());
        }
        let earlier = u64::from(exists).saturating_sub(left as u64);
        self.work.summary.earlier += earlier;
        self.work.progress.messages += earlier;
        Ok(())
    }

    /// Those that are not larger than can be.
    fn sized(&mut self, state: &mut State<'_>, rows: Vec<(u32, u64)>) -> Result<Vec<(u32, u64)>, Ended> {
        let mut sized = Vec::with_capacity(rows.len());
        for (uid, size) in rows {
            if size <= MESSAGE_BYTES_MAX {
                sized.push((uid, size));
            } else {
                self.pass_over(state, uid, "the message is larger than 4 GiB")?;
            }
        }
        Ok(sized)
    }

    fn pass_over(&mut self, state: &mut State<'_>, uid: u32, why: impl Into<String>) -> Result<(), Ended> {
        state.skipped.insert(uid);
        self.refuse(state.message(uid, ""), why)?;
        self.work.passed(0)
    }

    fn bring(&mut self, state: &mut State<'_>, survey: &Survey, windows: Vec<Vec<u32>>) -> Result<(), Stop> {
        self.order(Order::Bring(windows))?;
        loop {
            match read(self.work, &mut self.link)? {
                Read::Message(message, Ok(written)) => self.message(state, survey, message, written)?,
                Read::Message(message, Err(Refused::Message(why))) => {
                    self.pass_over(state, message.uid, why)?;
                }
                Read::Message(_, Err(Refused::All(ended))) => return Err(ended.into()),
                Read::Window(window) => self.missing(state, window)?,
                Read::Done => return Ok(()),
            }
        }
    }

    fn message(
        &mut self,
        state: &mut State<'_>,
        survey: &Survey,
        message: Message,
        written: Written,
    ) -> Result<(), Ended> {
        let Message { uid, flags, lost_keywords, date } = message;
        self.got_on();
        state.lost_keywords |= lost_keywords;
        let from = survey.begin(uid);
        state.done.add(from, uid);
        let is_held = match &mut state.present {
            Some(present) => present.take(self.work, &written)?,
            None => false,
        };
        if is_held {
            state.held.add(from, uid);
            self.work.summary.earlier += 1;
            return self.work.passed(0);
        }
        let size = written.size();
        let date = date.unwrap_or_else(|| DateTime::utc(self.work.store.now()));
        let origin = Origin::Uids { uid_validity: state.uid_validity, from, to: uid };
        self.intake.add(self.work, written, flags, date, origin)?;
        self.work.passed(size)
    }

    /// Messages that a command asked for and that did not come.
    fn missing(&mut self, state: &mut State<'_>, window: Window) -> Result<(), Ended> {
        for uid in window.missing {
            if state.alone.insert(uid) {
                continue;
            }
            let said = window.refused.as_deref().unwrap_or_default();
            state.skipped.insert(uid);
            self.refuse(state.message(uid, said), "the server does not give it")?;
            self.work.passed(0)?;
        }
        Ok(())
    }
}

impl State<'_> {
    /// Commands for messages, in the order of their UIDs; those that are asked for by themselves have one each.
    fn windows(&self, wanted: &[(u32, u64)]) -> Vec<Vec<u32>> {
        let is_alone = |(uid, _): &(u32, u64)| self.alone.contains(uid);
        let together = wanted.chunk_by(|a, b| !is_alone(a) && !is_alone(b));
        together.flat_map(windows).collect()
    }

    /// A message as it is named; `said`: what is told of it besides.
    fn message(&self, uid: u32, said: &str) -> String {
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        format!("{}, message with UID {uid}{said}", self.folder.text)
    }
}

impl Survey {
    /// The first UID behind the message before.
    fn begin(&self, uid: u32) -> u32 {
        let at = self.rows.partition_point(|(row, _)| *row < uid);
        match at.checked_sub(1).and_then(|before| self.rows.get(before)) {
            _ if !self.is_whole => uid,
            Some((before, _)) => before.saturating_add(1).min(uid),
            None => 1,
        }
    }
}

fn hear(work: &Work, link: &mut Option<Link>) -> Result<Told, Stop> {
    let Some(open) = link else {
        let why = "the connection is gone".to_owned();
        return Err(Stop::Broken(Over { why, lasts: false, expected: None }));
    };
    match work.wait_while_asked(open.hear())? {
        Told::Over(over) => Err(Stop::Broken(over)),
        told => Ok(told),
    }
}

/// Reads a message, or what comes in place of one.
fn read(work: &Work, link: &mut Option<Link>) -> Result<Read, Stop> {
    let mut reading = Ok(Reading::new(work));
    loop {
        match hear(work, link)? {
            Told::Heard(Heard::Octets(octets)) => {
                reading = reading.and_then(|mut reading| reading.write(&octets).map(|()| reading));
            }
            Told::Heard(Heard::Message(message)) => {
                return Ok(Read::Message(message, reading.and_then(Reading::finish)));
            }
            Told::Heard(Heard::Window(window)) => return Ok(Read::Window(window)),
            Told::Next(Some(Done::Brought)) => return Ok(Read::Done),
            told => return Err(unexpected(&told)),
        }
    }
}

/// The machine answers each order in its own way; this is a bug of ours.
fn unexpected(told: &Told) -> Stop {
    Stop::All(Ended::Unfit(format!("the client of the other server said {told:?} at the wrong time")))
}
