use mail_parser::{MessageParser, MimeHeaders, PartType};
use waypost_mail::OriginalRecipient;

use super::*;
use crate::{HeaderBlock, Splitter};

fn report() -> RecipientReport {
    RecipientReport {
        original: None,
        orcpt: None,
        address: Address::parse("nobody@b.test").unwrap(),
        action: Action::Failed,
        status: EnhancedStatus(5, 1, 1),
        remote_mta: Some("mx.b.test".into()),
        remote_address: Some("192.0.2.1".into()),
        diagnostic: Some(Diagnostic::Smtp("550 5.1.1 no such user".into())),
        last_attempt: Some(DateTime { seconds: 60, offset_minutes: 0 }),
        will_retry_until: Some(DateTime { seconds: 90, offset_minutes: 0 }),
    }
}

fn notification(recipients: Vec<RecipientReport>) -> Notification {
    Notification {
        reporting_mta: Domain::new("mx.a.test").unwrap(),
        to: Address::parse("anna@a.test").unwrap(),
        reader: Reader::Sender,
        form: Form::Ascii,
        date: DateTime { seconds: 120, offset_minutes: 0 },
        message_id: "1@mx.a.test".into(),
        boundary: "b1".into(),
        arrival: DateTime { seconds: 0, offset_minutes: 0 },
        recipients,
        envelope_id: None,
        original: Original::Header(
            b"From: anna@a.test\r\nSubject: s\r\nMessage-ID: <7@a.test>\r\n\r\n".to_vec(),
        ),
    }
}

/// The parts' bodies.
fn parts(octets: &[u8]) -> Vec<String> {
    let structure = Splitter::split(octets);
    let text = |span: crate::Span| String::from_utf8(octets[span.start as usize..span.end as usize].to_vec());
    structure.root.children.iter().map(|part| text(part.body).unwrap()).collect()
}

#[test]
fn a_failure_is_reported() {
    let delayed = RecipientReport {
        original: Some(Address::parse("j\u{f6}+rg@b.test").unwrap()),
        address: Address::parse("\"a b\"@b.test").unwrap(),
        action: Action::Delayed,
        status: EnhancedStatus(4, 4, 1),
        remote_mta: None,
        remote_address: None,
        diagnostic: Some(Diagnostic::Local("no connection \u{2013} twice".into())),
        last_attempt: None,
        ..report()
    };
    let octets = notification(vec![report(), delayed]).build();
    insta::assert_snapshot!(String::from_utf8(octets).unwrap().replace("\r\n", "\n"));
}

#[test]
fn a_delay_is_reported() {
    let octets = notification(vec![RecipientReport { action: Action::Delayed, ..report() }]).build();
    let structure = Splitter::split(&octets);
    assert_eq!(structure.envelope.subject.unwrap(), b"Your mail is delayed");
    assert!(parts(&octets)[1].contains("Will-Retry-Until: Thu, 01 Jan 1970 00:01:30 +0000\r\n"));
}

#[test]
fn the_remote_server_is_named_to_programs_only_beside_its_own_words() {
    let fields = |diagnostic| {
        parts(&notification(vec![RecipientReport { diagnostic, ..report() }]).build())[1].clone()
    };
    let text = || "552 5.3.4 too large".to_owned();
    for (diagnostic, line, is_named) in [
        (Some(Diagnostic::Smtp(text())), "Diagnostic-Code: smtp; 552 5.3.4 too large\r\n", true),
        (Some(Diagnostic::Local(text())), "Diagnostic-Code: x-waypost; 552 5.3.4 too large\r\n", false),
        (None, "Status: 5.1.1\r\n", true),
    ] {
        let fields = fields(diagnostic);
        assert!(fields.contains(line), "{fields}");
        assert_eq!(fields.contains("Remote-MTA: dns; mx.b.test\r\n"), is_named, "{fields}");
    }
}

