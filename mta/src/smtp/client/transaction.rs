//! One mail transaction as the client sees it: the commands of the envelope, and what came of each recipient.
//!
//! Commands go out as far as the window lets them: one without PIPELINING, [`WINDOW_COMMANDS_MAX`] with it. Replies are told
//! apart by counting (RFC 2920 section 3.1). A server that wants fewer recipients in one transaction gets fewer; the others are left
//! for further ones.

use std::{borrow::Cow, collections::HashSet, num::NonZeroU32};

use bytes::{BufMut, BytesMut};
use waypost_mail::{
    Address, BodyType, DeliverBy, Domain, EnhancedStatus, OriginalRecipient, Overdue, Reply, ReturnContent,
    ReversePath, Severity, Wishes,
};

use waypost_net::TlsInfo;

use super::{Protocol, broken, refusals, said::Record};
use crate::smtp::{
    parameters::RcptParameters,
    reply::{Capabilities, Limits, SizeLimit},
};

/// Statuses of replies that say that a transaction has too many recipients (RFC 3463 section 3.6).
const TOO_MANY_RECIPIENTS: [EnhancedStatus; 2] = [EnhancedStatus(4, 5, 3), EnhancedStatus(5, 5, 3)];

/// Most pipelined commands without reply: their replies fit into a TCP window, so neither side stops reading
/// (RFC 2920 section 3.1).
pub const WINDOW_COMMANDS_MAX: usize = 50;

/// A message to be sent, without its octets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// Whom this transaction is for; at least one.
    pub recipients: Vec<OutgoingRecipient>,
    /// Octets of the message as they are stored.
    pub size: u64,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether it was submitted with SMTPUTF8.
    pub smtputf8: bool,
    /// What its sender asks for.
    pub wishes: Wishes<DeliverBy>,
    /// Whether its octets may go out with its envelope, before that is answered.
    pub may_go_along: bool,
}

/// Whom a message is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OutgoingRecipient {
    /// The address.
    pub address: Address,
    /// What the sender said of it.
    pub parameters: RcptParameters,
}

impl From<Address> for OutgoingRecipient {
    /// One of whom the sender said no more.
    fn from(address: Address) -> Self {
        Self { address, parameters: RcptParameters::default() }
    }
}

/// Which octets a message really holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Octets {
    /// In its header block.
    pub header: BodyType,
    /// Behind it.
    pub body: BodyType,
}

impl Outgoing {
    /// A message of US-ASCII whose sender asks for nothing.
    pub fn new(reverse_path: ReversePath, recipients: Vec<Address>, size: u64) -> Self {
        let recipients = recipients.into_iter().map(OutgoingRecipient::from).collect();
        let (body, wishes) = (BodyType::SevenBit, Wishes::default());
        Self { reverse_path, recipients, size, body, smtputf8: false, wishes, may_go_along: true }
    }

    fn addresses_need_smtputf8(&self) -> bool {
        let sender = self.reverse_path.address();
        let recipients = self.recipients.iter().map(|recipient| &recipient.address);
        sender.into_iter().chain(recipients).any(Address::needs_smtputf8)
    }

    /// Whether the declaration asks for what the server lacks, so that the octets themselves must be looked at.
    pub(super) fn is_doubtful(&self, server: &Capabilities) -> bool {
        (self.body == BodyType::EightBitMime && !server.eight_bit_mime) || (self.smtputf8 && !server.smtputf8)
    }

    /// Lowers the declaration to what the octets need.
    pub(super) fn declare(&mut self, octets: Octets) {
        self.smtputf8 &= self.addresses_need_smtputf8() || octets.header == BodyType::EightBitMime;
        if octets == Octets::default() && self.body == BodyType::EightBitMime {
            self.body = BodyType::SevenBit;
        }
    }

    /// Whether the server sees to it that the message is delivered in time or comes back, where that is asked for (RFC 2852 section 4.1).
    fn can_be_returned_in_time(&self, server: &Capabilities) -> bool {
        match self.wishes.deliver_by {
            Some(DeliverBy { seconds, overdue: Overdue::Return, .. }) => {
                let left = u64::try_from(seconds).unwrap_or(0);
                server.deliver_by.is_some_and(|fewest| left >= fewest)
            }
            _ => true,
        }
    }

