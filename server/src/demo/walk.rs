//! The walk: one message there, read twice, one back, and one that nobody takes.

use std::time::{Duration, Instant};

use serde::Serialize;
use waypost_config::Service;
use waypost_mail::{Address, ReversePath};
use waypost_message::HeaderBlock;

use crate::{
    agent::{AgentError, Submission, mailbox::Imap, mailbox::Pop3, submit},
    cli::{Failure, send::new_draft},
    demo::world::{Site, World},
};

/// One station of a message.
#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    /// Who has it here: `user agent`, `MTA client` or `MTA server`, and its name.
    pub who: String,
    /// How it came here; `None` where it begins.
    pub by: Option<String>,
    /// What was done here.
    pub what: String,
    /// When, in milliseconds since the leg began.
    pub milliseconds: f64,
}

/// One of the walk's legs.
#[derive(Clone, Debug, Serialize)]
pub struct Leg {
    /// What it shows.
    pub title: String,
    /// Its hops.
    pub hops: Vec<Hop>,
    /// What the server that takes it finds out about who it is from; `None`: it takes no message.
    pub authenticity: Option<Authenticity>,
}

/// Whether a message comes from whom it says, as Authentication-Results tells it (RFC 8601).
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Authenticity {
    /// Whether the client may send for the domain.
    pub spf: String,
    /// Whether the first signature stands.
    pub dkim: String,
    /// Whose signature that is.
    pub signed_by: String,
    /// Whether the author's domain stands behind it.
    pub dmarc: String,
}

impl Authenticity {
    /// What stands in a message that was delivered; `None`: nothing, or not all of it.
    fn read(message: &[u8]) -> Option<Self> {
        let value = HeaderBlock::new(message.to_vec()).first("Authentication-Results")?;
        let text = String::from_utf8(value).ok()?;
        let method = |name: &str| {
            let found = text.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))?;
            Some(found.split_ascii_whitespace())
        };
        let result = |name| Some(method(name)?.next()?.to_owned());
        let signed_by = method("dkim")?.find_map(|word| word.strip_prefix("header.d="))?.to_owned();
        Some(Self { spf: result("spf")?, dkim: result("dkim")?, signed_by, dmarc: result("dmarc")? })
    }

    fn passes_for(&self, domain: &str) -> bool {
        let all = [&self.spf, &self.dkim, &self.dmarc];
        self.signed_by == domain && all.iter().all(|result| *result == "pass")
    }
}

impl std::fmt::Display for Authenticity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { spf, dkim, signed_by, dmarc } = self;
        write!(f, "spf={spf} dkim={dkim} ({signed_by}) dmarc={dmarc}")
    }
}

/// What the walk saw.
#[derive(Clone, Debug, Serialize)]
pub struct Walk {
    /// The legs.
    pub legs: Vec<Leg>,
    /// How long it took in all, in milliseconds.
    pub milliseconds: f64,
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self::new(error)
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(what())) }
}

/// Walks the whole path and checks each step.
pub async fn walk(world: &World) -> Result<Walk, Failure> {
    let start = Instant::now();
    let (a, b) = (&world.a, &world.b);
    let text = "Hello Bob,\r\n\r\nthis went from domain to domain.\r\n.\r\nThe dot above stood alone.\r\n";
    let message =
        new_draft(&a.user, std::slice::from_ref(&b.user), "One path", text.to_owned(), Vec::new()).build();
    let mut there = send(a, b, &message).await?;
    read_twice(b, &message, start, &mut there.hops).await?;
    let id = header(&message, "Message-ID").unwrap_or_default();
    let answer = format!(
        "From: {b}\r\nTo: {a}\r\nSubject: Re: One path\r\nIn-Reply-To: {id}\r\nReferences: {id}\r\n\r\nHello Alice, it arrived.\r\n",
        a = a.user,
        b = b.user
    );
    let back = send(b, a, answer.as_bytes()).await?;
    let bounce = bounce(a, b).await?;
    Ok(Walk { legs: vec![there, back, bounce], milliseconds: milliseconds(start) })
}

