//! The header block of a message that comes in: trace fields (RFC 5321 section 4.4), loops, and what submission adds,
//! removes and demands (RFC 6409 sections 6 and 8).

use std::{fmt::Write, net::IpAddr, sync::Arc};

use waypost_auth::{Identity, Live, SendRight};
use waypost_mail::{Address, DateTime, Domain, EntryId, LocalPart, Refusal, Solicitation, Timestamp};
use waypost_message::{EnvelopeAddress, HeaderBlock, Splitter};

use super::{Context, recipient::Recipients, refusal, session::is_trusted};
use crate::{
    authenticity::{Check, Verdict, keys::SigningKey, results, seal, sign::Signing},
    smtp::server::{Dialect, Login, Mail},
};

/// Most Received fields of a message that is not yet taken for one that goes in a circle (RFC 5321 section 6.3; the
/// number is the least that the RFC asks for).
pub(super) const RECEIVED_FIELDS_MAX: usize = 100;

/// Longest line of a message in octets, CRLF included (RFC 5322 section 2.1.1).
const LINE_BYTES_MAX: usize = 1000;

/// Room for so many octets of Received is made at once.
const RECEIVED_BYTES_EXPECTED: usize = 256;

/// Whose a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Authorship {
    /// Its author is the user.
    Own,
    /// Its author is another address that the user sends from, or there are several: Sender says who sends it (RFC 5322 section 3.6.2).
    ToBeTold,
}

/// What is known about a message when its header is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival<'a> {
    pub(super) context: &'a Context,
    pub(super) live: &'a Live,
    pub(super) id: EntryId,
    pub(super) mail: &'a Mail,
    pub(super) peer: IpAddr,
    /// Who submits it; `None`: it comes from a server.
    pub(super) submitter: Option<&'a Identity>,
    pub(super) recipients: &'a Recipients,
    /// Whether it is to be checked where the message comes from.
    pub(super) is_checked: bool,
    pub(super) now: Timestamp,
}

