use waypost_mail::{Address, DateTime, Domain};

use super::*;
use crate::{
    Splitter,
    build::{Diagnostic, Form, Notification, Original, Reader, RecipientReport},
};

fn read(message: &[u8]) -> Option<Report> {
    let structure = Splitter::split(message);
    let at = structure.root.header.end as usize;
    Report::read(&structure, at, &message[at..])
}

/// A report with these parts behind the words.
fn report(parts: &[(&str, &str)]) -> Vec<u8> {
    let mut text =
        "From: x\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n".to_owned();
    for (header, body) in parts {
        text += &format!("--b\r\nContent-Type: {header}\r\n\r\n{body}\r\n");
    }
    (text + "--b--\r\n").into_bytes()
}

fn failed(recipient: &str) -> RecipientStatus {
    RecipientStatus {
        recipient: recipient.to_owned(),
        action: Action::Failed,
        status: Some(EnhancedStatus(5, 1, 1)),
        diagnostic: None,
    }
}

#[test]
fn our_own_reports_are_understood() {
    let addresses = ["nobody@b.test", "j\u{f6}+rg@b.test"];
    for form in [Form::Ascii, Form::Utf8Encoded, Form::Utf8] {
        let recipient = |address: &&str| RecipientReport {
            original: None,
            orcpt: None,
            address: Address::parse(address).unwrap(),
            action: Action::Failed,
            status: EnhancedStatus(5, 1, 1),
            remote_mta: Some("mx.b.test".into()),
            remote_address: None,
            diagnostic: Some(Diagnostic::Smtp("550 5.1.1 no such user".into())),
            last_attempt: None,
            will_retry_until: None,
        };
        let notification = Notification {
            reporting_mta: Domain::new("mx.a.test").unwrap(),
            to: Address::parse("anna@a.test").unwrap(),
            reader: Reader::Sender,
            form,
            date: DateTime { seconds: 0, offset_minutes: 0 },
            message_id: "1@mx.a.test".into(),
            boundary: "b1".into(),
            arrival: DateTime { seconds: 0, offset_minutes: 0 },
            recipients: addresses.iter().map(recipient).collect(),
            envelope_id: None,
            original: Original::Header(b"A: b\r\n".to_vec()),
        };
        let diagnostic = Some("550 5.1.1 no such user".to_owned());
        let expected =
            addresses.map(|address| RecipientStatus { diagnostic: diagnostic.clone(), ..failed(address) });
        assert_eq!(read(&notification.build()), Some(Report::Delivery(expected.to_vec())), "{form:?}");
    }
}

#[test]
fn reports_of_other_servers_are_understood() {
    let message = "Reporting-MTA: dns; mx\r\n\r\n";
    for (fields, expected) in [
        (
            "Final-Recipient: RFC822; <x@b.test>\r\nAction: Failed\r\nStatus: 5.1.1 (bad address)\r\n",
            failed("x@b.test"),
        ),
        // folded, and without a type
        ("Final-Recipient:\r\n x@b.test\r\nAction: failed\r\nSTATUS: 5.1.1\r\n", failed("x@b.test")),
        // as the sender wrote it
        (
            "Original-Recipient: rfc822;y@b.test\r\nFinal-Recipient: rfc822;x@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            failed("y@b.test"),
        ),
        (
            "Final-Recipient: rfc822;x@b.test\r\nAction: delayed\r\nStatus: what\r\nDiagnostic-Code: smtp;\r\n 450\tbusy\r\n",
            RecipientStatus {
                action: Action::Delayed,
                status: None,
                diagnostic: Some("450 busy".to_owned()),
                ..failed("x@b.test")
            },
        ),
    ] {
        let expected = Some(Report::Delivery(vec![expected]));
        assert_eq!(
            read(&report(&[("message/delivery-status", &format!("{message}{fields}"))])),
            expected,
            "{fields}"
        );
        let lf = format!("{message}{fields}").replace("\r\n", "\n");
        assert_eq!(read(&report(&[("message/delivery-status", &lf)])), expected, "{fields}");
    }
}

#[test]
fn complaints_are_understood() {
    let feedback = |kind: &str, recipients: &[&str]| {
        let recipients = recipients.iter().map(|text| (*text).to_owned()).collect();
        Some(Report::Feedback(Feedback { kind: kind.into(), recipients }))
    };
    for (fields, expected) in [
        ("Feedback-Type: abuse\r\nUser-Agent: x\r\nVersion: 1\r\n", feedback("abuse", &[])),
        (
            "Feedback-Type: fraud\r\nOriginal-Rcpt-To: <x@b.test>\r\nOriginal-Rcpt-To: <y@b.test>\r\n",
            feedback("fraud", &["x@b.test", "y@b.test"]),
        ),
        ("Feedback-Type: (spam) Abuse (button (twice))\r\n", feedback("abuse", &[])),
        ("Feedback-Type: abuse\r\nOriginal-Rcpt-To: rfc822; x@b.test\r\n", feedback("abuse", &["x@b.test"])),
        ("Feedback-Type: abuse\r\nOriginal-Rcpt-To: <>\r\n", feedback("abuse", &[])),
        ("Feedback-Type: (nothing)\r\n", None),
        ("User-Agent: x\r\n", None),
        ("", None),
    ] {
        assert_eq!(read(&report(&[("message/feedback-report", fields)])), expected, "{fields}");
    }
}

