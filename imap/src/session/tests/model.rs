//! Several sessions on two mailboxes, against plain lists that follow the rules of RFC 9051 section 7.5.1.
//!
//! One step after another, so that a seed repeats a run: `WAYPOST_MODEL_SEEDS` is how many there are, `WAYPOST_MODEL_SEED` runs one
//! alone. The model knows nothing of snapshots: a mailbox is a list of UIDs with flags, and a client another one that
//! changes by what it is told alone. What it believes of a server it complains of; servers that break a rule are the
//! negative controls.

use std::collections::BTreeSet;

use super::{
    resync::qresync::{between, uids},
    *,
};
use crate::{testing::Random, wire::encode::sequence_set};

const NAMES: [&str; 2] = ["INBOX", "Other"];
const MARKS: [&str; 6] = ["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "work"];
const STEPS: usize = 150;
const MESSAGE: &str = "A: b\r\n\r\nc\r\n";

pub(super) type Marks = BTreeSet<String>;

pub(super) fn marks(names: &str) -> Marks {
    names.split_whitespace().filter(|name| *name != "\\Recent").map(str::to_owned).collect()
}

pub(super) fn written(marks: &Marks) -> String {
    marks.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Fails with what is wrong.
macro_rules! ensure {
    ($is:expr, $($why:tt)+) => {
        if !$is {
            return Err(format!($($why)+));
        }
    };
}

/// A mailbox as it is.
#[derive(Debug, Default)]
struct Mailbox {
    messages: Vec<(u32, Marks)>,
    /// The highest UID that was given.
    given: u32,
}

impl Mailbox {
    fn add(&mut self, marks: Marks) -> u32 {
        self.given += 1;
        self.messages.push((self.given, marks));
        self.given
    }

    fn marks(&self, uid: u32) -> Option<&Marks> {
        self.messages.iter().find(|(known, _)| *known == uid).map(|(_, marks)| marks)
    }

    fn change(&mut self, uid: u32, change: impl FnOnce(&mut Marks)) {
        if let Some((_, marks)) = self.messages.iter_mut().find(|(known, _)| *known == uid) {
            change(marks);
        }
    }

    fn remove(&mut self, is_gone: impl Fn(u32, &Marks) -> bool) {
        self.messages.retain(|(uid, marks)| !is_gone(*uid, marks));
    }
}

/// How a client wants to be told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Rev1,
    Rev2,
    Qresync,
    UidOnly,
}

/// What a client knows of its mailbox: UID and flags of each number.
#[derive(Debug)]
struct Known {
    mailbox: usize,
    access: Access,
    messages: Vec<(u32, Marks)>,
}

struct Session {
    client: Client,
    kind: Kind,
    known: Option<Known>,
    idles: bool,
}

/// A rule that the server breaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Broken {
    None,
    /// EXPUNGE while a command by sequence numbers runs.
    ExpungeHeldBack,
    ExpungeForgotten,
    /// The numbers of several EXPUNGE as if none shifted the others.
    ExpungeUnshifted,
    FlagsForgotten,
    ExistsForgotten,
    /// EXPUNGE for a client with UIDONLY.
    NumbersInUidOnly,
    /// SEARCH finds what was not announced.
    Unannounced,
    /// A FETCH response has the number of another message.
    OtherNumber,
}

/// How often something was told.
#[derive(Debug, Default)]
struct Told {
    expunge: usize,
    vanished: usize,
    exists: usize,
    flags: usize,
    held_back: usize,
    idle: usize,
}

/// What a command does to the one who gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum After {
    Same,
    Selected(usize, Access),
    Left,
}

/// A command, and what its answer must be.
#[derive(Debug)]
struct Planned {
    text: String,
    /// How the tagged response begins.
    answer: &'static str,
    /// What stands in the responses.
    says: String,
    expunges: Expunges,
    /// The messages that a search finds, of those that are there.
    found: Option<BTreeSet<u32>>,
    after: After,
}

