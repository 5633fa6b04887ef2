use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::reports::incoming::testing::{aggregate, gzip, mail, record, tls_report, zip};

/// 2026-11-26T01:02:03Z
const NOW: Timestamp = Timestamp(1_795_654_923_000);
const ZIPPED: &str = "Subject: Report domain: a.test Submitter: big.test Report-ID: 1122334455\r\n\
    Content-Type: application/zip;\r\n\tname=\"big.test!a.test!1795564800!1795651199.zip\"\r\n";

fn ours() -> Ours {
    Ours { hostname: "mx.a.test".into(), domains: vec!["a.test".into(), "c.test".into()] }
}

fn reading(signer: &str, headers: &str, octets: &[u8]) -> Reading {
    read(&mail(signer, headers, octets), None, &ours(), NOW)
}

fn one() -> String {
    aggregate(&[record("192.0.2.1", 41, "pass", "pass")])
}

fn problem(headers: &str, octets: &[u8]) -> String {
    let reading = reading("big.test", headers, octets);
    assert_eq!(reading.found, []);
    reading.problems.into_iter().map(|(from, why)| format!("{from}: {why}")).collect::<Vec<_>>().join("|")
}

#[test]
fn a_report_is_found_however_it_is_packed() {
    let xml = one();
    for (headers, octets) in [
        (ZIPPED, zip(&[("big.test!a.test!1!2.xml", xml.as_bytes())], 8)),
        ("Content-Type: application/gzip\r\n", gzip(xml.as_bytes())),
        ("Content-Type: application/x-gzip; name=x.xml.gz\r\n", gzip(xml.as_bytes())),
        ("Content-Type: text/xml\r\n", xml.clone().into_bytes()),
        (
            "Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"a.XML\"\r\n",
            xml.clone().into_bytes(),
        ),
        // the type says one thing, the octets another
        ("Content-Type: application/zip\r\n", gzip(xml.as_bytes())),
    ] {
        let reading = reading("dmarc.big.test", headers, &octets);
        let [Found { reporter, content: Content::Aggregate(report) }] = reading.found.as_slice() else {
            panic!("{headers}: {reading:?}")
        };
        assert_eq!(report.rows[0].count, 41);
        let (provider, verified) = (reporter.provider.as_str(), reporter.verified.as_deref());
        assert_eq!((provider, verified), ("big.test", Some("dmarc.big.test")), "{headers}");
        assert_eq!(reading.id.map(|id| id.to_string()).as_deref(), Some("0000000000c1s"));
    }
    let structure = Splitter::split(&mail("", ZIPPED, b""));
    assert!(may_bring_reports(&structure) && !is_feedback(&structure));
    assert!(!may_bring_reports(&Splitter::split(&mail("", "Content-Type: text/plain\r\n", b"hello"))));
}

#[test]
fn a_report_of_tls_is_found_in_its_multipart() {
    let packed = gzip(tls_report().as_bytes());
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, packed);
    let text = String::from_utf8(mail(
        "big.test",
        "TLS-Report-Domain: a.test\r\nTLS-Report-Submitter: big.test\r\n\
        Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=b\r\n",
        b"",
    ))
    .unwrap();
    let text = text.replace("Content-Transfer-Encoding: base64\r\n", "");
    let text = format!(
        "{text}--b\r\nContent-Type: text/plain\r\n\r\nwords\r\n--b\r\nContent-Type: application/tlsrpt+gzip\r\n\
         Content-Disposition: attachment;\r\n\tfilename=\"big.test!a.test!1795564800!1795651199!001.json.gz\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    );
    let reading = read(text.as_bytes(), None, &ours(), NOW);
    let [Found { reporter, content: Content::Tls(report) }] = reading.found.as_slice() else {
        panic!("{reading:?}")
    };
    assert_eq!((report.policies.len(), report.policies[0].failed), (2, 5));
    assert_eq!((reporter.provider.as_str(), reporter.name.as_str()), ("big.test", "Big Mail Inc."));
    assert_eq!(reporter.verified.as_deref(), Some("big.test"));
}

