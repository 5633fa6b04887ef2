//! What would become of a message, without sending it: who decides about its recipient, and where it goes, are the same functions that
//! do it for mail.

use waypost_auth::{
    Live, Srs, Step,
    srs::{Return, day},
};
use waypost_mail::{Address, Refusal, Reply, ReversePath, Timestamp};
use waypost_storage::Store;

use super::recipient::{Recipient, Trust, relayed};
use crate::{
    Random,
    dns::Resolver,
    route::{Destination, Reason, RoutePlan, decide, outgoing_domain, outgoing_path, resolve},
    smtp::{parameters::RcptParameters, path::ForwardPath},
    suppression,
    tls_policy::Wish,
};

/// Octets of the message: a mailbox that is full refuses any.
const MESSAGE_BYTES: u64 = 1;

/// What would become of a message.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// Who its sender is taken for.
    pub standing: Standing,
    /// Whether its recipient is a return path that this server made.
    pub is_return: bool,
    /// The steps from its recipient, if it is none, to where it goes.
    pub steps: Vec<Step>,
    /// What RCPT is answered, and what follows.
    pub verdict: Result<Accepted, Refusal>,
}

/// Who a sender is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Standing {
    /// A user who has logged in; by this address.
    User(Address),
    /// This server, which tells of what became of mail.
    Notifier,
    /// Anyone, on port 25.
    Stranger,
}

/// Where an accepted message goes.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Accounts here.
    pub mailboxes: Vec<Address>,
    /// Addresses elsewhere.
    pub relayed: Vec<Relayed>,
}

/// What the queue would do.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// The address elsewhere.
    pub recipient: Address,
    /// The alias or return path that leads to it.
    pub alias: Option<Address>,
    /// The reverse path that the next server sees.
    pub reverse_path: ReversePath,
    /// Why it goes where it goes.
    pub reason: Reason,
    /// What decides where it goes.
    pub destination: Destination,
    /// What comes back at once, where the address stands on the suppression list.
    pub suppressed: Option<Reply>,
    /// Where it goes.
    pub plan: RoutePlan,
}

