//! Reports as a person reads them. What strangers wrote is shown without control characters. Pure.

use waypost_mta::reports::{
    incoming::{
        aggregate::{Aggregate, Row},
        archive::{Kept, Problem},
        mail::{Content, Told},
        summary::{FailureLine, IncidentLine, MailLine, SourceLine, Summary, TlsLine, UnverifiedLine},
        tls::TlsReport,
    },
    outgoing::ReportLine,
};

/// What became of one of ours.
pub(super) fn sent(line: &ReportLine) -> String {
    let ReportLine { kind, domain, to, outcome, why } = line;
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let to = if to.is_empty() { String::new() } else { format!(" to {to}") };
    cleaned(vec![format!("{} {domain}{to} {outcome}{why}", kind.name())]).concat()
}

/// What all reports of some days say.
pub(super) fn summary(summary: &Summary, days: u32) -> Vec<String> {
    let Summary { mail, tls, incidents, unverified, problems, more } = summary;
    let mut lines: Vec<String> = mail.iter().flat_map(mail_line).collect();
    lines.extend(tls.iter().flat_map(tls_line));
    lines.extend(incidents.iter().flat_map(incident_line));
    lines.extend(unverified.iter().map(unverified_line));
    if lines.is_empty() {
        lines.push(format!("no reports of the last {} came", counted(u64::from(days), "day")));
    }
    if *problems > 0 {
        let what = counted(*problems as u64, "problem");
        lines.push(format!("{what} with what looked like reports: `waypost reports --errors`"));
    }
    if *more {
        lines.push("there is more: ask for fewer --days, or one --domain".to_owned());
    }
    cleaned(lines)
}

fn mail_line(line: &MailLine) -> Vec<String> {
    let MailLine { domain, day, provider, reports, .. } = line;
    let mut lines =
        vec![format!("{domain}  {day}  {provider}  ({})", reports.join(", ")), format!("    {}", seen(line))];
    if line.seen > 0 {
        lines.push(format!(
            "    {} failed DKIM, {} failed SPF, {} failed both; {} to Junk, {} refused",
            line.failed_dkim, line.failed_spf, line.failed, line.quarantined, line.rejected
        ));
    }
    if line.passed_on > 0 {
        let messages = counted(line.passed_on, "signed message");
        lines.push(format!(
            "    {messages} came from elsewhere: forwarded, or of a sender who has a key of yours"
        ));
    }
    if line.others > 0 {
        let messages = counted(line.others, "message");
        lines.push(format!(
            "    {messages} in the name of {domain} came from elsewhere, with nothing that stands for it:"
        ));
        lines.extend(line.sources.iter().map(source));
    }
    if line.left_out > 0 {
        lines.push(format!("    {} more in too many rows to be kept", counted(line.left_out, "message")));
    }
    lines.extend(line.errors.iter().map(|error| format!("    they say of the record: {error}")));
    lines.extend(line.advice.iter().map(|advice| format!("    → {advice}")));
    lines
}

fn seen(line: &MailLine) -> String {
    let MailLine { seen, sent, sent_recipients, .. } = line;
    match sent {
        None => format!("saw {seen} of yours; what you sent on that day was not counted"),
        Some(sent) if sent_recipients > sent => {
            format!("saw {seen}, you sent {sent} (to {sent_recipients} recipients)")
        }
        Some(sent) => format!("saw {seen}, you sent {sent}"),
    }
}

fn source(source: &SourceLine) -> String {
    let SourceLine { address, name, messages, quarantined, rejected } = source;
    let address = address.map_or_else(|| "an address that cannot be read".to_owned(), |ip| ip.to_string());
    let name = name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    format!("        {address}{name}  {messages}, {quarantined} to Junk, {rejected} refused")
}

fn tls_line(line: &TlsLine) -> Vec<String> {
    let TlsLine { domain, day, provider, reports, policy, successful, failed, failures } = line;
    let mut lines = vec![
        format!("{domain}  {day}  {provider}  ({})", reports.join(", ")),
        format!("    TLS ({policy}): {} went well, {failed} failed", counted(*successful, "session")),
    ];
    for failure in failures {
        let FailureLine { kind, words, advice, sessions, host, reason } = failure;
        let host = if host.is_empty() { String::new() } else { format!(" at {host}") };
        let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        lines.push(format!("        {sessions}{host}: {words} ({kind}){reason}"));
        lines.push(format!("        → {advice}"));
    }
    lines
}

fn incident_line(line: &IncidentLine) -> Vec<String> {
    let IncidentLine { report, at, provider, verified, told } = line;
    let sure = if *verified { "" } else { ", not verified" };
    let mut lines = vec![format!("{at}  {provider}{sure}  {}  ({report})", kind(told))];
    lines.extend(about(told).into_iter().map(|line| format!("    {line}")));
    lines
}

fn kind(told: &Told) -> String {
    let failure = told.failure.as_ref().map_or_else(String::new, |failure| format!(" ({failure})"));
    match told.kind.as_str() {
        "abuse" => "a complaint".to_owned(),
        "not-spam" => "no spam".to_owned(),
        "auth-failure" => format!("a message that failed{failure}"),
        other => format!("{other}{failure}"),
    }
}

