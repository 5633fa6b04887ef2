//! Reports that arrived, kept for a time: a file for each UTC day on which some came, a line of JSON for each.
//!
//! Lines are appended and synced one by one. A line that a crash cut off is passed over, and its report is read from its mail again. A report
//! counts once, whoever sends it how often; one that nobody vouched for never stands in the way of one that somebody did.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use waypost_mail::Timestamp;

use super::mail::{Content, Reporter};
use crate::tls_policy::results::{day_files, day_name};

/// Most reports of one day.
pub const REPORTS_PER_DAY_MAX: usize = 2_000;
/// Most problems of one day that are kept.
pub const PROBLEMS_PER_DAY_MAX: usize = 200;
/// Most octets of one day.
pub const DAY_BYTES_MAX: u64 = 64 << 20;
/// Most octets of one report.
pub const LINE_BYTES_MAX: usize = 1 << 20;
const SUFFIX: &str = ".jsonl";

/// A line.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// A report.
    Report(Box<Kept>),
    /// What looked like one.
    Problem(Problem),
}

/// A report that is kept.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kept {
    /// The id of the mail that brought it.
    pub mail: String,
    /// When it was read, as RFC 3339 has it.
    pub at: String,
    /// Whose it is.
    pub reporter: Reporter,
    /// Names of addresses in it that lead back to them (iprev).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<IpAddr, String>,
    /// What it says.
    pub content: Content,
}

/// What looked like a report and is none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The id of the mail.
    pub mail: String,
    /// When it was read.
    pub at: String,
    /// From whom it says it is.
    pub from: String,
    /// Why it is none.
    pub why: String,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Added {
    /// It is kept.
    Kept,
    /// It is there already.
    Known,
    /// There is no more room today, or for so large a report.
    NoRoom,
}

/// The days that are kept. All of it blocks.
#[derive(Debug, Default)]
pub struct Archive {
    folder: PathBuf,
    today: Day,
    /// What is there, by day.
    known: HashMap<String, HashSet<String>>,
    newest: Option<Timestamp>,
}

/// How much there is of a day.
#[derive(Debug, Default)]
struct Day {
    name: String,
    reports: usize,
    problems: usize,
    bytes: u64,
}

impl Line {
    /// What makes two lines one.
    fn key(&self) -> String {
        match self {
            Self::Problem(problem) => format!("problem\n{}\n{}", problem.mail, problem.why),
            Self::Report(kept) => {
                let Kept { mail, reporter: Reporter { name, verified, .. }, content, .. } = &**kept;
                // some name the reports about all domains of a day alike
                let (kind, domain, id) = match content {
                    Content::Aggregate(report) => ("aggregate", report.domain.as_str(), &report.id),
                    Content::Tls(report) => ("tls", "", &report.id),
                    Content::Incident(_) => ("incident", "", mail),
                };
                let who = verified.as_deref().map(super::provider::organization).unwrap_or_default();
                format!("{kind}\n{who}\n{}\n{domain}\n{id}", name.to_lowercase())
            }
        }
    }

    /// When it was read.
    pub fn at(&self) -> &str {
        match self {
            Self::Report(kept) => &kept.at,
            Self::Problem(problem) => &problem.at,
        }
    }
}

impl Archive {
    /// The lines that a folder holds and are not older than `keep`; files that are older are removed. What cannot be read is told of.
    pub fn open(folder: &Path, keep: Duration, now: Timestamp) -> Self {
        let mut archive = Self { folder: folder.to_owned(), ..Self::default() };
        archive.expire(keep, now);
        let name = day_name(now);
        for (day, file) in day_files(folder, SUFFIX) {
            let lines = read(&file).unwrap_or_else(|error| {
                tracing::warn!(file = %file.display(), %error, "reports that arrived cannot be read");
                Vec::new()
            });
            if day == name {
                archive.today = Day::of(&name, &lines, fs::metadata(&file).map_or(0, |found| found.len()));
            }
            let written = lines.iter().filter_map(|line| Timestamp::parse(line.at()));
            archive.newest = archive.newest.max(written.max());
            archive.known.insert(day, lines.iter().map(Line::key).collect());
        }
        archive
    }