#[test]
fn inputs_begin_no_fields() {
    let evil = "x\r\nEvil: y\n\r\nEvil: z";
    let mut recipient = report();
    recipient.remote_mta = Some(evil.into());
    recipient.diagnostic = Some(Diagnostic::Smtp(evil.into()));
    let mut notification = notification(vec![recipient]);
    notification.message_id = evil.into();
    let octets = notification.build();
    assert_eq!(HeaderBlock::new(octets.clone()).count("Evil"), 0);
    let parts = parts(&octets);
    assert_eq!(parts.len(), 3);
    assert_eq!(HeaderBlock::new(parts[1].split_once("\r\n\r\n").unwrap().1.into()).count("Evil"), 0);
    assert!(octets.split(|&octet| octet == b'\n').all(|line| !line.starts_with(b"Evil")));
}

#[test]
fn lines_are_bounded_and_end_with_crlf() {
    let mut recipient = report();
    recipient.diagnostic = Some(Diagnostic::Smtp("\u{20ac}".repeat(2000)));
    let mut notification = notification(vec![recipient]);
    let long = format!("Subject: {}\nX: \u{fc}\n\n", "x".repeat(2000));
    notification.original = Original::Header(long.into_bytes());
    let octets = notification.build();
    assert!(octets.is_ascii());
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        assert!(line.ends_with(b"\r\n") && line.len() <= LINE_BYTES_MAX + 2, "{}", line.escape_ascii());
    }
}

#[test]
fn the_original_header_is_bounded() {
    let returned = |lines: usize| {
        let mut notification = notification(vec![report()]);
        notification.original = Original::Header("X: 0123456789ab\n".repeat(lines).into_bytes());
        parts(&notification.build())[2].lines().count()
    };
    let most = original::HEADER_BYTES_MAX / 16;
    assert_eq!(returned(most), most);
    assert_eq!(returned(most + 1), most);
}

/// Content type, transfer encoding and decoded octets of each part, as mail-parser reads them.
fn read(octets: &[u8]) -> Vec<(String, String, String)> {
    let message = MessageParser::default().parse(octets).unwrap();
    let PartType::Multipart(parts) = &message.parts[0].body else { panic!("no multipart") };
    let report = message.parts[0].content_type().unwrap();
    assert_eq!((report.ctype(), report.subtype()), ("multipart", Some("report")));
    assert_eq!(report.attribute("report-type"), Some("delivery-status"));
    let part = |id: &u32| {
        let part = &message.parts[*id as usize];
        let kind = part.content_type().unwrap();
        let text = match &part.body {
            PartType::Message(message) => message.raw_message().to_vec(),
            _ => part.contents().to_vec(),
        };
        let kind = format!("{}/{}", kind.ctype(), kind.subtype().unwrap());
        let encoding = part.content_transfer_encoding().unwrap_or("none").to_owned();
        (kind, encoding, String::from_utf8(text).unwrap())
    };
    parts.iter().map(part).collect()
}

