//! The queue as a person reads it. What other servers said is shown without control characters. Pure.

use crate::admin::queue::{
    DestinationLine, DialogueLine, GoneRecipientLine, GoneView, HistoryLine, MessageView, OutcomeLine,
    QueueLine, RecipientLine, ReportLine, RestLine, Shown, TlsLostLine,
};

/// A message in a listing, and a line for each open recipient.
pub(super) fn line(line: &QueueLine) -> Vec<String> {
    let QueueLine { id, accepted, size, from, recipients, .. } = line;
    let mut lines = vec![format!("{id}  {accepted}  {size} octets  from <{from}>  {}", state(line))];
    lines.extend(recipients.iter().map(|recipient| format!("    {}", waiting(recipient))));
    cleaned(lines)
}

/// Whether it is held, or when it is tried.
fn state(line: &QueueLine) -> String {
    let QueueLine { attempts, next_attempt, due, held, .. } = line;
    match held {
        Some(held) => format!("tried {attempts}×, held since {}: {}", held.since, held.why),
        None if *due => format!("tried {attempts}×, due since {next_attempt}"),
        None => format!("tried {attempts}×, next {next_attempt}"),
    }
}

/// What was said of a recipient, and why its destination does not get it now.
fn waiting(recipient: &RecipientLine) -> String {
    let RecipientLine { address, last_reply, destination, paused, resting, .. } = recipient;
    let said = if last_reply.is_empty() { "not tried yet" } else { last_reply };
    let paused = if *paused { format!("; {destination} is paused") } else { String::new() };
    let resting = resting.as_ref().map(|rest| format!("; {destination} {}", resting_until(rest)));
    format!("<{address}>  {said}{paused}{}", resting.unwrap_or_default())
}

fn lost(line: &TlsLostLine) -> String {
    let TlsLostLine { at, host, what, count } = line;
    format!("ALARM: {what} (at {host}, {at}, {count}× since the start)")
}

fn resting_until(rest: &RestLine) -> String {
    let RestLine { until, failures, last_reply } = rest;
    format!("rests until {until}, tried in vain {failures}×: {last_reply}")
}

/// All about a message.
pub(super) fn message(shown: &Shown) -> Vec<String> {
    let Shown { id, message, gone, destinations, history } = shown;
    let mut lines = match (message, gone) {
        (Some(message), _) => head(message),
        (None, Some(gone)) => gone_head(id, gone),
        (None, None) => vec![format!("{id}  has left the queue")],
    };
    if !destinations.is_empty() {
        lines.push("destinations:".to_owned());
        lines.extend(destinations.iter().map(|line| format!("  {}", destination(line))));
    }
    lines.push("history:".to_owned());
    lines.extend(history.iter().flat_map(happened).map(|line| format!("  {line}")));
    cleaned(lines)
}

fn head(message: &MessageView) -> Vec<String> {
    let MessageView { line, priority, not_before, deliver_by, return_overdue, require_tls, envelope_id } =
        message;
    let overdue = if *return_overdue { "else it comes back" } else { "else its sender is told" };
    let wishes = [
        (*priority != 0).then(|| format!("priority {priority}")),
        not_before.as_ref().map(|at| format!("to be sent no earlier than {at}")),
        deliver_by.as_ref().map(|at| format!("to be delivered by {at}, {overdue}")),
        require_tls.then(|| "only where TLS is sure".to_owned()),
        envelope_id.as_ref().map(|id| format!("its sender calls it {id}")),
    ];
    let QueueLine { id, accepted, size, from, recipients, .. } = line;
    let mut lines = vec![
        format!("{id}  from <{from}>  {size} octets"),
        format!("  accepted {accepted}"),
        format!("  {}", state(line)),
    ];
    lines.extend(wishes.into_iter().flatten().map(|wish| format!("  {wish}")));
    lines.push("recipients:".to_owned());
    for recipient in recipients {
        let RecipientLine { address, state, destination, tries, next_attempt, last_reply, .. } = recipient;
        let next = next_attempt.as_ref().map(|at| format!(", due {at}")).unwrap_or_default();
        lines.push(format!("  <{address}>  {state}, by {destination}, tried {tries}×{next}"));
        if !last_reply.is_empty() {
            lines.push(format!("      {last_reply}"));
        }
    }
    lines
}