/// One message from user agent to user agent; the recipient watches in IDLE and then reads it.
async fn send(from: &Site, to: &Site, message: &[u8]) -> Result<Leg, Failure> {
    let (address, tls) = to.service(Service::Imap)?;
    let (mut watching, before) = Imap::inbox(address, tls.clone(), &to.login()).await?;
    let start = Instant::now();
    let watch = tokio::spawn(async move {
        let count = watching.idle_until_message().await?;
        let arrived = Instant::now();
        watching.logout().await?;
        Ok::<_, AgentError>((count, arrived))
    });
    let reply = hand_over(from, &to.user, message).await?;
    let submitted = Instant::now();
    let (count, arrived) = watch.await.map_err(Failure::new)??;
    ensure(count == before + 1, || format!("IDLE told of {count} messages, not of {}", before + 1))?;
    let (mut imap, count) = Imap::inbox(address, tls, &to.login()).await?;
    let stored = imap.message(count).await?;
    imap.logout().await?;
    ensure(carries(&stored, message), || {
        "the message that was read is not the one that was sent".to_owned()
    })?;
    ensure(header(&stored, "Return-Path").is_some(), || "the message has no Return-Path".to_owned())?;
    let authenticity = Authenticity::read(&stored)
        .filter(|found| found.passes_for(from.domain))
        .ok_or_else(|| Failure::new(format!("it is not shown that it comes from {}", from.domain)))?;
    let secure = stored_text(&stored).contains("with ESMTPS ");
    ensure(secure, || "the message did not travel under TLS from MTA to MTA".to_owned())?;
    // The recipient may see it before the sender has said good-bye.
    let taken = submitted.min(arrived) - start;
    let hops = vec![
        hop("user agent", &from.user, None, format!("writes to {}", to.user), Duration::ZERO),
        hop("MTA client", &from.host, Some(SUBMISSION), format!("answers 250 {reply}"), taken),
        hop(
            "MTA server",
            &to.host,
            Some(&format!("SMTP to {}, the MX of {}, under STARTTLS", to.host, to.domain)),
            format!("finds {authenticity}; puts it into the INBOX; IDLE there sees: * {count} EXISTS"),
            arrived - start,
        ),
        hop(
            "user agent",
            &to.user,
            Some("IMAP under TLS"),
            "reads it: every octet intact; it stays".to_owned(),
            start.elapsed(),
        ),
    ];
    let title = format!("{} writes to {}", from.user, to.user);
    Ok(Leg { title, hops, authenticity: Some(authenticity) })
}

const SUBMISSION: &str = "submission under TLS, with login";

fn hop(role: &str, name: &impl std::fmt::Display, by: Option<&str>, what: String, at: Duration) -> Hop {
    Hop {
        who: format!("{role} {name}"),
        by: by.map(str::to_owned),
        what,
        milliseconds: at.as_secs_f64() * 1000.0,
    }
}

async fn hand_over(from: &Site, to: &Address, message: &[u8]) -> Result<String, Failure> {
    let (address, tls) = from.submission()?;
    let login = Some(from.login());
    let path = ReversePath::Address(from.user.clone());
    let to = std::slice::from_ref(to);
    Ok(submit(Submission { address, tls, login, from: &path, to, message }).await?)
}