impl Arrival<'_> {
    /// Rewrites a header block into the one that is stored.
    pub(super) fn rewrite(&self, mut header: HeaderBlock) -> Result<HeaderBlock, Refusal> {
        if matches!(header.octets().first(), Some(b' ' | b'\t')) {
            return Err(refusal::BEGINS_FOLDED.into());
        }
        self.refuse_loops(&header)?;
        if self.submitter.is_some() || self.is_final() {
            header.remove("Return-Path");
        }
        results::remove_forged(&mut header, self.live.config.hostname.as_str());
        if let Some(submitter) = self.submitter {
            self.complete_submission(&mut header, submitter)?;
        }
        if let [only] = self.recipients.as_slice()
            && only.is_forwarded()
        {
            // an alias that leads back to itself over another server is found by this; with more recipients it would tell
            // each of the others
            header.prepend(&format!("Delivered-To: {}\r\n", only.address));
        }
        header.prepend(&self.received());
        Ok(header)
    }

    /// Begins to check where the message comes from, by its header as it came.
    pub(super) fn check(&self, header: &HeaderBlock) -> Option<Box<Check>> {
        let check = || Check::begin(header, (self.now.0 / 1000).unsigned_abs());
        let check = self.is_checked.then(check)?;
        Some(Box::new(if self.sealer().is_some() { check.for_seal() } else { check }))
    }

    /// Begins to sign the message, its header being complete: for its author, where that is one of our users or a host we trust; for the
    /// domain of an alias that forwards it.
    pub(super) fn sign(&self, header: &mut HeaderBlock) -> Option<Signing> {
        let dkim = &self.live.config.dkim;
        let author = self.submitter.is_some() || dkim.sign_trusted && is_trusted(self.live, self.peer);
        let forwarder = self.forwarder().filter(|_| dkim.sign_forwarded);
        let Context { store, signers, .. } = self.context;
        signers.begin((&self.live.config, store), header, author, forwarder, self.now)
    }

    /// The domain of the alias that the message goes on from, the first one.
    fn forwarder(&self) -> Option<&Domain> {
        let forwarded = self.recipients.as_slice().iter().find(|recipient| recipient.is_forwarded());
        forwarded.map(|recipient| &recipient.address.domain)
    }

    /// The key that seals what an alias forwards.
    fn sealer(&self) -> Option<Arc<SigningKey>> {
        let Context { store, signers, .. } = self.context;
        let config = &self.live.config;
        signers.sealer(config, store, self.forwarder().filter(|_| config.dkim.seal_forwarded)?)
    }

    /// The set of ARC for copies that go on, whose header is complete: what was found out, told to whom gets them.
    pub(super) fn seal(&self, verdict: &Verdict, results: &str, header: &[u8]) -> String {
        let Some(key) = self.sealer().filter(|_| verdict.custody.is_some()) else { return String::new() };
        let header = HeaderBlock::new(header.to_vec());
        match seal::set(&key, verdict, results, &header, self.now) {
            Ok(set) => set.unwrap_or_default(),
            Err(error) => {
                tracing::error!(id = %self.id, %error, "the message goes on without a seal");
                String::new()
            }
        }
    }

    /// Whether the message goes nowhere else. RFC 5321 section 4.4: at the final delivery Return-Path may be removed, by a
    /// relay it must not; who submits a message should send none. Mailboxes and queue share one header block, so where both
    /// get it a mailbox shows the old one, too, behind ours.
    fn is_final(&self) -> bool {
        self.recipients.as_slice().iter().all(|recipient| recipient.remote.is_empty())
    }

    /// RFC 5321 section 6.3. Users may send again what was delivered to them.
    fn refuse_loops(&self, header: &HeaderBlock) -> Result<(), Refusal> {
        if header.count("Received") > RECEIVED_FIELDS_MAX {
            return Err(refusal::TOO_MANY_HOPS.into());
        }
        if self.submitter.is_some() {
            return Ok(());
        }
        for field in header.named("Delivered-To") {
            let value = field.value();
            let before = std::str::from_utf8(&value).ok().and_then(|value| Address::parse(value).ok());
            if let Some(recipient) = before.and_then(|before| self.recipients.ours(&before)) {
                return Err(refusal::delivered_before(&recipient.address));
            }
        }
        Ok(())
    }

    /// RFC 6409 section 8: what is missing is added; Bcc goes; the authors are the user.
    fn complete_submission(&self, header: &mut HeaderBlock, submitter: &Identity) -> Result<(), Refusal> {
        if header.count("From") > 1 {
            return Err(refusal::SEVERAL_FROM.into());
        }
        if header.count("From") == 0 {
            let author = self.mail.reverse_path.address().unwrap_or(&submitter.address);
            header.append(&format!("From: <{author}>\r\n"));
        }
        if header.count("Sender") > 1 {
            return Err(refusal::SEVERAL_SENDERS.into());
        }
        let authorship = self.check_authors(header, submitter)?;
        if authorship == Authorship::ToBeTold && header.count("Sender") == 0 {
            header.append(&format!("Sender: <{}>\r\n", submitter.address));
        }
        header.remove("Bcc");
        // of a message that is sent again (RFC 5322 section 3.6.6)
        header.remove("Resent-Bcc");
        if header.count("Date") == 0 {
            header.append(&format!("Date: {}\r\n", DateTime::utc(self.now).rfc5322()));
        }
        if header.count("Message-ID") == 0 {
            header.append(&format!("Message-ID: <{}@{}>\r\n", self.id, self.live.config.hostname));
        }
        Ok(())
    }

    /// Each address in From and Sender must be one that the user sends from.
    fn check_authors(&self, header: &HeaderBlock, submitter: &Identity) -> Result<Authorship, Refusal> {
        // only these fields, so that others cannot use up what the splitter may keep
        let named = header.fields().filter(|field| field.is("From") || field.is("Sender"));
        let authors: Vec<u8> = named.flat_map(|field| field.octets).copied().collect();
        let envelope = Splitter::split(&authors).envelope;
        let is_mailbox = |address: &EnvelopeAddress| matches!(address, EnvelopeAddress::Mailbox { .. });
        let mut authorship = match envelope.from.iter().filter(|author| is_mailbox(author)).count() {
            0 => return Err(refusal::NO_FROM_ADDRESS.into()),
            1 => Authorship::Own,
            _ => Authorship::ToBeTold,
        };
        for author in envelope.from.iter().chain(&envelope.sender) {
            let EnvelopeAddress::Mailbox { local, domain, .. } = author else { continue };
            let (local, domain) = (String::from_utf8_lossy(local), String::from_utf8_lossy(domain));
            let address =
                LocalPart::new(&local).and_then(|local| Ok(Address { local, domain: Domain::new(&domain)? }));
            let right = |address: Address| self.live.directory.send_right(submitter.account, &address);
            match address.ok().and_then(right) {
                Some(SendRight::Granted { add_sender: true }) => authorship = Authorship::ToBeTold,
                Some(SendRight::Own | SendRight::Granted { .. }) => {}
                None => {
                    return Err(refusal::not_your_author(&printable(&local, &domain), &submitter.address));
                }
            }
        }
        Ok(authorship)
    }

    /// `Time-stamp-line = "Received:" FWS Stamp <CRLF>`; the comments behind the protocol tell about TLS, and what the client said that
    /// the message solicits for.
    fn received(&self) -> String {
        let mut field = String::with_capacity(RECEIVED_BYTES_EXPECTED);
        field.extend(["Received: from ", self.mail.client.name.as_str()]);
        let _infallible = match self.peer {
            unknown if unknown.is_unspecified() => Ok(()),
            IpAddr::V4(ip) => write!(field, " ([{ip}])"),
            IpAddr::V6(ip) => write!(field, " ([IPv6:{ip}])"),
        };
        field.extend(["\r\n\tby ", self.live.config.hostname.as_str(), " with "]);
        field.extend(protocol(self.mail));
        if let Some(tls) = &self.mail.tls {
            let _infallible = write!(field, " ({} {})", tls.version, tls.cipher);
        }
        if let Some(said) = &self.mail.parameters.wishes.solicitation {
            field.push_str(&solicitation(said));
        }
        let _infallible = write!(field, "\r\n\tid {}", self.id);
        if let [only] = self.recipients.as_slice() {
            let _infallible = write!(field, " for <{}>", only.address);
        }
        field.extend([";\r\n\t", &DateTime::utc(self.now).rfc5322(), "\r\n"]);
        field
    }
}

