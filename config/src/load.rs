//! Reading the file: syntax, unknown keys, types, and what must fit together. All errors at once.

use std::{
    collections::HashSet,
    fmt,
    hash::Hash,
    ops::Range,
    path::{Path, PathBuf},
};

use toml::de::DeTable;
use waypost_mail::Domain;

use crate::{
    account::{self, AccountConfig, AliasConfig},
    authenticity,
    config::Config,
    domain::{self, DomainConfig},
    facts::FileFacts,
    imap, limits,
    listener::{self, ListenAddress, ListenerConfig, TlsMode},
    network, pop3, queue,
    reader::{Found, Problems, Section, values},
    reports, srs, storage, texts,
};

/// Errors of one file, printed one below the other with line, column and the line itself.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// One for each error, in order of their places; each begins `FILE:LINE:COLUMN: ` (or `FILE: ` where it has no place).
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Reads and checks a file. Errors: all there are.
pub fn load(file: &Path) -> Result<Config, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(file, &text),
        Err(error) => {
            let problems = vec![format!("{}: {error}", file.display())];
            Err(ConfigError { file: file.to_owned(), problems })
        }
    }
}

/// Checks a text as [`load`] does; `file` names it and is what relative paths are relative to.
pub fn parse(file: &Path, text: &str) -> Result<Config, ConfigError> {
    let problems = Problems::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        problems.add(error.span(), error.message());
    }
    // After a syntax error the rest of the table may be half read: complaints about it would mislead.
    let is_readable = problems.is_empty();
    let config = if is_readable { read(file, table.get_ref(), &problems) } else { None };
    let found = problems.into_sorted();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(ConfigError {
            file: file.to_owned(),
            problems: found.into_iter().map(|p| report(file, text, p)).collect(),
        }),
    }
}

fn read(file: &Path, table: &DeTable<'_>, problems: &Problems) -> Option<Config> {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let folder = absolute.parent().unwrap_or(Path::new("/"));
    let facts = FileFacts { folder, is_private: is_private(file) };
    let root = Section::root(table, problems);
    let hostname = root.need("hostname", root.parsed("hostname", texts::domain)).map(|found| found.value);
    let state_dir = facts.state_dir(&root);
    let storage = storage::read(&root);
    let tls = facts.tls(&root);
    let oauth = facts.oauth(&root);
    let listeners: Vec<_> =
        root.tables("listener").into_iter().filter_map(|section| listener::read(&facts, section)).collect();
    let domains: Vec<_> = root.tables("domain").into_iter().filter_map(domain::read).collect();
    let accounts: Vec<_> =
        root.tables("account").into_iter().filter_map(|section| facts.account(section)).collect();
    let aliases: Vec<_> = root.tables("alias").into_iter().filter_map(account::alias).collect();
    let send_as: Vec<_> = root.tables("send_as").into_iter().filter_map(account::send_as).collect();
    let routes: Vec<_> =
        root.tables("route").into_iter().filter_map(|section| facts.route(section)).collect();
    let (trust, dns) = (network::trust(&root), facts.dns(&root));
    let outbound_tls = facts.outbound_tls(&root);
    let (queue, limits) = (queue::read(&root), limits::read(&root));
    let srs = srs::read(&root, &domains);
    let authenticity = authenticity::read(&root);
    let dkim = facts.dkim(&root, &domains);
    let reports = reports::read(&root, &domains);
    let (imap, pop3) = (imap::read(&root), pop3::read(&root));
    check_listeners(problems, &root, &listeners);
    root.end();
    unique(problems, &domains, |domain| domain.name.clone(), "the domain");
    unique(problems, &routes, |route| (route.domain.clone(), route.sender.clone()), "the route");
    check_addresses(problems, &domains, &accounts, &aliases);
    Some(Config {
        hostname: hostname?,
        state_dir: state_dir?,
        storage,
        tls,
        listeners: values(listeners),
        domains: values(domains),
        accounts: values(accounts),
        aliases: values(aliases),
        send_as,
        routes: values(routes),
        trust,
        dns,
        outbound_tls,
        queue,
        limits,
        srs,
        authenticity,
        dkim,
        reports,
        imap,
        pop3,
        oauth,
    })
}

