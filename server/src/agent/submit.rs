//! Hands a message to a server by SMTP (RFC 5321), for submission with STARTTLS or implicit TLS and AUTH (RFC 6409).

use std::{net::SocketAddr, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
pub use waypost_auth::sasl::Login;
use waypost_mail::{Address, ReversePath};
use waypost_net::ClientTls;

use crate::agent::dialogue::{AgentError, Dialogue, STEP_TIMEOUT};

/// Longest wait for the reply to the message: who gives up earlier may send what was accepted (RFC 5321 section 4.5.3.2.6).
const DATA_TIMEOUT: Duration = Duration::from_secs(600);

/// How TLS is had.
#[derive(Clone, Debug)]
pub enum Tls {
    /// Not at all.
    None,
    /// With the first octet.
    Implicit(ClientTls),
    /// After the server offered it; without the offer nothing is sent.
    StartTls(ClientTls),
}

/// What is handed over.
pub struct Submission<'a> {
    /// Where to.
    pub address: SocketAddr,
    /// How TLS is had.
    pub tls: Tls,
    /// AUTH PLAIN.
    pub login: Option<Login>,
    /// Sender of the envelope.
    pub from: &'a ReversePath,
    /// Recipients of the envelope.
    pub to: &'a [Address],
    /// The message, lines ended by CRLF.
    pub message: &'a [u8],
}

/// Hands a message over; gives the text of the server's last reply, which holds the message's id.
pub async fn submit(submission: Submission<'_>) -> Result<String, AgentError> {
    let Submission { address, tls, login, from, to, message } = submission;
    let implicit = if let Tls::Implicit(tls) = &tls { Some(tls.clone()) } else { None };
    let mut smtp = Smtp { dialogue: Dialogue::connect(address, implicit).await? };
    smtp.reply("the connection", 220).await?;
    let mut offers = smtp.ask("EHLO localhost", "EHLO", 250).await?;
    if let Tls::StartTls(tls) = &tls {
        if !offers.lines().any(|line| line.eq_ignore_ascii_case("STARTTLS")) {
            return Err(AgentError::Usage("the server does not offer STARTTLS: nothing was sent".to_owned()));
        }
        smtp.ask("STARTTLS", "STARTTLS", 220).await?;
        smtp.dialogue = smtp.dialogue.start_tls(tls).await?;
        offers = smtp.ask("EHLO localhost", "EHLO", 250).await?;
    }
    if let Some(Login { user, password }) = login {
        let response = BASE64_STANDARD.encode(format!("\0{user}\0{password}"));
        smtp.ask(&format!("AUTH PLAIN {response}"), "AUTH", 235).await?;
    }
    let utf8 = to.iter().chain(from.address()).any(Address::needs_smtputf8);
    let parameters = parameters(&offers, message, utf8)?;
    smtp.ask(&format!("MAIL FROM:<{from}>{parameters}"), "MAIL", 250).await?;
    for address in to {
        let command = format!("RCPT TO:<{address}>");
        smtp.ask(&command, &command, 250).await?;
    }
    smtp.ask("DATA", "DATA", 354).await?;
    smtp.hand_in(message).await
}

/// The parameters of MAIL, as far as the server offers them. Error: an address needs SMTPUTF8 and it is not offered.
fn parameters(offers: &str, message: &[u8], utf8: bool) -> Result<String, AgentError> {
    let offered = |name: &str| {
        offers.lines().any(|line| line.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case(name)))
    };
    let mut parameters = String::new();
    if offered("SIZE") {
        // The server can refuse what is too large before it is sent (RFC 1870).
        parameters.push_str(&format!(" SIZE={}", message.len()));
    }
    if !message.is_ascii() && offered("8BITMIME") {
        parameters.push_str(" BODY=8BITMIME");
    }
    if utf8 {
        if !offered("SMTPUTF8") {
            let text = "an address is not ASCII, and the server does not offer SMTPUTF8: nothing was sent";
            return Err(AgentError::Usage(text.to_owned()));
        }
        parameters.push_str(" SMTPUTF8");
    }
    Ok(parameters)
}

/// The message with its dots doubled and the end-of-data mark (RFC 5321 section 4.5.2).
fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(message.len() + 8);
    for line in message.split_inclusive(|b| *b == b'\n') {
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    if !message.is_empty() && !message.ends_with(b"\r\n") {
        stuffed.extend_from_slice(b"\r\n");
    }
    stuffed.extend_from_slice(b".\r\n");
    stuffed
}

struct Smtp {
    dialogue: Dialogue,
}

impl Smtp {
    /// Sends the message; the text of the reply to it.
    async fn hand_in(&mut self, message: &[u8]) -> Result<String, AgentError> {
        if let Err(broken) = self.dialogue.send(&dot_stuffed(message)).await {
            // A server that refuses early says why before it closes.
            return match self.reply("the message", 250).await {
                Err(refused @ AgentError::Answer(..)) => Err(refused),
                _ => Err(broken),
            };
        }
        let accepted = self.reply_within("the message", 250, DATA_TIMEOUT).await?;
        // It is accepted, however the server says good-bye: to report an error would have it sent twice.
        drop(self.ask("QUIT", "QUIT", 221).await);
        Ok(accepted)
    }

    async fn ask(&mut self, command: &str, shown: &str, code: u16) -> Result<String, AgentError> {
        self.dialogue.send_line(command).await?;
        self.reply(shown, code).await
    }

    /// Reads a reply; its lines without codes.
    async fn reply(&mut self, shown: &str, code: u16) -> Result<String, AgentError> {
        self.reply_within(shown, code, STEP_TIMEOUT).await
    }

    async fn reply_within(
        &mut self,
        shown: &str,
        code: u16,
        longest: Duration,
    ) -> Result<String, AgentError> {
        let mut text = String::new();
        loop {
            let line = self.dialogue.line_within(longest).await?;
            if !line.starts_with(&code.to_string()) {
                return Err(AgentError::Answer(shown.to_owned(), line));
            }
            text.push_str(line.get(4..).unwrap_or(""));
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(text);
            }
            text.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_the_end_is_marked() {
        assert_eq!(dot_stuffed(b".a\r\n..\r\nb"), b"..a\r\n...\r\nb\r\n.\r\n");
        assert_eq!(dot_stuffed(b""), b".\r\n");
    }
}
