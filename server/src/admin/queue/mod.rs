//! The queue: looking at it and giving it orders, with the running server or on the store alone.

mod octets;
mod order;
mod sight;
mod view;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use waypost_auth::Live;
use waypost_config::NextHop;
use waypost_mail::{Address, Domain, EntryId, ReversePath};
use waypost_mta::{queue::Place, route::destination, tls_policy::Wish};
use waypost_storage::{QueueEntry, Store};

use super::Parts;
use crate::port::Event;
use sight::Sight;

pub use view::{
    DestinationLine, DialogueLine, GoneRecipientLine, GoneView, HeldLine, HistoryLine, MessageView,
    OutcomeLine, QueueLine, RecipientLine, ReportLine, RestLine, Shown, TlsLostLine,
};

/// Entries that are looked at for one page of a listing.
const PAGE_LOOKS: usize = 200;
/// Recipients after which a page takes no more lines.
const PAGE_RECIPIENTS: usize = 1000;
/// Most ids in one order; a request has 64 KiB.
pub const IDS_MAX: usize = 1000;
/// Longest reason, in characters.
const WHY_CHARACTERS_MAX: usize = 200;

/// What is asked of the queue.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueJob {
    /// A page of a listing, ascending by id.
    List {
        /// Only these.
        filter: QueueFilter,
        /// Those behind this id.
        after: Option<String>,
        /// Most lines.
        most: usize,
    },
    /// Everything about one message.
    Show {
        /// Its id.
        id: String,
    },
    /// A piece of what would be sent of one message.
    Octets {
        /// Its id.
        id: String,
        /// How many octets stand before it.
        from: u64,
    },
    /// All destinations.
    Destinations,
    /// Does something with messages. Progress comes before the answer.
    Order {
        /// What.
        order: QueueOrder,
        /// With which.
        which: Chosen,
    },
    /// Pauses a destination, or lets it go on.
    Pause {
        /// Its name, as listings print it.
        destination: String,
        /// Whether it is paused then.
        paused: bool,
    },
}

/// Which messages.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct QueueFilter {
    /// With an open recipient in this domain.
    pub to: Option<String>,
    /// From this sender; `<>`: notifications.
    pub from: Option<String>,
    /// Only those that are held.
    #[serde(default)]
    pub held: bool,
}

/// What is done with messages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueOrder {
    /// Tries them now.
    Retry,
    /// Does not try them until they are released.
    Hold {
        /// Why.
        why: String,
    },
    /// Tries them again.
    Release,
    /// Takes them out; their senders are not told.
    Remove,
    /// Sends them back.
    Bounce {
        /// Why.
        why: String,
    },
}

/// The messages of an order.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chosen {
    /// Those with these ids, at most [`IDS_MAX`].
    Ids(Vec<String>),
    /// Those that a filter lets through and that the order means: none that is held is retried.
    Matching(QueueFilter),
}

/// What the queue answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueAnswer {
    /// A page of a listing.
    Page {
        /// Its lines.
        lines: Vec<QueueLine>,
        /// Where the next one begins; `None`: there is none.
        next: Option<String>,
    },
    /// One message.
    Shown(Box<Shown>),
    /// A piece of a message.
    Octets {
        /// In base 64.
        octets: String,
        /// How many stand before the next one; `None`: there is none.
        next: Option<u64>,
    },
    /// Destinations, by name.
    Destinations(Vec<DestinationLine>),
    /// An order was carried out, as far as it could be.
    Ordered(Ordered),
    /// A destination is paused, or goes on.
    Paused {
        /// Its name.
        destination: String,
    },
}

/// What came of an order.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Ordered {
    /// Messages with which it was done.
    pub done: u64,
    /// Messages with which it was not.
    pub failed: u64,
    /// Why, and what else there is to say; the first [`IDS_MAX`].
    pub notes: Vec<String>,
}

/// Does what is asked. The queue is there in a running server. Errors: a sentence.
pub(super) async fn run(
    store: &Store,
    live: &Live,
    parts: &Parts,
    job: QueueJob,
    events: &mpsc::Sender<Event>,
) -> Result<QueueAnswer, String> {
    let control = parts.control.as_ref();
    let sight = Sight::new(store, live, control);
    match job {
        QueueJob::List { filter, after, most } => {
            let after = after.as_deref().map(id).transpose()?;
            Ok(page(&sight, &Filter::parse(&filter)?, after, most))
        }
        QueueJob::Show { id: text } => {
            sight.show(id(&text)?).await.map(|shown| QueueAnswer::Shown(Box::new(shown)))
        }
        QueueJob::Octets { id: text, from } => octets::piece(store, id(&text)?, from).await,
        QueueJob::Destinations => {
            Ok(QueueAnswer::Destinations(sight.destinations(parts.router.tls.alarmed())))
        }
        QueueJob::Order { order, which } => {
            order::run(store, control, order, which, events).await.map(QueueAnswer::Ordered)
        }
        QueueJob::Pause { destination, paused } => {
            let destination = named(live, store, &destination, paused)?;
            let done = store.pause(destination.clone(), paused).await;
            done.map(|()| QueueAnswer::Paused { destination }).map_err(|error| error.to_string())
        }
    }
}

