//! Two machines of one user, each with its copy of the mail: both and the server change it at the same time, and synchronise at the
//! same time. Once all is quiet the three are alike, octet for octet, and nothing is lost or doubled.
//!
//! `WAYPOST_STORM_ROUNDS` is how many rounds a storm has, `WAYPOST_STORM_SEED` what happens in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use waypost_config::{Service, TlsMode};
use waypost_mail::{Flags, SystemFlags, Uid};
use waypost_storage::{Account, FlagChange, FlagMode};
use waypost_tests::{
    client::{Client, Output},
    sample, say,
    site::PASSWORD,
};

use super::{Scene, files, synchronisers::without_marks, unix};

/// Maildir's letters for flags, with those of IMAP.
const LETTERS: [(char, SystemFlags); 4] = [
    ('D', SystemFlags::DRAFT),
    ('F', SystemFlags::FLAGGED),
    ('R', SystemFlags::ANSWERED),
    ('S', SystemFlags::SEEN),
];
/// Changes that each party makes in a round, at least; up to twice as many.
const CHANGES_MIN: usize = 6;
/// Quiet rounds after which all must be alike.
const QUIET_ROUNDS: usize = 3;
/// Every so many messages one is large.
const LARGE: u32 = 9;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn letters(&mut self) -> String {
        LETTERS.iter().filter(|_| self.below(3) == 0).map(|(letter, _)| *letter).collect()
    }
}

/// Who changes something.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Party {
    Machine(usize),
    Server,
}

const PARTIES: [Party; 3] = [Party::Machine(0), Party::Machine(1), Party::Server];

/// A message in a folder.
type Place = (String, u32);

/// What must come of a message.
#[derive(Debug, Default)]
struct Fate {
    deleted: bool,
    moved: bool,
    /// Who changed its flags, and to what the last time.
    flagged_by: BTreeSet<Party>,
    letters: String,
}

/// Letters of the flags, and octets as on a machine, of each message.
type Mail = BTreeMap<Place, (String, Vec<u8>)>;

/// A program that synchronises.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Tool {
    Mbsync,
    OfflineImap,
}

struct Storm {
    scene: Scene,
    tool: Tool,
    random: Random,
    fates: BTreeMap<Place, Fate>,
    messages: u32,
    /// Folders with whose they are: only they put mail there that was not there before, and remove it.
    folders: Vec<(String, Party)>,
    made: usize,
    /// Folders that were emptied, and after how many good synchronisations of both machines they may go.
    emptied: BTreeMap<String, usize>,
    removed: usize,
    failures: usize,
}

/// The number that a message has in its subject.
fn numbered(octets: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(octets);
    let subject = text.lines().find_map(|line| line.strip_prefix("Subject: sample "));
    subject
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("no message of ours: {text}"))
}

/// A message as it goes over the wire.
fn message(number: u32) -> Vec<u8> {
    let mut message = sample("bob@a.test", "alice@a.test", number);
    if number.is_multiple_of(LARGE) {
        message.extend(b"one more line of a large message\r\n".repeat(10_000));
    }
    message
}

fn letters_of(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    name.split_once(":2,").map_or_else(String::new, |(_, letters)| letters.to_owned())
}

impl Storm {
    async fn new(tool: Tool, seed: u64) -> Self {
        let scene = Scene::new().await;
        let storm = Self {
            scene,
            tool,
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            fates: BTreeMap::new(),
            messages: 0,
            folders: vec![("INBOX".to_owned(), Party::Server)],
            made: 0,
            emptied: BTreeMap::new(),
            removed: 0,
            failures: 0,
        };
        for machine in 0..2 {
            storm.set_up(machine);
        }
        storm
    }

    fn home(&self, machine: usize) -> PathBuf {
        self.scene.home.path().join(format!("machine-{machine}"))
    }

    fn mail(&self, machine: usize) -> PathBuf {
        self.home(machine).join("mail")
    }