#[test]
fn what_is_told_of_a_message_is_understood() {
    let incident = |message: &[u8]| {
        let structure = Splitter::split(message);
        let header = usize::try_from(structure.root.header.end).unwrap();
        Incident::read(&structure, header, &message[header..])
    };
    let fields = "Feedback-Type: auth-failure\r\nVersion: 1\r\nUser-Agent: x/1\r\nAuth-Failure: DMARC\r\n\
        Received-Date: Thu, 26 Nov 2026 04:05:06 +0000\r\nSource-IP: 203.0.113.9\r\nReported-Domain: a.test\r\n\
        Reported-Domain: b.test\r\nDelivery-Result: Reject\r\nDKIM-Domain: a.test\r\nDKIM-Selector: s1\r\n\
        Identity-Alignment: none\r\n";
    let message = "Received: from x ([203.0.113.9])\r\n\tby mx.b.test id 1;\r\n\tThu, 26 Nov 2026 04:05:06 +0000\r\n\
        Message-ID: <m1@a.test>\r\nFrom: =?utf-8?q?J=C3=B6rg?= <j@a.test>\r\nSubject: news\r\n\r\nReceived: no field\r\n";
    for kind in ["message/rfc822", "text/rfc822-headers", "message/global-headers"] {
        let read = incident(&report(&[("message/feedback-report", fields), (kind, message)])).unwrap();
        assert_eq!((read.feedback.kind.as_str(), read.failure.as_deref()), ("auth-failure", Some("dmarc")));
        assert_eq!(read.arrival.as_deref(), Some("Thu, 26 Nov 2026 04:05:06 +0000"));
        assert_eq!((read.source.as_deref(), read.delivery.as_deref()), (Some("203.0.113.9"), Some("reject")));
        assert_eq!(read.domains, ["a.test", "b.test"]);
        assert_eq!(read.signature, Some(("a.test".to_owned(), "s1".to_owned())));
        let original = ReturnedHeader {
            message_id: Some("m1@a.test".to_owned()),
            from: Some("J\u{f6}rg <j@a.test>".to_owned()),
            subject: Some("news".to_owned()),
            received: vec![
                "from x ([203.0.113.9])\tby mx.b.test id 1;\tThu, 26 Nov 2026 04:05:06 +0000"
                    .replace('\t', " "),
            ],
        };
        assert_eq!(read.original, original, "{kind}");
    }
    let bare = incident(&report(&[("message/feedback-report", "Feedback-Type: abuse\r\n")])).unwrap();
    assert_eq!((bare.domains.len(), bare.signature, bare.original), (0, None, ReturnedHeader::default()));
    let many = format!("{fields}{}", "Reported-Domain: c.test\r\n".repeat(2 * DOMAINS_MAX));
    let trace = "Received: x\r\n".repeat(2 * RECEIVED_MAX);
    let read = incident(&report(&[("message/feedback-report", &many), ("message/rfc822", &trace)])).unwrap();
    assert_eq!((read.domains.len(), read.original.received.len()), (DOMAINS_MAX, RECEIVED_MAX));
    let status = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822;x@b.test\r\nAction: failed\r\n";
    assert_eq!(incident(&report(&[("message/delivery-status", status)])), None);
}

#[test]
fn what_is_no_report_says_nothing() {
    let good = "Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822;x@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n";
    let plain = format!("From: x\r\n\r\n{good}").into_bytes();
    let mixed = String::from_utf8(report(&[("message/delivery-status", good)]))
        .unwrap()
        .replace("multipart/report", "multipart/mixed");
    let nested = String::from_utf8(report(&[("message/delivery-status", good)])).unwrap();
    let nested = report(&[("message/rfc822", &nested)]);
    for message in [
        Vec::new(),
        plain,
        mixed.into_bytes(),
        nested,
        report(&[]),
        report(&[("message/delivery-status", "")]),
        report(&[("message/delivery-status", "\r\n\r\n\r\n")]),
        report(&[("message/delivery-status", "Final-Recipient: rfc822;x@b.test\r\n")]),
        report(&[("message/delivery-status", "Final-Recipient: rfc822;x@b.test\r\nAction: eaten\r\n")]),
        report(&[("message/delivery-status", "Final-Recipient: rfc822;\r\nAction: failed\r\n")]),
        report(&[("message/delivery-status\r\nContent-Transfer-Encoding: x-unknown", good)]),
        report(&[("message/delivery-status\r\nContent-Transfer-Encoding: base64", "@@@@")]),
        b"Content-Type: multipart/report\r\n\r\n".to_vec(),
    ] {
        assert_eq!(read(&message), None, "{}", message.escape_ascii());
    }
}

#[test]
fn what_is_huge_is_read_in_part() {
    let one = "Final-Recipient: rfc822;x@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n";
    let many = |count: usize| {
        let body = format!("Reporting-MTA: dns; mx\r\n\r\n{}", one.repeat(count));
        let Some(Report::Delivery(recipients)) = read(&report(&[("message/delivery-status", &body)])) else {
            panic!("no report")
        };
        recipients.len()
    };
    assert_eq!((many(RECIPIENTS_MAX), many(RECIPIENTS_MAX + 1), many(100_000)), (50, 50, 50));
    let behind = format!("X: {}\r\n\r\n{one}", "x".repeat(PART_BYTES_MAX));
    assert_eq!(read(&report(&[("message/delivery-status", &behind)])), None);
    let long = one.replace("x@", &format!("{}@", "\u{fc}".repeat(1000)));
    let Some(Report::Delivery(recipients)) = read(&report(&[("message/delivery-status", &long)])) else {
        panic!()
    };
    assert_eq!(recipients[0].recipient.len(), TEXT_BYTES_MAX);
    let deep = (0..500).fold(String::from("x"), |inner, depth| {
        format!("Content-Type: multipart/report; boundary=b{depth}\r\n\r\n--b{depth}\r\n{inner}\r\n--b{depth}--\r\n")
    });
    assert_eq!(read(deep.as_bytes()), None);
}
