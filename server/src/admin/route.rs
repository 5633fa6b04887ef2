//! What would become of a message, for people and programs.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use waypost_auth::{Leads, Live, Means, Srs, Step};
use waypost_mail::{Address, ReversePath, Timestamp};
use waypost_mta::{
    Random,
    client::tls_policy,
    dns::Resolver,
    route::{Place, Route, RoutePlan, Target},
    server::{
        Forecast,
        forecast::{Relayed, Standing, forecast},
    },
    tls_policy::{Policies, TlsPolicy, Towards, Wish},
};
use waypost_storage::Store;

use super::request::Response;

/// What routes are found with.
#[derive(Clone, Debug)]
pub struct Router {
    /// DNS.
    pub resolver: Resolver,
    /// TLS towards other servers.
    pub tls: Policies,
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
    /// What its sender gets back at once, as the address stands on the suppression list.
    #[serde(default)]
    pub suppressed: Option<String>,
    /// Why it cannot be sent (now): the reply that its sender or the queue gets.
    pub failure: Option<String>,
    /// `smtp` or `lmtp`.
    pub protocol: Option<String>,
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
    /// Whether it is there only for where the domain's own servers take no session.
    #[serde(default)]
    pub fallback: bool,
    /// What is demanded of TLS with it, and why; `text` is all of it in words.
    pub tls: serde_json::Value,
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
    let Router { resolver, srs, random, tls } = router;
    let mut told = forecast(store, live, resolver, srs, random, (&sender, &address(to)?)).await;
    let relayed = told.verdict.as_mut().map(|accepted| std::mem::take(&mut accepted.relayed));
    let mut lines = Vec::new();
    for relayed in relayed.unwrap_or_default() {
        let policies = policies(&relayed, tls, live, store.now()).await;
        lines.push(relayed_line(relayed, &policies)?);
    }
    Ok(Response::Route(Box::new(answer(live, told, lines))))
}

/// What is demanded of each target; as of a message that wishes nothing.
async fn policies(relayed: &Relayed, tls: &Policies, live: &Live, now: Timestamp) -> Vec<TlsPolicy> {
    let RoutePlan::Send(Route { targets, .. }) = &relayed.plan else { return Vec::new() };
    let towards = Towards {
        policies: tls,
        config: &live.config.outbound_tls,
        whose: relayed.destination.whose(),
        wish: Wish::Usual,
        now,
    };
    let mut policies = Vec::new();
    for host in targets.chunk_by(Target::is_same_host) {
        if let Some(first) = host.first() {
            let policy = tls_policy(&towards, first).await;
            policies.extend(std::iter::repeat_n(policy, host.len()));
        }
    }
    policies
}

fn answer(live: &Live, forecast: Forecast, relayed: Vec<RelayedLine>) -> RouteAnswer {
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
    let mailboxes = verdict.map_or_else(|_| Vec::new(), |accepted| accepted.mailboxes);
    RouteAnswer {
        sender,
        steps,
        refused,
        mailboxes: mailboxes.iter().map(ToString::to_string).collect(),
        relayed,
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

fn relayed_line(relayed: Relayed, policies: &[TlsPolicy]) -> Result<RelayedLine, String> {
    let Relayed { recipient, alias, reverse_path, reason, suppressed, plan, .. } = relayed;
    let line = RelayedLine {
        recipient: recipient.to_string(),
        alias: alias.map(|alias| alias.to_string()),
        reverse_path: reverse_path.to_string(),
        reason: reason.to_string(),
        suppressed: suppressed.map(|reply| reply.to_string().trim_end().to_owned()),
        failure: None,
        protocol: None,
        login: None,
        targets: Vec::new(),
    };
    Ok(match plan {
        RoutePlan::Fail(refusal) => RelayedLine { failure: Some(refusal.to_string()), ..line },
        RoutePlan::Send(Route { targets, protocol, login, .. }) => RelayedLine {
            protocol: Some(protocol.to_string()),
            login: login.map(|login| login.user),
            targets: targets.into_iter().zip(policies).map(target_line).collect::<Result<_, _>>()?,
            ..line
        },
    })
}

fn target_line((target, policy): (Target, &TlsPolicy)) -> Result<TargetLine, String> {
    Ok(TargetLine {
        address: match &target.place {
            Place::Tcp(address) => address.to_string(),
            Place::Socket(path) => path.display().to_string(),
        },
        host: target.host,
        preference: target.preference,
        fallback: target.is_fallback,
        source: target.source.map(|source| source.to_string()),
        tls: serde_json::to_value(policy).map_err(|error| error.to_string())?,
    })
}