#[test]
fn whose_a_report_is_decides_who_vouched_for_the_mail() {
    for (signer, verified, provider) in [
        ("big.test", Some("big.test"), "big.test"),
        ("mail.big.test", Some("mail.big.test"), "big.test"),
        // somebody else signed, and nobody did
        ("evil.test", None, "big.test"),
        ("big.test.evil.test", None, "big.test"),
        ("", None, "big.test"),
    ] {
        let reading = reading(signer, ZIPPED, &zip(&[("x.xml", one().as_bytes())], 8));
        let reporter = &reading.found[0].reporter;
        assert_eq!(
            (reporter.verified.as_deref(), reporter.provider.as_str()),
            (verified, provider),
            "{signer}"
        );
    }
    // a user of a large provider is not the provider; what runs below its domain is
    for (author, verified) in [("gmail.com", None), ("dmarc.yahoo.com", Some("dmarc.yahoo.com"))] {
        let xml = one().replace("big.test", author);
        let text = String::from_utf8(mail(author, "Content-Type: text/xml\r\n", xml.as_bytes())).unwrap();
        let text = text.replace("noreply-dmarc@big.test", &format!("noreply@{author}"));
        let reading = read(text.as_bytes(), None, &ours(), NOW);
        assert_eq!(reading.found[0].reporter.verified.as_deref(), verified, "{author}");
    }
    let nameless = one().replace("noreply-dmarc@big.test", "nobody").replace("big.test", "Big");
    let reading = reading("big.test", "Content-Type: text/xml\r\n", nameless.as_bytes());
    let reporter = &reading.found[0].reporter;
    assert_eq!(
        (reporter.provider.as_str(), reporter.name.as_str(), &reporter.verified),
        ("unknown", "Big", &None)
    );
}

#[test]
fn what_is_wrong_is_kept_out_with_a_reason() {
    let zipped = |xml: String| zip(&[("x.xml", xml.as_bytes())], 8);
    let who = "Reports <noreply-dmarc@big.test>";
    for (octets, expected) in [
        (
            zipped(one().replace("a.test", "other.test")),
            "it is about other.test, which is none of our domains",
        ),
        (
            zipped(one().replace("1795564800", "1795651200")),
            "it is about a time from 2026-11-26T00:00:00.000Z to 2026-11-25T23:59:59.000Z",
        ),
        (
            zipped(one().replace("1795564800", "0")),
            "it is about a time from 1970-01-01T00:00:00.000Z to 2026-11-25T23:59:59.000Z",
        ),
        (
            zipped(one().replace("1795651199", "9223372036854775807")),
            "it is about a time from 2026-11-25T00:00:00.000Z to @9223372036854775807ms",
        ),
        (zipped(one().replace(">41<", ">-41<")), "a count of it is \"-41\""),
        (zipped("hello".into()), "there is no report in it"),
        (zip(&[], 8), "there is no report in it"),
        (zip(&vec![("x", &b"x"[..]); 1000], 8), "its ZIP archive has more than 8 members"),
        (gzip(&vec![b' '; 17 << 20]), "it unpacks to more than 16777216 octets"),
        (gzip(&gzip(one().as_bytes())), "it is packed more than once"),
        (zipped(one())[..200].to_vec(), "its ZIP archive cannot be read"),
        (b"not packed at all".to_vec(), "there is no report in it"),
        (Vec::new(), "there is no report in it"),
    ] {
        assert_eq!(problem(ZIPPED, &octets), format!("{who}: {expected}"));
    }
    let old = one().replace("1795564800", "1750000000").replace("1795651199", "1750086399");
    assert!(problem(ZIPPED, &zipped(old)).contains("it is about a time from 2025-"));
    let others = tls_report().replace("A.test", "x.test").replace("mx.a.test", "mx.x.test");
    let tls = "Content-Type: application/tlsrpt+json\r\n";
    assert!(
        problem(tls, others.as_bytes())
            .ends_with("it is about [\"x.test\", \"mx.x.test\"], and none of that is ours")
    );
    assert!(problem(tls, b"{}").contains("its JSON is no report of TLS: "));
    let odd = String::from_utf8(mail("big.test", ZIPPED, b""))
        .unwrap()
        .replace("Encoding: base64", "Encoding: x-odd");
    assert_eq!(read(odd.as_bytes(), None, &ours(), NOW).problems[0].1, "its transfer encoding is not known");
}

#[test]
fn other_mail_to_the_address_is_no_problem() {
    for (headers, octets) in [
        ("Content-Type: application/zip; name=pictures.zip\r\n", zip(&[("a.jpg", b"x")], 8)),
        ("Content-Type: application/zip; name=pictures.zip\r\n", b"PK\x03\x04damaged".to_vec()),
        ("Content-Type: text/xml\r\n", b"<html></html>".to_vec()),
        ("Content-Type: application/json\r\n", b"[1]".to_vec()),
        ("Content-Type: application/pdf\r\n", one().into_bytes()),
        ("Content-Type: text/plain\r\n", one().into_bytes()),
    ] {
        let reading = reading("big.test", headers, &octets);
        assert_eq!((reading.found, reading.problems), (vec![], vec![]), "{headers}");
    }
    assert_eq!(read(b"", None, &ours(), NOW), Reading::default());
}

