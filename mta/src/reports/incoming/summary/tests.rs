use super::*;
use crate::reports::incoming::{
    mail::Reporter,
    testing::{aggregate, record, tls_report},
};

const OURS: &str = "192.0.2.1";

fn kept(mail: &str, verified: Option<&str>, content: Content) -> Line {
    let reporter = Reporter {
        provider: "big.test".into(),
        name: "big.test".into(),
        verified: verified.map(str::to_owned),
    };
    let names = [("203.0.113.9".parse().unwrap(), "shop.test".to_owned())].into();
    Line::Report(Box::new(Kept {
        mail: mail.into(),
        at: "2026-11-26T01:02:03Z".into(),
        reporter,
        names,
        content,
    }))
}

fn report(mail: &str, records: &[String]) -> Line {
    let report = Aggregate::parse(aggregate(records).as_bytes()).unwrap();
    kept(mail, Some("big.test"), Content::Aggregate(report))
}

fn sent(to: &str, provider: &str, messages: u64) -> SentRow {
    let (from, source) = ("a.test".to_owned(), Some(OURS.parse().unwrap()));
    SentRow { from, to: to.into(), provider: provider.into(), source, messages, recipients: messages + 1 }
}

fn days(rows: Vec<SentRow>) -> BTreeMap<String, Vec<SentRow>> {
    [("2026-11-25".to_owned(), rows)].into()
}

fn line(lines: &[Line], sent: &BTreeMap<String, Vec<SentRow>>) -> MailLine {
    let mut summary = summary(lines, sent, &Wanted::default());
    assert_eq!(summary.mail.len(), 1, "{summary:?}");
    summary.mail.remove(0)
}

#[test]
fn what_they_saw_stands_beside_what_we_sent() {
    let records = [
        record(OURS, 35, "pass", "pass"),
        record(OURS, 3, "fail", "pass"),
        record("192.0.2.2", 3, "pass", "fail"),
        record("198.51.100.5", 2, "pass", "fail"),
        record("203.0.113.9", 4, "fail", "fail").replace("<disposition>none", "<disposition>quarantine"),
        record("203.0.113.10", 6, "fail", "fail").replace("<disposition>none", "<disposition>reject"),
    ];
    let sent = days(vec![
        sent("mail.big.test", "elsewhere.test", 20),
        sent("b.test", "big.test", 21),
        sent("c.test", "c.test", 7),
        SentRow { from: "other.test".into(), ..sent("big.test", "big.test", 99) },
    ]);
    let own = ["192.0.2.2".parse().unwrap()].into();
    let wanted = Wanted { own, ..Wanted::default() };
    let lines = [report("m1", &records)];
    let found = summary(&lines, &sent, &wanted).mail.remove(0);
    assert_eq!(
        (found.domain.as_str(), found.day.as_str(), found.provider.as_str()),
        ("a.test", "2026-11-25", "big.test")
    );
    assert_eq!((found.seen, found.sent, found.sent_recipients), (41, Some(41), 43));
    assert_eq!(
        (found.failed_dkim, found.failed_spf, found.failed, found.quarantined, found.rejected),
        (3, 3, 0, 0, 0)
    );
    assert_eq!((found.passed_on, found.others), (2, 10));
    let sources: Vec<_> = found
        .sources
        .iter()
        .map(|source| {
            (
                source.address.unwrap().to_string(),
                source.name.as_deref(),
                source.messages,
                source.quarantined,
                source.rejected,
            )
        })
        .collect();
    assert_eq!(
        sources,
        [("203.0.113.10".into(), None, 6, 0, 6), ("203.0.113.9".into(), Some("shop.test"), 4, 4, 0)]
    );
    let advice = found.advice.join("\n");
    assert!(advice.contains("signatures did not hold (s1 of a.test: fail)"), "{advice}");
    assert!(advice.contains("SPF failed for 192.0.2.2: "), "{advice}");
    assert!(
        advice.contains("others sent as a.test: ") && advice.contains("p=reject ends the rest"),
        "{advice}"
    );
}