#[test]
fn internationalised_mail_is_reported_in_the_form_that_is_asked_for() {
    let recipient = RecipientReport {
        orcpt: OriginalRecipient::new("utf-8;\u{fc}ber\\x{2B}x@b.test"),
        address: Address::parse("j\u{f6}rg@b.test").unwrap(),
        diagnostic: Some(Diagnostic::Smtp("550 5.1.1 kein J\u{f6}rg".into())),
        ..report()
    };
    let built = |form, original| {
        let mut notification = notification(vec![recipient.clone()]);
        (notification.form, notification.original) = (form, original);
        notification.build()
    };
    let header = "Subject: gr\u{fc}\u{df}e\r\n";
    let whole = "Subject: gr\u{fc}\u{df}e\r\n\r\nl\u{f6}l\r\n";
    let (of_header, of_whole) = (Original::Header(header.into()), Original::Message(whole.into()));
    let ascii = ["utf-8; \\x{FC}ber\\x{2B}x@b.test", "utf-8; j\\x{F6}rg@b.test", "550 5.1.1 kein J?rg"];
    let utf8 = ["utf-8; \u{fc}ber+x@b.test", "utf-8; j\u{f6}rg@b.test", "550 5.1.1 kein J\u{f6}rg"];
    let (status, global_status) = ("message/delivery-status", "message/global-delivery-status");
    for (form, original, kinds, encodings, fields, returned) in [
        (
            Form::Ascii,
            &of_header,
            [status, "text/rfc822-headers"],
            ["7bit", "quoted-printable"],
            ascii,
            header,
        ),
        (
            Form::Utf8Encoded,
            &of_header,
            [global_status, "message/global-headers"],
            ["quoted-printable", "quoted-printable"],
            utf8,
            header,
        ),
        (Form::Utf8, &of_header, [global_status, "message/global-headers"], ["8bit", "8bit"], utf8, header),
        (
            Form::Utf8Encoded,
            &of_whole,
            [global_status, "message/global"],
            ["quoted-printable", "base64"],
            utf8,
            whole,
        ),
        (Form::Utf8, &of_whole, [global_status, "message/global"], ["8bit", "8bit"], utf8, whole),
    ] {
        let octets = built(form, original.clone());
        assert_eq!(octets.is_ascii(), form != Form::Utf8, "{form:?}");
        let parts = read(&octets);
        for (place, kind) in kinds.iter().enumerate() {
            assert_eq!(
                (&parts[place + 1].0, &parts[place + 1].1),
                (&(*kind).to_owned(), &encodings[place].to_owned())
            );
        }
        let [original_recipient, final_recipient, said] = fields;
        for line in [
            format!("Original-Recipient: {original_recipient}\r\n"),
            format!("Final-Recipient: {final_recipient}\r\n"),
            format!("Diagnostic-Code: smtp; {said}\r\n"),
        ] {
            assert!(parts[1].2.contains(&line), "{form:?} {line} in {}", parts[1].2);
        }
        assert_eq!(parts[2].2.trim_end(), returned.trim_end(), "{form:?}");
        assert!(
            parts[0].2.contains("To j\u{f6}rg@b.test:\r\n")
                && parts[0].2.contains("Subject: gr\u{fc}\u{df}e\r\n")
        );
    }
}

#[test]
fn what_can_be_said_in_ascii_has_the_types_that_everyone_knows() {
    for form in [Form::Ascii, Form::Utf8Encoded, Form::Utf8] {
        for (original, kind) in [
            (Original::Header(b"A: b\r\n".to_vec()), "text/rfc822-headers"),
            (Original::Message(b"A: b\r\n\r\nc\r\n".to_vec()), "message/rfc822"),
            // of no charset
            (Original::Header(b"A: \xff\r\n".to_vec()), "text/rfc822-headers"),
        ] {
            let mut notification = notification(vec![report()]);
            (notification.form, notification.original) = (form, original);
            let octets = notification.build();
            let kinds: Vec<_> = Splitter::split(&octets)
                .root
                .children
                .iter()
                .map(|part| {
                    let kind = &part.content_type;
                    format!("{}/{}", kind.kind.escape_ascii(), kind.subtype.escape_ascii())
                })
                .collect();
            assert_eq!(kinds, ["text/plain", "message/delivery-status", kind], "{form:?}");
        }
    }
}

