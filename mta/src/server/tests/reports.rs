//! Reports that come back to the return path of one message.

use waypost_mail::EntryId;
use waypost_net::Shutdown;
use waypost_storage::{QueueEvent, ReturnedReport};

use super::*;
use crate::reports::incoming::{self, Incoming, summary::Wanted};

const ID: EntryId = EntryId(12_345);
const STATUS: &str = "Reporting-MTA: dns; mx.b.test\r\n\r\nFinal-Recipient: rfc822; x@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 nobody\r\n";

fn multipart(kind: &str, part: &str) -> String {
    format!(
        "Subject: s\r\nContent-Type: multipart/report; report-type={kind}; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n\
         --b\r\nContent-Type: message/{kind}\r\n\r\n{part}\r\n--b--\r\n"
    )
}

impl Site {
    fn bounce_path(&self, user: &str) -> String {
        let user = Address::parse(user).unwrap();
        let day = waypost_auth::srs::day(self.context.store.now());
        self.context.srs.bounce_path(&user, ID, day).unwrap().to_string()
    }

    /// What was noted with the message.
    async fn noted(&self) -> Vec<ReturnedReport> {
        let history = self.context.store.queue_history(ID).await.unwrap();
        let reports = |event| match event {
            QueueEvent::Reported { reports, .. } => reports,
            other => panic!("{other:?}"),
        };
        history.into_iter().flat_map(reports).collect()
    }
}

fn failed() -> ReturnedReport {
    ReturnedReport {
        recipient: "x@b.test".to_owned(),
        what: "failed".to_owned(),
        status: Some("5.1.1".to_owned()),
        said: Some("550 nobody".to_owned()),
    }
}

#[tokio::test]
async fn reports_are_noted_with_their_message_and_reach_the_sender() {
    let site = Site::new().await;
    let path = site.bounce_path("anna@a.test");
    accepted(&site.relay(&message("", &[&path], &multipart("delivery-status", STATUS))).await);
    assert_eq!(site.noted().await, [failed()]);
    // folded on the way, beside another recipient, and a complaint, which has a sender
    let feedback = multipart("feedback-report", "Feedback-Type: abuse\r\nOriginal-Rcpt-To: <x@b.test>\r\n");
    let folded = path.to_lowercase();
    accepted(&site.relay(&message("fbl@b.test", &["bert@a.test", &folded], &feedback)).await);
    let complaint =
        ReturnedReport { what: "complaint: abuse".to_owned(), status: None, said: None, ..failed() };
    assert_eq!(site.noted().await, [failed(), complaint]);
    let inbox = site.inbox(site.anna).await;
    assert_eq!(inbox.len(), 2);
    assert!(inbox[0].starts_with(&format!("Return-Path: <>\r\nDelivered-To: {path}\r\n")), "{}", inbox[0]);
}

#[tokio::test]
async fn what_is_no_report_or_not_to_our_path_is_only_mail() {
    let site = Site::new().await;
    let path = site.bounce_path("anna@a.test");
    let report = multipart("delivery-status", STATUS);
    let huge = format!("{report}{}", "x".repeat(70) + "\r\n").replace("words", &"words\r\n".repeat(40_000));
    let nested =
        report.replace("message/delivery-status\r\n\r\n", &format!("message/rfc822\r\n\r\n{report}"));
    for (to, data) in [
        (path.as_str(), "Subject: thanks\r\n\r\nhello\r\n"),
        (&path, "no header at all\r\n"),
        (&path, &nested),
        (&path, &huge),
        (&path, &report.replace("multipart/report", "multipart/mixed")),
        (&path, &multipart("delivery-status", "")),
        ("anna@a.test", &report),
    ] {
        accepted(&site.relay(&message("", &[to], data)).await);
    }
    assert_eq!(site.inbox(site.anna).await.len(), 7);
    assert_eq!(site.noted().await, []);
}

#[tokio::test]
async fn forged_paths_are_addresses_with_a_detail_and_nothing_more() {
    let site = Site::new().await;
    let path = site.bounce_path("anna@a.test");
    let report = multipart("delivery-status", STATUS);
    for forged in [
        path.replace("anna", "bert"),
        path.replacen("0000", "0001", 1),
        path.replace("@a.test", "A@a.test"),
        site.bounce_path("x@a.test").replace("x+", "anna+"),
    ] {
        accepted(&site.relay(&message("", &[&forged], &report)).await);
    }
    assert_eq!(site.noted().await, []);
    for (to, expected) in
        [(site.bounce_path("nobody@a.test"), "550 5.1.1 "), (site.bounce_path("anna@b.test"), "550 5.7.1 ")]
    {
        let said = site.relay(&format!("MAIL FROM:<>\r\nRCPT TO:<{to}>\r\n")).await.pop().unwrap();
        assert!(said.starts_with(expected), "{to} {said}");
    }
}

