//! Mail of strangers is checked before it is answered.

use std::sync::Arc;

use super::*;
use crate::{
    authenticity::{rotation::make, testing::Signing},
    dns::Resolver,
    reports::outgoing::Day,
};

const HELLO: &str = "From: s@c.test\r\nTo: anna@a.test\r\nSubject: x\r\n\r\nHello\r\n";

/// A site that checks, with DNS of its own and these lines in its configuration.
async fn site(zone: Zone, lines: &str) -> Site {
    let mut site = Site::new().await;
    site.context.resolver = Resolver::answered_by(zone);
    let checked = format!("[authenticity]\n{lines}\n");
    let text = CONFIG.replace("[authenticity]\nenabled = false\n", &checked);
    let config = waypost_config::parse(std::path::Path::new("x.toml"), &text).unwrap();
    site.live.send_modify(|live| {
        let directory = live.directory.clone();
        *live = Arc::new(Live { config: Arc::new(config), directory });
    });
    site
}

fn rejecting() -> Zone {
    Zone::default().text("_dmarc.c.test", "v=DMARC1; p=reject").name("198.51.100.7", "mx.c.test")
}

impl Site {
    /// The messages in an account's Junk.
    async fn junk(&self, account: AccountId) -> Vec<String> {
        let account = self.context.store.account(account).await.unwrap();
        let junk = account.state().mailboxes.values().find(|mailbox| mailbox.name == "Junk").unwrap().id;
        let state = account.select(junk).await.unwrap().state().unwrap();
        let mut messages = Vec::new();
        for row in state.rows() {
            let octets = self.context.store.read(&row.content, 0, row.content.size()).await.unwrap();
            messages.push(String::from_utf8(octets.to_vec()).unwrap());
        }
        messages
    }
}

#[tokio::test]
async fn results_stand_before_the_header() {
    let by = Signing::new("c.test");
    let zone = rejecting().text("s._domainkey.c.test", &by.record()).text("c.test", "v=spf1 ~all");
    let mut site = site(zone, "").await;
    let forged = "Authentication-Results: MX.a.test; dmarc=pass header.from=bank.test\r\nAuthentication-Results: c.test; auth=pass\r\n";
    let signed = forged.to_owned() + &by.sign(HELLO);
    for (piece, before) in [(1, 0), (3, 1), (4096, 2)] {
        site.transport_bytes = piece;
        let id = accepted(&site.relay(&message("s@c.test", &["anna@a.test"], &signed)).await).to_owned();
        let read = undated(&site.inbox(site.anna).await[before]);
        let (results, rest) = read.split_once("Received: ").unwrap();
        let mark = results.split_once("header.b=").unwrap().1.split_once(";\r\n").unwrap().0;
        assert_eq!(
            results,
            format!(
                "Return-Path: <s@c.test>\r\nDelivered-To: anna@a.test\r\nAuthentication-Results: mx.a.test;\r\n\tiprev=fail\r\n\t\t\
                 policy.iprev=198.51.100.7;\r\n\tspf=softfail\r\n\t\tsmtp.mailfrom=s@c.test;\r\n\tspf=softfail\r\n\t\tsmtp.helo=c.test;\r\n\tdkim=pass\r\n\t\theader.d=c.test\r\n\t\t\
                 header.s=s\r\n\t\theader.a=ed25519-sha256\r\n\t\theader.b={mark};\r\n\tarc=none;\r\n\tdmarc=pass\r\n\t\theader.from=c.test\r\n\t\t\
                 policy.dmarc=reject\r\n"
            )
        );
        assert!(rest.contains(&id) && !rest.contains("bank.test"), "{rest}");
        assert!(rest.contains("\r\nAuthentication-Results: c.test; auth=pass\r\n"), "{rest}");
        assert!(rest.contains("\r\nDKIM-Signature: ") && rest.ends_with(HELLO), "{rest}");
    }
}

#[tokio::test]
async fn a_message_that_its_domain_does_not_want_is_refused() {
    let site = site(rejecting(), "").await;
    let replies = site.relay(&message("s@elsewhere.test", &["anna@a.test"], HELLO)).await;
    let refusal = "550 5.7.1 Neither SPF nor DKIM shows that this is from c.test, which asks to refuse such mail (DMARC)";
    assert_eq!(replies.last().unwrap(), refusal);
    assert!(site.inbox(site.anna).await.is_empty() && site.junk(site.anna).await.is_empty());
    assert!(site.files("bodies").is_empty());
    // a message that is all header
    let replies = site.relay(&message("s@elsewhere.test", &["anna@a.test"], "From: s@c.test\r\n")).await;
    assert_eq!(replies.last().unwrap(), refusal);
}

