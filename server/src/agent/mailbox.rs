//! Reading a mailbox: just enough IMAP (RFC 3501) and POP3 (RFC 1939) for the demo.

use std::net::SocketAddr;

use waypost_net::ClientTls;

use crate::agent::{
    dialogue::{AgentError, Dialogue},
    submit::Login,
};

/// An IMAP session.
pub struct Imap {
    dialogue: Dialogue,
    tag: u32,
}

impl Imap {
    /// Connects with implicit TLS, logs in and selects INBOX; gives the number of messages, too.
    pub async fn inbox(
        address: SocketAddr,
        tls: ClientTls,
        login: &Login,
    ) -> Result<(Self, u32), AgentError> {
        let mut imap = Self { dialogue: Dialogue::connect(address, Some(tls)).await?, tag: 0 };
        imap.dialogue.line().await?;
        imap.ask(&format!("LOGIN {} {}", quoted(&login.user), quoted(&login.password)), "LOGIN").await?;
        let answers = imap.ask("SELECT INBOX", "SELECT").await?;
        Ok((imap, exists(&answers).unwrap_or(0)))
    }

    /// Sends a command; its untagged answers, literals included. Anything but OK is an error.
    pub async fn ask(&mut self, command: &str, shown: &str) -> Result<Vec<Vec<u8>>, AgentError> {
        self.tag += 1;
        let tag = format!("a{}", self.tag);
        self.dialogue.send_line(&format!("{tag} {command}")).await?;
        self.answers(&tag, shown).await
    }

    async fn answers(&mut self, tag: &str, shown: &str) -> Result<Vec<Vec<u8>>, AgentError> {
        let mut answers = Vec::new();
        loop {
            let line = self.dialogue.line().await?;
            if let Some(status) = line.strip_prefix(tag) {
                let ok = status.starts_with(" OK");
                return if ok { Ok(answers) } else { Err(AgentError::Answer(shown.to_owned(), line)) };
            }
            let mut answer = line.clone().into_bytes();
            let mut rest = line;
            while let Some(size) = literal(&rest) {
                answer.extend_from_slice(b"\r\n");
                answer.extend(self.dialogue.octets(size).await?);
                rest = self.dialogue.line().await?;
                answer.extend_from_slice(rest.as_bytes());
            }
            answers.push(answer);
        }
    }

    /// A message as it is stored.
    pub async fn message(&mut self, number: u32) -> Result<Vec<u8>, AgentError> {
        let answers = self.ask(&format!("FETCH {number} BODY.PEEK[]"), "FETCH").await?;
        let answer = answers.into_iter().find(|answer| answer.windows(5).any(|w| w == b"FETCH"));
        let answer = answer.ok_or_else(|| AgentError::Answer("FETCH".to_owned(), "nothing".to_owned()))?;
        let end = answer.windows(2).position(|w| w == b"\r\n").unwrap_or(answer.len());
        let size = literal(&String::from_utf8_lossy(&answer[..end])).unwrap_or(0);
        Ok(answer.get(end + 2..end + 2 + size).unwrap_or_default().to_vec())
    }

    /// Waits in IDLE until a message arrives; the number of messages then.
    pub async fn idle_until_message(&mut self) -> Result<u32, AgentError> {
        self.tag += 1;
        self.dialogue.send_line(&format!("a{} IDLE", self.tag)).await?;
        loop {
            let line = self.dialogue.line().await?;
            if let Some(count) = exists(&[line.into_bytes()]) {
                self.dialogue.send_line("DONE").await?;
                let tag = format!("a{}", self.tag);
                self.answers(&tag, "IDLE").await?;
                return Ok(count);
            }
        }
    }

    /// Logs out.
    pub async fn logout(mut self) -> Result<(), AgentError> {
        self.ask("LOGOUT", "LOGOUT").await.map(|_| ())
    }
}

/// The number in `* n EXISTS`, in the last line that says so.
fn exists(answers: &[Vec<u8>]) -> Option<u32> {
    let number = |line: &Vec<u8>| {
        let line = String::from_utf8_lossy(line).into_owned();
        line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok()
    };
    answers.iter().rev().find_map(number)
}

fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.parse().ok()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A POP3 session.
pub struct Pop3 {
    dialogue: Dialogue,
}

impl Pop3 {
    /// Connects with implicit TLS and logs in.
    pub async fn login(address: SocketAddr, tls: ClientTls, login: &Login) -> Result<Self, AgentError> {
        let mut pop3 = Self { dialogue: Dialogue::connect(address, Some(tls)).await? };
        pop3.status("the connection").await?;
        pop3.ask(&format!("USER {}", login.user), "USER").await?;
        pop3.ask(&format!("PASS {}", login.password), "PASS").await?;
        Ok(pop3)
    }

    async fn ask(&mut self, command: &str, shown: &str) -> Result<String, AgentError> {
        self.dialogue.send_line(command).await?;
        self.status(shown).await
    }

    async fn status(&mut self, shown: &str) -> Result<String, AgentError> {
        let line = self.dialogue.line().await?;
        match line.strip_prefix("+OK") {
            Some(text) => Ok(text.trim_start().to_owned()),
            None => Err(AgentError::Answer(shown.to_owned(), line)),
        }
    }

    /// How many messages there are.
    pub async fn count(&mut self) -> Result<u32, AgentError> {
        let text = self.ask("STAT", "STAT").await?;
        let number = text.split(' ').next().and_then(|number| number.parse().ok());
        number.ok_or_else(|| AgentError::Answer("STAT".to_owned(), text))
    }

    /// Downloads a message and marks it deleted.
    pub async fn take(&mut self, number: u32) -> Result<Vec<u8>, AgentError> {
        self.ask(&format!("RETR {number}"), "RETR").await?;
        let mut message = Vec::new();
        loop {
            let line = self.dialogue.line().await?;
            match line.as_str() {
                "." => break,
                line => message.extend_from_slice(line.strip_prefix('.').unwrap_or(line).as_bytes()),
            }
            message.extend_from_slice(b"\r\n");
        }
        self.ask(&format!("DELE {number}"), "DELE").await?;
        Ok(message)
    }

    /// Ends the session; what was marked is deleted now.
    pub async fn quit(mut self) -> Result<(), AgentError> {
        self.ask("QUIT", "QUIT").await.map(|_| ())
    }
}