/// `requiretls-field = "TLS-Required:" [FWS] "No" CRLF` (RFC 8689 section 3). Of more than one, which must not be, none counts.
pub(super) fn tls_optional(header: &HeaderBlock) -> bool {
    let mut fields = header.named("TLS-Required");
    match (fields.next(), fields.next()) {
        (Some(only), None) => only.value().trim_ascii().eq_ignore_ascii_case(b"No"),
        _ => false,
    }
}

/// Which kinds of solicitation a header says that its message is: field `Solicitation` (RFC 3865 section 2.5).
pub(super) fn solicitations(header: &HeaderBlock) -> Vec<Solicitation> {
    let fields = header.named("Solicitation");
    fields.filter_map(|field| Solicitation::of_field(&String::from_utf8_lossy(&field.value()))).collect()
}

/// The comment `(SOLICIT=…)` in Received (RFC 3865 section 2.6) on a line of its own, or where that is too long with a line for each keyword;
/// empty where there is a keyword that no line holds.
fn solicitation(said: &Solicitation) -> String {
    let said = said.to_string();
    let fits = |text: &str| text.len() <= LINE_BYTES_MAX - "\t(SOLICIT=)\r\n".len();
    match fits(&said) {
        true => format!("\r\n\t(SOLICIT={said})"),
        false if said.split(',').all(fits) => format!("\r\n\t(SOLICIT={})", said.replace(',', ",\r\n\t ")),
        false => String::new(),
    }
}

/// `Protocol` as registered by RFC 3848 and RFC 6531 section 4.3. SMTP without extensions has one form only, also where the
/// client said EHLO and logged in before it said HELO.
fn protocol(mail: &Mail) -> [&'static str; 3] {
    let base = match (mail.client.dialect, mail.parameters.smtputf8) {
        (Dialect::Smtp, _) => return ["SMTP", "", ""],
        (Dialect::Esmtp, false) => "ESMTP",
        (Dialect::Esmtp, true) => "UTF8SMTP",
        (Dialect::Lmtp, false) => "LMTP",
        (Dialect::Lmtp, true) => "UTF8LMTP",
    };
    let secure = if mail.tls.is_some() { "S" } else { "" };
    [base, secure, if mail.login == Login::Authenticated { "A" } else { "" }]
}

/// An address of a message as it can stand in a reply: bounded, visible ASCII.
fn printable(local: &str, domain: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 100;
    let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    format!("{local}@{domain}").chars().take(SHOWN_CHARACTERS_MAX).map(visible).collect()
}