    /// Writes the program's configuration for a machine.
    fn set_up(&self, machine: usize) {
        let (home, port) = (self.home(machine), self.scene.port(Service::Imap, TlsMode::Implicit));
        let authority = self.scene.authority();
        fs::create_dir_all(home.join("mail")).unwrap();
        let text = match self.tool {
            Tool::Mbsync => format!(
                "FSync no\nIMAPAccount a\nHost localhost\nPort {port}\nUser alice@a.test\nPass \"{PASSWORD}\"\nSSLType IMAPS\n\
                 CertificateFile {authority}\nTimeout 60\n\nIMAPStore far\nAccount a\n\nMaildirStore near\nPath ~/mail/\n\
                 Inbox ~/mail/INBOX\nSubFolders Verbatim\n\nChannel c\nFar :far:\nNear :near:\nPatterns *\nCreate Both\n\
                 Remove Both\nExpunge Both\nSyncState *\n"
            ),
            Tool::OfflineImap => format!(
                "[general]\naccounts = a\nmetadata = ~/metadata\nfsync = False\n[Account a]\nlocalrepository = near\n\
                 remoterepository = far\n[Repository near]\ntype = Maildir\nlocalfolders = ~/mail\n[Repository far]\ntype = IMAP\n\
                 remotehost = localhost\nremoteport = {port}\nremoteuser = alice@a.test\nremotepass = {PASSWORD}\nssl = yes\n\
                 sslcacertfile = {authority}\n"
            ),
        };
        self.scene.file(&format!("machine-{machine}/rc"), text);
    }

    /// One run of the program on a machine.
    async fn sync(&self, machine: usize) -> Output {
        let (home, program) =
            (self.home(machine), if self.tool == Tool::Mbsync { "mbsync" } else { "offlineimap" });
        let rc = home.join("rc").display().to_string();
        let client = Client::new(program, &home);
        let client = match self.tool {
            Tool::Mbsync => client.args(["-q", "-c", &rc, "-a"]),
            Tool::OfflineImap => client.args(["-o", "-1", "-u", "basic", "-c", &rc]),
        };
        client.output().await
    }

    /// Both machines at the same time, while the server goes on.
    async fn sync_both(&mut self) {
        let changes = self.server_changes().await;
        let (one, two, ()) = tokio::join!(self.sync(0), self.sync(1), self.change_server(changes));
        let failed = [one, two].into_iter().filter(|output| output.code != 0).count();
        self.failures += failed;
        if failed == 0 {
            self.emptied.values_mut().for_each(|rounds| *rounds += 1);
        }
    }
}