/// An aggregate report about today, which nobody vouches for.
fn aggregate(now: Timestamp) -> String {
    let (begin, end) = (now.seconds() - 60, now.seconds());
    format!(
        "Subject: Report Domain: a.test Submitter: b.test Report-ID: 1\r\nContent-Type: text/xml\r\n\r\n\
         <feedback><report_metadata><org_name>b.test</org_name><email>dmarc@b.test</email><report_id>1</report_id>\r\n\
         <date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>\r\n\
         <policy_published><domain>a.test</domain><p>none</p></policy_published>\r\n\
         <record><row><source_ip>192.0.2.1</source_ip><count>5</count></row></record></feedback>\r\n"
    )
}

#[tokio::test]
async fn mail_to_the_address_for_reports_is_mail_and_read_besides() {
    let mut site = Site::new().await;
    site.reconfigure(|config| config.reports.mailbox = Some("Reports".to_owned()));
    let account = site.context.store.account(site.anna).await.unwrap();
    account.create_mailbox("Reports", None).await.unwrap();
    let reports = Incoming::open(site._state.path(), site.context.store.now());
    reports.configure(&site.context.live.borrow().config);
    site.context.reports = reports.clone();
    let shutdown = Shutdown::new();
    shutdown.spawn(reports.clone().run(incoming::Context {
        store: site.context.store.clone(),
        live: site.context.live.clone(),
        resolver: site.context.resolver.clone(),
        shutdown: shutdown.clone(),
    }));
    let report = aggregate(site.context.store.now());
    accepted(&site.relay(&message("dmarc@b.test", &["postmaster@a.test"], &report)).await);
    // to somebody else it is mail and nothing more, and so is other mail to the address
    accepted(
        &site
            .relay(&message(
                "dmarc@b.test",
                &["anna@a.test"],
                &report.replace("<report_id>1", "<report_id>2"),
            ))
            .await,
    );
    accepted(&site.relay(&message("x@b.test", &["postmaster@a.test"], "Subject: hello\r\n\r\nx\r\n")).await);
    // a complaint to the return path of a message is listed, too
    let path = site.bounce_path("anna@a.test");
    let complaint = multipart("feedback-report", "Feedback-Type: abuse\r\nOriginal-Rcpt-To: <x@b.test>\r\n");
    accepted(&site.relay(&message("fbl@b.test", &[&path], &complaint)).await);
    let summary = || reports.summary(2, Wanted::default(), site.context.store.now()).unwrap();
    for _ in 0..500 {
        if summary().incidents.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let summary = summary();
    assert_eq!((summary.unverified.len(), summary.unverified[0].count), (1, 5));
    assert_eq!((summary.mail.len(), summary.problems), (0, 0));
    let told = &summary.incidents[0].told;
    assert_eq!((told.kind.as_str(), told.about.as_deref()), ("abuse", Some(ID.to_string().as_str())));
    assert_eq!(site.inbox(site.anna).await.len(), 3);
    assert_eq!(account.state().by_name("Reports").unwrap().count, 1);
    shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn complaints_about_recipients_that_a_message_had_suppress_its_senders_mail_to_them() {
    let site = Site::new().await;
    site.reconfigure(|config| config.queue.suppression.enabled = true);
    let message = message("anna@a.test", &["x@b.test", "y@b.test"], "Subject: news\r\n\r\nx\r\n");
    accepted(&site.submit(&message).await);
    let id = site.context.store.queue()[0].id;
    let anna = Address::parse("anna@a.test").unwrap();
    let day = waypost_auth::srs::day(site.context.store.now());
    let path = site.context.srs.bounce_path(&anna, id, day).unwrap().to_string();
    let complaint = |to: &str| {
        multipart("feedback-report", &format!("Feedback-Type: Abuse\r\nOriginal-Rcpt-To: <{to}>\r\n"))
    };
    for to in ["x@b.test", "boss@c.test"] {
        accepted(&site.relay(&super::message("fbl@b.test", &[&path], &complaint(to))).await);
    }
    // what is noted and not counted: a first bounce
    accepted(&site.relay(&super::message("", &[&path], &multipart("delivery-status", STATUS))).await);
    let (store, now) = (&site.context.store, site.context.store.now());
    let list = store.directory().borrow().suppressions.clone();
    for (recipient, sender, expected) in [
        ("x@b.test", "anna@a.test", true),
        ("x@b.test", "bert@a.test", false),
        ("y@b.test", "anna@a.test", false),
        ("boss@c.test", "anna@a.test", false),
    ] {
        let [recipient, sender] = [recipient, sender].map(|text| Address::parse(text).unwrap());
        let found = list.suppressing(&recipient, Some(&sender), now);
        assert_eq!(found.is_some(), expected, "{recipient} {sender}");
    }
    assert_eq!(site.inbox(site.anna).await.len(), 3, "all of it is mail, too");
}