#[test]
fn words_say_what_happened_and_what_comes_next() {
    let words =
        |report: RecipientReport| read(&notification(vec![report]).build())[0].2.replace("\r\n", "\n");
    let delayed = RecipientReport {
        action: Action::Delayed,
        status: EnhancedStatus(4, 2, 2),
        diagnostic: Some(Diagnostic::Smtp("452 4.2.2 full\nsee <http://b.test>".into())),
        ..report()
    };
    let ours = RecipientReport {
        status: EnhancedStatus(5, 1, 2),
        remote_mta: None,
        diagnostic: Some(Diagnostic::Local("550 5.1.2 no such domain".into())),
        ..report()
    };
    let of_server = |status, text: &str| RecipientReport {
        status,
        diagnostic: Some(Diagnostic::Local(text.into())),
        ..report()
    };
    let unreached = of_server(EnhancedStatus(4, 4, 1), "451 4.4.1 no connection: timeout");
    let too_large = of_server(EnhancedStatus(5, 3, 4), "552 5.3.4 the message has 9 octets");
    let good =
        |action| RecipientReport { action, status: EnhancedStatus(2, 1, 5), diagnostic: None, ..report() };
    let alias = Address::parse("team@xn--bcher-kva.example").unwrap();
    let aliased = RecipientReport { original: Some(alias), diagnostic: None, ..report() };
    for (report, expected) in [
        (
            report(),
            &[
                "Your mail could not be delivered.\n\n    Subject: s\n    Date: Thu, 01 Jan 1970 00:00:00 +0000\n    Message-ID: <7@a.test>\n",
                "To nobody@b.test:\n    There is no mailbox with this address. It will not be tried again.\n    Check the address",
                "The server mx.b.test [192.0.2.1] answered on Thu, 01 Jan 1970 00:01:00 +0000:\n        550 5.1.1 no such user\n",
            ][..],
        ),
        (
            delayed,
            &[
                "you need not send it again",
                "    The recipient's mailbox is full.\n    It will be tried again until Thu, 01 Jan 1970 00:01:30 +0000.\n",
                "        452 4.2.2 full\n        see <http://b.test>\n",
            ],
        ),
        (ours, &["Our server noted on Thu, 01 Jan 1970 00:01:00 +0000:\n        550 5.1.2 no such domain\n"]),
        (
            unreached,
            &[
                "The server mx.b.test [192.0.2.1] could not be reached on Thu, 01 Jan 1970 00:01:00 +0000:\n        451 4.4.1 no connection: timeout\n",
            ],
        ),
        (
            too_large,
            &[
                "Of the server mx.b.test [192.0.2.1] we noted on Thu, 01 Jan 1970 00:01:00 +0000:\n        552 5.3.4 ",
            ],
        ),
        (good(Action::Delivered), &["All went well", "The mail is in the recipient's mailbox."]),
        (good(Action::Relayed), &["All went well", "does not tell what becomes of it"]),
        (good(Action::Expanded), &["All went well", "goes on to several addresses"]),
        (aliased, &["    (which team@b\u{fc}cher.example leads to)\n", "    The status is 5.1.1.\n"]),
    ] {
        let words = words(report);
        for text in expected {
            assert!(words.contains(text), "{text:?} is not in {words}");
        }
    }
}

#[test]
fn the_message_is_named_whatever_its_header_block_holds() {
    for (header, shown) in [
        ("", "\n    Date: Thu, 01 Jan 1970 00:00:00 +0000\n\nTo "),
        ("no field\r\n", "\n    Date: Thu, 01 Jan 1970 00:00:00 +0000\n\nTo "),
        ("Subject: =?utf-8?q?a=0D=0AEvil:_b?=\r\n", "Subject: a  Evil: b\n"),
        ("Subject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n", "Subject: gr\u{fc}\u{df}e\n"),
        ("Subject: a\r\n b\r\n\r\nSubject: c\r\n", "Subject: a b\n"),
    ] {
        for original in [Original::Header(header.into()), Original::Message(header.into())] {
            let mut notification = notification(vec![report()]);
            notification.original = original;
            let words = notification.words();
            assert!(words.contains(shown), "{shown:?} is not in {words}");
        }
    }
    let mut notification = notification(vec![report()]);
    notification.original = Original::Header(format!("Subject: {}\r\n", "\u{fc}".repeat(500)).into_bytes());
    assert!(notification.words().contains(&format!("{}\u{2026}\n", "\u{fc}".repeat(100))));
}

#[test]
fn the_postmaster_is_told_of_a_notification_that_did_not_arrive() {
    let mut notification = notification(vec![report()]);
    notification.reader = Reader::Postmaster;
    let octets = notification.build();
    let header = HeaderBlock::new(octets.clone());
    assert_eq!(header.first("Auto-Submitted").unwrap(), b"auto-generated");
    assert_eq!(header.first("Subject").unwrap(), b"A notification could not be delivered");
    assert!(read(&octets)[0].2.contains("550 5.1.1 no such user"));
}