#[tokio::test]
async fn a_message_whose_domain_cannot_be_asked_comes_later() {
    let site = site(rejecting().text("s._domainkey.c.test", "TIMEOUT"), "").await;
    let signed = Signing::new("c.test").sign(HELLO);
    let replies = site.relay(&message("s@elsewhere.test", &["anna@a.test"], &signed)).await;
    let refusal = "451 4.7.1 DNS does not answer whether this is from c.test, try again later (DMARC)";
    assert_eq!(replies.last().unwrap(), refusal);
}

#[tokio::test]
async fn suspicious_mail_goes_to_junk_with_the_reason() {
    let site = site(rejecting(), "dmarc = \"quarantine\"").await;
    accepted(&site.relay(&message("s@elsewhere.test", &["team@a.test"], HELLO)).await);
    for account in [site.anna, site.bert] {
        assert!(site.inbox(account).await.is_empty());
        let [read] = &site.junk(account).await[..] else { panic!("not one message in Junk") };
        let reason =
            "dmarc=fail reason=\"quarantined: neither SPF nor DKIM holds for c.test, which asks for reject\"";
        assert!(read.contains(reason), "{read}");
    }
    let [(entry, octets)] = &site.queued().await[..] else { panic!("not one message for elsewhere") };
    assert_eq!(entry.recipients.len(), 1);
    assert!(!octets.contains("Authentication-Results"), "what goes on says nothing of us: {octets}");
}

#[tokio::test]
async fn who_has_no_junk_gets_it_in_inbox() {
    let site = site(rejecting(), "dmarc = \"quarantine\"").await;
    let account = site.context.store.account(site.anna).await.unwrap();
    let junk = account.state().mailboxes.values().find(|mailbox| mailbox.name == "Junk").unwrap().id;
    account.delete_mailbox(junk).await.unwrap();
    accepted(&site.relay(&message("s@elsewhere.test", &["anna@a.test"], HELLO)).await);
    assert!(site.inbox(site.anna).await[0].contains("reason=\"quarantined: "));
}

#[tokio::test]
async fn only_mail_of_strangers_is_checked() {
    for (lines, peer) in [
        ("", PARTNER),
        ("", "127.0.0.1:1"),
        ("", "[::1]:1"),
        ("exempt = [\"198.51.100.0/24\"]", STRANGER),
        ("enabled = false", STRANGER),
    ] {
        let site = site(rejecting(), lines).await;
        let forged = format!("Authentication-Results: mx.a.test; dmarc=pass\r\n{HELLO}");
        let input = format!("EHLO c.test\r\n{}", message("s@c.test", &["anna@a.test"], &forged));
        accepted(&site.talk(Service::Smtp, peer, &input).await);
        let read = &site.inbox(site.anna).await[0];
        assert!(!read.contains("Authentication-Results"), "{peer} {lines}: {read}");
    }
    let site = site(rejecting(), "exempt = []").await;
    let submitted = HELLO.replace("s@c.test", "anna@a.test");
    accepted(&site.submit(&message("anna@a.test", &["bert@a.test"], &submitted)).await);
    assert!(!site.inbox(site.bert).await[0].contains("Authentication-Results"));
}

#[tokio::test]
async fn mail_of_a_client_whose_address_nobody_knows_is_checked() {
    let zone = || rejecting().text("c.test", "v=spf1 ip4:0.0.0.0/1 -all");
    let site = site(zone(), "exempt = [\"0.0.0.0/8\", \"192.0.2.0/24\"]").await;
    site.reconfigure(|config| {
        let proxies = config.trust.clone();
        config.listeners.iter_mut().for_each(|listener| listener.rules.xclient = proxies.clone());
    });
    let sent = |to: &str| {
        let mail = message(to, &["anna@a.test"], HELLO);
        format!("XCLIENT ADDR=[UNAVAILABLE] HELO=mx.far.test\r\n{mail}")
    };
    let said = site.from(PARTNER, &sent("s@c.test")).await.pop().unwrap();
    assert!(said.starts_with("550 5.7.1 "), "{said}");
    let site = self::site(zone(), "dmarc = \"observe\"").await;
    site.reconfigure(|config| {
        let proxies = config.trust.clone();
        config.listeners.iter_mut().for_each(|listener| listener.rules.xclient = proxies.clone());
    });
    accepted(&site.from(PARTNER, &sent("s@c.test")).await);
    let read = site.inbox(site.anna).await.pop().unwrap();
    assert!(read.contains("\tspf=none"), "{read}");
    assert!(read.contains("\tiprev=permerror;"), "{read}");
    assert_eq!(counted(&site), [], "a report would have to name the address");
}

