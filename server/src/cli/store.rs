//! `waypost store …`

use std::path::{Path, PathBuf};

use crate::{
    admin::{Request, Response},
    cli::{
        Failure,
        arguments::{ConfigFile, ForeignOptions, ImportOptions, StoreCommand},
        backup, maintenance,
        progress::Bar,
        target, terminal,
    },
    port::{Event, Foreign, ForeignTls, Format, Job, Password, Summary},
};

/// Runs the command.
pub async fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Export { address, place, lf, json, config } => {
            let layout = place.layout;
            let (format, path) = located(place.maildir, place.mbox)?;
            let job = Job::Export { format, path, layout, lf };
            let summary = port(&config, address, job, "exported").await?;
            report(&summary, json, "exported")
        }
        StoreCommand::Import(options) => import(options).await,
        StoreCommand::Check { json, config } => maintenance::check(&config, json).await,
        StoreCommand::Rebuild { config } => maintenance::rebuild(&config).await,
        StoreCommand::Backup { directory, verify, json, config } => {
            backup::run(&config, &directory, verify, json).await
        }
        StoreCommand::Restore(options) => backup::restore(options).await,
        StoreCommand::Compact { config } => maintenance::compact(&config).await,
        StoreCommand::Undelete(options) => maintenance::undelete(options).await,
        StoreCommand::Purge { address, config } => maintenance::purge(&config, address).await,
    }
}

async fn import(options: ImportOptions) -> Result<(), Failure> {
    let ImportOptions { address, origin, layout, mailbox, foreign, strict, again, json, config } = options;
    let job = match origin.imap {
        Some(server) => Job::Fetch { from: self::foreign(&server, foreign)?, strict, again },
        None => {
            let (format, path) = located(origin.maildir, origin.mbox)?;
            Job::Import { format, path, layout, mailbox, strict, again }
        }
    };
    let summary = port(&config, address, job, "imported").await?;
    report(&summary, json, "imported")
}

/// The server that mail comes from, with the password there.
fn foreign(server: &str, options: ForeignOptions) -> Result<Foreign, Failure> {
    let ForeignOptions { user, password_file, tls, ca, folder, exclude } = options;
    let wrong = |text: String| Failure { text, code: 2 };
    let (host, port) = host_and_port(server).ok_or_else(|| wrong(format!("{server} is not HOST[:PORT]")))?;
    let default =
        if port == Some(ForeignTls::Starttls.port()) { ForeignTls::Starttls } else { ForeignTls::Implicit };
    let tls = tls.unwrap_or(default);
    let port = port.unwrap_or(tls.port());
    let user = user.unwrap_or_default();
    if tls == ForeignTls::None {
        terminal::complain("waypost: without TLS, who listens has the password and the mail");
    }
    let password = match &password_file {
        Some(file) => terminal::password_in(file)?,
        None => terminal::read_password(&format!("Password of {user} at {host}: "))?,
    };
    if format!("{user}{password}").contains(['\0', '\r', '\n']) {
        return Err(wrong("user name and password cannot hold NUL, CR or LF".to_owned()));
    }
    let ca = ca.map(|file| absolute(&file)).transpose()?;
    let password = Password(password);
    Ok(Foreign { host: host.to_owned(), port, tls, ca, user, password, folders: folder, excludes: exclude })
}

/// `HOST`, `HOST:PORT`, `[IPV6]:PORT`, or an IPv6 address alone.
fn host_and_port(server: &str) -> Option<(&str, Option<u16>)> {
    if server.parse::<std::net::Ipv6Addr>().is_ok() {
        return Some((server, None));
    }
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        },
    };
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        None => None,
    };
    (!host.is_empty()).then_some((host, port))
}

/// Format and absolute path: a running server has another working directory.
fn located(maildir: Option<PathBuf>, mbox: Option<PathBuf>) -> Result<(Format, PathBuf), Failure> {
    match (maildir, mbox) {
        (Some(path), _) => Ok((Format::Maildir, absolute(&path)?)),
        (None, Some(path)) => Ok((Format::Mbox, absolute(&path)?)),
        (None, None) => Err(Failure { text: "--maildir or --mbox is needed".to_owned(), code: 2 }),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let named = |why: &str| Failure { text: format!("{}: {why}", path.display()), code: 2 };
    let absolute = std::path::absolute(path).map_err(|error| named(&error.to_string()))?;
    match absolute.to_str() {
        Some(_) => Ok(absolute),
        None => Err(named("the path is not UTF-8")),
    }
}

async fn port(
    config: &ConfigFile,
    address: String,
    job: Job,
    done: &'static str,
) -> Result<Summary, Failure> {
    let mut bar = Bar::new(done);
    let mut tell = |event| match event {
        Event::Progress(progress) => bar.show(&progress),
        Event::Trouble(trouble) => bar.above(&format!("waypost: {}: {}", trouble.what, trouble.why)),
    };
    let response = target::ask_long(config, Request::Port { address, job }, &mut tell).await;
    bar.finish();
    match response? {
        Response::Ported(summary) => Ok(summary),
        _ => Err(Failure::new("the server gave another answer than was asked for")),
    }
}

fn report(summary: &Summary, json: bool, done: &str) -> Result<(), Failure> {
    if json {
        terminal::say(&serde_json::to_string_pretty(summary).map_err(Failure::new)?);
    } else {
        lines(summary, done).iter().for_each(|line| terminal::say(line));
    }
    match summary.failed {
        0 => Ok(()),
        1 => Err(Failure::new(format!("1 was not {done}; it is named above"))),
        failed => Err(Failure::new(format!("{failed} were not {done}; each is named above"))),
    }
}

fn lines(summary: &Summary, done: &str) -> Vec<String> {
    let Summary { messages, octets, mailboxes, earlier, reasons, warnings, seconds, .. } = summary;
    let mut lines = vec![format!(
        "{done} {messages} messages, {octets} octets, in {mailboxes} mailboxes, in {seconds:.1} s"
    )];
    if *earlier > 0 {
        lines.push(format!("{earlier} messages had been {done} earlier"));
    }
    lines.extend(reasons.iter().map(|(why, count)| format!("{count} not {done}: {why}")));
    lines.extend(warnings.iter().map(|warning| format!("note: {warning}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_host_and_port() {
        for (text, expected) in [
            ("old.example.org", Some(("old.example.org", None))),
            ("old.example.org:143", Some(("old.example.org", Some(143)))),
            ("192.0.2.7:993", Some(("192.0.2.7", Some(993)))),
            ("2001:db8::1", Some(("2001:db8::1", None))),
            ("[2001:db8::1]", Some(("2001:db8::1", None))),
            ("[2001:db8::1]:143", Some(("2001:db8::1", Some(143)))),
            ("", None),
            (":143", None),
            ("a:0", None),
            ("a:x", None),
            ("a:65536", None),
            ("[::1", None),
            ("[::1]143", None),
        ] {
            assert_eq!(host_and_port(text), expected, "{text}");
        }
    }
}