fn id(text: &str) -> Result<EntryId, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// A reason is one line, as it goes into replies and listings.
pub(super) fn why(text: &str) -> Result<(), String> {
    match text.chars().count() <= WHY_CHARACTERS_MAX && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(format!("a reason is one line of at most {WHY_CHARACTERS_MAX} characters")),
    }
}

/// Which messages, checked.
#[derive(Clone, Debug)]
struct Filter {
    to: Option<Domain>,
    from: Option<ReversePath>,
    held: Option<bool>,
}

impl Filter {
    fn parse(filter: &QueueFilter) -> Result<Self, String> {
        let QueueFilter { to, from, held } = filter;
        let to = to.as_deref().map(|to| Domain::new(to).map_err(|error| format!("{to}: {error}")));
        let from = from.as_deref().map(|from| match from {
            "" | "<>" => Ok(ReversePath::Null),
            address => Address::parse(address)
                .map(ReversePath::Address)
                .map_err(|error| format!("{address}: {error}")),
        });
        Ok(Self { to: to.transpose()?, from: from.transpose()?, held: held.then_some(true) })
    }

    fn lets(&self, entry: &QueueEntry) -> bool {
        let is_to = |to: &Domain| entry.open().any(|(_, queued)| queued.recipient.address.domain == *to);
        let is_from = |from: &ReversePath| match (from, &entry.reverse_path) {
            (ReversePath::Address(from), ReversePath::Address(sender)) => from.same_mailbox(sender),
            (from, sender) => from == sender,
        };
        self.held.is_none_or(|held| held == entry.held.is_some())
            && self.to.as_ref().is_none_or(is_to)
            && self.from.as_ref().is_none_or(is_from)
    }
}

/// A page: some lines, and where the next one begins, also where nothing was found on this one.
fn page(sight: &Sight<'_>, filter: &Filter, after: Option<EntryId>, most: usize) -> QueueAnswer {
    let entries = sight.store.queue_page(after, PAGE_LOOKS);
    let mut next = entries.last().filter(|_| entries.len() == PAGE_LOOKS).map(|last| last.id.to_string());
    let (mut lines, mut recipients) = (Vec::new(), 0);
    for entry in entries.iter().filter(|entry| filter.lets(entry)) {
        let line = sight.line(entry);
        recipients += line.recipients.len();
        lines.push(line);
        if lines.len() >= most || recipients >= PAGE_RECIPIENTS {
            next = Some(entry.id.to_string());
            break;
        }
    }
    QueueAnswer::Page { lines, next }
}

/// The name of a destination, as listings print it. Errors: mail goes to none of that name.
fn named(live: &Live, store: &Store, name: &str, paused: bool) -> Result<String, String> {
    let is_paused = |name: &str| store.directory().borrow().paused.contains(name);
    if !paused {
        let domain = Domain::new(name).map(|domain| domain.to_string());
        let names = [Some(name.to_owned()), domain.ok()];
        let found = names.into_iter().flatten().find(|name| is_paused(name));
        return found.ok_or_else(|| format!("{name} is not paused"));
    }
    if is_paused(name) || next_hops(live).any(|place| place == name) {
        return Ok(name.to_owned());
    }
    let unknown = || format!("there is no destination {name}: `waypost queue destinations` lists them");
    let domain = Domain::new(name).map_err(|_| unknown())?;
    // whoever sends it; routes for some senders are next hops
    let place = Place::Elsewhere(destination(&live.config, None, &domain), Wish::Usual);
    let place = if live.directory.is_local(&domain) { Place::Here } else { place }.to_string();
    match place == domain.to_string() {
        true => Ok(place),
        false => Err(format!("mail for {domain} goes to another destination: pause {place}")),
    }
}

/// The destinations that no domain is the name of.
fn next_hops(live: &Live) -> impl Iterator<Item = String> {
    let routes = live.config.routes.iter().map(|route| route.next_hops.as_slice());
    let backups = live.config.domains.iter().filter_map(|domain| domain.relay_to.as_ref());
    let hops = routes.chain(backups.map(std::slice::from_ref));
    let name = |hops: &[NextHop]| hops.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    hops.map(name).chain([Place::Here.to_string()])
}