// What the machines do.
impl Storm {
    /// The folders that a machine has now.
    fn machine_folders(&self, machine: usize) -> Vec<String> {
        let all = files(&self.mail(machine));
        let folders = all.into_iter().filter(|path| path.join("cur").is_dir());
        folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn machine_files(&self, machine: usize, folder: &str) -> Vec<PathBuf> {
        let folder = self.mail(machine).join(folder);
        ["new", "cur"].iter().flat_map(|part| files(&folder.join(part))).collect()
    }

    fn change_machine(&mut self, machine: usize) {
        for _ in 0..CHANGES_MIN + self.random.below(CHANGES_MIN) {
            let folders = self.machine_folders(machine);
            let there: Vec<(&String, PathBuf)> = folders
                .iter()
                .flat_map(|folder| {
                    self.machine_files(machine, folder).into_iter().map(move |file| (folder, file))
                })
                .collect();
            let own: Vec<&String> =
                folders.iter().filter(|folder| self.may_fill(folder, Party::Machine(machine))).collect();
            let what = self.random.below(20);
            match what {
                0..=3 if !own.is_empty() => {
                    let folder = own[self.random.below(own.len())];
                    self.write(machine, folder);
                }
                16 | 17 => self.make_folder(machine),
                18 | 19 => self.empty_or_remove(machine),
                _ if there.is_empty() => {}
                _ => {
                    let at = self.random.below(there.len());
                    let (folder, file) = &there[at];
                    match what {
                        4..=10 => self.flag(machine, folder, file),
                        11..=12 => self.delete(folder, file),
                        // The first that it may.
                        _ => drop(
                            there[at..].iter().find(|(folder, file)| self.relocate(machine, folder, file)),
                        ),
                    }
                }
            }
        }
    }

    /// What a party puts into a folder, others do not remove with the folder.
    fn may_fill(&self, folder: &str, party: Party) -> bool {
        let own = self.folders.iter().any(|(name, of)| name == folder && (*of == party || name == "INBOX"));
        own && !self.emptied.contains_key(folder)
    }

    fn new_message(&mut self, folder: &str, party: Party, letters: String) -> u32 {
        self.messages += 1;
        let fate = Fate { flagged_by: [party].into(), letters, ..Fate::default() };
        self.fates.insert((folder.to_owned(), self.messages), fate);
        self.messages
    }

    fn write(&mut self, machine: usize, folder: &str) {
        let letters = self.random.letters();
        let number = self.new_message(folder, Party::Machine(machine), letters.clone());
        self.put(machine, folder, number, &letters, &unix(&message(number)));
    }

    fn put(&self, machine: usize, folder: &str, number: u32, letters: &str, octets: &[u8]) {
        let (folder, name) =
            (self.mail(machine).join(folder), format!("storm{number}.machine{machine}.host"));
        fs::write(folder.join("tmp").join(&name), octets).unwrap();
        fs::rename(folder.join("tmp").join(&name), folder.join("cur").join(format!("{name}:2,{letters}")))
            .unwrap();
    }

    fn flag(&mut self, machine: usize, folder: &str, file: &Path) {
        if letters_of(file).contains('T') {
            return;
        }
        let letters = self.random.letters();
        let place = (folder.to_owned(), numbered(&fs::read(file).unwrap()));
        let fate = self.fates.get_mut(&place).unwrap();
        fate.flagged_by.insert(Party::Machine(machine));
        fate.letters.clone_from(&letters);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let name = name.split(":2,").next().unwrap();
        fs::rename(file, self.mail(machine).join(folder).join(format!("cur/{name}:2,{letters}"))).unwrap();
    }

    /// The file is gone, or marked as trash, which offlineimap takes for a flag.
    fn delete(&mut self, folder: &str, file: &Path) {
        let place = (folder.to_owned(), numbered(&fs::read(file).unwrap()));
        self.fates.get_mut(&place).unwrap().deleted = true;
        if self.tool == Tool::OfflineImap || self.random.below(2) == 0 {
            fs::remove_file(file).unwrap();
            return;
        }
        let letters = letters_of(file);
        if !letters.contains('T') {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let name = name.split(":2,").next().unwrap();
            let cur = file.parent().unwrap().with_file_name("cur");
            fs::rename(file, cur.join(format!("{name}:2,{letters}T"))).unwrap();
        }
    }

    /// A message is moved once, by the one machine that may. Whether it was.
    fn relocate(&mut self, machine: usize, folder: &str, file: &Path) -> bool {
        let octets = fs::read(file).unwrap();
        let place = (folder.to_owned(), numbered(&octets));
        let own: Vec<String> = self.machine_folders(machine);
        let own: Vec<&String> = own
            .iter()
            .filter(|name| self.may_fill(name, Party::Machine(machine)) && *name != folder)
            .collect();
        let fate = &self.fates[&place];
        if own.is_empty() || place.1 as usize % 2 != machine || fate.moved || fate.deleted {
            return false;
        }
        let to = own[self.random.below(own.len())].clone();
        let letters = letters_of(file);
        *self.fates.get_mut(&place).unwrap() = Fate { deleted: true, moved: true, ..Fate::default() };
        let fate = Fate {
            moved: true,
            flagged_by: [Party::Machine(machine)].into(),
            letters: letters.clone(),
            deleted: false,
        };
        self.fates.insert((to.clone(), place.1), fate);
        self.put(machine, &to, place.1, &letters, &without_marks(&octets));
        fs::remove_file(file).unwrap();
        true
    }

    fn make_folder(&mut self, machine: usize) {
        let name = self.new_folder(Party::Machine(machine));
        for part in ["cur", "new", "tmp"] {
            fs::create_dir_all(self.mail(machine).join(&name).join(part)).unwrap();
        }
    }

    /// The name of a folder that nobody has had.
    fn new_folder(&mut self, party: Party) -> String {
        self.made += 1;
        let name = format!("Ordner {}", self.made);
        self.folders.push((name.clone(), party));
        name
    }

    /// A folder of its own is emptied; when both machines know that, it goes. offlineimap makes removed folders again, so it is not
    /// asked for that.
    fn empty_or_remove(&mut self, machine: usize) {
        let ready = self.emptied.iter().find(|(name, rounds)| **rounds >= 2 && self.owns(machine, name));
        if let Some(name) = ready.map(|(name, _)| name.clone()) {
            self.emptied.remove(&name);
            self.folders.retain(|(known, _)| *known != name);
            // As the manual of mbsync says.
            fs::remove_dir_all(self.mail(machine).join(&name).join("cur")).unwrap();
            self.removed += 1;
            return;
        }
        let own = self.folders.iter().map(|(name, _)| name).find(|name| {
            self.owns(machine, name)
                && !self.emptied.contains_key(*name)
                && self.mail(machine).join(name).is_dir()
        });
        let Some(name) = own.cloned().filter(|_| self.tool == Tool::Mbsync) else { return };
        for file in self.machine_files(machine, &name) {
            let place = (name.clone(), numbered(&fs::read(&file).unwrap()));
            self.fates.get_mut(&place).unwrap().deleted = true;
            fs::remove_file(file).unwrap();
        }
        self.emptied.insert(name, 0);
    }

    fn owns(&self, machine: usize, folder: &str) -> bool {
        folder != "INBOX"
            && self.folders.iter().any(|(name, of)| name == folder && *of == Party::Machine(machine))
    }
}

/// What happens on the server while the machines synchronise.
enum Change {
    Deliver(String, u32),
    Flag(String, u32, String),
    Delete(String, u32),
    Create(String),
}

// What the server does.
impl Storm {
    async fn account(&self) -> Account {
        self.scene.site.store().account(self.scene.site.account_id("alice")).await.unwrap()
    }

