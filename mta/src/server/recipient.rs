//! Who may be a recipient, and where its mail goes.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use waypost_auth::{
    Directory, Live, Resolution, Srs,
    srs::{self, Return},
};
use waypost_mail::{
    AccountId, Address, EntryId, LocalPart, Notify, OriginalRecipient, Refusal, ReversePath, Timestamp,
};
use waypost_message::build::Action;
use waypost_storage::{Delivery, RelayRecipient, Store};

use super::{refusal, session::is_trusted, suspicion::Suspicion};
use crate::smtp::{parameters::RcptParameters, path::ForwardPath};

/// Most accounts and addresses that the recipients of one transaction lead to through aliases. A recipient that alone leads to
/// more is taken as the first one.
pub(super) const EXPANDED_RECIPIENTS_MAX: usize = 10_000;

/// Whether the peer may send mail through us to anyone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trust {
    /// Logged in, or from a network in `[[trust]]`.
    MayRelay,
    /// Anyone.
    Stranger,
}

impl Trust {
    /// Of a client at this address that has not logged in.
    pub(super) fn of(live: &Live, peer: IpAddr) -> Self {
        if is_trusted(live, peer) { Self::MayRelay } else { Self::Stranger }
    }
}

/// A recipient that was accepted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Recipient {
    /// As the client wrote it.
    pub(super) address: Address,
    /// Accounts that get the mail.
    pub(super) accounts: Vec<AccountId>,
    /// Addresses elsewhere that get it.
    pub(super) remote: Vec<Address>,
    /// Addresses of ours that aliases lead to, and that nobody has: the queue tells the sender of them.
    pub(super) missing: Vec<Address>,
    /// What the sender said of it.
    pub(super) parameters: RcptParameters,
    /// How far it reaches, also where earlier recipients lead to the same places.
    pub(super) reach: Reach,
    /// The message whose own return path this is: what comes may be a report about it.
    pub(super) returned: Option<(Address, EntryId)>,
}

/// How far a recipient reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    /// Mailboxes here.
    Here,
    /// One address elsewhere.
    Elsewhere,
    /// Several places, of which one at least is elsewhere, or does not exist.
    Several,
}

impl Reach {
    fn new(accounts: &[AccountId], remote: &[Address], missing: &[Address]) -> Self {
        match (accounts, remote, missing) {
            (_, [], []) => Self::Here,
            ([], [_], []) => Self::Elsewhere,
            _ => Self::Several,
        }
    }
}

impl Recipient {
    /// One that leads to these places.
    fn new(
        address: Address,
        parameters: RcptParameters,
        (accounts, remote, missing): (Vec<AccountId>, Vec<Address>, Vec<Address>),
    ) -> Self {
        let reach = Reach::new(&accounts, &remote, &missing);
        Self { address, accounts, remote, missing, parameters, reach, returned: None }
    }

    /// Decides about a recipient.
    pub(super) fn decide(
        directory: &Directory,
        path: ForwardPath,
        parameters: RcptParameters,
        trust: Trust,
    ) -> Result<Self, Refusal> {
        let address = match path {
            ForwardPath::Address(address) => address,
            ForwardPath::Postmaster => postmaster(directory)?,
        };
        match (directory.resolve(&address), trust) {
            (Resolution::Deliver { accounts, remote, missing }, _) => {
                Ok(Self::new(address, parameters, (accounts, remote, missing)))
            }
            (Resolution::UnknownUser, _) => Err(refusal::unknown_user(&address)),
            (Resolution::BackupMx, _) | (Resolution::Elsewhere, Trust::MayRelay) => {
                let places = (Vec::new(), vec![address.clone()], Vec::new());
                Ok(Self::new(address, parameters, places))
            }
            (Resolution::Elsewhere, Trust::Stranger) => Err(refusal::relaying_denied(&address)),
        }
    }

    /// Decides about a recipient of a message with this sender now: where a return path leads back to, or whom the directory knows.
    pub(super) fn decide_in(
        live: &Live,
        srs: &Srs,
        path: ForwardPath,
        parameters: RcptParameters,
        reverse_path: &ReversePath,
        (trust, now): (Trust, Timestamp),
    ) -> Result<Self, Refusal> {
        let (directory, day) = (&live.directory, srs::day(now));
        if live.config.srs.enabled {
            let returned = Self::decide_return(directory, srs, &path, reverse_path, day);
            if let Some(returned) = returned {
                return returned;
            }
        }
        if let Some(returned) = Self::decide_bounce(directory, srs, &path, &parameters, day) {
            return Ok(returned);
        }
        Self::decide(directory, path, parameters, trust)
    }

