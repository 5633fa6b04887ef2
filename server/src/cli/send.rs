//! `waypost send`: a small user agent.

use std::{
    io::Read,
    net::{SocketAddr, ToSocketAddrs},
    path::Path,
    time::SystemTime,
};

use waypost_mail::{Address, DateTime, ReversePath, Timestamp};
use waypost_message::build::Draft;
use waypost_net::{ClientTls, Verification};

use crate::{
    agent::{AgentError, Login, Submission, Tls, submit},
    cli::{
        Failure,
        arguments::{SendOptions, SendTls},
        terminal,
    },
};

/// Sends one message and prints the server's reply.
pub async fn run(options: SendOptions) -> Result<(), Failure> {
    let from = address(&options.from)?;
    let to = options.to.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
    let message = draft(&options, &from, &to)?.build();
    let (host, server) = resolve(&options.server)?;
    let login = match &options.user {
        Some(user) => Some(Login { user: user.clone(), password: password(&options, user)? }),
        None => None,
    };
    let from = ReversePath::Address(from);
    let reply = submit(Submission {
        address: server,
        tls: tls(&options, &host, server)?,
        login,
        from: &from,
        to: &to,
        message: &message,
    });
    let reply = reply.await.map_err(|error| Failure::new(format!("{error}{}", advice(&error, &options))))?;
    terminal::say(reply.trim_end());
    Ok(())
}

/// What may help where an option was not given.
fn advice(error: &AgentError, options: &SendOptions) -> &'static str {
    match error {
        AgentError::Io(_) | AgentError::Late if options.tls.is_none() => {
            "; if the server wants TLS from the first octet, say --tls implicit"
        }
        AgentError::Tls(_) if options.ca.is_none() => "; --ca FILE names a certificate to trust",
        _ => "",
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|problem| Failure { text: format!("{text}: {problem}"), code: 2 })
}

fn resolve(server: &str) -> Result<(String, SocketAddr), Failure> {
    let (host, _) = server
        .rsplit_once(':')
        .ok_or_else(|| Failure { text: "--server is HOST:PORT".to_owned(), code: 2 })?;
    let mut addresses =
        server.to_socket_addrs().map_err(|error| Failure::new(format!("{server}: {error}")))?;
    let first = addresses.next().ok_or_else(|| Failure::new(format!("{server} has no address")))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), first))
}

fn tls(options: &SendOptions, host: &str, server: SocketAddr) -> Result<Tls, Failure> {
    let roots = options.ca.iter().cloned().collect();
    let client = || ClientTls::new(host, &Verification::Pkix(roots)).map_err(Failure::new);
    let default = match server.port() {
        465 => SendTls::Implicit,
        25 if server.ip().is_loopback() => SendTls::None,
        _ => SendTls::Starttls,
    };
    Ok(match options.tls.unwrap_or(default) {
        SendTls::Implicit => Tls::Implicit(client()?),
        SendTls::Starttls => Tls::StartTls(client()?),
        SendTls::None if options.user.is_some() && !server.ip().is_loopback() => {
            return Err(Failure { text: "a password is not sent without TLS".to_owned(), code: 2 });
        }
        SendTls::None => Tls::None,
    })
}

fn password(options: &SendOptions, user: &str) -> Result<String, Failure> {
    let Some(file) = &options.password_file else {
        // Standard input may hold the message's text.
        return match options.body {
            Some(_) => terminal::read_password(&format!("Password for {user}: ")),
            None => terminal::ask_password(&format!("Password for {user}: ")),
        };
    };
    terminal::password_in(file)
}

fn draft(options: &SendOptions, from: &Address, to: &[Address]) -> Result<Draft, Failure> {
    let named = |path: &Path, error| Failure::new(format!("{}: {error}", path.display()));
    let mut text = String::new();
    match &options.body {
        Some(path) => text = std::fs::read_to_string(path).map_err(|error| named(path, error))?,
        None => {
            let read = std::io::stdin().read_to_string(&mut text);
            read.map_err(|error| Failure::new(format!("standard input: {error}")))?;
        }
    }
    let mut attachments = Vec::new();
    for path in &options.attach {
        let name =
            path.file_name().map_or_else(|| "file".to_owned(), |name| name.to_string_lossy().into_owned());
        attachments.push((name, std::fs::read(path).map_err(|error| named(path, error))?));
    }
    Ok(new_draft(from, to, &options.subject, text, attachments))
}

/// A draft with the date of now and a Message-ID of its own.
pub fn new_draft(
    from: &Address,
    to: &[Address],
    subject: &str,
    text: String,
    attachments: Vec<(String, Vec<u8>)>,
) -> Draft {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX));
    let mut random = [0; 8];
    // Without randomness the time alone still makes the id unique enough for one sender.
    let _none = getrandom::fill(&mut random);
    let unique = format!("{:x}{:016x}", since_epoch.as_nanos(), u64::from_be_bytes(random));
    Draft {
        from: from.clone(),
        to: to.to_vec(),
        subject: subject.to_owned(),
        text,
        attachments,
        date: DateTime::utc(now),
        message_id: format!("{unique}@{}", from.domain),
        boundary: unique,
    }
}
