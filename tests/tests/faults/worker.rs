//! A session that works on mailboxes by IMAP: appends, flags, copies, moves, expunges, and renames a mailbox of its own.

use crate::{
    client::{Answer, Imap, flags, word_after},
    content::message,
    ledger::{Effect, Flags, Folder, Place},
    load::{ACCOUNTS, FLAG_SETS, Session, inbox},
};

/// One message that a worker moves about.
struct Own {
    folder: Folder,
    name: String,
    uid: u32,
    flags: Flags,
}

impl Own {
    fn place(&self) -> Place {
        (self.folder.clone(), self.name.clone())
    }
}

struct Worker {
    session: Session,
    imap: Imap,
    account: &'static str,
    /// A mailbox of its own, and what it is called now.
    folder: Folder,
    called: String,
    selected: Option<Folder>,
    own: Vec<Own>,
}

/// Works until the server is gone.
pub(crate) async fn worker(session: Session) -> Option<()> {
    let account = ACCOUNTS[session.number as usize % 2];
    let imap = Imap::login(&session.server, account).await?;
    let called = format!("work-{}", session.number);
    let folder = Folder(account.to_owned(), called.clone());
    let mut worker = Worker { session, imap, account, folder, called, selected: None, own: Vec::new() };
    worker.create().await?;
    for number in 0.. {
        match worker.session.random.below(12) {
            0 | 1 => worker.append(number).await?,
            2 | 3 => {
                worker.claim().await?;
                if worker.session.load.gives_space_back() {
                    worker.expunge().await?;
                }
            }
            4 | 5 => worker.store().await?,
            6 => worker.copy().await?,
            7 => worker.relocate().await?,
            8..=10 => worker.expunge().await?,
            _ if number % 4 == 0 => worker.rename(number).await?,
            _ => {}
        }
    }
    None
}

impl Worker {
    /// Runs a command as an operation; its answer if it was obeyed.
    async fn operation(&mut self, command: &str, effects: Vec<Effect>) -> Option<Option<Answer>> {
        let operation = self.session.ledger().begin(effects);
        let answer = self.imap.run(command).await?;
        Some(self.end(operation, answer))
    }

    fn end(&mut self, operation: u64, answer: Answer) -> Option<Answer> {
        let mut ledger = self.session.ledger();
        if answer.is_ok() {
            ledger.acknowledge(operation);
            Some(answer)
        } else {
            ledger.refuse(operation, &answer.status);
            None
        }
    }

    async fn create(&mut self) -> Option<()> {
        let (command, effect) = (format!("CREATE {}", self.called), Effect::Created(self.folder.clone()));
        self.operation(&command, vec![effect]).await?;
        Some(())
    }

    async fn rename(&mut self, number: usize) -> Option<()> {
        let new = format!("work-{}-{number}", self.session.number);
        let command = format!("RENAME {} {new}", self.called);
        let effect = Effect::Renamed(self.folder.clone(), new.clone());
        if self.operation(&command, vec![effect]).await?.is_some() {
            self.called = new;
        }
        Some(())
    }

    fn other(&self, folder: &Folder) -> (Folder, String) {
        if *folder == self.folder {
            (inbox(self.account), "INBOX".to_owned())
        } else {
            (self.folder.clone(), self.called.clone())
        }
    }

    async fn select(&mut self, folder: &Folder) -> Option<()> {
        if self.selected.as_ref() == Some(folder) {
            return Some(());
        }
        let name = if *folder == self.folder { self.called.clone() } else { folder.1.clone() };
        let answer = self.imap.ok(&format!("SELECT {name} (CONDSTORE)")).await?;
        let modseq = answer.number_after("[HIGHESTMODSEQ ").unwrap_or(0);
        self.session.ledger().learn_modseq(folder, modseq);
        self.selected = Some(folder.clone());
        Some(())
    }

    async fn append(&mut self, number: usize) -> Option<()> {
        let name = format!("a{}{number:05}", self.session.name);
        let (folder, called) = match self.session.random.below(2) {
            0 => (inbox(self.account), "INBOX".to_owned()),
            _ => (self.folder.clone(), self.called.clone()),
        };
        let set = FLAG_SETS[self.session.random.below(5) as usize];
        let flags: Flags = set.split_whitespace().map(str::to_owned).collect();
        let mut own = Own { folder, name, uid: 0, flags };
        let effect = Effect::Added(own.place(), own.flags.clone());
        let operation = self.session.ledger().begin(vec![effect]);
        let answer = self.imap.append(&called, set, &message(&own.name)).await?;
        if let Some(answer) = self.end(operation, answer) {
            own.uid = self.learn(&own.place(), &answer, "[APPENDUID ", 2);
            self.own.push(own);
        }
        Some(())
    }