/// The message is still there over IMAP; POP3 downloads and deletes it; then it is gone for both.
async fn read_twice(site: &Site, message: &[u8], start: Instant, hops: &mut Vec<Hop>) -> Result<(), Failure> {
    let (imap, imap_tls) = site.service(Service::Imap)?;
    let (pop3, pop3_tls) = site.service(Service::Pop3)?;
    let (session, count) = Imap::inbox(imap, imap_tls.clone(), &site.login()).await?;
    session.logout().await?;
    ensure(count > 0, || "after it was read over IMAP the mailbox is empty".to_owned())?;
    let mut drop_off = Pop3::login(pop3, pop3_tls.clone(), &site.login()).await?;
    let taken = drop_off.take(count).await?;
    drop_off.quit().await?;
    ensure(carries(&taken, message), || "POP3 gave another message than was sent".to_owned())?;
    let mut drop_off = Pop3::login(pop3, pop3_tls, &site.login()).await?;
    let left = drop_off.count().await?;
    drop_off.quit().await?;
    let (session, still) = Imap::inbox(imap, imap_tls, &site.login()).await?;
    session.logout().await?;
    ensure(left == count - 1 && still == left, || {
        format!("after POP3 deleted one of {count}, {left} and {still} messages are left")
    })?;
    hops.push(hop(
        "user agent",
        &site.user,
        Some("POP3 under TLS"),
        "downloads and deletes it: gone for IMAP, too".to_owned(),
        start.elapsed(),
    ));
    Ok(())
}

/// A message for an address that does not exist comes back as a notification.
async fn bounce(from: &Site, to: &Site) -> Result<Leg, Failure> {
    let nobody = Address::parse(&format!("nobody@{}", to.domain)).map_err(Failure::new)?;
    let (address, tls) = from.service(Service::Imap)?;
    let (mut watching, _) = Imap::inbox(address, tls, &from.login()).await?;
    let start = Instant::now();
    let message =
        new_draft(&from.user, std::slice::from_ref(&nobody), "Anybody?", "Hello?\r\n".to_owned(), Vec::new())
            .build();
    let reply = hand_over(from, &nobody, &message).await?;
    let submitted = start.elapsed();
    let count = watching.idle_until_message().await?;
    let returned = start.elapsed();
    let notification = stored_text(&watching.message(count).await?);
    watching.logout().await?;
    let diagnostic =
        notification.lines().find(|line| line.starts_with("Diagnostic-Code:")).unwrap_or_default();
    ensure(notification.contains("Action: failed") && diagnostic.contains("550"), || {
        format!("no proper notification came: {notification}")
    })?;
    let said = diagnostic.trim_start_matches("Diagnostic-Code:").trim().trim_start_matches("smtp;").trim();
    let pause = &to.running.config().limits.error_delay;
    let hops = vec![
        hop("user agent", &from.user, None, format!("writes to {nobody}"), Duration::ZERO),
        hop("MTA client", &from.host, Some(SUBMISSION), format!("answers 250 {reply}"), submitted),
        hop(
            "MTA server",
            &to.host,
            Some(&format!("SMTP to {}, the MX of {}, under STARTTLS", to.host, to.domain)),
            format!("waits {} ms, as after every error, and refuses: {said}", pause.as_millis()),
            returned,
        ),
        hop(
            "user agent",
            &from.user,
            Some(&format!("a notification (RFC 3464) that {} writes; IMAP under TLS", from.host)),
            "reads that it did not arrive, and why".to_owned(),
            start.elapsed(),
        ),
    ];
    let title = format!("{} writes to {nobody}, who does not exist", from.user);
    Ok(Leg { title, hops, authenticity: None })
}

/// Whether a stored message is the sent one behind the fields that were added in front of it.
fn carries(stored: &[u8], sent: &[u8]) -> bool {
    let body =
        |octets: &[u8]| octets.windows(4).position(|w| w == b"\r\n\r\n").map(|at| octets[at..].to_vec());
    let kept = |name| header(stored, name) == header(sent, name);
    body(stored).is_some() && body(stored) == body(sent) && kept("Subject") && kept("From") && kept("To")
}

fn stored_text(stored: &[u8]) -> String {
    String::from_utf8_lossy(stored).into_owned()
}

fn header(message: &[u8], name: &str) -> Option<String> {
    let text = stored_text(message);
    let header = text.split("\r\n\r\n").next()?.to_owned();
    let field = |line: &str| {
        let (field, value) = line.split_once(':')?;
        field.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    header.lines().find_map(field)
}