    /// What the server shows now.
    async fn server_mail(&self) -> Vec<(Place, (String, Vec<u8>))> {
        let (account, mut mail) = (self.account().await, Vec::new());
        for mailbox in account.state().mailboxes.values() {
            let Some(state) = account.select(mailbox.id).await.unwrap().state() else { continue };
            for row in state.rows() {
                let octets = self.scene.site.store().read(&row.content, 0, u64::MAX).await.unwrap().to_vec();
                let letters = LETTERS.iter().filter(|(_, flag)| row.flags.contains(*flag));
                let letters = letters.map(|(letter, _)| *letter).collect();
                mail.push(((state.name.clone(), numbered(&octets)), (letters, octets)));
            }
        }
        mail
    }

    async fn server_changes(&mut self) -> Vec<Change> {
        let there = self.server_mail().await;
        let mut changes = Vec::new();
        for _ in 0..CHANGES_MIN + self.random.below(CHANGES_MIN) {
            let picked = (!there.is_empty()).then(|| there[self.random.below(there.len())].0.clone());
            changes.push(match (self.random.below(10), picked) {
                (4..=6, Some(place)) => {
                    let letters = self.random.letters();
                    let fate = self.fates.get_mut(&place).unwrap();
                    fate.flagged_by.insert(Party::Server);
                    fate.letters.clone_from(&letters);
                    Change::Flag(place.0, place.1, letters)
                }
                (7 | 8, Some(place)) => {
                    self.fates.get_mut(&place).unwrap().deleted = true;
                    Change::Delete(place.0, place.1)
                }
                (9, _) => Change::Create(self.new_folder(Party::Server)),
                _ => Change::Deliver(
                    "INBOX".to_owned(),
                    self.new_message("INBOX", Party::Server, String::new()),
                ),
            });
        }
        changes
    }

    async fn change_server(&self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Deliver(folder, number) => {
                    self.scene.site.append("alice", &folder, &[message(number)]).await;
                }
                Change::Create(name) => drop(self.account().await.create_mailbox(&name, None).await.unwrap()),
                Change::Flag(folder, number, letters) => {
                    let flags: Vec<_> =
                        LETTERS.iter().filter(|(letter, _)| letters.contains(*letter)).collect();
                    let system = flags.iter().fold(SystemFlags::EMPTY, |all, (_, flag)| all.with(*flag));
                    self.with_message(&folder, number, Some(system)).await;
                }
                Change::Delete(folder, number) => self.with_message(&folder, number, None).await,
            }
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        }
    }

    /// Gives a message these flags of the letters, or removes it, if it is still there.
    async fn with_message(&self, folder: &str, number: u32, flags: Option<SystemFlags>) {
        let account = self.account().await;
        let Some(mailbox) = account.state().by_name(folder).map(|mailbox| mailbox.id) else { return };
        let state = account.select(mailbox).await.unwrap().state().unwrap();
        for row in state.rows() {
            let octets = self.scene.site.store().read(&row.content, 0, u64::MAX).await.unwrap();
            if numbered(&octets) != number {
                continue;
            }
            let uids: Vec<Uid> = vec![row.uid];
            match flags {
                Some(system) => {
                    let all = LETTERS.iter().fold(SystemFlags::EMPTY, |all, (_, flag)| all.with(*flag));
                    for (mode, system) in [(FlagMode::Add, system), (FlagMode::Remove, all.without(system))] {
                        let flags = Flags { system, ..Flags::default() };
                        let change = FlagChange { mode, flags, unchanged_since: None };
                        drop(account.change_flags(mailbox, uids.clone(), change).await.unwrap());
                    }
                }
                None => drop(account.expunge(mailbox, uids).await.unwrap()),
            }
        }
    }
}