    /// Why this server cannot be given the message at all.
    pub(super) fn obstacle(&self, server: &Capabilities, tls: Option<&TlsInfo>) -> Option<Reply> {
        // A notification is not lost for it (RFC 8689 section 5).
        if self.wishes.require_tls && self.reverse_path != ReversePath::Null {
            if !tls.is_some_and(|tls| tls.verified) {
                return Some(refusals::tls_not_sure());
            }
            if !server.require_tls {
                return Some(refusals::no_requiretls());
            }
        }
        if !self.can_be_returned_in_time(server) {
            return Some(refusals::no_deliverby());
        }
        match server.size {
            SizeLimit::Octets(most) if self.size > most => return Some(refusals::too_large(self.size, most)),
            _ => {}
        }
        if !server.smtputf8 && self.addresses_need_smtputf8() {
            return Some(refusals::addresses_not_ascii());
        }
        if !server.smtputf8 && self.smtputf8 {
            return Some(refusals::header_not_ascii());
        }
        match self.body {
            BodyType::EightBitMime if !server.eight_bit_mime => Some(refusals::body_not_seven_bit()),
            // RFC 3030 section 3: it goes in chunks, or not at all.
            BodyType::BinaryMime if !(server.binary_mime && server.chunking) => Some(refusals::not_binary()),
            BodyType::SevenBit | BodyType::EightBitMime | BodyType::BinaryMime => None,
        }
    }

    /// Whether a transaction is for each of the recipients, by the server's limits.
    fn chosen(&self, limits: Limits) -> Vec<bool> {
        let most = |limit: Option<NonZeroU32>| limit.map_or(usize::MAX, |limit| limit.get() as usize);
        let (mut domains, mut chosen) = (HashSet::<&Domain>::new(), Vec::new());
        let mut recipients = 0;
        for OutgoingRecipient { address: Address { domain, .. }, .. } in &self.recipients {
            let is_new = !domains.contains(domain);
            let fits = recipients < most(limits.recipients)
                && !(is_new && domains.len() >= most(limits.recipient_domains));
            if fits {
                recipients += 1;
                domains.insert(domain);
            }
            chosen.push(fits);
        }
        chosen
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Command {
    Rset,
    Mail,
    Rcpt(usize),
    Data,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Recipient {
    /// RCPT is not answered.
    Open,
    Accepted,
    Settled(Reply),
    /// Left for a further transaction.
    Unsent,
}

/// What comes after a reply in the envelope.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Progress {
    /// More replies or commands.
    Envelope,
    /// The message.
    Body,
    /// The server waits for a message that nobody is to get (RFC 2920 section 3.1): a lone dot.
    LoneDot,
    /// All recipients are settled.
    Over,
    /// The server does not speak SMTP; the reply that says so.
    Broken(Reply),
}

/// A transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    message: Outgoing,
    protocol: Protocol,
    recipients: Vec<Recipient>,
    commands: Vec<Command>,
    sent: usize,
    answered: usize,
    /// MAIL was accepted and no end of data has consumed it.
    open: bool,
    /// The last answer to the end of the message.
    end: Option<Reply>,
}

/// What came of a transaction.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Outcome {
    /// One reply for each recipient.
    pub(super) replies: Vec<Reply>,
    /// Places of those that are left for a further transaction.
    pub(super) unsent: Vec<usize>,
}