    /// When the last line was written.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// Adds a line, unless it is there. Errors: it cannot be written.
    pub fn add(&mut self, line: &Line, keep: Duration, now: Timestamp) -> io::Result<Added> {
        let (key, name) = (line.key(), day_name(now));
        if self.known.values().any(|known| known.contains(&key)) {
            return Ok(Added::Known);
        }
        if self.today.name != name {
            self.expire(keep, now);
            self.today = Day { name, ..Day::default() };
        }
        let mut octets = serde_json::to_vec(line)?;
        octets.push(b'\n');
        if !self.today.has_room(line, octets.len()) {
            return Ok(Added::NoRoom);
        }
        append(&self.folder, &format!("{}{SUFFIX}", self.today.name), &octets)?;
        self.today.count(line, octets.len() as u64);
        self.known.entry(self.today.name.clone()).or_default().insert(key);
        Ok(Added::Kept)
    }

    fn expire(&mut self, keep: Duration, now: Timestamp) {
        let oldest = day_name(now.before(keep));
        for (day, file) in day_files(&self.folder, SUFFIX).into_iter().filter(|(day, _)| *day < oldest) {
            if let Err(error) = fs::remove_file(&file) {
                tracing::warn!(file = %file.display(), %error, "old reports are not removed");
            }
            self.known.remove(&day);
        }
    }
}

impl Day {
    fn of(name: &str, lines: &[Line], bytes: u64) -> Self {
        let mut day = Self { name: name.to_owned(), ..Self::default() };
        lines.iter().for_each(|line| day.count(line, 0));
        Self { bytes, ..day }
    }

    fn count(&mut self, line: &Line, bytes: u64) {
        match line {
            Line::Report(_) => self.reports += 1,
            Line::Problem(_) => self.problems += 1,
        }
        self.bytes += bytes;
    }

    fn has_room(&self, line: &Line, bytes: usize) -> bool {
        let has_room = match line {
            Line::Report(_) => self.reports < REPORTS_PER_DAY_MAX,
            Line::Problem(_) => self.problems < PROBLEMS_PER_DAY_MAX,
        };
        has_room && bytes <= LINE_BYTES_MAX && self.bytes + bytes as u64 <= DAY_BYTES_MAX
    }
}

/// The lines of a folder that were written on a day or later (`2026-11-26`), in their order. Errors: a file that cannot be read.
pub fn lines_since(folder: &Path, day: &str) -> io::Result<Vec<Line>> {
    let mut files = day_files(folder, SUFFIX);
    files.sort();
    let mut lines = Vec::new();
    for (_, file) in files.into_iter().filter(|(name, _)| name.as_str() >= day) {
        lines.extend(read(&file)?);
    }
    Ok(lines)
}

/// The lines of a file; those that are none are passed over.
fn read(file: &Path) -> io::Result<Vec<Line>> {
    let (mut reader, mut lines) = (BufReader::new(File::open(file)?.take(DAY_BYTES_MAX)), Vec::new());
    loop {
        let mut octets = Vec::new();
        if reader.read_until(b'\n', &mut octets)? == 0 {
            return Ok(lines);
        }
        lines.extend(serde_json::from_slice::<Line>(&octets));
    }
}