impl Planned {
    fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            answer: "OK",
            says: String::new(),
            expunges: Expunges::Report,
            found: None,
            after: After::Same,
        }
    }

    fn answered(self, answer: &'static str) -> Self {
        Self { answer, ..self }
    }
}

/// Messages that a command names.
#[derive(Debug)]
struct Named {
    numbers: Numbers,
    /// As the command writes them.
    set: String,
    /// Those that the client knows of.
    uids: Vec<u32>,
    /// There is a number that is not in use.
    wrong: bool,
}

struct Run {
    world: World,
    random: Random,
    broken: Broken,
    mailboxes: [Mailbox; 2],
    sessions: Vec<Session>,
    told: Told,
}

impl Run {
    async fn new(seed: u64, broken: Broken) -> Self {
        let world = world().await;
        let mut sessions = Vec::new();
        for kind in [Kind::Rev1, Kind::Rev2, Kind::Qresync, Kind::UidOnly, Kind::Rev1] {
            let mut client = world.login().await;
            match kind {
                Kind::Rev1 => drop(client.command("CREATE Other").await),
                Kind::Rev2 => drop(client.ok("ENABLE IMAP4rev2").await),
                Kind::Qresync => drop(client.ok("ENABLE QRESYNC").await),
                Kind::UidOnly => drop(client.ok("ENABLE UIDONLY").await),
            }
            sessions.push(Session { client, kind, known: None, idles: false });
        }
        let (random, mailboxes, told) = (Random::new(seed), Default::default(), Told::default());
        Self { world, random, broken, mailboxes, sessions, told }
    }

