//! From the greeting to the first order: CAPABILITY, STARTTLS, login.

use super::{
    Client, Encryption, Fault, State,
    login::{Exchange, Opening, Progress},
    response::{Code, Words},
};
use crate::wire::Status;

/// Codes of RFC 5530 that say that another time is better.
const LATER: [&str; 4] = ["UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"];

impl Client {
    pub(super) fn greeted(&mut self, words: Words) {
        self.know(words.code);
        match self.server {
            Some(_) => self.capable(),
            None => self.ask_capabilities(false),
        }
    }

    pub(super) fn pre_authenticated(&mut self, words: Words) {
        if self.settings.encryption == Encryption::StartTls {
            return self.fail(Fault::PreAuth);
        }
        self.know(words.code);
        self.logged_in();
    }

    pub(super) fn ask_capabilities(&mut self, is_logged_in: bool) {
        self.state = State::Capability(is_logged_in);
        self.command("CAPABILITY", &[]);
    }

    pub(super) fn capabilities_told(&mut self, is_logged_in: bool, status: Status, words: Words) {
        if status != Status::Ok {
            return self.fail(Fault::Refused("CAPABILITY", words.text));
        }
        self.know(words.code);
        self.server.get_or_insert_default();
        match is_logged_in {
            true => self.state = State::Ready(None),
            false => self.capable(),
        }
    }

    /// What the server can do is known.
    fn capable(&mut self) {
        let server = self.server.clone().unwrap_or_default();
        if self.settings.encryption == Encryption::StartTls {
            if !server.starttls {
                return self.fail(Fault::NoStartTls);
            }
            self.state = State::StartTls;
            return self.command("STARTTLS", &[]);
        }
        match Exchange::begin(&self.settings.login, &server, &self.settings.nonce) {
            None => self.fail(Fault::NoLogin),
            Some((exchange, opening)) => {
                self.state = State::Login(exchange);
                match opening {
                    Opening::Authenticate(words) => self.command(&format!("AUTHENTICATE {words}"), &[]),
                    Opening::Login => {
                        let login = self.settings.login.clone();
                        self.command("LOGIN", &[login.user.as_bytes(), login.password.as_bytes()]);
                    }
                }
            }
        }
    }

    pub(super) fn challenged(&mut self, mut exchange: Exchange, text: &str) {
        match exchange.challenge(text) {
            Progress::Respond(line) => {
                self.output.extend_from_slice(format!("{line}\r\n").as_bytes());
                self.state = State::Login(exchange);
            }
            Progress::Done => self.logged_in(),
            Progress::Distrusted(why) => self.fail(Fault::Distrusted(why.to_owned())),
        }
    }

    pub(super) fn login_answered(&mut self, exchange: Exchange, status: Status, words: Words) {
        if status != Status::Ok {
            let is_later = matches!(&words.code, Some(Code::Other(code)) if LATER.contains(&code.as_str()));
            return self.fail(match is_later {
                true => Fault::LoginLater(words.text),
                false => Fault::LoginRefused(words.text),
            });
        }
        match exchange.end() {
            Progress::Distrusted(why) => self.fail(Fault::Distrusted(why.to_owned())),
            Progress::Done | Progress::Respond(_) => {
                // What was offered before login may be less than what is now.
                self.server = None;
                self.know(words.code);
                self.logged_in();
            }
        }
    }

    fn logged_in(&mut self) {
        match self.server {
            Some(_) => self.state = State::Ready(None),
            None => self.ask_capabilities(true),
        }
    }
}