/// The message as it goes on, with its entry in the queue: from a peer to a recipient, at a site with these lines in its configuration.
async fn forwarded(
    zone: Zone,
    lines: &str,
    keys: bool,
    (peer, to): (&str, &str),
) -> (Site, QueueEntry, String) {
    let by = Signing::new("c.test");
    let site = site(zone.text("s._domainkey.c.test", &by.record()), lines).await;
    let domain = waypost_mail::Domain::new("a.test").unwrap();
    for key in if keys { make(&site.context.store, &domain).await.unwrap() } else { Vec::new() } {
        site.context.store.activate_dkim_key(domain.clone(), key.selector).await.unwrap();
    }
    let input = format!("EHLO c.test\r\n{}", message("s@c.test", &[to], &by.sign(HELLO)));
    accepted(&site.talk(Service::Smtp, peer, &input).await);
    let (entry, text) = site.queued().await.pop().unwrap();
    (site, entry, text)
}

#[tokio::test]
async fn copies_that_go_on_are_sealed_and_those_that_stay_are_not() {
    let (site, entry, text) = forwarded(rejecting(), "", true, (STRANGER, "team@a.test")).await;
    let names: Vec<_> =
        text.lines().filter_map(|line| line.split_once(": ")).take(3).map(|(name, _)| name).collect();
    assert_eq!(names, ["ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"]);
    assert!(text.starts_with("ARC-Seal: i=1; a=rsa-sha256; cv=none;\r\n\td=a.test; s=rsa-"), "{text}");
    assert!(text.contains("\r\nARC-Authentication-Results: i=1; mx.a.test;\r\n\tiprev="), "{text}");
    assert!(text.contains(";\r\n\tdmarc=pass\r\n\t\theader.from=c.test"), "{text}");
    let rest = &text[usize::try_from(entry.content.prefix_size()).unwrap()..];
    assert!(rest.starts_with("DKIM-Signature: v=1; ") && rest.ends_with(HELLO), "{rest}");
    let read = site.inbox(site.anna).await.pop().unwrap();
    assert!(read.ends_with(rest) && !read.contains("ARC-"), "{read}");
}

#[tokio::test]
async fn what_is_not_forwarded_checked_or_signed_for_is_not_sealed() {
    let team = (STRANGER, "team@a.test");
    for (lines, keys, sent) in [
        ("", false, team),
        ("", true, (STRANGER, "x@backup.test")),
        ("", true, (PARTNER, "team@a.test")),
        ("[dkim]\nseal_forwarded = false", true, team),
        ("enabled = false", true, team),
    ] {
        let (_, entry, text) = forwarded(rejecting(), lines, keys, sent).await;
        assert!(!text.contains("ARC-"), "{lines} {sent:?}: {text}");
        assert_eq!(entry.content, entry.content.without_prefix());
    }
}

/// What was counted today of each policy domain: what was done, and how often.
fn counted(site: &Site) -> Vec<(String, String, u32)> {
    let today = Day::of(site.context.store.now());
    let day = site.context.counts.day(today).unwrap();
    let mut rows = Vec::new();
    for (domain, counts) in &day {
        for record in &counts.records {
            let done = format!("{:?}", record.row.policy_evaluated.disposition).to_lowercase();
            rows.push((domain.clone(), done, record.row.count));
        }
    }
    rows
}

#[tokio::test]
async fn what_is_seen_is_counted_for_reports() {
    let zone = || {
        let record = "v=DMARC1; p=reject; rua=mailto:d@c.test";
        Zone::default().text("_dmarc.c.test", record).text("_dmarc.d.test", "v=DMARC1; p=none")
    };
    let site = site(zone().text("c.test", "v=spf1 ip4:198.51.100.7 -all"), "").await;
    for _ in 0..2 {
        accepted(&site.relay(&message("s@c.test", &["anna@a.test", "bert@a.test"], HELLO)).await);
    }
    site.relay(&message("s@elsewhere.test", &["anna@a.test"], HELLO)).await;
    // who wants no report, and a message that will come again
    accepted(&site.relay(&message("s@c.test", &["anna@a.test"], &HELLO.replace("@c.", "@d."))).await);
    let row = |done: &str, count| ("c.test".to_owned(), done.to_owned(), count);
    assert_eq!(counted(&site), [row("pass", 2), row("reject", 1)]);
    let record =
        site.context.counts.day(Day::of(site.context.store.now())).unwrap()["c.test"].records[0].clone();
    assert_eq!(record.identifiers.envelope_to.as_deref(), Some("a.test"));

    let later = self::site(zone().text("c.test", "TIMEOUT"), "").await;
    let replies = later.relay(&message("s@c.test", &["anna@a.test"], HELLO)).await;
    assert!(replies.last().unwrap().starts_with("451 "), "{replies:?}");
    let off = self::site(zone(), "[reports]\nsend = false").await;
    off.relay(&message("s@c.test", &["anna@a.test"], HELLO)).await;
    for site in [later, off] {
        assert_eq!(counted(&site), []);
    }
}