/// Appends a line to a file, behind one that was cut off, too.
fn append(folder: &Path, name: &str, octets: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let path = folder.join(name);
    let is_new = !path.try_exists()?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path)?;
    if !is_new && file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    file.write_all(octets)?;
    file.sync_data()?;
    if is_new { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::incoming::aggregate::Aggregate;

    const KEEP: Duration = Duration::from_secs(2 * 86_400);

    fn at(day: i64) -> Timestamp {
        Timestamp::from_seconds(1_795_651_200 + day * 86_400)
    }

    fn report(id: &str, verified: Option<&str>) -> Line {
        let reporter = Reporter {
            provider: "big.test".into(),
            name: "Big".into(),
            verified: verified.map(str::to_owned),
        };
        let (domain, id) = id.split_once('/').unwrap_or(("a.test", id));
        let report = Aggregate { id: id.into(), domain: domain.into(), ..Aggregate::default() };
        let content = Content::Aggregate(report);
        let names = [("192.0.2.1".parse().unwrap(), "x.test".to_owned())].into();
        Line::Report(Box::new(Kept { mail: "m".into(), at: at(0).to_string(), reporter, names, content }))
    }

    fn problem(why: &str) -> Line {
        let at = at(0).to_string();
        Line::Problem(Problem { mail: "m".into(), at, from: "x".into(), why: why.into() })
    }

    #[test]
    fn a_report_counts_once_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("below");
        let (mut archive, big) = (Archive::open(&folder, KEEP, at(0)), Some("mail.big.test"));
        let mut add = |line: &Line, day| archive.add(line, KEEP, at(day)).unwrap();
        // whoever writes one first in another's name does not keep the true one out
        assert_eq!(add(&report("1", None), 0), Added::Kept);
        assert_eq!(add(&report("1", big), 0), Added::Kept);
        assert_eq!(add(&report("1", Some("big.test")), 1), Added::Known);
        assert_eq!(add(&report("2", big), 1), Added::Kept);
        assert_eq!(add(&report("b.test/2", big), 1), Added::Kept);
        assert_eq!(add(&problem("a"), 1), Added::Kept);
        assert_eq!(add(&problem("a"), 1), Added::Known);
        let mut archive = Archive::open(&folder, KEEP, at(1));
        let mut add = |line: &Line, day| archive.add(line, KEEP, at(day)).unwrap();
        assert_eq!([add(&report("1", big), 1), add(&report("2", None), 1)], [Added::Known, Added::Kept]);
        let lines = |day| lines_since(&folder, &day_name(at(day))).unwrap();
        assert_eq!(
            lines(0),
            [
                report("1", None),
                report("1", big),
                report("2", big),
                report("b.test/2", big),
                problem("a"),
                report("2", None)
            ]
        );
        assert_eq!((lines(1).len(), lines(2).len()), (4, 0));
        // the first day is forgotten on the fourth
        assert_eq!(archive.add(&report("3", big), KEEP, at(3)).unwrap(), Added::Kept);
        assert_eq!(lines(0).len(), 5);
        assert_eq!(archive.add(&report("1", big), KEEP, at(3)).unwrap(), Added::Kept);
    }

    #[test]
    fn a_line_that_was_cut_off_costs_itself_only() {
        let folder = tempfile::tempdir().unwrap();
        let add = |line: &Line| Archive::open(folder.path(), KEEP, at(0)).add(line, KEEP, at(0)).unwrap();
        add(&report("1", None));
        add(&report("2", None));
        let file = folder.path().join("2026-11-26.jsonl");
        let octets = fs::read(&file).unwrap();
        fs::write(&file, &octets[..octets.len() - 9]).unwrap();
        assert_eq!(add(&report("3", None)), Added::Kept);
        assert_eq!(add(&report("2", None)), Added::Kept, "it is read again");
        let lines = lines_since(folder.path(), "2026-11-26").unwrap();
        assert_eq!(lines, [report("1", None), report("3", None), report("2", None)]);
        fs::write(folder.path().join("notes.txt"), "x").unwrap();
        fs::write(folder.path().join("2026-11-25.jsonl"), b"\xff\0\n{}\n[]\n\n").unwrap();
        assert_eq!(lines_since(folder.path(), "2026-11-01").unwrap().len(), 3);
    }

    #[test]
    fn a_day_has_bounds() {
        let folder = tempfile::tempdir().unwrap();
        let mut archive = Archive::open(folder.path(), KEEP, at(0));
        let mut add = |line: &Line, day| archive.add(line, KEEP, at(day)).unwrap();
        for number in 0..PROBLEMS_PER_DAY_MAX {
            assert_eq!(add(&problem(&number.to_string()), 0), Added::Kept);
        }
        assert_eq!(add(&problem("one more"), 0), Added::NoRoom);
        assert_eq!(add(&report("1", None), 0), Added::Kept);
        assert_eq!(add(&report(&"x".repeat(LINE_BYTES_MAX), None), 0), Added::NoRoom);
        assert_eq!(add(&problem("one more"), 1), Added::Kept);
        let day = Day { reports: REPORTS_PER_DAY_MAX, ..Day::default() };
        assert!(!day.has_room(&report("1", None), 1) && day.has_room(&problem("x"), 1));
        let day = Day { bytes: DAY_BYTES_MAX - 1, ..Day::default() };
        assert!(day.has_room(&problem("x"), 1) && !day.has_room(&problem("x"), 2));
    }
}
