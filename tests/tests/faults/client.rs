//! Clients of the load: IMAP, POP3 and SMTP without TLS. `None` from any of them: the connection is gone, or never was.

use waypost_server::agent::Dialogue;
use waypost_tests::{Process, site::PASSWORD};

use crate::{
    content::identify,
    ledger::{Flags, FoundMailbox, FoundRow},
};

/// Without TLS: behind the one with STARTTLS.
const PLAIN: usize = 1;

pub(crate) struct Imap {
    dialogue: Dialogue,
    tag: u32,
}

/// What a command was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Behind the tag.
    pub(crate) status: String,
    pub(crate) lines: Vec<Line>,
}

/// An untagged answer: its text without literals, and these.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) literals: Vec<Vec<u8>>,
}

impl Answer {
    pub(crate) fn is_ok(&self) -> bool {
        self.status.starts_with("OK")
    }

    /// What follows a word in any line, up to a bracket, a parenthesis or white space.
    pub(crate) fn word_after(&self, word: &str) -> Option<&str> {
        let texts = self.lines.iter().map(|line| line.text.as_str()).chain([self.status.as_str()]);
        texts.filter_map(|text| word_after(text, word)).next()
    }

    pub(crate) fn number_after(&self, word: &str) -> Option<u64> {
        self.word_after(word)?.parse().ok()
    }
}

pub(crate) fn word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = &text[text.find(word)? + word.len()..];
    Some(&rest[..rest.find([']', ')', ' ']).unwrap_or(rest.len())])
}

fn literal(text: &str) -> Option<usize> {
    text.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

impl Imap {
    pub(crate) async fn login(server: &Process, account: &str) -> Option<Self> {
        let mut imap =
            Self { dialogue: Dialogue::connect(server.service("imap")[PLAIN], None).await.ok()?, tag: 0 };
        imap.dialogue.line().await.ok()?;
        imap.ok(&format!("LOGIN {account}@a.test \"{PASSWORD}\"")).await?;
        Some(imap)
    }

    /// Sends a command and reads its answer.
    pub(crate) async fn run(&mut self, command: &str) -> Option<Answer> {
        self.tag += 1;
        self.dialogue.send_line(&format!("a{} {command}", self.tag)).await.ok()?;
        self.answer().await
    }

    /// The same for a command that must not be refused.
    pub(crate) async fn ok(&mut self, command: &str) -> Option<Answer> {
        let answer = self.run(command).await?;
        assert!(answer.is_ok(), "{command}: {}", answer.status);
        Some(answer)
    }

    /// APPEND. The answer may come before the message was sent.
    pub(crate) async fn append(&mut self, mailbox: &str, flags: &str, message: &str) -> Option<Answer> {
        self.tag += 1;
        let command = format!("a{} APPEND \"{mailbox}\" ({flags}) {{{}}}", self.tag, message.len());
        self.dialogue.send_line(&command).await.ok()?;
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            if line.text.starts_with('+') {
                break;
            }
            if let Some(status) = line.text.strip_prefix(&format!("a{} ", self.tag)) {
                return Some(Answer { status: status.to_owned(), lines });
            }
            lines.push(line);
        }
        self.dialogue.send(message.as_bytes()).await.ok()?;
        self.dialogue.send_line("").await.ok()?;
        self.answer().await
    }

    async fn answer(&mut self) -> Option<Answer> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            match line.text.strip_prefix(&format!("a{} ", self.tag)) {
                Some(status) => return Some(Answer { status: status.to_owned(), lines }),
                None => lines.push(line),
            }
        }
    }

    async fn line(&mut self) -> Option<Line> {
        let mut text = self.dialogue.line().await.ok()?;
        let mut literals = Vec::new();
        while let Some(size) = literal(&text) {
            literals.push(self.dialogue.octets(size).await.ok()?);
            text.push_str(&self.dialogue.line().await.ok()?);
        }
        Some(Line { text, literals })
    }

    /// The names of all mailboxes.
    pub(crate) async fn list(&mut self) -> Option<Vec<String>> {
        let answer = self.ok("LIST \"\" *").await?;
        let name = |line: &Line| {
            let name = line.text.strip_prefix("* LIST ")?.rsplit_once("\"/\" ")?.1;
            Some(name.trim_matches('"').to_owned())
        };
        Some(answer.lines.iter().filter_map(name).collect())
    }

    /// All of a mailbox.
    pub(crate) async fn read_mailbox(&mut self, account: &str, name: &str) -> Option<FoundMailbox> {
        let selected = self.ok(&format!("SELECT \"{name}\" (CONDSTORE)")).await?;
        let number =
            |word: &str| selected.number_after(word).unwrap_or_else(|| panic!("{word} in {selected:?}"));
        let (validity, uid_next) = (number("[UIDVALIDITY "), number("[UIDNEXT "));
        let modseq = number("[HIGHESTMODSEQ ");
        let mut rows = Vec::new();
        if selected.lines.iter().any(|line| line.text == "* 0 EXISTS") {
            self.ok("NOOP").await?;
        } else {
            let fetched = self.run("FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[])").await?;
            rows.extend(fetched.lines.iter().filter_map(row));
        }
        Some(FoundMailbox {
            account: account.to_owned(),
            name: name.to_owned(),
            validity: u32::try_from(validity).unwrap(),
            uid_next: u32::try_from(uid_next).unwrap(),
            modseq,
            rows,
        })
    }
}

