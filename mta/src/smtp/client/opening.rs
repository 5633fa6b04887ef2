//! From the greeting to the first message: EHLO, STARTTLS, AUTH.

use bytes::BufMut;
use waypost_mail::Reply;

use super::{
    Client, Encryption, Protocol, State, broken,
    login::{self, Exchange},
    refusals,
};
use crate::smtp::reply::Capabilities;

/// How we introduce ourselves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hello {
    Ehlo,
    Helo,
    /// RFC 2033 section 4.1.
    Lhlo,
}

impl Hello {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Ehlo => "EHLO",
            Self::Helo => "HELO",
            Self::Lhlo => "LHLO",
        }
    }
}

impl Client {
    pub(super) fn greeted(&mut self, reply: Reply) {
        match reply.code {
            200..300 if self.is_from_us(&reply) => self.meet_ourselves(),
            200..300 => self.greet(),
            300..400 => self.fail_by_ourselves(&broken("its greeting")),
            _ => self.give_up(reply),
        }
    }

    pub(super) fn greet(&mut self) {
        self.hello(match self.settings.protocol {
            Protocol::Smtp => Hello::Ehlo,
            Protocol::Lmtp => Hello::Lhlo,
        });
    }

    fn hello(&mut self, hello: Hello) {
        let line = format!("{} {}", hello.verb(), self.settings.hostname);
        self.opening.sent(&line);
        self.line(&line);
        self.state = State::Hello(hello);
    }

    pub(super) fn welcomed(&mut self, hello: Hello, reply: Reply) {
        match (hello, reply.code) {
            (_, 200..300) if self.is_from_us(&reply) => return self.meet_ourselves(),
            (Hello::Ehlo | Hello::Lhlo, 200..300) => self.server = Capabilities::from_ehlo(&reply),
            (Hello::Helo, 200..300) => self.server = Capabilities::default(),
            // RFC 5321 section 3.2: an old server gets HELO
            (Hello::Ehlo, 500..) => return self.hello(Hello::Helo),
            (_, 300..400) => return self.fail_by_ourselves(&broken("its reply to EHLO")),
            _ => return self.give_up(reply),
        }
        if self.settings.tls.is_some() || self.settings.encryption == Encryption::Never {
            self.log_in();
        } else if self.server.starttls {
            self.opening.sent("STARTTLS");
            self.line("STARTTLS");
            self.state = State::StartTls;
        } else if self.settings.encryption == Encryption::Required {
            self.without_tls = true;
            self.give_up_by_ourselves(refusals::tls_missing());
        } else {
            self.without_tls = true;
            self.log_in();
        }
    }

    /// Whether the name that the server gives itself (RFC 5321 sections 4.2 and 4.1.1.1) is ours, where that may not be.
    fn is_from_us(&self, reply: &Reply) -> bool {
        let name = reply.lines.first().and_then(|line| line.split_ascii_whitespace().next());
        self.settings.is_exchanger
            && name.is_some_and(|name| name.eq_ignore_ascii_case(&self.settings.hostname))
    }

    fn meet_ourselves(&mut self) {
        self.is_ourselves = true;
        self.give_up_by_ourselves(refusals::ourselves());
    }

    pub(super) fn tls_answered(&mut self, reply: &Reply) {
        self.without_tls = !(200..300).contains(&reply.code);
        match (reply.code, self.settings.encryption) {
            (200..300, _) => self.state = State::Handshake,
            (_, Encryption::Required) => self.give_up(refusals::tls_refused(reply)),
            _ => self.log_in(),
        }
    }

    fn log_in(&mut self) {
        let Some(login) = &self.settings.login else {
            return self.be_ready(None);
        };
        if self.settings.tls.is_none() && !self.settings.login_in_clear {
            return self.give_up_by_ourselves(refusals::login_in_clear());
        }
        match Exchange::begin(login, &self.server, &self.settings.nonce) {
            Some((exchange, name, command)) => {
                self.opening.sent_secret(name);
                self.line(&command);
                self.state = State::Login(exchange);
            }
            None => self.give_up_by_ourselves(refusals::login_unknown()),
        }
    }

    pub(super) fn login_answered(&mut self, mut exchange: Exchange, reply: &Reply) {
        match exchange.reply(reply) {
            login::Progress::Respond(line) => {
                self.opening.sent_secret("");
                self.line(&line);
                self.state = State::Login(exchange);
            }
            login::Progress::Done => self.be_ready(None),
            login::Progress::Refused => self.give_up(refusals::login_refused(reply)),
            login::Progress::Distrusted(why) => self.give_up_by_ourselves(refusals::login_distrusted(&why)),
        }
    }

    fn line(&mut self, line: &str) {
        self.output.put_slice(line.as_bytes());
        self.output.put_slice(b"\r\n");
    }
}