    /// Refuses it where one of its mailboxes has no room for so many octets.
    pub(super) async fn check_quotas(
        &self,
        store: &Store,
        directory: &Directory,
        room: u64,
    ) -> Result<(), Refusal> {
        for account in &self.accounts {
            let Some(quota) = directory.quota_bytes(*account) else { continue };
            let loaded = store.account(*account).await.map_err(|error| refusal::store_error(&error))?;
            if loaded.state().bytes.saturating_add(room) > quota {
                return Err(refusal::mailbox_full(&self.address));
            }
        }
        Ok(())
    }

    /// What its sender is told at once, if asked for: that the mail is in its mailbox, or that it goes to several (RFC 3461 sections
    /// 5.2.3 and 5.2.7.3).
    pub(super) fn told(&self) -> Option<Action> {
        let is_asked = self.parameters.notify.is_some_and(|notify| notify.success);
        match self.reach {
            Reach::Here if is_asked => Some(Action::Delivered),
            Reach::Several if is_asked => Some(Action::Expanded),
            _ => None,
        }
    }

    /// What goes to the queue with one of the addresses that it leads to.
    fn relayed(&self, address: &Address) -> RelayRecipient {
        let RcptParameters { notify, orcpt } = self.parameters.clone();
        let original = (*address != self.address).then(|| self.address.clone());
        let notify = match self.reach {
            // That it was expanded was the answer to SUCCESS.
            Reach::Several => notify.map(|notify| Notify { success: false, ..notify }),
            // What the sender asked for goes on with the mail (RFC 3461 section 5.2.7.2).
            Reach::Here | Reach::Elsewhere => notify,
        };
        let named = || original.as_ref().filter(|_| notify.is_some()).and_then(OriginalRecipient::of);
        RelayRecipient { orcpt: orcpt.or_else(named), address: address.clone(), original, notify }
    }

    /// Decides about a return path that this server made for mail which it forwarded: what comes back to it goes on to the sender.
    /// `None`: it is no such path.
    pub(super) fn decide_return(
        directory: &Directory,
        srs: &Srs,
        path: &ForwardPath,
        reverse_path: &ReversePath,
        day: u32,
    ) -> Option<Result<Self, Refusal>> {
        let ForwardPath::Address(address) = path else { return None };
        let sender = match srs.reverse(address, day) {
            _ if !directory.is_local(&address.domain) => return None,
            Return::Other => return None,
            // Only notifications are sent to return paths (RFC 5321 section 4.5.5); others could be anyone's mail to the sender.
            Return::To(sender) if *reverse_path == ReversePath::Null => sender,
            Return::To(_) | Return::Refused => return Some(Err(refusal::no_return(address))),
        };
        let address = address.clone();
        Some(match directory.resolve(&sender) {
            Resolution::Deliver { accounts, remote, missing } => {
                Ok(Self::new(address, RcptParameters::default(), (accounts, remote, missing)))
            }
            Resolution::UnknownUser => Err(refusal::unknown_user(&sender)),
            Resolution::BackupMx | Resolution::Elsewhere => {
                Ok(Self::new(address, RcptParameters::default(), (Vec::new(), vec![sender], Vec::new())))
            }
        })
    }

    /// Decides about a return path that this server made for one message of a user: it leads to the user, whoever writes to it, as
    /// complaints have a sender. `None`: it is no such path.
    pub(super) fn decide_bounce(
        directory: &Directory,
        srs: &Srs,
        path: &ForwardPath,
        parameters: &RcptParameters,
        day: u32,
    ) -> Option<Self> {
        let ForwardPath::Address(address) = path else { return None };
        let (user, id) = srs.bounced(address, day).filter(|(user, _)| directory.is_local(&user.domain))?;
        // a user who is gone is refused by the address itself
        let Resolution::Deliver { accounts, remote, missing } = directory.resolve(&user) else { return None };
        let recipient = Self::new(address.clone(), parameters.clone(), (accounts, remote, missing));
        Some(Self { returned: Some((user, id)), ..recipient })
    }

