//! One mail transaction as the client sees it: the commands of the envelope, and what came of each recipient.
//!
//! Commands go out as far as the window lets them: one without PIPELINING, [`WINDOW_COMMANDS_MAX`] with it. Replies are told
//! apart by counting (RFC 2920 section 3.1).

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use waypost_mail::{
    Address, BodyType, DeliverBy, EnvelopeId, OriginalRecipient, Overdue, Reply, ReturnContent, ReversePath,
};

use waypost_net::TlsInfo;

use super::{broken, refusals};
use crate::smtp::{
    parameters::RcptParameters,
    reply::{Capabilities, SizeLimit},
};

/// Most pipelined commands without reply: their replies fit into a TCP window, so neither side stops reading
/// (RFC 2920 section 3.1).
pub const WINDOW_COMMANDS_MAX: usize = 50;

/// A message to be sent, without its octets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outgoing {
    /// Where notifications go.
    pub reverse_path: ReversePath,
    /// Whom this transaction is for; at least one.
    pub recipients: Vec<Address>,
    /// Octets of the message as they are stored.
    pub size: u64,
    /// Declared octets of the body.
    pub body: BodyType,
    /// Whether it was submitted with SMTPUTF8.
    pub smtputf8: bool,
    /// How much of it a notification returns (RFC 3461 section 4.3).
    pub return_content: Option<ReturnContent>,
    /// What its sender calls it (RFC 3461 section 4.4).
    pub envelope_id: Option<EnvelopeId>,
    /// Whether it goes only where TLS is sure (RFC 8689).
    pub require_tls: bool,
    /// How urgent it is, from -9 to 9 (RFC 6710).
    pub priority: i8,
    /// By when it is to be delivered (RFC 2852).
    pub deliver_by: Option<DeliverBy>,
    /// What the sender said of each recipient, in their order; of those behind its end nothing.
    pub parameters: Vec<RcptParameters>,
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
        Self {
            reverse_path,
            recipients,
            size,
            body: BodyType::SevenBit,
            smtputf8: false,
            return_content: None,
            envelope_id: None,
            require_tls: false,
            priority: 0,
            deliver_by: None,
            parameters: Vec::new(),
        }
    }

    fn addresses_need_smtputf8(&self) -> bool {
        let sender = self.reverse_path.address();
        sender.into_iter().chain(&self.recipients).any(Address::needs_smtputf8)
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
        match self.deliver_by {
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
        if self.require_tls && self.reverse_path != ReversePath::Null {
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
            // It would have to go in chunks (BDAT), which are not sent.
            BodyType::BinaryMime => Some(refusals::not_binary()),
            BodyType::SevenBit | BodyType::EightBitMime => None,
        }
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
    Open,
    Accepted,
    Settled(Reply),
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
    recipients: Vec<Recipient>,
    commands: Vec<Command>,
    sent: usize,
    answered: usize,
    /// MAIL was accepted and no end of data has consumed it.
    open: bool,
}

impl Transaction {
    /// Begins; with RSET where the transaction before was left open.
    pub(super) fn new(message: Outgoing, reset: bool) -> Self {
        let rcpt = (0..message.recipients.len()).map(Command::Rcpt);
        let commands = reset.then_some(Command::Rset).into_iter().chain([Command::Mail]);
        let commands = commands.chain(rcpt).chain([Command::Data]).collect();
        let recipients = vec![Recipient::Open; message.recipients.len()];
        Self { message, recipients, commands, sent: 0, answered: 0, open: false }
    }

    /// Writes the commands that may be sent now.
    pub(super) fn write(&mut self, server: &Capabilities, output: &mut BytesMut) {
        let window = if server.pipelining { WINDOW_COMMANDS_MAX } else { 1 };
        while self.sent - self.answered < window
            && let Some(command) = self.commands.get(self.sent)
        {
            let line = self.line(*command, server);
            output.put_slice(line.as_bytes());
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
            (Command::Data, 300..400) => return Progress::LoneDot,
            (Command::Data, 400..) => self.settle_open(&reply),
            (Command::Rset, 200..300) => {}
            (Command::Mail, 200..300) => self.open = true,
            (Command::Mail, 400..) => self.settle_open(&reply),
            (Command::Rcpt(at), 200..300) => self.accept(at),
            (Command::Rcpt(at), 400..) => self.recipients[at] = settled(&self.recipients[at], reply),
            // a refused RSET says nothing of the message behind it, which is tried again
            _ => return Progress::Broken(broken(&format!("the reply {} to {}", reply.code, command.verb()))),
        }
        self.drop_useless_commands();
        if self.answered == self.commands.len() { Progress::Over } else { Progress::Envelope }
    }

    /// What is still open gets this reply.
    pub(super) fn settle_open(&mut self, reply: &Reply) {
        for recipient in &mut self.recipients {
            *recipient = settled(recipient, reply.clone());
        }
    }

    /// The end of the data was answered: the server has forgotten the envelope (RFC 5321 section 4.1.1.4).
    pub(super) fn end_of_data(&mut self) {
        self.open = false;
    }

    /// Whether the next transaction must begin with RSET.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// What the server is asked now, for the log.
    pub(super) fn awaited(&self) -> &'static str {
        self.commands.get(self.answered).map_or("DATA", |command| command.verb())
    }

    /// Whether the reply to DATA is what is waited for.
    pub(super) fn awaits_data(&self) -> bool {
        self.commands.get(self.answered) == Some(&Command::Data)
    }

    /// One reply for each recipient; `rest` for those that have none yet.
    pub(super) fn into_replies(mut self, rest: &Reply) -> Vec<Reply> {
        self.settle_open(rest);
        let reply = |recipient| match recipient {
            Recipient::Settled(reply) => reply,
            Recipient::Open | Recipient::Accepted => rest.clone(),
        };
        self.recipients.into_iter().map(reply).collect()
    }

    fn has_accepted(&self) -> bool {
        self.recipients.contains(&Recipient::Accepted)
    }

    fn accept(&mut self, at: usize) {
        if self.recipients[at] == Recipient::Open {
            self.recipients[at] = Recipient::Accepted;
        }
    }

    /// Commands that are not sent yet and can do no good any more are not sent.
    fn drop_useless_commands(&mut self) {
        let settled = |recipient: &Recipient| matches!(recipient, Recipient::Settled(_));
        if self.recipients.iter().all(settled) {
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
        let given = self.message.parameters.get(at).filter(|_| server.dsn);
        let notify = given.and_then(|given| given.notify);
        let notify = notify.map_or_else(String::new, |notify| format!(" NOTIFY={notify}"));
        let orcpt = given.and_then(|given| given.orcpt.as_ref()).and_then(|orcpt| self.orcpt(orcpt, server));
        let orcpt = orcpt.map_or_else(String::new, |orcpt| format!(" ORCPT={orcpt}"));
        format!("RCPT TO:<{}>{notify}{orcpt}\r\n", self.message.recipients[at])
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

    /// `REQUIRETLS` (RFC 8689 section 2), `MT-PRIORITY` (RFC 6710 section 3) and `BY` (RFC 2852 section 4).
    fn handling(&self, server: &Capabilities) -> String {
        let mut text = String::new();
        if self.message.require_tls && server.require_tls {
            text += " REQUIRETLS";
        }
        if self.message.priority != 0 && server.mt_priority {
            text += &format!(" MT-PRIORITY={}", self.message.priority);
        }
        if let Some(by) = self.message.deliver_by.filter(|_| server.deliver_by.is_some()) {
            text += &format!(" BY={by}");
        }
        text
    }

    /// `RET` and `ENVID` (RFC 3461 sections 4.3 and 4.4).
    fn envelope(&self, server: &Capabilities) -> String {
        let mut text = String::new();
        if !server.dsn {
            return text;
        }
        match self.message.return_content {
            Some(ReturnContent::Full) => text += " RET=FULL",
            Some(ReturnContent::Headers) => text += " RET=HDRS",
            None => {}
        }
        if let Some(id) = &self.message.envelope_id {
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
            // A binary message is not sent.
            BodyType::SevenBit | BodyType::EightBitMime | BodyType::BinaryMime => "",
        };
        let smtputf8 = if self.has_smtputf8(server) { " SMTPUTF8" } else { "" };
        let envelope = self.envelope(server) + &self.handling(server);
        format!("MAIL FROM:<{}>{size}{body}{smtputf8}{envelope}\r\n", self.message.reverse_path)
    }
}

/// The first reply that settles a recipient stays.
fn settled(recipient: &Recipient, reply: Reply) -> Recipient {
    match recipient {
        Recipient::Settled(first) => Recipient::Settled(first.clone()),
        Recipient::Open | Recipient::Accepted => Recipient::Settled(reply),
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