/// There is one at least, each on an address of its own, and TLS where it is wanted.
fn check_listeners(problems: &Problems, root: &Section<'_, '_>, listeners: &[Found<ListenerConfig>]) {
    if !root.has("listener") {
        problems.add(None, "there is no [[listener]]: the server would serve nobody");
    }
    if !root.has("tls") {
        for listener in listeners.iter().filter(|listener| listener.value.tls != TlsMode::None) {
            problems.add(
                Some(listener.place.clone()),
                "the listener has TLS, but there is no [tls] with certificate and key",
            );
        }
    }
    let any_port = |address: &ListenAddress| address.socket().is_some_and(|address| address.port() == 0);
    let fixed = listeners.iter().filter(|listener| !any_port(&listener.value.address));
    unique(problems, fixed, |listener| listener.address.to_string(), "the listener's address");
    overlapping(problems, listeners);
}

/// Each address is in one of our domains, and is an account or an alias, once.
fn check_addresses(
    problems: &Problems,
    domains: &[Found<DomainConfig>],
    accounts: &[Found<AccountConfig>],
    aliases: &[Found<AliasConfig>],
) {
    unique(problems, accounts, |account| account.address.folded(), "the account");
    unique(problems, aliases, |alias| alias.from.folded(), "the alias");
    let is_ours = |domain: &Domain| domains.iter().any(|ours| ours.value.name == *domain);
    let owned = accounts.iter().map(|account| (&account.value.address, &account.place));
    for (address, place) in owned.chain(aliases.iter().map(|alias| (&alias.value.from, &alias.place))) {
        if !is_ours(&address.domain) {
            problems.add(
                Some(place.clone()),
                format!("{address}: there is no [[domain]] with the name {}", address.domain),
            );
        }
    }
    for alias in aliases {
        if accounts.iter().any(|account| account.value.address.same_mailbox(&alias.value.from)) {
            problems
                .add(Some(alias.place.clone()), format!("{} is an account and an alias", alias.value.from));
        }
    }
}

fn unique<'a, T: 'a, K: Eq + Hash>(
    problems: &Problems,
    found: impl IntoIterator<Item = &'a Found<T>>,
    key: impl Fn(&T) -> K,
    what: &str,
) {
    let mut seen = HashSet::new();
    for item in found {
        if !seen.insert(key(&item.value)) {
            problems.add(Some(item.place.clone()), format!("{what} is there twice"));
        }
    }
}

/// A listener on all addresses takes the port of one on a single address.
fn overlapping(problems: &Problems, listeners: &[Found<ListenerConfig>]) {
    for (number, listener) in listeners.iter().enumerate() {
        let Some(address) = listener.value.address.socket() else { continue };
        let taken = |other: &&Found<ListenerConfig>| {
            let Some(other) = other.value.address.socket() else { return false };
            address.port() != 0
                && other.port() == address.port()
                && other.is_ipv4() == address.is_ipv4()
                && other != address
                && (other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if let Some(other) = listeners[..number].iter().find(taken) {
            let problem = format!("{address} and {} cannot be listened on at once", other.value.address);
            problems.add(Some(listener.place.clone()), problem);
        }
    }
}

/// Whether only the owner can read or write the file; also where there is no file (a text checked on its own).
fn is_private(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).map_or(true, |metadata| metadata.permissions().mode() & 0o077 == 0)
}

/// `FILE:LINE:COLUMN: problem`, the line, and a caret below the place.
fn report(file: &Path, text: &str, (place, problem): (Option<Range<usize>>, String)) -> String {
    let file = file.display();
    let Some(place) = place else { return format!("{file}: {problem}") };
    let start = place.start.min(text.len());
    let before = text.get(..start).unwrap_or("");
    let (number, line_start) = (before.matches('\n').count() + 1, before.rfind('\n').map_or(0, |at| at + 1));
    let line = text[line_start..].lines().next().unwrap_or("");
    let column = before[line_start..].chars().count() + 1;
    let width = line.chars().count().saturating_sub(column - 1).min(place.len()).max(1);
    let margin = " ".repeat(number.to_string().len());
    let caret = format!("{}{}", " ".repeat(column - 1), "^".repeat(width));
    format!("{file}:{number}:{column}: {problem}\n {number} | {line}\n {margin} | {caret}")
}