    async fn steps(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            self.step().await?;
            for at in 0..self.sessions.len() {
                self.hear_idle(at).await?;
            }
        }
        // In the end all know the same.
        for at in 0..self.sessions.len() {
            if self.sessions[at].idles {
                self.end_idle(at).await?;
            }
            self.run(at, Planned::new("NOOP")).await?;
        }
        let problems = self.world.context.store.check().await.unwrap();
        ensure!(problems.is_empty(), "the store: {problems:?}");
        Ok(())
    }

    async fn step(&mut self) -> Result<(), String> {
        if self.random.below(8) == 0 {
            let count = 1 + self.random.below(3);
            self.world.deliver(&vec![MESSAGE; count]).await;
            for _ in 0..count {
                self.mailboxes[0].add(Marks::new());
            }
            return Ok(());
        }
        let at = self.random.below(self.sessions.len());
        if self.sessions[at].idles {
            return match self.random.below(3) {
                0 => self.end_idle(at).await,
                _ => Ok(()),
            };
        }
        let Some(known) = &self.sessions[at].known else {
            let planned = self.select();
            return self.run(at, planned).await;
        };
        let (mailbox, access) = (known.mailbox, known.access);
        let named = self.name(at);
        let planned = match self.random.below(20) {
            0..=3 => self.store(at, &named),
            4 | 5 => self.expunge(mailbox, access, None),
            6 => self.expunge(mailbox, access, Some(&named)),
            7 => self.copy(mailbox, &named),
            8 => self.relocate(mailbox, access, &named),
            9 => self.fetch(&named),
            10 => self.fetch_text(mailbox, access, &named),
            11..=13 => self.search(at),
            14 => self.append(),
            15 => self.select(),
            16 => self.leave(mailbox, access),
            17 | 18 => return self.begin_idle(at).await,
            _ => Planned::new(["NOOP", "CHECK"][self.random.below(2)]),
        };
        self.run(at, planned).await
    }

    /// Some of what a session knows, perhaps with what is not there; by number or UID.
    fn name(&mut self, at: usize) -> Named {
        let Self { sessions, random, mailboxes, .. } = self;
        let Some(known) = &sessions[at].known else { unreachable!("a mailbox is selected") };
        let by_uid = sessions[at].kind == Kind::UidOnly || random.below(2) == 0;
        let (numbers, share) = (if by_uid { Numbers::Uid } else { Numbers::Sequence }, 1 + random.below(5));
        let picked: Vec<usize> = (0..known.messages.len()).filter(|_| random.below(share) == 0).collect();
        let shown = |index: usize| if by_uid { known.messages[index].0 } else { index as u32 + 1 };
        let mut set: Vec<String> = picked.iter().map(|index| shown(*index).to_string()).collect();
        let nothing = set.is_empty() || random.below(12) == 0;
        if nothing {
            // A UID that nobody told, or a number behind the last.
            let behind = if by_uid { mailboxes[known.mailbox].given + 7 } else { shown_behind(known) };
            set.push(behind.to_string());
        }
        let uids = picked.iter().map(|index| known.messages[*index].0).collect();
        Named { numbers, set: set.join(","), uids, wrong: nothing && !by_uid }
    }

    fn there(&self, mailbox: usize, named: &Named) -> Vec<u32> {
        named.uids.iter().copied().filter(|uid| self.mailboxes[mailbox].marks(*uid).is_some()).collect()
    }

    fn any_marks(&mut self) -> Marks {
        MARKS.iter().filter(|_| self.random.below(3) == 0).map(|mark| (*mark).to_owned()).collect()
    }

    fn store(&mut self, at: usize, named: &Named) -> Planned {
        let (mode, silent) = (["", "+", "-"][self.random.below(3)], self.random.below(2) == 0);
        let marks = self.any_marks();
        let dot = if silent { ".SILENT" } else { "" };
        let text = format!("STORE {} {mode}FLAGS{dot} ({})", named.set, written(&marks));
        let planned = by(named, text);
        let Some(known) = &mut self.sessions[at].known else { unreachable!("a mailbox is selected") };
        if known.access == Access::ReadOnly {
            return planned.answered("NO [READ-ONLY]");
        }
        if named.wrong {
            return planned.answered("BAD");
        }
        let changed = |before: &mut Marks| match mode {
            "+" => before.extend(marks.iter().cloned()),
            "-" => before.retain(|mark| !marks.contains(mark)),
            _ => *before = marks.clone(),
        };
        let mailbox = known.mailbox;
        if silent {
            // What it takes for granted.
            let messages = known.messages.iter_mut().filter(|(uid, _)| named.uids.contains(uid));
            messages.for_each(|(_, marks)| changed(marks));
        }
        let there = self.there(mailbox, named);
        there.iter().for_each(|uid| self.mailboxes[mailbox].change(*uid, changed));
        let complains = named.numbers == Numbers::Sequence && there.len() < named.uids.len();
        planned.answered(if complains { "NO [EXPUNGEISSUED]" } else { "OK" })
    }

    /// EXPUNGE, or UID EXPUNGE of what is named.
    fn expunge(&mut self, mailbox: usize, access: Access, named: Option<&Named>) -> Planned {
        let set = match named {
            Some(Named { uids, .. }) if !uids.is_empty() => Some(uids.clone()),
            _ => None,
        };
        let planned = match &set {
            Some(uids) => Planned::new(format!("UID EXPUNGE {}", sequence_set(uids.iter().copied()))),
            None => Planned::new("EXPUNGE"),
        };
        if access == Access::ReadOnly {
            return planned.answered("NO [READ-ONLY]");
        }
        let named = |uid: u32| set.as_ref().is_none_or(|set| set.contains(&uid));
        self.mailboxes[mailbox].remove(|uid, marks| named(uid) && marks.contains("\\Deleted"));
        planned
    }

    fn copy(&mut self, from: usize, named: &Named) -> Planned {
        self.carry("COPY", from, named).0
    }

    fn relocate(&mut self, from: usize, access: Access, named: &Named) -> Planned {
        if access == Access::ReadOnly {
            let planned = by(named, format!("MOVE {} INBOX", named.set)).answered("NO [READ-ONLY]");
            return Planned { expunges: Expunges::Report, ..planned };
        }
        let (planned, moved) = self.carry("MOVE", from, named);
        self.mailboxes[from].remove(|uid, _| moved.contains(&uid));
        planned
    }

    /// Copies are there; which messages were copied.
    fn carry(&mut self, verb: &str, from: usize, named: &Named) -> (Planned, Vec<u32>) {
        let to = self.random.below(2);
        let planned = Planned {
            expunges: Expunges::Report,
            ..by(named, format!("{verb} {} {}", named.set, NAMES[to]))
        };
        let there = self.there(from, named);
        if named.wrong {
            return (planned.answered("BAD"), Vec::new());
        }
        if named.numbers == Numbers::Sequence && there.len() < named.uids.len() {
            return (planned.answered("NO [EXPUNGEISSUED]"), Vec::new());
        }
        let copied = there.iter().map(|uid| {
            let marks = self.mailboxes[from].marks(*uid).cloned().unwrap_or_default();
            self.mailboxes[to].add(marks)
        });
        let copies: Vec<u32> = copied.collect();
        let says = match there.is_empty() {
            true => String::new(),
            false => {
                format!(" {} {}]", sequence_set(there.iter().copied()), sequence_set(copies.iter().copied()))
            }
        };
        (Planned { says, ..planned }, there)
    }

    fn fetch(&mut self, named: &Named) -> Planned {
        let items = ["FLAGS", "(UID FLAGS)", "UID", "(INTERNALDATE MODSEQ)"][self.random.below(4)];
        let planned = by(named, format!("FETCH {} {items}", named.set));
        planned.answered(if named.wrong { "BAD" } else { "OK" })
    }

    /// Reads, and so sets `\Seen`.
    fn fetch_text(&mut self, mailbox: usize, access: Access, named: &Named) -> Planned {
        let planned = by(named, format!("FETCH {} BODY[TEXT]<0.1>", named.set));
        if named.wrong {
            return planned.answered("BAD");
        }
        if access == Access::ReadWrite {
            let seen = |marks: &mut Marks| marks.extend(["\\Seen".to_owned()]);
            self.there(mailbox, named).iter().for_each(|uid| self.mailboxes[mailbox].change(*uid, seen));
        }
        planned
    }

    fn search(&mut self, at: usize) -> Planned {
        let uid_only = self.sessions[at].kind == Kind::UidOnly;
        let by_uid = uid_only || self.random.below(2) == 0;
        let (keys, mark, has) = [
            ("ALL", "", false),
            ("DELETED", "\\Deleted", true),
            ("UNSEEN", "\\Seen", false),
            ("KEYWORD work", "work", true),
            // With a sequence set nothing may be expunged, by UID neither (RFC 7162 section 3.2.10.2).
            ("1:* UNFLAGGED", "\\Flagged", false),
        ][self.random.below(if uid_only { 4 } else { 5 })];
        let Some(known) = &self.sessions[at].known else { unreachable!("a mailbox is selected") };
        let text = format!("{}SEARCH {keys}", if by_uid { "UID " } else { "" });
        let (found, expunges) = (BTreeSet::new(), Expunges::Report);
        let mut planned = Planned { found: Some(found), expunges, ..Planned::new(text) };
        if !by_uid || keys.starts_with('1') {
            planned.expunges = Expunges::Hold;
        }
        let there = |uid: &u32| {
            self.mailboxes[known.mailbox].marks(*uid).is_some_and(|marks| marks.contains(mark) == has)
        };
        let found = known.messages.iter().map(|(uid, _)| *uid).filter(there).collect();
        Planned { found: Some(found), ..planned }
    }

    fn append(&mut self) -> Planned {
        let (to, marks) = (self.random.below(2), self.any_marks());
        let text = format!("APPEND {} ({}) {{{}+}}\r\n{MESSAGE}", NAMES[to], written(&marks), MESSAGE.len());
        let uid = self.mailboxes[to].add(marks);
        Planned { says: format!(" {uid}] appended"), ..Planned::new(text) }
    }

    fn select(&mut self) -> Planned {
        let (mailbox, read_only) = (self.random.below(2), self.random.below(5) == 0);
        let (verb, access, answer) = match read_only {
            true => ("EXAMINE", Access::ReadOnly, "OK [READ-ONLY]"),
            false => ("SELECT", Access::ReadWrite, "OK [READ-WRITE]"),
        };
        let Mailbox { messages, given } = &self.mailboxes[mailbox];
        let says = format!("* OK [UIDNEXT {}]", given + 1);
        let (text, after) = (format!("{verb} {}", NAMES[mailbox]), After::Selected(mailbox, access));
        assert!(messages.len() <= *given as usize);
        Planned { says, after, answer, ..Planned::new(text) }
    }

    fn leave(&mut self, mailbox: usize, access: Access) -> Planned {
        let closes = self.random.below(2) == 0;
        if closes && access == Access::ReadWrite {
            self.mailboxes[mailbox].remove(|_, marks| marks.contains("\\Deleted"));
        }
        let text = if closes { "CLOSE" } else { "UNSELECT" };
        // Of what CLOSE removes nothing is said.
        Planned { after: After::Left, expunges: Expunges::Hold, ..Planned::new(text) }
    }

    /// Runs a command whose effects are in the model already.
    async fn run(&mut self, at: usize, planned: Planned) -> Result<(), String> {
        let (untagged, tagged) = self.sessions[at].client.command(&planned.text).await;
        let mut lines: Vec<String> = untagged.lines().map(str::to_owned).collect();
        self.break_a_rule(at, &planned, &mut lines);
        let what = format!("session {at}, {:?}: {}", self.sessions[at].kind, planned.text);
        self.heard(at, &planned, &lines, &tagged).map_err(|why| {
            format!("{what}\n{}\n{tagged}\n{why}\n{:?}", lines.join("\n"), self.sessions[at].known)
        })
    }

    fn heard(&mut self, at: usize, planned: &Planned, lines: &[String], tagged: &str) -> Result<(), String> {
        ensure!(tagged.starts_with(planned.answer), "expected {}", planned.answer);
        let says = |text: &String| text.contains(&planned.says);
        ensure!(lines.iter().chain([&tagged.to_owned()]).any(says), "expected {:?}", planned.says);
        if let After::Selected(mailbox, access) = planned.after {
            return self.selected(at, mailbox, access, lines);
        }
        let mut found = planned.found.is_none();
        for line in lines {
            if line.starts_with("* SEARCH") || line.starts_with("* ESEARCH") {
                self.found(at, planned, line)?;
                found = true;
            } else {
                self.hear(at, line, planned.expunges, Flagged::AsItIs)?;
            }
        }
        ensure!(found, "the search has no answer");
        if planned.after == After::Left {
            self.sessions[at].known = None;
            return Ok(());
        }
        let held_back = self.agrees(at, planned.expunges)?;
        if held_back > 0 {
            self.told.held_back += 1;
        }
        let says_so = tagged.contains("[EXPUNGEISSUED]");
        ensure!(!tagged.starts_with("OK") || says_so == (held_back > 0), "{held_back} EXPUNGE are held back");
        Ok(())
    }

    fn selected(
        &mut self,
        at: usize,
        mailbox: usize,
        access: Access,
        lines: &[String],
    ) -> Result<(), String> {
        let messages = self.mailboxes[mailbox].messages.clone();
        let exists = format!("* {} EXISTS", messages.len());
        ensure!(lines.contains(&exists), "expected {exists}");
        self.sessions[at].known = Some(Known { mailbox, access, messages });
        Ok(())
    }

    /// What a search found of what the client knows: all that is there, and perhaps what is gone.
    fn found(&self, at: usize, planned: &Planned, line: &str) -> Result<(), String> {
        let (Some(expected), Some(known)) = (&planned.found, &self.sessions[at].known) else {
            return Err(format!("nobody searched: {line}"));
        };
        let numbers: Vec<u32> = match line.strip_prefix("* SEARCH") {
            Some(numbers) => numbers.split_whitespace().map(|number| number.parse().unwrap()).collect(),
            None => line.split_once(" ALL ").map_or_else(Vec::new, |(_, set)| uids(set).collect()),
        };
        let mut there = BTreeSet::new();
        for number in numbers {
            let uid = match planned.text.starts_with("UID") {
                true => known.messages.iter().find(|(uid, _)| *uid == number),
                false => known.messages.get(number as usize - 1),
            };
            let Some((uid, _)) = uid else { return Err(format!("{number} was not announced: {line}")) };
            if self.mailboxes[known.mailbox].marks(*uid).is_some() {
                there.insert(*uid);
            }
        }
        ensure!(there == *expected, "expected {expected:?}: {line}");
        Ok(())
    }

    /// A client believes a response, where it may be said now.
    fn hear(&mut self, at: usize, line: &str, expunges: Expunges, flags: Flagged) -> Result<(), String> {
        let Self { sessions, mailboxes, told, .. } = self;
        let Session { kind, known: Some(known), .. } = &mut sessions[at] else {
            return match line.contains(" EXISTS") || line.contains(" FETCH ") {
                true => Err(format!("no mailbox is selected: {line}")),
                false => Ok(()),
            };
        };
        let mailbox = &mailboxes[known.mailbox];
        if let Some(set) = line.strip_prefix("* VANISHED ") {
            ensure!(matches!(kind, Kind::Qresync | Kind::UidOnly), "nobody asked for VANISHED: {line}");
            ensure!(expunges == Expunges::Report, "VANISHED may not be said now: {line}");
            for uid in uids(set) {
                ensure!(mailbox.marks(uid).is_none(), "{uid} is there: {line}");
                let at = known.messages.iter().position(|(known, _)| *known == uid);
                let Some(at) = at else { return Err(format!("{uid} was not announced: {line}")) };
                known.messages.remove(at);
                told.vanished += 1;
            }
        } else if let Some(number) = between(line, "* ", " EXPUNGE") {
            ensure!(!matches!(kind, Kind::Qresync | Kind::UidOnly), "EXPUNGE instead of VANISHED: {line}");
            ensure!(expunges == Expunges::Report, "EXPUNGE may not be said now: {line}");
            let index: usize = number.parse().unwrap();
            ensure!((1..=known.messages.len()).contains(&index), "there is no such number: {line}");
            let (uid, _) = known.messages.remove(index - 1);
            ensure!(mailbox.marks(uid).is_none(), "{uid} is there: {line}");
            told.expunge += 1;
        } else if let Some(exists) = between(line, "* ", " EXISTS") {
            let (exists, before): (usize, usize) = (exists.parse().unwrap(), known.messages.len());
            ensure!(exists > before, "EXISTS is no news: {line}");
            let last = known.messages.last().map_or(0, |(uid, _)| *uid);
            let new = mailbox.messages.iter().filter(|(uid, _)| *uid > last).take(exists - before);
            known.messages.extend(new.cloned());
            ensure!(known.messages.len() == exists, "there are not so many: {line}");
            told.exists += 1;
        } else if let Some(number) = between(line, "* ", " FETCH (") {
            ensure!(*kind != Kind::UidOnly, "a number with UIDONLY: {line}");
            let index: usize = number.parse().unwrap();
            let message = index.checked_sub(1).and_then(|index| known.messages.get_mut(index));
            let Some(message) = message else { return Err(format!("there is no such number: {line}")) };
            fetched(mailbox, message, line, flags)?;
            told.flags += 1;
        } else if let Some(uid) = between(line, "* ", " UIDFETCH (") {
            ensure!(*kind == Kind::UidOnly, "UIDFETCH without UIDONLY: {line}");
            let uid: u32 = uid.parse().unwrap();
            let message = known.messages.iter_mut().find(|(known, _)| *known == uid);
            let Some(message) = message else { return Err(format!("{uid} was not announced: {line}")) };
            fetched(mailbox, message, line, flags)?;
            told.flags += 1;
        }
        Ok(())
    }

    /// After a command the client knows the mailbox as it is, but for what may not be said yet; how many messages that is.
    fn agrees(&self, at: usize, expunges: Expunges) -> Result<usize, String> {
        let Some(known) = &self.sessions[at].known else { return Ok(0) };
        let mailbox = &self.mailboxes[known.mailbox];
        let (there, gone): (Vec<_>, Vec<_>) =
            known.messages.iter().partition(|(uid, _)| mailbox.marks(*uid).is_some());
        ensure!(expunges == Expunges::Hold || gone.is_empty(), "not told of what is gone: {gone:?}");
        let expected: Vec<_> = mailbox.messages.iter().collect();
        ensure!(there == expected, "the mailbox has {expected:?}");
        Ok(gone.len())
    }

    async fn begin_idle(&mut self, at: usize) -> Result<(), String> {
        self.sessions[at].client.send("idle IDLE\r\n").await;
        loop {
            let line = self.sessions[at].client.until("\r\n").await;
            if line.starts_with('+') {
                break;
            }
            self.hear(at, line.trim_end(), Expunges::Report, Flagged::AsItIs)?;
        }
        self.sessions[at].idles = true;
        self.told.idle += 1;
        self.agrees(at, Expunges::Report).map(drop)
    }

    /// One who idles is told without asking. What comes may be old news by now, but for the last of it.
    async fn hear_idle(&mut self, at: usize) -> Result<(), String> {
        while self.sessions[at].idles && self.agrees(at, Expunges::Report).is_err() {
            let line = self.sessions[at].client.until("\r\n").await;
            self.hear(at, line.trim_end(), Expunges::Report, Flagged::AsItWas)?;
        }
        Ok(())
    }

    async fn end_idle(&mut self, at: usize) -> Result<(), String> {
        self.sessions[at].client.send("DONE\r\n").await;
        self.sessions[at].idles = false;
        loop {
            let line = self.sessions[at].client.until("\r\n").await;
            if line.starts_with("idle ") {
                ensure!(line.starts_with("idle OK"), "{line}");
                break;
            }
            self.hear(at, line.trim_end(), Expunges::Report, Flagged::AsItWas)?;
        }
        self.run(at, Planned::new("NOOP")).await
    }

    /// Makes the responses those of a server that breaks a rule.
    fn break_a_rule(&self, at: usize, planned: &Planned, lines: &mut Vec<String>) {
        let Some(known) = self.sessions[at].known.as_ref().filter(|_| planned.after == After::Same) else {
            return;
        };
        let is_expunge = |line: &String| line.ends_with(" EXPUNGE") || line.starts_with("* VANISHED ");
        let forget = |lines: &mut Vec<String>, is: &dyn Fn(&String) -> bool| {
            if let Some(at) = lines.iter().position(is) {
                lines.remove(at);
            }
        };
        match self.broken {
            Broken::None => {}
            Broken::ExpungeHeldBack if planned.expunges == Expunges::Hold => {
                let gone = |(uid, _): &(u32, Marks)| self.mailboxes[known.mailbox].marks(*uid).is_none();
                let gone = known.messages.iter().position(gone);
                lines.extend(gone.map(|index| format!("* {} EXPUNGE", index + 1)));
            }
            Broken::ExpungeForgotten => forget(lines, &is_expunge),
            Broken::ExpungeUnshifted => {
                let expunges = lines.iter().filter(|line| line.ends_with(" EXPUNGE")).count();
                if expunges > 1
                    && let Some(first) = lines.iter().position(|line| line.ends_with(" EXPUNGE"))
                {
                    lines[first..first + expunges].reverse();
                }
            }
            Broken::FlagsForgotten if planned.text == "NOOP" => {
                forget(lines, &|line| line.contains("FETCH ("));
            }
            Broken::ExistsForgotten => forget(lines, &|line| line.ends_with(" EXISTS")),
            Broken::NumbersInUidOnly => {
                let vanished = lines.iter_mut().filter(|line| line.starts_with("* VANISHED "));
                vanished.for_each(|line| "* 1 EXPUNGE".clone_into(line));
            }
            Broken::Unannounced => {
                let searched = lines.iter_mut().filter(|line| line.starts_with("* SEARCH"));
                let behind = shown_behind(known) + 500;
                searched.for_each(|line| line.push_str(&format!(" {behind}")));
            }
            Broken::OtherNumber => {
                let fetched = lines.iter_mut().find(|line| line.starts_with("* 1 FETCH (UID"));
                if let Some(line) = fetched.filter(|_| known.messages.len() > 1) {
                    *line = line.replacen("* 1 ", "* 2 ", 1);
                }
            }
            Broken::ExpungeHeldBack | Broken::FlagsForgotten => {}
        }
    }
}