/// Which message it was.
fn about(told: &Told) -> Vec<String> {
    let text = |what: &str, text: &Option<String>| text.as_ref().map(|text| format!("{what} {text}"));
    let said =
        [text("from", &told.from), text("subject", &told.subject), text("Message-ID", &told.message_id)];
    let mut lines = vec![said.into_iter().flatten().collect::<Vec<_>>().join(", ")];
    let source = told.source.map(|source| format!("sent by {source}"));
    let rest = [source, text("arrived", &told.arrival), text("result:", &told.delivery)];
    lines.push(rest.into_iter().flatten().collect::<Vec<_>>().join(", "));
    if let Some((domain, selector)) = &told.signature {
        lines.push(format!("signature of {domain} with {selector}"));
    }
    lines.push(match &told.about {
        Some(id) => format!("it went out from here: `waypost queue show {id}`"),
        None => "it is not known here".to_owned(),
    });
    lines.retain(|line| !line.is_empty());
    lines
}

fn unverified_line(line: &UnverifiedLine) -> String {
    let UnverifiedLine { report, at, provider, kind, count } = line;
    let what = if kind == "tls" { counted(*count, "session") } else { counted(*count, "message") };
    format!("{at}  says that it is {provider}'s, and nobody vouches for it: not counted  {what}  ({report})")
}

/// All that a report says.
pub(super) fn report(kept: &Kept) -> Vec<String> {
    let Kept { mail, at, reporter, names, content } = kept;
    let sure = reporter
        .verified
        .as_ref()
        .map_or_else(|| "nobody vouches for it".to_owned(), |domain| format!("{domain} vouches for it"));
    let mut lines = vec![format!("{mail}  {at}  {} ({}), {sure}", reporter.provider, reporter.name)];
    match content {
        Content::Aggregate(report) => lines.extend(aggregate(report)),
        Content::Tls(report) => lines.extend(tls(report)),
        Content::Incident(told) => {
            lines.push(format!("    {}", kind(told)));
            lines.extend(about(told).into_iter().map(|line| format!("    {line}")));
        }
    }
    lines.extend(names.iter().map(|(address, name)| format!("    {address} is {name}")));
    cleaned(lines)
}

fn aggregate(report: &Aggregate) -> Vec<String> {
    let Aggregate { id, email, begin, end, domain, policy, rows, left_out, errors, .. } = report;
    let mut lines = vec![
        format!("    report {id} about {domain} (p={policy}), {} to {}", time(*begin), time(*end)),
        format!("    contact: {email}"),
    ];
    lines.extend(errors.iter().map(|error| format!("    they say of the record: {error}")));
    lines.extend(rows.iter().map(|one| format!("    {}", row(one))));
    if *left_out > 0 {
        lines.push(format!("    {} more", counted(*left_out, "message")));
    }
    lines
}

fn row(row: &Row) -> String {
    let Row { source, count, from, to, disposition, reason, signatures, spf_result, .. } = row;
    let source = source.map_or_else(|| "?".to_owned(), |source| source.to_string());
    let passed = |is_so: bool| if is_so { "pass" } else { "fail" };
    let to = to.as_ref().map_or_else(String::new, |to| format!(" to {to}"));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(" because {reason}"));
    let keys =
        signatures.iter().map(|one| format!(" dkim={} ({} of {})", one.result, one.selector, one.domain));
    let spf =
        spf_result.as_ref().map_or_else(String::new, |(domain, result)| format!(" spf={result} ({domain})"));
    format!(
        "{source}  {count} from {from}{to}: DKIM {}, SPF {}, {disposition}{reason};{}{spf}",
        passed(row.dkim),
        passed(row.spf),
        keys.collect::<String>()
    )
}

fn tls(report: &TlsReport) -> Vec<String> {
    let TlsReport { id, contact, begin, end, policies, .. } = report;
    let mut lines = vec![
        format!("    report {id}, {} to {}", time(*begin), time(*end)),
        format!("    contact: {contact}"),
    ];
    for policy in policies {
        lines.push(format!(
            "    {} ({}): {} went well, {} failed",
            policy.domain,
            policy.kind,
            counted(policy.successful, "session"),
            policy.failed
        ));
        let failure = |one: &waypost_mta::reports::incoming::tls::TlsFailure| {
            format!("        {} {} {} {}", one.count, one.kind, one.host, one.reason)
        };
        lines.extend(policy.failures.iter().map(failure));
    }
    lines
}

/// What looked like reports.
pub(super) fn problems(problems: &[Problem], days: u32) -> Vec<String> {
    let line = |problem: &Problem| {
        let Problem { mail, at, from, why } = problem;
        let mail = if mail.is_empty() { String::new() } else { format!("  {mail}") };
        let from = if from.is_empty() { String::new() } else { format!("  {from}") };
        format!("{at}{mail}{from}: {why}")
    };
    match problems {
        [] => vec![format!("all reports of the last {} could be read", counted(u64::from(days), "day"))],
        all => cleaned(all.iter().map(line).collect()),
    }
}