/// What would become of a small message now.
pub async fn forecast(
    store: &Store,
    live: &Live,
    resolver: &Resolver,
    srs: &Srs,
    random: &Random,
    (sender, recipient): (&ReversePath, &Address),
) -> Forecast {
    let now = store.now();
    let standing = Standing::of(live, sender);
    let trust = if standing == Standing::Stranger { Trust::Stranger } else { Trust::MayRelay };
    let (path, parameters) = (ForwardPath::Address(recipient.clone()), RcptParameters::default());
    let is_return = live.config.srs.enabled
        && live.directory.is_local(&recipient.domain)
        && srs.reverse(recipient, day(now)) != Return::Other;
    let decided = Recipient::decide_in(live, srs, path, parameters, sender, (trust, now));
    let room = match &decided {
        Ok(recipient) => recipient.check_quotas(store, &live.directory, MESSAGE_BYTES).await,
        Err(_) => Ok(()),
    };
    let verdict = match (decided, room) {
        (Ok(recipient), Ok(())) => Ok(Accepted {
            mailboxes: mailboxes(live, &recipient),
            relayed: plans((store, live), (resolver, random.next()), (srs, now), sender, recipient).await,
        }),
        (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
    };
    let steps = if is_return { Vec::new() } else { live.directory.steps(recipient) };
    Forecast { standing, is_return, steps, verdict }
}

impl Standing {
    fn of(live: &Live, sender: &ReversePath) -> Self {
        let Some(address) = sender.address() else { return Self::Notifier };
        let user = live.directory.steps(address).into_iter().find_map(|step| match step.leads {
            waypost_auth::Leads::Account(account) => live.directory.address(account),
            _ => None,
        });
        user.map_or(Self::Stranger, |user| Self::User(user.clone()))
    }
}

fn mailboxes(live: &Live, recipient: &Recipient) -> Vec<Address> {
    recipient.accounts.iter().filter_map(|account| live.directory.address(*account)).cloned().collect()
}

async fn plans(
    (store, live): (&Store, &Live),
    (resolver, seed): (&Resolver, u64),
    (srs, now): (&Srs, Timestamp),
    sender: &ReversePath,
    recipient: Recipient,
) -> Vec<Relayed> {
    let mut plans = Vec::new();
    for relayed in relayed(&[recipient]) {
        let (recipient, alias) = (relayed.address, relayed.original);
        let alias_domain = alias.as_ref().map(|alias| &alias.domain);
        let reverse_path = outgoing_path(live, srs, sender, alias_domain, now);
        let sender_domain = outgoing_domain(live, sender, alias_domain);
        let (reason, destination) = decide(&live.config, sender_domain, &recipient.domain);
        let plan = resolve(resolver, &live.config, &destination, Wish::Usual, seed).await;
        let list = store.directory().borrow().suppressions.clone();
        let is_on = live.config.queue.suppression.enabled;
        let suppressed =
            is_on.then(|| suppression::answer(&list, &recipient, sender.address(), now)).flatten();
        plans.push(Relayed { recipient, alias, reverse_path, reason, destination, suppressed, plan });
    }
    plans
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waypost_auth::{Directory, Leads, Means};
    use waypost_config::DnsConfig;
    use waypost_mail::AccountSource;
    use waypost_storage::{NewAccount, Options};

    use super::*;

    const CONFIG: &str = r#"
        hostname = "mx.a.test"
        state_dir = "state"
        [[listener]]
        service = "smtp"
        address = "127.0.0.1:0"
        tls = "none"
        [[domain]]
        name = "a.test"
        [[domain]]
        name = "c.test"
        catch_all = "anna@a.test"
        [[domain]]
        name = "backup.test"
        relay_to = "192.0.2.1:25"
        [[alias]]
        from = "team@a.test"
        to = ["anna@a.test", "carl@b.test"]
        [[route]]
        domain = "b.test"
        next_hop = ["192.0.2.2", "192.0.2.3:26"]
        source_addresses = ["192.0.2.9"]
        [[route]]
        domain = "*"
        next_hop = "unix:/run/out"
    "#;

    struct World {
        store: Store,
        live: Live,
        resolver: Resolver,
        srs: Srs,
        _state: tempfile::TempDir,
    }

    async fn world() -> World {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(state.path())).await.unwrap();
        for (name, quota_bytes) in [("anna@a.test", None), ("full@a.test", Some(0))] {
            let account = NewAccount {
                address: Address::parse(name).unwrap(),
                source: AccountSource::Store,
                password_hash: None,
                scram_verifiers: Vec::new(),
                quota_bytes,
            };
            store.create_account(account).await.unwrap();
        }
        let config = waypost_config::parse(&state.path().join("waypost.toml"), CONFIG).unwrap();
        let accounts: Vec<_> = store.directory().borrow().accounts.values().cloned().collect();
        let directory = Directory::new(&config, &accounts).unwrap();
        let live = Live { config: Arc::new(config), directory };
        let nowhere = DnsConfig { servers: vec!["127.0.0.1:9".parse().unwrap()], ..DnsConfig::default() };
        let resolver = Resolver::new(&nowhere).unwrap();
        World { store, live, resolver, srs: Srs::new(&[7; 32]), _state: state }
    }

    impl World {
        async fn of(&self, from: &str, to: &str) -> Forecast {
            let sender = match from {
                "" => ReversePath::Null,
                from => ReversePath::Address(Address::parse(from).unwrap()),
            };
            let recipient = Address::parse(to).unwrap();
            let random = Random::new(|| 1);
            let (sender, recipient) = (&sender, &recipient);
            forecast(&self.store, &self.live, &self.resolver, &self.srs, &random, (sender, recipient)).await
        }
    }

    /// The verdict in one line.
    fn shown(forecast: &Forecast) -> String {
        let accepted = match &forecast.verdict {
            Err(refusal) => return format!("{} {}", refusal.code, refusal.status),
            Ok(accepted) => accepted,
        };
        let mut text: Vec<String> = accepted.mailboxes.iter().map(|to| format!("here {to}")).collect();
        for Relayed { recipient, reason, plan, .. } in &accepted.relayed {
            let RoutePlan::Send(route) = plan else { panic!("{plan:?}") };
            let targets: Vec<String> = route.targets.iter().map(ToString::to_string).collect();
            text.push(format!("{recipient} by {reason} to {}", targets.join(", ")));
        }
        text.join("; ")
    }

    #[tokio::test]
    async fn what_comes_back_at_once_is_told() {
        let mut world = world().await;
        let carl = Address::parse("carl@b.test").unwrap();
        let anna = Address::parse("anna@a.test").unwrap();
        world.store.suppress(carl, Some(anna), "asked for it".to_owned(), None).await.unwrap();
        for (enabled, from, expected) in [
            (false, "anna@a.test", None),
            (true, "anna@a.test", Some((550, "asked for it"))),
            (true, "full@a.test", None),
        ] {
            let mut config = waypost_config::Config::clone(&world.live.config);
            config.queue.suppression.enabled = enabled;
            world.live.config = Arc::new(config);
            let relayed = world.of(from, "Carl@b.test").await.verdict.unwrap().relayed;
            let said = relayed[0].suppressed.as_ref().map(|reply| (reply.code, reply.text()));
            let is_it = |(code, why): (u16, &str)| {
                said.as_ref().is_some_and(|(is, text)| *is == code && text.contains(why))
            };
            assert!(expected.map_or(said.is_none(), is_it), "{enabled} {from} {said:?}");
        }
    }

    #[tokio::test]
    async fn what_becomes_of_a_message_is_told() {
        let world = world().await;
        let to_b = "by [[route]] domain = \"b.test\" to 192.0.2.2 [192.0.2.2], 192.0.2.3 [192.0.2.3]";
        for (from, to, expected) in [
            ("x@far.test", "anna+x@a.test", "here anna@a.test".to_owned()),
            ("x@far.test", "any@c.test", "here anna@a.test".into()),
            ("x@far.test", "nobody@a.test", "550 5.1.1".into()),
            ("x@far.test", "full@a.test", "452 4.2.2".into()),
            ("x@far.test", "y@b.test", "550 5.7.1".into()),
            ("nobody@a.test", "y@b.test", "550 5.7.1".into()),
            ("anna@a.test", "y@b.test", format!("y@b.test {to_b}")),
            ("team@a.test", "y@b.test", format!("y@b.test {to_b}")),
            ("", "y@b.test", format!("y@b.test {to_b}")),
            ("anna@a.test", "y@far.test", "y@far.test by [[route]] domain = \"*\" to unix:/run/out".into()),
            ("x@far.test", "team@a.test", format!("here anna@a.test; carl@b.test {to_b}")),
            (
                "x@far.test",
                "x@backup.test",
                "x@backup.test by relay_to of the [[domain]] to 192.0.2.1 [192.0.2.1]".into(),
            ),
        ] {
            assert_eq!(shown(&world.of(from, to).await), expected, "{from} to {to}");
        }
    }

    #[tokio::test]
    async fn the_way_the_sender_and_the_return_path_are_told() {
        let world = world().await;
        let forecast = world.of("x@far.test", "team@a.test").await;
        assert_eq!(forecast.standing, Standing::Stranger);
        assert_eq!((forecast.steps.len(), forecast.steps[0].means), (3, Means::Itself));
        assert!(matches!(&forecast.steps[0].leads, Leads::Addresses(to) if to.len() == 2));
        let relayed = &forecast.verdict.unwrap().relayed[0];
        let returns = relayed.reverse_path.to_string();
        assert!(returns.starts_with("SRS0=") && returns.ends_with("@a.test"), "{returns}");
        assert_eq!(relayed.alias.as_ref().map(ToString::to_string).as_deref(), Some("team@a.test"));
        let RoutePlan::Send(route) = &relayed.plan else { panic!("{relayed:?}") };
        assert_eq!(route.targets[1].source, Some("192.0.2.9".parse().unwrap()));
        // What comes back to it goes on to the sender, but only with the null path.
        let back = world.of("", &returns).await;
        assert!(back.is_return && back.steps.is_empty());
        assert_eq!(shown(&back), "x@far.test by [[route]] domain = \"*\" to unix:/run/out");
        assert_eq!(shown(&world.of("y@far.test", &returns).await), "550 5.1.1");
        let own = world.of("anna@a.test", "team@a.test").await;
        assert_eq!(own.standing, Standing::User(Address::parse("anna@a.test").unwrap()));
        assert_eq!(own.verdict.unwrap().relayed[0].reverse_path.to_string(), "anna@a.test");
        assert_eq!(world.of("", "anna@a.test").await.standing, Standing::Notifier);
    }
}