    /// Whether the directory knows it.
    fn is_ours(&self) -> bool {
        !self.accounts.is_empty() || self.is_forwarded()
    }

    /// Whether an alias leads it to an address elsewhere.
    pub(super) fn is_forwarded(&self) -> bool {
        self.remote.iter().any(|address| *address != self.address)
    }
}

/// The recipients of a transaction. Equal ones are kept once, and so is where several of them lead.
#[derive(Debug, Default)]
pub(super) struct Recipients {
    list: Vec<Recipient>,
    /// Places in the list of those that the directory knows, by folded address.
    ours: HashMap<String, usize>,
    /// Those it does not know, whose local parts are not ours to fold (RFC 5321 section 2.4).
    others: HashSet<Address>,
    accounts: HashSet<AccountId>,
    remote: HashSet<Address>,
    /// Folded.
    missing: HashSet<String>,
}

impl Recipients {
    /// Takes a recipient; the accounts and addresses that an earlier one leads to stay that one's.
    pub(super) fn add(&mut self, mut recipient: Recipient) -> Result<(), Refusal> {
        if self.contains(&recipient.address) {
            return Ok(());
        }
        let is_ours = recipient.is_ours();
        recipient.accounts.retain(|account| !self.accounts.contains(account));
        recipient.remote.retain(|address| !self.remote.contains(address));
        recipient.missing.retain(|address| !self.missing.contains(&address.folded()));
        let expanded = self.accounts.len() + self.remote.len() + self.missing.len();
        let more = recipient.accounts.len() + recipient.remote.len() + recipient.missing.len();
        if !self.list.is_empty() && expanded + more > EXPANDED_RECIPIENTS_MAX {
            return Err(refusal::TOO_MANY_EXPANDED.into());
        }
        if is_ours {
            self.ours.insert(recipient.address.folded(), self.list.len());
        } else {
            self.others.insert(recipient.address.clone());
        }
        self.accounts.extend(&recipient.accounts);
        self.remote.extend(recipient.remote.iter().cloned());
        self.missing.extend(recipient.missing.iter().map(Address::folded));
        self.list.push(recipient);
        Ok(())
    }

    /// In the order in which they came.
    pub(super) fn as_slice(&self) -> &[Recipient] {
        &self.list
    }

    /// Whether an equal one was taken.
    pub(super) fn contains(&self, address: &Address) -> bool {
        self.others.contains(address) || self.ours(address).is_some()
    }

    /// The one that this address names, if the directory knows it.
    pub(super) fn ours(&self, address: &Address) -> Option<&Recipient> {
        if self.ours.is_empty() {
            return None;
        }
        self.ours.get(&address.folded()).and_then(|place| self.list.get(*place))
    }
}

/// RFC 5321 section 4.5.1: `postmaster` without domain is ours.
fn postmaster(directory: &Directory) -> Result<Address, Refusal> {
    let domain = directory.postmaster_domain().ok_or(refusal::NO_POSTMASTER)?.clone();
    let local = LocalPart::new("postmaster").map_err(|_| refusal::NO_POSTMASTER)?;
    Ok(Address { local, domain })
}

/// One delivery for each account, also where several recipients lead to it.
pub(super) fn deliveries(
    recipients: &[Recipient],
    reverse_path: &ReversePath,
    internal_date: waypost_mail::DateTime,
    suspicion: &Suspicion,
) -> Vec<Delivery> {
    let (mut deliveries, mut known) = (Vec::new(), HashSet::new());
    for recipient in recipients {
        for account in &recipient.accounts {
            if !known.insert(*account) {
                continue;
            }
            let results = &suspicion.results;
            let prefix =
                format!("Return-Path: <{reverse_path}>\r\nDelivered-To: {}\r\n{results}", recipient.address);
            deliveries.push(Delivery {
                account: *account,
                mailbox: suspicion.mailboxes.get(account).copied(),
                prefix: prefix.into_bytes(),
                flags: Default::default(),
                internal_date,
            });
        }
    }
    deliveries
}