fn row(line: &Line) -> Option<FoundRow> {
    let text = &line.text;
    let uid = word_after(text, "UID ")?.parse().ok()?;
    let modseq = word_after(text, "MODSEQ (")?.parse().ok()?;
    let message =
        line.literals.first().map_or_else(|| Err("no octets".to_owned()), |octets| identify(octets));
    Some(FoundRow { uid, modseq, flags: flags(text)?, message })
}

/// The flags in a line.
pub(crate) fn flags(text: &str) -> Option<Flags> {
    let list = text.split_once("FLAGS (")?.1.split_once(')')?.0;
    Some(list.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect())
}

pub(crate) struct Pop3 {
    dialogue: Dialogue,
}

impl Pop3 {
    /// Waits a while for a maildrop that another session holds.
    pub(crate) async fn login(server: &Process, account: &str) -> Option<Self> {
        for _ in 0..100 {
            let dialogue = Dialogue::connect(server.service("pop3")[PLAIN], None).await.ok()?;
            let mut pop3 = Self { dialogue };
            pop3.dialogue.line().await.ok()?;
            pop3.command(&format!("USER {account}@a.test")).await?;
            if pop3.command(&format!("PASS {PASSWORD}")).await?.starts_with("+OK") {
                return Some(pop3);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the maildrop of {account} stays locked");
    }

    /// Sends a command; the status line.
    pub(crate) async fn command(&mut self, command: &str) -> Option<String> {
        self.send(command).await?;
        self.status().await
    }

    pub(crate) async fn send(&mut self, command: &str) -> Option<()> {
        self.dialogue.send_line(command).await.ok()
    }

    /// The status line of what was sent.
    pub(crate) async fn status(&mut self) -> Option<String> {
        self.dialogue.line().await.ok()
    }

    async fn lines(&mut self, command: &str) -> Option<Vec<String>> {
        let status = self.command(command).await?;
        assert!(status.starts_with("+OK"), "{command}: {status}");
        let mut lines = Vec::new();
        loop {
            match self.dialogue.line().await.ok()?.as_str() {
                "." => return Some(lines),
                line => lines.push(line.strip_prefix('.').unwrap_or(line).to_owned()),
            }
        }
    }

    /// Unique-ids by message number.
    pub(crate) async fn uidl(&mut self) -> Option<Vec<(u32, String)>> {
        let lines = self.lines("UIDL").await?;
        let pair = |line: &String| {
            let (number, uidl) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), uidl.to_owned())
        };
        Some(lines.iter().map(pair).collect())
    }

    pub(crate) async fn message(&mut self, number: u32) -> Option<Result<String, String>> {
        let mut octets = self.lines(&format!("RETR {number}")).await?.join("\r\n");
        octets.push_str("\r\n");
        Some(identify(octets.as_bytes()))
    }

    /// All messages with their unique-ids.
    pub(crate) async fn read(mut self) -> Option<Vec<(String, Result<String, String>)>> {
        let mut all = Vec::new();
        for (number, uidl) in self.uidl().await? {
            all.push((uidl, self.message(number).await?));
        }
        self.command("QUIT").await?;
        Some(all)
    }
}

pub(crate) struct Smtp {
    dialogue: Dialogue,
}

impl Smtp {
    /// A session that brings mail from elsewhere.
    pub(crate) async fn from_elsewhere(server: &Process) -> Option<Self> {
        Self::begin(server.service("smtp")[0]).await
    }

    /// A session of alice.
    pub(crate) async fn submission(server: &Process) -> Option<Self> {
        let mut smtp = Self::begin(server.service("submission")[PLAIN]).await?;
        // alice@a.test with the password of all accounts
        let reply = smtp.command("AUTH PLAIN AGFsaWNlQGEudGVzdABzZWNyZXQgd29yZA==").await?;
        assert!(reply.starts_with("235"), "{reply}");
        Some(smtp)
    }

    async fn begin(address: std::net::SocketAddr) -> Option<Self> {
        let mut smtp = Self { dialogue: Dialogue::connect(address, None).await.ok()? };
        smtp.reply().await?;
        smtp.command("EHLO far.test").await?;
        Some(smtp)
    }

    /// Sends a command; the last line of the reply.
    pub(crate) async fn command(&mut self, command: &str) -> Option<String> {
        self.dialogue.send_line(command).await.ok()?;
        self.reply().await
    }

    async fn reply(&mut self) -> Option<String> {
        loop {
            let line = self.dialogue.line().await.ok()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Some(line);
            }
        }
    }

    /// MAIL, RCPT and DATA; the first reply that refuses, else that to DATA.
    pub(crate) async fn envelope(&mut self, from: &str, to: &[String]) -> Option<String> {
        let mut commands = vec![format!("MAIL FROM:<{from}>")];
        commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for command in commands {
            let reply = self.command(&command).await?;
            if !reply.starts_with("250") {
                return Some(reply);
            }
        }
        self.command("DATA").await
    }

    /// The message; no line of it begins with a dot.
    pub(crate) async fn message(&mut self, message: &str) -> Option<String> {
        self.dialogue.send(message.as_bytes()).await.ok()?;
        self.command(".").await
    }
}
