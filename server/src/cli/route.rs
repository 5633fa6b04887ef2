//! `waypost route FROM TO`

use crate::{
    admin::{RelayedLine, Request, Response, RouteAnswer, TargetLine},
    cli::{Failure, arguments::RouteOptions, target, terminal},
};

/// Runs the command.
pub async fn run(options: RouteOptions) -> Result<(), Failure> {
    let RouteOptions { from, to, json, config } = options;
    let request = Request::Route { from, to };
    let Response::Route(answer) = target::ask(&config, request).await? else { return Ok(()) };
    if json {
        terminal::say(&serde_json::to_string_pretty(&answer).map_err(Failure::new)?);
    } else {
        lines(&answer).iter().for_each(|line| terminal::say(line));
    }
    Ok(())
}

fn lines(answer: &RouteAnswer) -> Vec<String> {
    let mut lines = vec![format!("from {}", answer.sender)];
    lines.extend(answer.steps.iter().cloned());
    lines.extend(answer.refused.iter().map(|reply| format!("refused: {reply}")));
    lines.extend(answer.mailboxes.iter().map(|to| format!("delivered here, to the mailbox of {to}")));
    answer.relayed.iter().for_each(|line| lines.extend(relayed(line)));
    lines
}

fn relayed(line: &RelayedLine) -> Vec<String> {
    let RelayedLine { recipient, alias, reverse_path, reason, suppressed, failure, protocol, login, targets } =
        line;
    let forwarded = alias.as_ref().map_or_else(String::new, |alias| format!(", forwarded by {alias}"));
    let mut lines = vec![
        format!("relayed to {recipient}{forwarded}"),
        format!("    reverse path <{reverse_path}>"),
        format!("    {reason}"),
    ];
    let is_suppressed = |reply| format!("    on the suppression list, comes back at once: {reply}");
    lines.extend(suppressed.iter().map(is_suppressed));
    lines.extend(failure.iter().map(|reply| format!("    cannot be sent: {reply}")));
    lines.extend(protocol.iter().map(|protocol| format!("    protocol {protocol}")));
    lines.extend(login.iter().map(|user| format!("    logs in as {user}")));
    for (at, target) in targets.iter().enumerate() {
        lines.push(format!("    {}. {}", at + 1, target_line(target)));
        let tls = target.tls.get("text").and_then(serde_json::Value::as_str);
        lines.extend(tls.map(|text| format!("       {text}")));
    }
    lines
}

fn target_line(line: &TargetLine) -> String {
    let TargetLine { host, address, preference, source, fallback, .. } = line;
    let fallback = if *fallback { "fallback relay " } else { "" };
    let preference = preference.map_or_else(String::new, |preference| format!("MX {preference} "));
    let source = source.as_ref().map_or_else(String::new, |source| format!(" from {source}"));
    format!("{fallback}{preference}{host} at {address}{source}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_from_top_to_bottom() {
        let target = |host: &str, address: &str, preference, source: Option<&str>| TargetLine {
            host: host.into(),
            address: address.into(),
            preference,
            fallback: host == "relay.test",
            source: source.map(str::to_owned),
            tls: serde_json::json!({ "demand": "none", "text": "no TLS (the route says so)" }),
        };
        let relayed = RelayedLine {
            recipient: "x@b.test".into(),
            alias: Some("team@a.test".into()),
            reverse_path: "s@a.test".into(),
            reason: "no [[route]]: by DNS".into(),
            suppressed: None,
            failure: None,
            protocol: Some("smtp".into()),
            login: None,
            targets: vec![
                target("mx.b.test", "[2001:db8::1]:25", Some(10), Some("2001:db8::9")),
                target("mx.b.test", "192.0.2.1:25", Some(10), None),
                target("relay.test", "192.0.2.9:25", None, None),
            ],
        };
        let later = RelayedLine {
            suppressed: Some("550 5.1.1 bounced".into()),
            failure: Some("451 4.4.3 later".into()),
            protocol: None,
            targets: Vec::new(),
            alias: None,
            ..relayed.clone()
        };
        let answer = RouteAnswer {
            sender: "a stranger".into(),
            steps: vec!["team@a.test leads to x@b.test".into()],
            refused: None,
            mailboxes: vec!["anna@a.test".into()],
            relayed: vec![relayed, later],
        };
        assert_eq!(
            lines(&answer).join("\n"),
            "from a stranger\n\
             team@a.test leads to x@b.test\n\
             delivered here, to the mailbox of anna@a.test\n\
             relayed to x@b.test, forwarded by team@a.test\n    reverse path <s@a.test>\n    no [[route]]: by DNS\n    \
             protocol smtp\n    1. MX 10 mx.b.test at [2001:db8::1]:25 from 2001:db8::9\n       no TLS (the route says so)\n    \
             2. MX 10 mx.b.test at 192.0.2.1:25\n       no TLS (the route says so)\n    \
             3. fallback relay relay.test at 192.0.2.9:25\n       no TLS (the route says so)\n\
             relayed to x@b.test\n    reverse path <s@a.test>\n    no [[route]]: by DNS\n    \
             on the suppression list, comes back at once: 550 5.1.1 bounced\n    cannot be sent: 451 4.4.3 later"
        );
        let refused = RouteAnswer {
            refused: Some("550 5.1.1 no".into()),
            mailboxes: Vec::new(),
            relayed: Vec::new(),
            ..answer
        };
        assert_eq!(lines(&refused)[2..], ["refused: 550 5.1.1 no"]);
    }
}