#[test]
fn a_failure_report_says_which_message_it_is_about() {
    let fields = "Feedback-Type: auth-failure\r\nAuth-Failure: dmarc\r\nSource-IP: 203.0.113.9\r\nReported-Domain: a.test\r\n";
    let mail = |original: &str| {
        let text = String::from_utf8(mail(
            "big.test",
            "Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n",
            b"",
        ))
        .unwrap();
        let text = text.replace("Content-Transfer-Encoding: base64\r\n", "");
        format!(
            "{text}--b\r\n\r\nwords\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n{fields}\r\n\
             --b\r\nContent-Type: message/rfc822\r\n\r\n{original}\r\n--b--\r\n"
        )
    };
    let told = |original: &str, about: Option<EntryId>| {
        let text = mail(original);
        assert!(is_feedback(&Splitter::split(text.as_bytes())));
        let reading = read(text.as_bytes(), about, &ours(), NOW);
        let [Found { reporter, content: Content::Incident(told) }] = reading.found.as_slice() else {
            panic!("{reading:?}")
        };
        assert_eq!(reporter.verified.as_deref(), Some("big.test"));
        told.clone()
    };
    let trace = "Received: from mx.a.test by mx.big.test with ESMTP id 77;\r\n\tThu\r\n\
        Received: from [192.0.2.5]\r\n\tby MX.a.test with ESMTPSA (TLSv1.3 x)\r\n\tid 0000000000abc for <x@b.test>;\r\n\tThu\r\n\
        Message-ID: <1@pc.test>\r\nSubject: hello\r\nFrom: anna@a.test\r\n";
    let found = told(trace, None);
    assert_eq!((found.kind.as_str(), found.failure.as_deref()), ("auth-failure", Some("dmarc")));
    assert_eq!(found.source, Some("203.0.113.9".parse().unwrap()));
    assert_eq!(
        (found.message_id.as_deref(), found.about.as_deref()),
        (Some("1@pc.test"), Some("0000000000abc"))
    );
    let ours = "Message-ID: <0000000000xyz@mx.a.test>\r\nFrom: anna@a.test\r\n";
    assert_eq!(told(ours, None).about.as_deref(), Some("0000000000xyz"));
    assert_eq!(told(ours, Some(EntryId(1))).about.as_deref(), Some("0000000000001"));
    for strange in [
        "Message-ID: <0000000000xyz@other.test>\r\n",
        "Message-ID: <x@mx.a.test>\r\n",
        "Received: by mx.a.test\r\n",
        "X: y\r\n",
    ] {
        assert_eq!(told(strange, None).about, None, "{strange}");
    }
}

/// Samples of all that is read.
fn samples() -> Vec<Vec<u8>> {
    let (xml, tls) = (one().into_bytes(), tls_report().into_bytes());
    let kinds = [
        ("Content-Type: text/xml\r\n", xml.clone()),
        ("Content-Type: application/tlsrpt+json\r\n", tls.clone()),
        (ZIPPED, zip(&[("a.xml", &xml), ("b.xml", &xml)], 0)),
        (ZIPPED, zip(&[("a.xml", &xml)], 8)),
        ("Content-Type: application/tlsrpt+gzip\r\n", gzip(&tls)),
    ];
    kinds.map(|(headers, octets)| mail("big.test", headers, &octets)).to_vec()
}

proptest! {
    #[test]
    fn damage_is_no_panic_and_nothing_grows(
        sample in any::<Index>(),
        changes in vec((any::<Index>(), any::<u8>()), 0..6),
        (from, to, place) in any::<(Index, Index, Index)>(),
    ) {
        let mut mail = sample.get(&samples()).clone();
        for (at, octet) in changes {
            let at = at.index(mail.len());
            mail[at] = octet;
        }
        // a piece is there twice, or the end is missing
        let (from, to) = (from.index(mail.len()), to.index(mail.len()));
        match from <= to {
            true => {
                let (piece, place) = (mail[from..to].to_vec(), place.index(mail.len()));
                mail.splice(place..place, piece);
            }
            false => mail.truncate(from),
        }
        let reading = read(&mail, None, &ours(), NOW);
        prop_assert!(reading.found.len() <= 40 && reading.problems.len() <= 20);
        for octets in [one().into_bytes(), tls_report().into_bytes(), zip(&[("a", one().as_bytes())], 0)] {
            let mut octets = octets;
            let at = place.index(octets.len());
            octets[at] ^= 1 << (from % 8);
            let documents = unpack(&octets).unwrap_or_default();
            documents.iter().for_each(|document| drop((Aggregate::parse(document), TlsReport::parse(document))));
        }
    }
}