/// One queue recipient for each address elsewhere.
pub(super) fn relayed(recipients: &[Recipient]) -> Vec<RelayRecipient> {
    let (mut relayed, mut known) = (Vec::new(), HashSet::new());
    for recipient in recipients {
        for address in &recipient.remote {
            if known.insert(address) {
                relayed.push(recipient.relayed(address));
            }
        }
    }
    relayed
}

/// One queue recipient for each address that an alias leads to in vain: it fails there at once, and the sender is told (RFC 5321 section
/// 4.2.5) as of all that fails.
pub(super) fn missing(recipients: &[Recipient]) -> impl Iterator<Item = RelayRecipient> {
    recipients.iter().flat_map(|recipient| recipient.missing.iter().map(|address| recipient.relayed(address)))
}

/// One queue recipient for each account: of mail that waits before it is delivered.
pub(super) fn waiting(recipients: &[Recipient], directory: &Directory) -> Vec<RelayRecipient> {
    let mut known = HashSet::new();
    let of_account = |(recipient, account): (&Recipient, &AccountId)| {
        let address = directory.address(*account).filter(|_| known.insert(*account))?;
        Some(recipient.relayed(address))
    };
    let accounts =
        recipients.iter().flat_map(|recipient| recipient.accounts.iter().map(move |one| (recipient, one)));
    accounts.filter_map(of_account).collect()
}

#[cfg(test)]
mod tests {
    use waypost_mail::{DateTime, MailboxId, Timestamp};

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn recipient(text: &str, accounts: &[u64], remote: &[&str]) -> Recipient {
        Recipient {
            address: address(text),
            accounts: accounts.iter().copied().map(AccountId).collect(),
            remote: remote.iter().map(|text| address(text)).collect(),
            missing: Vec::new(),
            parameters: RcptParameters::default(),
            reach: Reach::Several,
            returned: None,
        }
    }

    #[test]
    fn a_bare_postmaster_is_that_of_the_first_domain_also_where_mail_only_goes_on() {
        let decide = |domains: &str| {
            let config = "hostname = \"mx.a.test\"\nstate_dir = \"state\"\n[[listener]]\nservice = \"smtp\"\n\
                          address = \"127.0.0.1:0\"\ntls = \"none\"\n";
            let config = format!("{config}{domains}");
            let config = waypost_config::parse(std::path::Path::new("/nowhere/x.toml"), &config).unwrap();
            let directory = Directory::new(&config, &[]).unwrap();
            Recipient::decide(&directory, ForwardPath::Postmaster, RcptParameters::default(), Trust::Stranger)
        };
        let relayed = "[[domain]]\nname = \"backup.test\"\nrelay_to = \"192.0.2.9:25\"\n";
        let second = "[[domain]]\nname = \"second.test\"\nrelay_to = \"192.0.2.9:25\"\n";
        let goes_on = decide(&format!("{relayed}{second}")).unwrap();
        assert_eq!((goes_on.remote, goes_on.accounts), (vec![address("postmaster@backup.test")], Vec::new()));
        // Ours comes first, where there is one; here it has no account.
        let ours = "[[domain]]\nname = \"a.test\"\n";
        let refused = decide(&format!("{relayed}{ours}")).unwrap_err();
        assert_eq!(refused, refusal::unknown_user(&address("postmaster@a.test")));
        assert_eq!(decide("").unwrap_err(), Refusal::from(refusal::NO_POSTMASTER));
    }

    #[test]
    fn equal_recipients_are_one() {
        let mut recipients = Recipients::default();
        for added in [
            recipient("team@a.test", &[1, 2], &["x@b.test"]),
            recipient("TEAM@a.test", &[1, 2], &["x@b.test"]),
            recipient("one@a.test", &[1], &[]),
            recipient("x@b.test", &[], &["x@b.test"]),
            recipient("X@b.test", &[], &["X@b.test"]),
            recipient("X@b.test", &[], &["X@b.test"]),
            recipient("two@a.test", &[2, 3], &["x@b.test", "y@b.test"]),
        ] {
            recipients.add(added).unwrap();
        }
        let expected = [
            recipient("team@a.test", &[1, 2], &["x@b.test"]),
            recipient("one@a.test", &[], &[]),
            recipient("x@b.test", &[], &[]),
            recipient("X@b.test", &[], &["X@b.test"]),
            recipient("two@a.test", &[3], &["y@b.test"]),
        ];
        assert_eq!(recipients.as_slice(), expected);
        for (text, is_known, is_ours) in [
            ("Team@a.test", true, true),
            ("ONE@a.test", true, true),
            ("x@b.test", true, false),
            ("X@b.test", true, false),
            ("y@b.test", false, false),
        ] {
            let address = address(text);
            let found = (recipients.contains(&address), recipients.ours(&address).is_some());
            assert_eq!(found, (is_known, is_ours), "{text}");
        }
    }