    /// Learns the UID that stands so many words behind one.
    fn learn(&self, place: &Place, answer: &Answer, word: &str, words: usize) -> u32 {
        let texts = answer.lines.iter().map(|line| &line.text).chain([&answer.status]);
        let text = texts.filter_map(|text| text.split_once(word)).map(|(_, rest)| rest).next();
        let text = text.unwrap_or_else(|| panic!("no {word} in {answer:?}"));
        let mut numbers = text[..text.find(']').unwrap()].split(' ').map(|number| number.parse().unwrap());
        let validity = numbers.next().unwrap();
        let uid = numbers.nth(words - 2).unwrap();
        self.session.ledger().learn_uid(place, validity, uid);
        uid
    }

    /// Takes a message that was delivered into its care.
    async fn claim(&mut self) -> Option<()> {
        let claimed = self.session.ledger().claim(self.account);
        let Some(name) = claimed else { return Some(()) };
        let folder = inbox(self.account);
        self.select(&folder).await?;
        // A mailbox that was selected before may show it only from the next answer on.
        self.imap.ok("NOOP").await?;
        let answer = self.imap.ok(&format!("UID SEARCH SUBJECT {name}")).await?;
        let uid = answer.word_after("* SEARCH ").and_then(|uid| uid.parse().ok());
        let Some(uid) = uid else {
            self.session
                .ledger()
                .refusals
                .push(format!("{name} was acknowledged and is not found: {answer:?}"));
            return Some(());
        };
        self.own.push(Own { folder, name, uid, flags: Flags::new() });
        Some(())
    }

    fn any(&mut self) -> Option<usize> {
        let count = self.own.len() as u64;
        (count > 0).then(|| self.session.random.below(count) as usize)
    }

    async fn store(&mut self) -> Option<()> {
        let Some(at) = self.any() else { return Some(()) };
        let set = FLAG_SETS[self.session.random.below(5) as usize];
        self.store_flags(at, set).await
    }

    async fn store_flags(&mut self, at: usize, set: &str) -> Option<()> {
        let folder = self.own[at].folder.clone();
        self.select(&folder).await?;
        let flags_now: Flags = set.split_whitespace().map(str::to_owned).collect();
        let effect = Effect::Flagged(self.own[at].place(), flags_now.clone());
        let command = format!("UID STORE {} FLAGS ({set})", self.own[at].uid);
        if let Some(answer) = self.operation(&command, vec![effect]).await? {
            let uid = self.own[at].uid.to_string();
            let lines = answer.lines.iter().filter(|line| word_after(&line.text, "UID ") == Some(&uid));
            let shown = lines.filter_map(|line| flags(&line.text)).next_back();
            if shown.is_some_and(|shown| shown != flags_now) {
                self.session.ledger().refusals.push(format!("{command}: {answer:?}"));
            }
            if let Some(modseq) = answer.number_after("MODSEQ (") {
                self.session.ledger().learn_modseq(&folder, modseq);
            }
            self.own[at].flags = flags_now;
        }
        Some(())
    }

    /// Whether the mailbox that a message would go to has it already.
    fn has_both(&self, at: usize) -> bool {
        self.own.iter().filter(|own| own.name == self.own[at].name).count() > 1
    }

    async fn copy(&mut self) -> Option<()> {
        let Some(at) = self.any().filter(|at| !self.has_both(*at)) else { return Some(()) };
        let source = self.own[at].folder.clone();
        self.select(&source).await?;
        let (folder, called) = self.other(&source);
        let mut own =
            Own { folder, uid: 0, name: self.own[at].name.clone(), flags: self.own[at].flags.clone() };
        let effect = Effect::Added(own.place(), own.flags.clone());
        let command = format!("UID COPY {} {called}", self.own[at].uid);
        if let Some(answer) = self.operation(&command, vec![effect]).await? {
            own.uid = self.learn(&own.place(), &answer, "[COPYUID ", 3);
            self.own.push(own);
        }
        Some(())
    }

    async fn relocate(&mut self) -> Option<()> {
        let Some(at) = self.any().filter(|at| !self.has_both(*at)) else { return Some(()) };
        let source = self.own[at].folder.clone();
        self.select(&source).await?;
        let (folder, called) = self.other(&source);
        let from = self.own[at].place();
        let place = (folder.clone(), from.1.clone());
        let effects = vec![Effect::Removed(from), Effect::Added(place.clone(), self.own[at].flags.clone())];
        let command = format!("UID MOVE {} {called}", self.own[at].uid);
        if let Some(answer) = self.operation(&command, effects).await? {
            self.own[at].uid = self.learn(&place, &answer, "[COPYUID ", 3);
            self.own[at].folder = folder;
        }
        Some(())
    }

    async fn expunge(&mut self) -> Option<()> {
        let Some(at) = self.any() else { return Some(()) };
        self.store_flags(at, "\\Deleted").await?;
        let command = format!("UID EXPUNGE {}", self.own[at].uid);
        let effect = Effect::Removed(self.own[at].place());
        if self.operation(&command, vec![effect]).await?.is_some() {
            self.own.swap_remove(at);
        }
        Some(())
    }
}