/// Whether the flags in a response must be those that the message has now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flagged {
    AsItIs,
    AsItWas,
}

fn fetched(mailbox: &Mailbox, message: &mut (u32, Marks), line: &str, flags: Flagged) -> Result<(), String> {
    let (uid, known) = message;
    if let Some(told) = between(line, "(UID ", " ").or_else(|| between(line, "(UID ", ")")) {
        ensure!(told.trim_end_matches(')') == uid.to_string(), "the number is that of {uid}: {line}");
    }
    let Some(told) = between(line, "FLAGS (", ")").map(marks) else { return Ok(()) };
    let there = mailbox.marks(*uid);
    ensure!(
        flags == Flagged::AsItWas || there.is_none_or(|there| *there == told),
        "{uid} has {there:?}: {line}"
    );
    *known = told;
    Ok(())
}

/// A command by number or UID. By number nothing is expunged meanwhile.
fn by(named: &Named, text: String) -> Planned {
    match named.numbers {
        Numbers::Uid => Planned::new(format!("UID {text}")),
        Numbers::Sequence => Planned { expunges: Expunges::Hold, ..Planned::new(text) },
    }
}

/// The number behind the last.
fn shown_behind(known: &Known) -> u32 {
    known.messages.len() as u32 + 1
}

async fn run(seed: u64, broken: Broken) -> (Told, Result<(), String>) {
    let mut run = Run::new(seed, broken).await;
    let ended = run.steps().await;
    (run.told, ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_sessions_agree_with_plain_lists() {
    let mut all = Told::default();
    for seed in testing::seeds(40) {
        println!("seed {seed}");
        let (told, ended) = run(seed, Broken::None).await;
        if let Err(why) = ended {
            panic!("seed {seed}, again with WAYPOST_MODEL_SEED={seed}: {why}");
        }
        all.expunge += told.expunge;
        all.vanished += told.vanished;
        all.exists += told.exists;
        all.flags += told.flags;
        all.held_back += told.held_back;
        all.idle += told.idle;
    }
    println!("{all:?}");
    let Told { expunge, vanished, exists, flags, held_back, idle } = all;
    assert!([expunge, vanished, exists, flags, held_back, idle].iter().all(|count| *count > 3), "{all:?}");
}

/// Negative controls: each server that breaks a rule is found out, and for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_rule_is_found_out() {
    for (broken, found) in [
        (Broken::ExpungeHeldBack, "EXPUNGE may not be said now"),
        (Broken::ExpungeForgotten, "not told of what is gone"),
        (Broken::ExpungeUnshifted, " is there: "),
        (Broken::FlagsForgotten, "the mailbox has "),
        (Broken::ExistsForgotten, "the mailbox has "),
        (Broken::NumbersInUidOnly, "EXPUNGE instead of VANISHED"),
        (Broken::Unannounced, "was not announced"),
        (Broken::OtherNumber, "the number is that of "),
    ] {
        let mut why = String::new();
        for seed in 1..=12 {
            why = run(seed, broken).await.1.err().unwrap_or_default();
            if why.contains(found) {
                break;
            }
        }
        assert!(why.contains(found), "{broken:?} was not found out: {why}");
    }
}