#[test]
fn reports_of_one_day_are_added_up_and_days_without_counts_are_said() {
    let lines =
        [report("m1", &[record(OURS, 5, "pass", "pass")]), report("m2", &[record(OURS, 6, "pass", "pass")])];
    let found = line(&lines, &BTreeMap::new());
    assert_eq!((found.seen, found.sent), (11, None));
    assert_eq!(found.reports, ["m1", "m2"]);
    assert_eq!(found.advice, [""; 0]);
    // nothing was sent to that provider, though something was counted on that day
    let found = line(&lines, &days(vec![sent("c.test", "c.test", 7)]));
    assert_eq!(found.sent, Some(0));
    assert!(
        found.advice[0].starts_with("nothing went from here to big.test on that day"),
        "{:?}",
        found.advice
    );
    // the report names the domain of the recipients
    let to = record(OURS, 5, "pass", "pass")
        .replace("<header_from>", "<envelope_to>c.test</envelope_to><header_from>");
    assert_eq!(line(&[report("m1", &[to])], &days(vec![sent("c.test", "c.test", 7)])).sent, Some(7));
}

#[test]
fn mail_without_a_signature_is_told_so() {
    let record = record(OURS, 5, "fail", "pass");
    let (start, end) = (record.find("<dkim>\n").unwrap(), record.rfind("</dkim>\n").unwrap());
    let unsigned = format!("{}{}", &record[..start], &record[end + "</dkim>".len()..]);
    let advice = line(&[report("m", &[unsigned])], &BTreeMap::new()).advice;
    assert!(advice[0].starts_with("they saw no signature: `waypost dkim list a.test`"), "{advice:?}");
    let others = record
        .replace("<result>fail</result>\n        <selector>", "<result>pass</result>\n        <selector>");
    let advice = line(&[report("m", &[others])], &BTreeMap::new()).advice;
    assert_eq!(advice, ["the signatures that held were not those of a.test (alignment)"]);
}

#[test]
fn what_nobody_vouched_for_counts_for_nothing() {
    let content =
        |records: &[String]| Content::Aggregate(Aggregate::parse(aggregate(records).as_bytes()).unwrap());
    let forged = kept("forged", None, content(&[record("203.0.113.9", 1_000, "fail", "fail")]));
    let found = summary(
        &[forged.clone(), report("m1", &[record(OURS, 5, "pass", "pass")])],
        &BTreeMap::new(),
        &Wanted::default(),
    );
    assert_eq!((found.mail[0].seen, found.mail[0].others), (5, 0));
    assert_eq!((found.unverified.len(), found.unverified[0].count), (1, 1_000));
    assert_eq!(found.unverified[0].report, "forged");
    let tls = kept("forged", None, Content::Tls(TlsReport::parse(tls_report().as_bytes()).unwrap()));
    let found = summary(&[tls], &BTreeMap::new(), &Wanted::default());
    assert_eq!((found.tls.len(), found.unverified[0].count), (0, 132));
}

#[test]
fn failures_of_tls_are_told_in_words() {
    let tls = kept("t", Some("big.test"), Content::Tls(TlsReport::parse(tls_report().as_bytes()).unwrap()));
    let found = summary(&[tls.clone(), tls], &BTreeMap::new(), &Wanted::default()).tls;
    let shown: Vec<_> = found
        .iter()
        .map(|line| (line.domain.as_str(), line.policy.as_str(), line.successful, line.failed))
        .collect();
    assert_eq!(shown, [("a.test", "sts", 240, 10), ("mx.a.test", "tlsa", 14, 0)]);
    let words: Vec<_> = found[0].failures.iter().map(|one| (one.sessions, one.words.as_str())).collect();
    assert_eq!(words[..2], [(3, "the certificate had expired"), (2, "something that is not registered")]);
}

#[test]
fn days_and_domains_are_chosen() {
    let lines = [
        report(
            "m1",
            &[
                record(OURS, 5, "pass", "pass"),
                record(OURS, 6, "pass", "pass").replace("from>a.test", "from>news.a.test"),
            ],
        ),
        Line::Problem(crate::reports::incoming::archive::Problem {
            mail: "p".into(),
            at: "T".into(),
            from: String::new(),
            why: "w".into(),
        }),
        kept(
            "i",
            None,
            Content::Incident(Box::new(Told { domains: vec!["a.test".into()], ..Told::default() })),
        ),
    ];
    let counts = |domain: Option<&str>, first_day: &str| {
        let wanted =
            Wanted { domain: domain.map(str::to_owned), first_day: first_day.into(), ..Wanted::default() };
        let summary = summary(&lines, &BTreeMap::new(), &wanted);
        assert_eq!(summary.problems, 1);
        (summary.mail.len(), summary.incidents.len())
    };
    assert_eq!(counts(None, ""), (2, 1));
    assert_eq!(counts(Some("a.test"), "2026-11-25"), (2, 1));
    assert_eq!(counts(Some("news.a.test"), ""), (1, 0));
    assert_eq!(counts(Some("b.test"), ""), (0, 0));
    assert_eq!(counts(None, "2026-11-26"), (0, 1));
}