    #[test]
    fn an_address_that_is_missing_fails_once() {
        let mut recipients = Recipients::default();
        for (text, missing) in
            [("team@a.test", vec!["typo@a.test"]), ("all@a.test", vec!["Typo@a.test", "lost@a.test"])]
        {
            let missing = missing.into_iter().map(address).collect();
            recipients.add(Recipient { missing, ..recipient(text, &[1], &[]) }).unwrap();
        }
        let shown = missing(recipients.as_slice())
            .map(|to| format!("{} by {}", to.address, to.original.unwrap()))
            .collect::<Vec<_>>();
        assert_eq!(shown, ["typo@a.test by team@a.test", "lost@a.test by all@a.test"]);
    }

    #[test]
    fn where_recipients_lead_is_bounded() {
        let many =
            |text: &str, accounts: std::ops::Range<u64>| recipient(text, &accounts.collect::<Vec<_>>(), &[]);
        let most = EXPANDED_RECIPIENTS_MAX as u64;
        let mut recipients = Recipients::default();
        recipients.add(many("all@a.test", 0..most - 1)).unwrap();
        recipients.add(many("again@a.test", 0..most)).unwrap();
        let refusal = recipients.add(many("one@a.test", most..most + 1)).unwrap_err();
        assert_eq!((refusal.code, refusal.status.to_string().as_str()), (452, "4.5.3"));
        recipients.add(many("some@a.test", 0..9)).unwrap();
        assert_eq!(recipients.as_slice().len(), 3);
        // one that leads to more could never be reached otherwise
        Recipients::default().add(many("all@a.test", 0..most + 1)).unwrap();
    }

    #[test]
    fn each_account_and_each_address_elsewhere_gets_one_copy() {
        let recipients = [
            recipient("team@a.test", &[1, 2], &["x@b.test", "y@b.test"]),
            recipient("one@a.test", &[1, 3], &[]),
            recipient("x@b.test", &[], &["x@b.test"]),
            recipient("z@b.test", &[], &["z@b.test"]),
        ];
        let date = DateTime::utc(Timestamp(0));
        let (junk, results) = (MailboxId(5), "Authentication-Results: x; none\r\n".to_owned());
        let mailboxes = [(AccountId(2), junk)].into();
        let suspicion = Suspicion { results, mailboxes, ..Suspicion::default() };
        let none = Suspicion::default();
        let local = deliveries(&recipients, &ReversePath::Address(address("s@c.test")), date, &none);
        assert_eq!(local.iter().map(|delivery| delivery.account.0).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(local[0].prefix, b"Return-Path: <s@c.test>\r\nDelivered-To: team@a.test\r\n");
        assert_eq!(local[2].prefix, b"Return-Path: <s@c.test>\r\nDelivered-To: one@a.test\r\n");
        assert_eq!(
            deliveries(&recipients[..1], &ReversePath::Null, date, &none)[0].prefix[..17],
            *b"Return-Path: <>\r\n"
        );
        let local = deliveries(&recipients, &ReversePath::Null, date, &suspicion);
        assert_eq!(local.iter().map(|one| one.mailbox).collect::<Vec<_>>(), [None, Some(junk), None]);
        assert!(local.iter().all(|one| one.prefix.ends_with(b"\r\nAuthentication-Results: x; none\r\n")));
        let relay = relayed(&recipients);
        let shown: Vec<_> = relay
            .iter()
            .map(|to| (to.address.to_string(), to.original.as_ref().map(Address::to_string)))
            .collect();
        let team = Some("team@a.test".to_owned());
        assert_eq!(
            shown,
            [("x@b.test".into(), team.clone()), ("y@b.test".into(), team), ("z@b.test".into(), None)]
        );
    }
}