/// What is known of a message that has left the queue.
fn gone_head(id: &str, gone: &GoneView) -> Vec<String> {
    let GoneView { accepted, from, recipients } = gone;
    let mut lines = vec![
        format!("{id}  from <{from}>  has left the queue"),
        format!("  accepted {accepted}"),
        "recipients:".to_owned(),
    ];
    for GoneRecipientLine { address, state, tries, last_reply } in recipients {
        lines.push(format!("  <{address}>  {state}, tried {tries}×"));
        if !last_reply.is_empty() {
            lines.push(format!("      {last_reply}"));
        }
    }
    lines
}

/// A line for each destination.
pub(super) fn destinations(lines: &[DestinationLine]) -> Vec<String> {
    match lines {
        [] => vec!["nothing is on its way".to_owned()],
        lines => cleaned(lines.iter().map(destination).collect()),
    }
}

fn destination(line: &DestinationLine) -> String {
    let DestinationLine { destination, wish, waiting, due, connections, window, paused, resting, tls_lost } =
        line;
    let said = [
        wish.clone(),
        waiting.zip(*due).map(|(waiting, due)| format!("{waiting} waiting, {due} due")),
        connections.zip(*window).map(|(now, most)| format!("{now} of {most} connections")),
        paused.then(|| "paused".to_owned()),
        resting.as_ref().map(resting_until),
        tls_lost.as_ref().map(lost),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    format!("{destination}  {}", said.join(", ")).trim_end().to_owned()
}

fn happened(line: &HistoryLine) -> Vec<String> {
    let one = |at: &str, what: String| vec![format!("{at}  {what}")];
    match line {
        HistoryLine::Queued { at, next_attempt, held } => {
            let held = held.as_ref().map(|why| format!(", held: {why}")).unwrap_or_default();
            one(at, format!("queued, due {next_attempt}{held}"))
        }
        HistoryLine::Attempted { at, outcomes, next_attempt, warned, dialogues } => {
            let next = next_attempt.as_ref().map(|next| format!(", next try {next}")).unwrap_or_default();
            let warned = if *warned { ", its sender was told that it is late" } else { "" };
            let mut lines = one(at, format!("tried{next}{warned}"));
            lines.extend(outcomes.iter().flat_map(outcome));
            lines.extend(dialogues.iter().flat_map(dialogue));
            lines
        }
        HistoryLine::Rescheduled { at, next_attempt } => {
            one(at.as_deref().unwrap_or("(unknown)"), format!("made due {next_attempt}"))
        }
        HistoryLine::Held { at, why } => one(at, format!("held: {why}")),
        HistoryLine::Released { at } => one(at, "released".to_owned()),
        HistoryLine::Reported { at, reports } => {
            let mut lines = one(at, "a report came back".to_owned());
            lines.extend(reports.iter().map(report));
            lines
        }
        HistoryLine::Left { removed: Some(at) } => one(at, "removed by hand".to_owned()),
        HistoryLine::Left { removed: None } => vec!["all its recipients are settled".to_owned()],
    }
}

fn outcome(outcome: &OutcomeLine) -> Vec<String> {
    let OutcomeLine { recipient, outcome, peer, ours, reply } = outcome;
    let by = match (peer.as_str(), ours) {
        ("", _) => "without asking a server".to_owned(),
        (peer, true) => format!("as noted here of {peer}"),
        (peer, false) => format!("by {peer}"),
    };
    let mut lines = vec![format!("    <{recipient}>  {outcome} {by}")];
    lines.extend(reply.iter().map(|line| format!("        {line}")));
    lines
}

fn report(report: &ReportLine) -> String {
    let ReportLine { recipient, what, status, said } = report;
    let said = [status.as_deref(), said.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(", ");
    format!("    <{recipient}>  {what}  {said}").trim_end().to_owned()
}

fn dialogue(dialogue: &DialogueLine) -> Vec<String> {
    let DialogueLine { at, peer, tls, policy, lines } = dialogue;
    let tls = tls.as_deref().unwrap_or("no TLS");
    let mut said = vec![format!("    what was said with {peer} at {at}; {tls}; {policy}")];
    said.extend(lines.iter().map(|line| format!("        {line}")));
    said
}

/// A message as a terminal shows it, in pieces.
#[derive(Debug, Default)]
pub(super) struct Tamed {
    /// The last octet of the piece before.
    last: u8,
}

impl Tamed {
    /// Puts `?` in the place of octets that a terminal obeys: controls of US-ASCII but line ends and tabs, and those of UTF-8 behind 0xC2.
    pub(super) fn clean(&mut self, octets: &mut [u8]) {
        for octet in octets {
            let is_ascii = octet.is_ascii_control() && !matches!(octet, b'\r' | b'\n' | b'\t');
            let is_other = self.last == 0xc2 && (0x80..0xa0).contains(octet);
            self.last = *octet;
            if is_ascii || is_other {
                *octet = b'?';
            }
        }
    }
}

/// Octets that a terminal obeys, or that end lines, are not shown.
fn cleaned(lines: Vec<String>) -> Vec<String> {
    let clean = |line: String| line.replace(char::is_control, "\u{fffd}");
    lines.into_iter().map(clean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::queue::HeldLine;

    fn held() -> QueueLine {
        QueueLine {
            id: "0000000000001".to_owned(),
            accepted: "A".to_owned(),
            size: 7,
            from: String::new(),
            attempts: 2,
            next_attempt: "N".to_owned(),
            due: false,
            held: None,
            recipients: Vec::new(),
        }
    }

    fn recipient() -> RecipientLine {
        RecipientLine {
            address: "x@b.test".to_owned(),
            state: "waiting".to_owned(),
            destination: "b.test".to_owned(),
            tries: 0,
            next_attempt: None,
            last_reply: String::new(),
            paused: false,
            resting: None,
        }
    }

    fn rest() -> Option<RestLine> {
        Some(RestLine { until: "U".to_owned(), failures: 3, last_reply: "mx: 421 no".to_owned() })
    }

    #[test]
    fn a_listing_says_why_a_message_waits() {
        let hold = Some(HeldLine { since: "S".to_owned(), why: "asked for".to_owned() });
        for (message, expected) in [
            (held(), "tried 2×, next N"),
            (QueueLine { due: true, ..held() }, "tried 2×, due since N"),
            (QueueLine { due: true, held: hold, ..held() }, "tried 2×, held since S: asked for"),
        ] {
            assert_eq!(line(&message), [format!("0000000000001  A  7 octets  from <>  {expected}")]);
        }
        let said = RecipientLine { last_reply: "mx: 451 la\x1b[2Jter".to_owned(), ..recipient() };
        for (recipient, expected) in [
            (recipient(), "not tried yet"),
            (RecipientLine { paused: true, ..recipient() }, "not tried yet; b.test is paused"),
            (
                RecipientLine { resting: rest(), ..recipient() },
                "not tried yet; b.test rests until U, tried in vain 3×: mx: 421 no",
            ),
            (said, "mx: 451 la\u{fffd}[2Jter"),
        ] {
            let lines = line(&QueueLine { recipients: vec![recipient], ..held() });
            assert_eq!(lines[1], format!("    <x@b.test>  {expected}"));
        }
    }

    #[test]
    fn a_terminal_obeys_no_octet_of_a_message() {
        let message = "A: gr\u{fc}\u{df}e\t\u{a0}\r\n\x1b[2J\u{9b}2J\x07\x7f\0.\r\n".as_bytes();
        let expected = b"A: gr\xc3\xbc\xc3\x9fe\t\xc2\xa0\r\n?[2J\xc2?2J???.\r\n";
        for piece in [1, 2, 3, 4096] {
            let (mut shown, mut octets) = (Tamed::default(), message.to_vec());
            octets.chunks_mut(piece).for_each(|piece| shown.clean(piece));
            assert_eq!(octets, expected, "by {piece}");
        }
    }

    #[test]
    fn reports_that_came_back_are_shown() {
        let report = |status: Option<&str>, said: Option<&str>| ReportLine {
            recipient: "x@b.test".to_owned(),
            what: "failed".to_owned(),
            status: status.map(str::to_owned),
            said: said.map(str::to_owned),
        };
        let reports = vec![
            report(Some("5.1.1"), Some("550 no\x1b[2Jbody")),
            report(None, None),
            ReportLine {
                what: "complaint: abuse".to_owned(),
                recipient: String::new(),
                ..report(None, None)
            },
        ];
        let history = vec![HistoryLine::Reported { at: "A".to_owned(), reports }];
        let shown = Shown {
            id: "0000000000001".to_owned(),
            message: None,
            gone: None,
            destinations: Vec::new(),
            history,
        };
        assert_eq!(
            message(&shown)[1..],
            [
                "history:",
                "  A  a report came back",
                "      <x@b.test>  failed  5.1.1, 550 no\u{fffd}[2Jbody",
                "      <x@b.test>  failed",
                "      <>  complaint: abuse",
            ]
        );
    }

    #[test]
    fn a_try_tells_what_servers_said_from_what_was_noted_here() {
        let by = |peer: &str, ours| {
            let outcome = OutcomeLine {
                recipient: "x@b.test".to_owned(),
                outcome: "deferred".to_owned(),
                peer: peer.to_owned(),
                ours,
                reply: vec!["451 4.4.1 no".to_owned()],
            };
            super::outcome(&outcome)
        };
        for (peer, ours, expected) in [
            ("mx [::1]", false, "by mx [::1]"),
            ("mx [::1]", true, "as noted here of mx [::1]"),
            ("", true, "without asking a server"),
        ] {
            assert_eq!(
                by(peer, ours),
                [format!("    <x@b.test>  deferred {expected}"), "        451 4.4.1 no".to_owned()]
            );
        }
    }

    #[test]
    fn destinations_say_what_is_known_of_them() {
        let nothing = DestinationLine {
            destination: "b.test".to_owned(),
            wish: None,
            waiting: None,
            due: None,
            connections: None,
            window: None,
            paused: false,
            resting: None,
            tls_lost: None,
        };
        let lost = TlsLostLine {
            at: "A".to_owned(),
            host: "mx.b.test".to_owned(),
            what: "TLS that was good for weeks is gone".to_owned(),
            count: 2,
        };
        assert_eq!(destinations(&[]), ["nothing is on its way"]);
        for (line, expected) in [
            (nothing.clone(), "b.test"),
            (DestinationLine { paused: true, ..nothing.clone() }, "b.test  paused"),
            (
                DestinationLine { tls_lost: Some(lost), ..nothing.clone() },
                "b.test  ALARM: TLS that was good for weeks is gone (at mx.b.test, A, 2× since the start)",
            ),
            (DestinationLine { wish: Some("REQUIRETLS".into()), ..nothing.clone() }, "b.test  REQUIRETLS"),
            (
                DestinationLine {
                    waiting: Some(9),
                    due: Some(1),
                    connections: Some(0),
                    window: Some(5),
                    resting: rest(),
                    ..nothing
                },
                "b.test  9 waiting, 1 due, 0 of 5 connections, rests until U, tried in vain 3×: mx: 421 no",
            ),
        ] {
            assert_eq!(destinations(&[line]), [expected]);
        }
    }
}
