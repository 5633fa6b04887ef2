//! What each command does (RFC 5321 section 4.1.1): order and bounds are checked, then it is answered or asked about.

use std::time::Instant;

use waypost_auth::sasl::{Certificate, Channel, Exchange, Offer, Progress};
use waypost_mail::{Address, AddressRef, BodyType, Issuer, Reply, ReversePath};
use waypost_net::{Step, TlsInfo};

use super::{
    Answer, AuthPolicy, Client, Dialect, Login, Mail, Question, Role, Server, StartTls, State, Transaction,
    Turn,
    reception::Reception,
    replies::{self, Fixed},
};
use crate::smtp::{
    command::{ClientName, Command, CommandError, Verb},
    parameters::{MailParameters, RcptParameters},
    path::ForwardPath,
    xclient::{self, XClient},
};

impl Server {
    pub(super) fn obey(&mut self, line: &[u8], transaction: Option<Transaction>, now: Instant) -> Turn {
        self.verb = Verb::of(line);
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error @ CommandError::ForwardPath) if let Some(open) = transaction => {
                return (self.refuse_recipient(replies::command_error(&error), open), None);
            }
            Err(error) => return self.refused(replies::command_error(&error), transaction),
        };
        if ends_its_group(&command, self.has_extensions())
            && let Some(reply) = self.is_out_of_turn()
        {
            return (self.refuse(reply, State::Closing), None);
        }
        if sends_no_mail(&command) {
            self.budget.junk();
        }
        let state = match command {
            Command::Ehlo(_) | Command::Helo(_) if self.settings.role == Role::Lmtp => {
                return self.refused(replies::UNRECOGNIZED, transaction);
            }
            Command::Lhlo(_) if self.settings.role != Role::Lmtp => {
                return self.refused(replies::UNRECOGNIZED, transaction);
            }
            Command::Ehlo(name) => self.ehlo(name, Dialect::Esmtp),
            Command::Lhlo(name) => self.ehlo(name, Dialect::Lmtp),
            Command::Helo(name) => self.helo(name),
            Command::Mail(path, parameters) => return self.mail(path, parameters, transaction, line),
            Command::Rcpt(path, parameters) => return self.rcpt(path, parameters, transaction, line),
            Command::Data => self.data(transaction, now),
            Command::Bdat { octets, last } => return self.bdat(octets, last, transaction, now),
            Command::Rset => self.reply(replies::OK, State::Ready(None)),
            Command::Noop => self.reply(replies::OK, State::Ready(transaction)),
            Command::Vrfy(address) => return self.vrfy(address, transaction),
            Command::Help(form) => self.help(form, transaction),
            Command::Quit => self.reply(replies::BYE, State::Closing),
            Command::StartTls => self.starttls(transaction),
            Command::XClient(client) => return self.xclient(client, transaction),
            Command::Auth { mechanism, initial } => return self.auth(mechanism, initial, transaction),
        };
        (state, None)
    }

    /// What a client is told that has sent on where it had to wait for an answer; `None`: it has not, or is let go on. Behind the end of
    /// a message that is only a client without extensions, as the end may begin a group (RFC 2920 section 3.1).
    pub(super) fn is_out_of_turn(&self) -> Option<Fixed> {
        let sent_on = self.settings.manners.strict_pipelining && !self.lines.input.is_empty();
        sent_on.then_some(replies::OUT_OF_TURN)
    }

    fn ehlo(&mut self, name: ClientName<'_>, dialect: Dialect) -> State {
        self.client = Some(Client { name: name.into_owned(), dialect });
        let mut lines = vec![
            self.settings.hostname.to_string(),
            "PIPELINING".to_owned(),
            format!("SIZE {}", self.settings.message_size),
            "8BITMIME".to_owned(),
            "SMTPUTF8".to_owned(),
            "ENHANCEDSTATUSCODES".to_owned(),
            "CHUNKING".to_owned(),
            "BINARYMIME".to_owned(),
            "DSN".to_owned(),
            "MT-PRIORITY".to_owned(),
            "DELIVERBY".to_owned(),
            format!("LIMITS RCPTMAX={}", self.settings.recipients),
        ];
        lines.extend(self.settings.no_soliciting.iter().map(|words| format!("NO-SOLICITING {words}")));
        lines.extend(self.settings.future_release.iter().map(|most| format!("FUTURERELEASE {most}")));
        if self.offers_tls() {
            lines.push("STARTTLS".to_owned());
        }
        if self.settings.tls.is_some() {
            lines.push("REQUIRETLS".to_owned());
        }
        if self.settings.manners.xclient {
            lines.push(xclient::KEYWORD.to_owned());
        }
        if self.may_log_in() && self.login == Login::Anonymous && dialect == Dialect::Esmtp {
            lines.push(format!("AUTH {}", self.offer().names()));
        }
        self.say(&Reply { code: 250, status: None, lines, issuer: Issuer::Here });
        State::Ready(None)
    }

    fn helo(&mut self, name: ClientName<'_>) -> State {
        self.client = Some(Client { name: name.into_owned(), dialect: Dialect::Smtp });
        self.say(&Reply::plain(250, self.settings.hostname.to_string()));
        State::Ready(None)
    }

    fn mail(
        &mut self,
        reverse_path: ReversePath<AddressRef<'_>>,
        parameters: MailParameters,
        transaction: Option<Transaction>,
        line: &[u8],
    ) -> Turn {
        if transaction.is_some() {
            return self.refused(replies::NESTED_MAIL, transaction);
        }
        self.smtputf8 = parameters.smtputf8;
        let Some(client) = self.client.clone() else {
            return self.refused(replies::HELLO_FIRST, None);
        };
        if self.settings.role == Role::Submission && self.login == Login::Anonymous {
            return self.refused(replies::LOGIN_FIRST, None);
        }
        if !client.dialect.is_extended() && parameters != MailParameters::default() {
            return self.refused(replies::HELLO_FIRST, None);
        }
        if !line.is_ascii() && !parameters.smtputf8 {
            return self.refused(replies::SENDER_NEEDS_SMTPUTF8, None);
        }
        if parameters.wishes.require_tls && self.settings.tls.is_none() {
            return self.refused(replies::REQUIRETLS_NEEDS_TLS, None);
        }
        if parameters.release.is_some() && self.settings.future_release.is_none() {
            return self.refused(replies::NO_FUTURE_RELEASE, None);
        }
        if parameters.wishes.solicitation.is_some() && self.settings.no_soliciting.is_none() {
            return self.refused(replies::NO_SOLICIT, None);
        }
        if parameters.size.is_some_and(|size| size > self.settings.message_size) {
            return self.refused(replies::TOO_LARGE, None);
        }
        let open = Transaction { recipients: 0, smtputf8: parameters.smtputf8, body: parameters.body };
        let (tls, login) = (self.settings.tls.clone(), self.login);
        let mail = Mail { client, tls, login, reverse_path: reverse_path.into_owned(), parameters };
        (State::OpeningTransaction(open), Some(Step::Ask(Question::Mail(Box::new(mail)))))
    }

    fn rcpt(
        &mut self,
        path: ForwardPath<AddressRef<'_>>,
        parameters: RcptParameters,
        transaction: Option<Transaction>,
        line: &[u8],
    ) -> Turn {
        let Some(open) = transaction else {
            return self.refused(replies::MAIL_FIRST, None);
        };
        if self.chunks.is_some() {
            return self.refused(replies::IN_CHUNKS, transaction);
        }
        if !self.has_extensions() && parameters != RcptParameters::default() {
            return (self.refuse_recipient(replies::HELLO_FIRST, open), None);
        }
        if !line.is_ascii() && !open.smtputf8 {
            return (self.refuse_recipient(replies::RECIPIENT_NEEDS_SMTPUTF8, open), None);
        }
        if open.recipients >= self.settings.recipients {
            return self.refused(replies::TOO_MANY_RECIPIENTS, transaction);
        }
        let question = Question::Recipient(path.into_owned(), Box::new(parameters));
        (State::AddingRecipient(open), Some(Step::Ask(question)))
    }

    fn data(&mut self, transaction: Option<Transaction>, now: Instant) -> State {
        match transaction {
            None => self.refuse(replies::MAIL_FIRST, State::Ready(None)),
            Some(Transaction { recipients: 0, .. }) => {
                let reply = match self.settings.role {
                    Role::Lmtp => replies::NO_RECIPIENTS_LMTP,
                    Role::Relay | Role::Submission => replies::NO_RECIPIENTS,
                };
                self.refuse(reply, State::Ready(transaction))
            }
            Some(_) if self.chunks.is_some() => self.refuse(replies::IN_CHUNKS, State::Ready(transaction)),
            Some(Transaction { body: BodyType::BinaryMime, .. }) => {
                self.refuse(replies::BINARY_NEEDS_BDAT, State::Ready(transaction))
            }
            Some(open) => {
                self.say(&Reply::plain(354, replies::START_INPUT));
                State::Receiving(Box::new(Reception::new(self.settings.message_size, open, now)), Ok(()))
            }
        }
    }

    /// RFC 3030 section 2: the octets of the chunk follow whatever the reply is.
    fn bdat(&mut self, octets: u64, last: bool, transaction: Option<Transaction>, now: Instant) -> Turn {
        match transaction {
            _ if self.is_beyond_all(octets) => (self.refuse(replies::OVERRUN, State::Closing), None),
            _ if !self.has_extensions() => self.skip(octets, Some(replies::HELLO_FIRST), transaction, now),
            None => self.skip(octets, Some(replies::MAIL_FIRST), None, now),
            // RFC 2033 section 4.3: a reply for each recipient, and there is none.
            Some(Transaction { recipients: 0, .. }) if last && self.settings.role == Role::Lmtp => {
                self.skip(octets, None, None, now)
            }
            Some(Transaction { recipients: 0, .. }) => {
                self.skip(octets, Some(replies::NO_RECIPIENTS), transaction, now)
            }
            Some(open) => {
                let begun = self.chunks.take();
                let mut message =
                    begun.unwrap_or_else(|| Box::new(Reception::new(self.settings.message_size, open, now)));
                message.begin_chunk(octets, last);
                (State::Receiving(message, Ok(())), None)
            }
        }
    }

    fn starttls(&mut self, transaction: Option<Transaction>) -> State {
        let refusal = match (&self.client, &self.settings.tls) {
            (_, Some(_)) => replies::TLS_ALREADY,
            (_, None) if !self.offers_tls() => replies::NO_STARTTLS,
            (Some(client), None) if client.dialect.is_extended() => {
                // What came behind STARTTLS came in plain text and is never obeyed (RFC 3207 section 4.2).
                self.lines.clear();
                return self.reply(replies::START_TLS, State::StartingTls);
            }
            _ => replies::HELLO_FIRST,
        };
        self.refuse(refusal, State::Ready(transaction))
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>, transaction: Option<Transaction>) -> Turn {
        let refusal = match self.offer().begin(mechanism, initial) {
            _ if self.settings.role == Role::Lmtp || self.settings.auth == AuthPolicy::Never => {
                replies::NO_LOGIN
            }
            _ if !self.has_extensions() => replies::HELLO_FIRST,
            _ if transaction.is_some() => replies::AUTH_IN_TRANSACTION,
            _ if self.login == Login::Authenticated => replies::LOGGED_IN_ALREADY,
            // RFC 4954 section 6: 538 sends the client to STARTTLS, so only where there is one.
            _ if !self.may_log_in() && !self.offers_tls() => replies::NO_LOGIN,
            _ if !self.may_log_in() => replies::TLS_FIRST,
            None => replies::UNKNOWN_MECHANISM,
            Some((exchange, progress)) => return self.progress(Box::new(exchange), progress),
        };
        self.refused(refusal, transaction)
    }

    /// RFC 5321 section 7.3: who has not logged in learns of no address; nor does anyone where that is not wanted.
    fn vrfy(&mut self, address: Option<AddressRef<'_>>, transaction: Option<Transaction>) -> Turn {
        let tells = self.settings.manners.vrfy && self.login == Login::Authenticated;
        match address.filter(|address| tells && !address.needs_smtputf8()) {
            Some(address) => {
                let address = address.into_owned();
                let question = Question::Verify(address.clone());
                (State::Verifying(Box::new(address), transaction), Some(Step::Ask(question)))
            }
            None => (self.reply(replies::CANNOT_VERIFY, State::Ready(transaction)), None),
        }
    }

    pub(super) fn verified(
        &mut self,
        address: &Address,
        answer: Answer,
        transaction: Option<Transaction>,
    ) -> State {
        let next = State::Ready(transaction);
        match answer {
            Answer::Done => self.say(&replies::verified(address)),
            Answer::CannotTell => return self.reply(replies::CANNOT_VERIFY, next),
            Answer::Refused(refusal) => return self.refuse(refusal, next),
            Answer::Accepted(_) | Answer::Found(_) => return self.refuse(replies::INTERNAL, State::Closing),
        }
        next
    }

    fn help(&mut self, form: Option<&str>, transaction: Option<Transaction>) -> State {
        let hello: &[&str] = if self.settings.role == Role::Lmtp { &["LHLO"] } else { &["EHLO", "HELO"] };
        let mut commands = hello.to_vec();
        commands.extend(["MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "QUIT", "VRFY", "HELP"]);
        commands.extend(self.offers_tls().then_some("STARTTLS"));
        commands.extend((self.may_log_in() && self.settings.role != Role::Lmtp).then_some("AUTH"));
        commands.extend(self.settings.manners.xclient.then_some(xclient::KEYWORD));
        self.say(&replies::help(&commands, form));
        State::Ready(transaction)
    }

    fn xclient(&mut self, client: Box<XClient>, transaction: Option<Transaction>) -> Turn {
        if !self.settings.manners.xclient {
            return self.refused(replies::NO_XCLIENT, transaction);
        }
        if transaction.is_some() {
            return self.refused(replies::XCLIENT_IN_TRANSACTION, transaction);
        }
        (State::Introducing(client.clone()), Some(Step::Ask(Question::XClient(client))))
    }

    /// The session begins anew, as that of another client; the proxy may say EHLO for it again, or not.
    pub(super) fn introduced(&mut self, client: XClient) -> State {
        let dialect = if client.is_plain_smtp { Dialect::Smtp } else { Dialect::Esmtp };
        self.client = client.helo.map(|name| Client { name, dialect });
        self.login = if client.login.is_some() { Login::Authenticated } else { Login::Anonymous };
        self.say_greeting()
    }

    pub(super) fn respond(&mut self, mut exchange: Box<Exchange>, line: &[u8]) -> Turn {
        let progress = std::str::from_utf8(line).map_or(Progress::Malformed, |line| exchange.respond(line));
        self.progress(exchange, progress)
    }

    /// Goes on with an exchange.
    pub(super) fn progress(&mut self, exchange: Box<Exchange>, progress: Progress) -> Turn {
        match progress {
            Progress::Challenge(challenge) => {
                self.say(&Reply::plain(334, challenge));
                (State::Authenticating(exchange), None)
            }
            Progress::Needs(lookup) => {
                (State::LookingUp(exchange), Some(Step::Ask(Question::LookUp(lookup))))
            }
            Progress::Done(claim) => (State::CheckingLogin, Some(Step::Ask(Question::Authenticate(claim)))),
            Progress::Cancelled => self.refused(replies::CANCELLED, None),
            Progress::Malformed => self.refused(replies::BAD_RESPONSE, None),
        }
    }

    fn offers_tls(&self) -> bool {
        self.settings.starttls == StartTls::Offered && self.settings.tls.is_none()
    }

    /// Whether the client has greeted with EHLO or LHLO.
    pub(super) fn has_extensions(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.dialect.is_extended())
    }

    /// What can be logged in by at the moment.
    fn offer(&self) -> Offer {
        let channel = self.settings.tls.as_deref().map(channel).unwrap_or_default();
        Offer { channel, ..self.settings.offer.clone() }
    }

    fn may_log_in(&self) -> bool {
        match self.settings.auth {
            AuthPolicy::UnderTls => self.settings.tls.is_some(),
            AuthPolicy::Always => true,
            AuthPolicy::Never => false,
        }
    }
}

/// What logins can stand on.
fn channel(TlsInfo { binding, certificate, .. }: &TlsInfo) -> Channel {
    let certificate =
        certificate.as_ref().map(|shown| Certificate { emails: shown.emails.clone(), sha256: shown.sha256 });
    Channel { exporter: binding.exporter, end_point: binding.end_point.clone(), certificate }
}

/// Whether a command must be the last of those that are sent without waiting (RFC 2920 section 3.1): each of a client that does not know
/// that there are such groups, as EHLO did not tell it.
fn ends_its_group(command: &Command<'_>, has_extensions: bool) -> bool {
    match command {
        // Its octets come at once, and more commands may (RFC 3030 section 4.2).
        Command::Bdat { .. } => false,
        Command::Mail(..) | Command::Rcpt(..) | Command::Rset => !has_extensions,
        _ => true,
    }
}

/// Whether a command is one that a client who only keeps its place can give for ever.
fn sends_no_mail(command: &Command<'_>) -> bool {
    matches!(
        command,
        Command::Ehlo(_)
            | Command::Helo(_)
            | Command::Lhlo(_)
            | Command::Rset
            | Command::Noop
            | Command::Vrfy(_)
            | Command::Help(_)
            | Command::XClient(_)
    )
}