fn time(seconds: i64) -> String {
    waypost_mail::Timestamp::from_seconds(seconds).to_string().replace(".000Z", "Z")
}

fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn cleaned(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| line.replace(char::is_control, "\u{fffd}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(summary: &Summary) -> String {
        super::summary(summary, 7).join("\n")
    }

    #[test]
    fn what_a_provider_saw_stands_beside_what_was_sent() {
        let line = MailLine {
            domain: "a.test".into(),
            day: "2026-11-25".into(),
            provider: "big.test".into(),
            reports: vec!["0000000000c1s".into()],
            seen: 41,
            sent: Some(41),
            sent_recipients: 43,
            failed_dkim: 3,
            passed_on: 1,
            others: 2,
            sources: vec![SourceLine {
                address: Some("203.0.113.9".parse().unwrap()),
                name: Some("x.test".into()),
                messages: 2,
                quarantined: 0,
                rejected: 2,
            }],
            errors: vec!["two\x1b[2J records".into()],
            advice: vec!["do something".into()],
            ..MailLine::default()
        };
        let expected = "a.test  2026-11-25  big.test  (0000000000c1s)\n    saw 41, you sent 41 (to 43 recipients)\n    \
            3 failed DKIM, 0 failed SPF, 0 failed both; 0 to Junk, 0 refused\n    \
            1 signed message came from elsewhere: forwarded, or of a sender who has a key of yours\n    \
            2 messages in the name of a.test came from elsewhere, with nothing that stands for it:\n        \
            203.0.113.9 (x.test)  2, 0 to Junk, 2 refused\n    they say of the record: two\u{fffd}[2J records\n    → do something";
        assert_eq!(texts(&Summary { mail: vec![line.clone()], ..Summary::default() }), expected);
        assert_eq!(
            seen(&MailLine { sent: None, ..line }),
            "saw 41 of yours; what you sent on that day was not counted"
        );
    }

    #[test]
    fn the_rest_is_said_in_words() {
        let failure = FailureLine {
            kind: "certificate-expired".into(),
            words: "the certificate had expired".into(),
            advice: "renew it".into(),
            sessions: 3,
            host: "mx.a.test".into(),
            reason: "X".into(),
        };
        let tls = TlsLine {
            domain: "a.test".into(),
            day: "D".into(),
            provider: "big.test".into(),
            reports: vec!["i".into(), "j".into()],
            policy: "sts".into(),
            successful: 1,
            failed: 3,
            failures: vec![failure],
        };
        let told = Told {
            kind: "auth-failure".into(),
            failure: Some("dmarc".into()),
            source: Some("203.0.113.9".parse().unwrap()),
            subject: Some("s".into()),
            message_id: Some("m".into()),
            about: Some("0000000000abc".into()),
            ..Told::default()
        };
        let incident = IncidentLine {
            report: "r".into(),
            at: "T".into(),
            provider: "big.test".into(),
            verified: false,
            told,
        };
        let unverified = UnverifiedLine {
            report: "u".into(),
            at: "T".into(),
            provider: "p.test".into(),
            kind: "tls".into(),
            count: 1,
        };
        let summary = Summary {
            tls: vec![tls],
            incidents: vec![incident],
            unverified: vec![unverified],
            problems: 1,
            more: true,
            ..Summary::default()
        };
        let expected = "a.test  D  big.test  (i, j)\n    TLS (sts): 1 session went well, 3 failed\n        \
            3 at mx.a.test: the certificate had expired (certificate-expired): X\n        → renew it\n\
            T  big.test, not verified  a message that failed (dmarc)  (r)\n    subject s, Message-ID m\n    sent by 203.0.113.9\n    \
            it went out from here: `waypost queue show 0000000000abc`\n\
            T  says that it is p.test's, and nobody vouches for it: not counted  1 session  (u)\n\
            1 problem with what looked like reports: `waypost reports --errors`\n\
            there is more: ask for fewer --days, or one --domain";
        assert_eq!(texts(&summary), expected);
        assert_eq!(texts(&Summary::default()), "no reports of the last 7 days came");
        let problem = Problem { mail: "m".into(), at: "T".into(), from: "x".into(), why: "y".into() };
        assert_eq!(problems(&[problem], 1), ["T  m  x: y"]);
        assert_eq!(problems(&[], 1), ["all reports of the last 1 day could be read"]);
    }
    #[test]
    fn one_reads_what_became_of_a_report() {
        use waypost_mta::reports::outgoing::Kind;
        let line = ReportLine {
            kind: Kind::Dmarc,
            domain: "a.test".into(),
            to: "mailto:d@a.test".into(),
            outcome: "sent".into(),
            why: None,
        };
        assert_eq!(sent(&line), "DMARC a.test to mailto:d@a.test sent");
        let why = Some("no answer".into());
        let line = ReportLine { kind: Kind::Tls, to: String::new(), outcome: "later".into(), why, ..line };
        assert_eq!(sent(&line), "TLS a.test later: no answer");
    }
}