// What comes of it.
impl Storm {
    fn machine_mail(&self, machine: usize) -> Vec<(Place, (String, Vec<u8>))> {
        let mut mail = Vec::new();
        for folder in self.machine_folders(machine) {
            for file in self.machine_files(machine, &folder) {
                let octets = fs::read(&file).unwrap();
                mail.push(((folder.clone(), numbered(&octets)), (letters_of(&file), octets)));
            }
        }
        mail
    }

    /// Each message once, as it was sent, with its flags.
    fn checked(&self, who: &str, mail: Vec<(Place, (String, Vec<u8>))>) -> Mail {
        let mut checked = Mail::new();
        for (place, (letters, octets)) in mail {
            let octets = without_marks(&unix(&octets));
            assert!(octets == unix(&message(place.1)), "{who}: {place:?} has other octets");
            assert!(
                checked.insert(place.clone(), (letters, octets)).is_none(),
                "{who}: {place:?} is there twice"
            );
        }
        let there: BTreeSet<&Place> = checked.keys().collect();
        let expected: BTreeSet<&Place> =
            self.fates.iter().filter(|(_, fate)| !fate.deleted).map(|(place, _)| place).collect();
        let lost: Vec<_> = expected.difference(&there).collect();
        let back: Vec<_> = there.difference(&expected).collect();
        assert!(lost.is_empty() && back.is_empty(), "{who}: lost {lost:?}, back again {back:?}");
        for (place, fate) in self.fates.iter().filter(|(_, fate)| !fate.deleted && fate.flagged_by.len() == 1)
        {
            assert_eq!(checked[place].0, fate.letters, "{who}: flags of {place:?}, by {:?}", fate.flagged_by);
        }
        checked
    }

    async fn calm_down(&self) {
        for round in 0..QUIET_ROUNDS {
            for machine in 0..2 {
                let Output { code, text } = self.sync(machine).await;
                assert!(round + 1 < QUIET_ROUNDS || code == 0, "machine {machine}: {text}");
            }
        }
        let server = self.checked("the server", self.server_mail().await);
        for machine in 0..2 {
            let mail = self.checked(&format!("machine {machine}"), self.machine_mail(machine));
            let differs: Vec<_> =
                mail.iter().filter(|(place, (letters, _))| server[*place].0 != *letters).collect();
            let differs: Vec<_> =
                differs.iter().map(|(place, (letters, _))| (place, letters, &server[*place].0)).collect();
            assert!(differs.is_empty(), "machine {machine} has other flags than the server: {differs:?}");
            let mut there = self.machine_folders(machine);
            there.sort();
            let account = self.account().await;
            let mut names: Vec<String> =
                account.state().mailboxes.values().map(|mailbox| mailbox.name.clone()).collect();
            names.sort();
            assert_eq!(there, names, "machine {machine}: folders");
        }
    }
}

async fn storm(tool: Tool, rounds: u64) {
    let (rounds, seed) = (number("WAYPOST_STORM_ROUNDS", rounds), number("WAYPOST_STORM_SEED", 1));
    let mut storm = Storm::new(tool, seed).await;
    let first = (0..20)
        .map(|_| message(storm.new_message("INBOX", Party::Server, String::new())))
        .collect::<Vec<_>>();
    storm.scene.site.append("alice", "INBOX", &first).await;
    for machine in 0..2 {
        assert_eq!(storm.sync(machine).await.code, 0);
    }
    for _ in 0..rounds {
        for machine in 0..2 {
            storm.change_machine(machine);
        }
        storm.sync_both().await;
    }
    storm.calm_down().await;
    let deleted = storm.fates.values().filter(|fate| fate.deleted && !fate.moved).count();
    let moved = storm.fates.values().filter(|fate| fate.moved && !fate.deleted).count();
    say(&format!(
        "storm of {tool:?}: seed {seed}, {rounds} rounds, {} messages, {deleted} deleted, {moved} moved, {} folders, {} removed, \
         {} runs failed and were made good: nothing lost, nothing doubled",
        storm.messages,
        storm.folders.len(),
        storm.removed,
        storm.failures
    ));
    assert!(deleted > 3 && moved > 0 && storm.folders.len() > 2, "nothing happened");
    let parties = |party: &Party| storm.fates.values().filter(|fate| fate.flagged_by.contains(party)).count();
    assert!(PARTIES.iter().all(|party| parties(party) > 2), "one party did nothing");
    storm.scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mbsync_on_two_machines_weathers_a_storm() {
    storm(Tool::Mbsync, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offlineimap_on_two_machines_weathers_a_storm() {
    storm(Tool::OfflineImap, 8).await;
}
