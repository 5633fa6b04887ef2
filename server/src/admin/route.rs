//! What would become of a message, for people and programs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use waypost_auth::{Leads, Live, Means, Srs, Step};
use waypost_mail::{Address, ReversePath};
use waypost_mta::{
    Random,
    dns::Resolver,
    route::{Place, Route, RoutePlan},
    server::{
        Forecast,
        forecast::{Accepted, Relayed, Standing, forecast},
    },
};
use waypost_storage::Store;

use super::request::Response;

/// What routes are found with.
#[derive(Clone, Debug)]
pub struct Router {
    /// DNS.
    pub resolver: Resolver,
    /// Makes and reads return paths.
    pub srs: Srs,
    /// In which order equal mail exchangers stand.
    pub random: Random,
}

/// What would become of a message.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RouteAnswer {
    /// Who the sender is taken for, in words.
    pub sender: String,
    /// From the recipient step by step to where its mail goes, in words.
    pub steps: Vec<String>,
    /// What RCPT is answered with where it is refused.
    pub refused: Option<String>,
    /// Accounts here that get it.
    pub mailboxes: Vec<String>,
    /// Addresses elsewhere that get it.
    pub relayed: Vec<RelayedLine>,
}

/// One address elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RelayedLine {
    /// The address.
    pub recipient: String,
    /// The alias that leads to it.
    pub alias: Option<String>,
    /// The reverse path that the next server sees; empty: the null path.
    pub reverse_path: String,
    /// Why it goes where it goes.
    pub reason: String,
    /// Why it cannot be sent (now): the reply that its sender or the queue gets.
    pub failure: Option<String>,
    /// `smtp` or `lmtp`.
    pub protocol: Option<String>,
    /// TLS wanted, in words.
    pub tls: Option<String>,
    /// User name of the login.
    pub login: Option<String>,
    /// Servers in the order in which they are tried.
    pub targets: Vec<TargetLine>,
}

/// One server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TargetLine {
    /// Its name.
    pub host: String,
    /// Address and port, or the path of a Unix socket.
    pub address: String,
    /// Preference of its MX record.
    pub preference: Option<u16>,
    /// The address of ours that the connection goes out from; none: the system chooses.
    pub source: Option<String>,
}

/// Tells what would become of a message. `from`: an address, or `<>` or nothing for the null path.
pub(super) async fn run(
    store: &Store,
    live: &Live,
    router: &Router,
    from: &str,
    to: &str,
) -> Result<Response, String> {
    let address = |text: &str| Address::parse(text).map_err(|problem| format!("{text}: {problem}"));
    let sender = match from {
        "" | "<>" => ReversePath::Null,
        from => ReversePath::Address(address(from)?),
    };
    let Router { resolver, srs, random } = router;
    let told = forecast(store, live, resolver, srs, random, (&sender, &address(to)?)).await;
    Ok(Response::Route(Box::new(answer(live, told))))
}

fn answer(live: &Live, forecast: Forecast) -> RouteAnswer {
    let Forecast { standing, is_return, steps, verdict } = forecast;
    let sender = match standing {
        Standing::User(user) => format!("{user}, who has logged in"),
        Standing::Notifier => "this server, with a notification".to_owned(),
        Standing::Stranger => "a stranger on port 25, without login".to_owned(),
    };
    let mut steps: Vec<String> = steps.iter().map(|step| in_words(live, step)).collect();
    if is_return {
        steps.push("a return path that this server made: leads back to the sender".to_owned());
    }
    let refused = verdict.as_ref().err().map(ToString::to_string);
    let (mailboxes, relayed) =
        verdict.map_or_else(|_| Default::default(), |Accepted { mailboxes, relayed }| (mailboxes, relayed));
    RouteAnswer {
        sender,
        steps,
        refused,
        mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
        relayed: relayed.into_iter().map(relayed_line).collect(),
    }
}

fn in_words(live: &Live, step: &Step) -> String {
    let means = match step.means {
        Means::Itself => "",
        Means::Detail => " without its detail",
        Means::Role => ", which every domain has,",
        Means::CatchAll => " by catch_all",
    };
    let leads = match &step.leads {
        Leads::Account(account) => {
            let of = live.directory.address(*account).map_or_else(String::new, ToString::to_string);
            format!("the mailbox of {of}")
        }
        Leads::Addresses(to) => {
            let mut all = String::new();
            for (number, to) in to.iter().enumerate() {
                // writing to a String does not fail
                let _written = write!(all, "{}{to}", if number == 0 { "" } else { ", " });
            }
            all
        }
        Leads::Elsewhere => "another server".to_owned(),
        Leads::Nowhere => "nowhere".to_owned(),
    };
    format!("{}{means} leads to {leads}", step.address)
}

fn relayed_line(relayed: Relayed) -> RelayedLine {
    let Relayed { recipient, alias, reverse_path, reason, plan } = relayed;
    let line = RelayedLine {
        recipient: recipient.to_string(),
        alias: alias.map(|alias| alias.to_string()),
        reverse_path: reverse_path.to_string(),
        reason: reason.to_string(),
        failure: None,
        protocol: None,
        tls: None,
        login: None,
        targets: Vec::new(),
    };
    match plan {
        RoutePlan::Fail(refusal) => RelayedLine { failure: Some(refusal.to_string()), ..line },
        RoutePlan::Send(Route { targets, protocol, encryption, login }) => RelayedLine {
            protocol: Some(protocol.to_string()),
            tls: Some(encryption.to_string()),
            login: login.map(|login| login.user),
            targets: targets
                .into_iter()
                .map(|target| TargetLine {
                    address: match &target.place {
                        Place::Tcp(address) => address.to_string(),
                        Place::Socket(path) => path.display().to_string(),
                    },
                    host: target.host,
                    preference: target.preference,
                    source: target.source.map(|source| source.to_string()),
                })
                .collect(),
            ..line
        },
    }
}