impl Transaction {
    /// Begins; with RSET where the transaction before was left open.
    pub(super) fn new(message: Outgoing, server: &Capabilities, protocol: Protocol, reset: bool) -> Self {
        let chosen = message.chosen(server.limits);
        let rcpt = chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(at, _)| Command::Rcpt(at));
        let commands = reset.then_some(Command::Rset).into_iter().chain([Command::Mail]);
        // Chunks need no permission.
        let data = (!server.chunking).then_some(Command::Data);
        let commands = commands.chain(rcpt).chain(data).collect();
        let recipients =
            chosen.iter().map(|chosen| if *chosen { Recipient::Open } else { Recipient::Unsent });
        let recipients = recipients.collect();
        Self { message, protocol, recipients, commands, sent: 0, answered: 0, open: false, end: None }
    }

    /// Writes the commands that may be sent now.
    pub(super) fn write(&mut self, server: &Capabilities, output: &mut BytesMut, record: &mut Record) {
        let window = if server.pipelining { WINDOW_COMMANDS_MAX } else { 1 };
        while self.sent - self.answered < window
            && let Some(command) = self.commands.get(self.sent)
        {
            let line = self.line(*command, server);
            output.put_slice(line.as_bytes());
            record.sent(&line);
            self.sent += 1;
        }
    }

    /// Takes the reply to the oldest command without one.
    pub(super) fn reply(&mut self, reply: Reply) -> Progress {
        let Some(command) = self.commands.get(self.answered).copied() else {
            return Progress::Broken(broken("more replies than there were commands"));
        };
        self.answered += 1;
        match (command, reply.code) {
            (Command::Data, 300..400) if self.has_accepted() => return Progress::Body,
            // An LMTP server answers nothing to a message for nobody (RFC 2033 section 4.2).
            (Command::Data, 300..400) if self.protocol == Protocol::Smtp => return Progress::LoneDot,
            (Command::Data, 400..) => self.settle_all(&reply),
            (Command::Rset, 200..300) => {}
            (Command::Mail, 200..300) => self.open = true,
            (Command::Mail, 400..) => self.settle_all(&reply),
            (Command::Rcpt(at), 200..300) => self.set(at, Recipient::Accepted),
            (Command::Rcpt(at), 400..) if self.is_too_many(&reply) => self.set(at, Recipient::Unsent),
            (Command::Rcpt(at), 400..) => self.set(at, Recipient::Settled(reply)),
            // a refused RSET says nothing of the message behind it, which is tried again
            _ => return Progress::Broken(broken(&format!("the reply {} to {}", reply.code, command.verb()))),
        }
        self.drop_useless_commands();
        match self.answered == self.commands.len() {
            true if self.has_accepted() => Progress::Body,
            true => Progress::Over,
            false => Progress::Envelope,
        }
    }

    /// What has no reply yet, or waits for a further transaction, gets this one.
    pub(super) fn settle_all(&mut self, reply: &Reply) {
        for recipient in &mut self.recipients {
            if !matches!(recipient, Recipient::Settled(_)) {
                *recipient = Recipient::Settled(reply.clone());
            }
        }
    }

    /// Takes a reply to the end of the message, which an SMTP server gives for all recipients and an LMTP server for each that it
    /// accepted (RFC 2033 section 4.2); whether it was the last one.
    pub(super) fn end_of_data(&mut self, reply: &Reply) -> bool {
        // the server has forgotten the envelope (RFC 5321 section 4.1.1.4)
        (self.open, self.end) = (false, Some(reply.clone()));
        for recipient in self.recipients.iter_mut().filter(|recipient| **recipient == Recipient::Accepted) {
            *recipient = Recipient::Settled(reply.clone());
            if self.protocol == Protocol::Lmtp {
                break;
            }
        }
        !self.has_accepted()
    }

    /// A message for nobody was answered: the server has forgotten the envelope.
    pub(super) fn lone_dot_answered(&mut self) {
        self.open = false;
    }

    /// The next transaction begins with RSET.
    pub(super) fn leave_open(&mut self) {
        self.open = true;
    }

    /// Whether the next transaction must begin with RSET.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether the server has not obeyed a command of it.
    pub(super) fn is_untouched(&self) -> bool {
        !self.open && !self.recipients.iter().any(|recipient| matches!(recipient, Recipient::Settled(_)))
    }

    /// Whether no command of it is answered.
    pub(super) fn is_unanswered(&self) -> bool {
        self.answered == 0
    }

    /// Whether the message may go out with its envelope.
    pub(super) fn may_go_along(&self) -> bool {
        self.message.may_go_along
    }

    /// Whether the message goes as it is, also where it has no lines.
    pub(super) fn is_binary(&self) -> bool {
        self.message.body == BodyType::BinaryMime
    }

    /// Whether all commands are sent.
    pub(super) fn is_sent(&self) -> bool {
        self.sent == self.commands.len()
    }

    /// Whether a command is not answered.
    pub(super) fn awaits_reply(&self) -> bool {
        self.answered < self.commands.len()
    }

    /// Whether no recipient waits for what becomes of the message.
    pub(super) fn is_for_nobody(&self) -> bool {
        !self.has_accepted()
    }

    /// Octets of the message as they are stored.
    pub(super) fn octets(&self) -> u64 {
        self.message.size
    }

    /// What the server is asked now, for the log.
    pub(super) fn awaited(&self) -> &'static str {
        self.commands.get(self.answered).map_or("DATA", |command| command.verb())
    }

    /// Whether the reply to DATA is what is waited for.
    pub(super) fn awaits_data(&self) -> bool {
        self.commands.get(self.answered) == Some(&Command::Data)
    }

    /// It ended as transactions do. What waits for a further one may be sent at once, where there is no reason to think that the same
    /// comes of it: some of this one got the message, or all of this one were refused by themselves.
    pub(super) fn into_outcome(mut self) -> Outcome {
        let taken = |recipient: &Recipient| match recipient {
            Recipient::Settled(reply) => reply.severity() == Severity::Success,
            Recipient::Open | Recipient::Accepted | Recipient::Unsent => false,
        };
        let end = self.end.take();
        if let Some(reply) = end.filter(|_| !self.recipients.iter().any(taken)) {
            self.settle_all(&reply);
        }
        self.outcome()
    }

    /// It broke off: this reply is for all that have none.
    pub(super) fn broken_off(mut self, reply: &Reply) -> Outcome {
        self.settle_all(reply);
        self.outcome()
    }

    /// Nothing of it was obeyed: all of it may be sent at once.
    pub(super) fn not_begun(mut self) -> Outcome {
        self.recipients.fill(Recipient::Unsent);
        self.outcome()
    }

    fn outcome(self) -> Outcome {
        let (mut replies, mut unsent) = (Vec::with_capacity(self.recipients.len()), Vec::new());
        for (at, recipient) in self.recipients.into_iter().enumerate() {
            replies.push(match recipient {
                Recipient::Settled(reply) => reply,
                Recipient::Open | Recipient::Accepted | Recipient::Unsent => {
                    unsent.push(at);
                    refusals::unsent()
                }
            });
        }
        Outcome { replies, unsent }
    }

    fn has_accepted(&self) -> bool {
        self.recipients.contains(&Recipient::Accepted)
    }

    /// Whether a reply to RCPT says that others were enough: what speaks against this recipient in this transaction does not in another
    /// one. The code was 552 once, and that must not be taken as permanent either (RFC 5321 section 4.5.3.1.10). A recipient whose mailbox
    /// is full is settled by it when it comes first in a further transaction.
    fn is_too_many(&self, reply: &Reply) -> bool {
        let says_so = match reply.status {
            Some(status) => TOO_MANY_RECIPIENTS.contains(&status),
            None => matches!(reply.code, 452 | 552),
        };
        says_so && self.has_accepted()
    }

    /// The first reply that settles a recipient stays.
    fn set(&mut self, at: usize, now: Recipient) {
        if let Some(recipient @ Recipient::Open) = self.recipients.get_mut(at) {
            *recipient = now;
        }
    }

    /// Commands that are not sent yet and can do no good any more are not sent.
    fn drop_useless_commands(&mut self) {
        let useful = |recipient: &Recipient| matches!(recipient, Recipient::Open | Recipient::Accepted);
        if !self.recipients.iter().any(useful) {
            self.commands.truncate(self.sent);
        }
    }

    fn line(&self, command: Command, server: &Capabilities) -> String {
        match command {
            Command::Rset => "RSET\r\n".to_owned(),
            Command::Mail => self.mail(server),
            Command::Rcpt(at) => self.rcpt(at, server),
            Command::Data => "DATA\r\n".to_owned(),
        }
    }

    /// `RCPT TO:<…>` with NOTIFY and ORCPT (RFC 3461 sections 4.1 and 4.2) where they were given and DSN is offered.
    fn rcpt(&self, at: usize, server: &Capabilities) -> String {
        let OutgoingRecipient { address, parameters } = &self.message.recipients[at];
        let notify = parameters.notify.filter(|_| server.dsn);
        let notify = notify.map_or_else(String::new, |notify| format!(" NOTIFY={notify}"));
        let orcpt = parameters.orcpt.as_ref().filter(|_| server.dsn);
        let orcpt = orcpt.and_then(|orcpt| self.orcpt(orcpt, server));
        let orcpt = orcpt.map_or_else(String::new, |orcpt| format!(" ORCPT={orcpt}"));
        format!("RCPT TO:<{address}>{notify}{orcpt}\r\n")
    }

    /// In UTF-8 only where the transaction is of SMTPUTF8 (RFC 6533 section 3).
    fn orcpt<'a>(&self, orcpt: &'a OriginalRecipient, server: &Capabilities) -> Option<Cow<'a, str>> {
        match self.has_smtputf8(server) {
            true => Some(orcpt.with_smtputf8()),
            false => orcpt.without_smtputf8(),
        }
    }

    fn has_smtputf8(&self, server: &Capabilities) -> bool {
        server.smtputf8 && (self.message.smtputf8 || self.message.addresses_need_smtputf8())
    }

    /// `REQUIRETLS` (RFC 8689 section 2), `MT-PRIORITY` (RFC 6710 section 3), `BY` (RFC 2852 section 4) and `SOLICIT` (RFC 3865
    /// section 2.3).
    fn handling(&self, server: &Capabilities) -> String {
        let mut text = String::new();
        if self.message.wishes.require_tls && server.require_tls {
            text += " REQUIRETLS";
        }
        if self.message.wishes.priority != 0 && server.mt_priority {
            text += &format!(" MT-PRIORITY={}", self.message.wishes.priority);
        }
        if let Some(by) = self.message.wishes.deliver_by.filter(|_| server.deliver_by.is_some()) {
            text += &format!(" BY={by}");
        }
        if let Some(solicitation) = self.message.wishes.solicitation.as_ref().filter(|_| server.no_soliciting)
        {
            text += &format!(" SOLICIT={solicitation}");
        }
        text
    }

    /// `RET` and `ENVID` (RFC 3461 sections 4.3 and 4.4).
    fn envelope(&self, server: &Capabilities) -> String {
        let mut text = String::new();
        if !server.dsn {
            return text;
        }
        match self.message.wishes.return_content {
            Some(ReturnContent::Full) => text += " RET=FULL",
            Some(ReturnContent::Headers) => text += " RET=HDRS",
            None => {}
        }
        if let Some(id) = &self.message.wishes.envelope_id {
            text += &format!(" ENVID={}", id.as_str());
        }
        text
    }

    /// `MAIL FROM:<…>` with SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531) and DSN's parameters as far as they are offered.
    fn mail(&self, server: &Capabilities) -> String {
        let size = match server.size {
            SizeLimit::NotOffered => String::new(),
            SizeLimit::Unbounded | SizeLimit::Octets(_) => format!(" SIZE={}", self.message.size),
        };
        let body = match self.message.body {
            BodyType::EightBitMime if server.eight_bit_mime => " BODY=8BITMIME",
            BodyType::BinaryMime => " BODY=BINARYMIME",
            BodyType::SevenBit | BodyType::EightBitMime => "",
        };
        let smtputf8 = if self.has_smtputf8(server) { " SMTPUTF8" } else { "" };
        let envelope = self.envelope(server) + &self.handling(server);
        format!("MAIL FROM:<{}>{size}{body}{smtputf8}{envelope}\r\n", self.message.reverse_path)
    }
}

impl Command {
    fn verb(self) -> &'static str {
        match self {
            Self::Rset => "RSET",
            Self::Mail => "MAIL",
            Self::Rcpt(_) => "RCPT",
            Self::Data => "DATA",
        }
    }
}
