//! Tables, and a model under a random scheduler: a seed repeats a run (`WAYPOST_SITES_SEED`, `WAYPOST_SITES_SEEDS`).

use std::collections::BTreeMap;

use waypost_config::SourceAddresses;
use waypost_mail::EnhancedStatus;

use super::{super::turns::Standing, site::ByTime, *};

const BOUNDS: Bounds =
    Bounds { connections: 3, messages_per_minute: 0, sources: SourceAddresses { v4: None, v6: None } };
const NOW: Timestamp = Timestamp(1_000_000);
const LATER: Timestamp = Timestamp(i64::MAX);

/// From here on three places are queues of one destination.
const APART: u8 = 240;

impl Apart for u8 {
    fn others(&self) -> Vec<Self> {
        let place = *self;
        let first = place - place % 3;
        (first..first.saturating_add(3)).filter(|other| place >= APART && *other != place).collect()
    }
}

fn no() -> Reply {
    Reply::new(421, EnhancedStatus(4, 3, 2), "not now")
}

/// Adds messages that are due, and has those looked at.
fn fill(sites: &mut Sites<u8>, place: u8, ids: std::ops::Range<u64>, now: Timestamp) {
    ids.for_each(|id| sites.add(&place, BOUNDS, EntryId(id), now, now));
    look_at_all(sites, now);
}

/// A new connection whose message, number 0, is under way.
fn sending_one(sites: &mut Sites<u8>, place: u8) -> (SiteId, EntryId) {
    fill(sites, place, 0..1, NOW);
    let (site, _) = sites.start(NOW).unwrap();
    sites.connected(site, NOW);
    let Next::Message(id) = sites.next(site, Stage::Connecting, NOW) else { panic!() };
    (site, id)
}

/// A new connection whose message is sent and done.
fn sent_one(sites: &mut Sites<u8>, place: u8) -> SiteId {
    let (site, id) = sending_one(sites, place);
    sites.done(site, id, Vec::new(), NOW);
    site
}

fn look_at_all(sites: &mut Sites<u8>, now: Timestamp) {
    loop {
        let due = sites.due(now);
        if due.is_empty() {
            return;
        }
        for (site, id, _) in due {
            match sites.resting(site, now) {
                None => sites.make_ready(site, id, 0, 0, now),
                Some(_) => sites.rest(site, id, LATER, now),
            }
        }
    }
}

fn starts(sites: &mut Sites<u8>, now: Timestamp) -> Vec<(SiteId, u8)> {
    std::iter::from_fn(|| sites.start(now)).collect()
}

fn status(sites: &Sites<u8>, place: u8) -> SiteStatus<u8> {
    sites.status(&place, NOW).unwrap()
}

#[test]
fn connections_are_as_many_as_messages_the_window_and_the_bounds_allow() {
    for (most, destination, messages, expected) in
        [(10, 3, 1, 1), (10, 3, 2, 2), (10, 3, 9, 3), (10, 9, 9, 5), (2, 9, 9, 2), (4, 9, 9, 4), (1, 9, 9, 1)]
    {
        let mut sites = Sites::new(most);
        let bounds = Bounds { connections: destination, ..BOUNDS };
        (0..messages).for_each(|id| sites.add(&1, bounds, EntryId(id), NOW, NOW));
        look_at_all(&mut sites, NOW);
        let begun = starts(&mut sites, NOW);
        assert_eq!(begun.len(), 1, "one, until a server takes a session");
        sites.connected(begun[0].0, NOW);
        assert_eq!(starts(&mut sites, NOW).len() + 1, expected, "{most} {destination} {messages}");
    }
}

#[test]
fn destinations_that_take_mail_are_served_while_all_others_hang() {
    let mut sites = Sites::new(8);
    (10..70).for_each(|place| fill(&mut sites, place, 0..9, NOW));
    // half of the connections; when those hang for a while, others get their turn, too, until there are too many of them
    let mut hanging = 0;
    while !sites.is_clogged() {
        let begun = starts(&mut sites, NOW);
        assert_eq!(begun.len(), 4);
        assert!(begun.iter().all(|(site, _)| sites.hangs(*site, NOW)));
        hanging += begun.len();
    }
    assert_eq!(hanging + 8, connections_most(8));
    assert_eq!(starts(&mut sites, NOW).len(), 4);
    assert!(!sites.hangs(sites.by_place[&10], NOW));
    // one of them answers, and gets what is left, up to its own bounds
    let site = sites.by_place[&10];
    sites.connected(site, NOW);
    assert!(starts(&mut sites, NOW).iter().filter(|(_, place)| *place == 10).count() >= 2);
    assert_eq!(status(&sites, 10).connections, 3);
    assert!(matches!(sites.next(site, Stage::Connecting, NOW), Next::Message(_)));
}

#[test]
fn who_took_mail_lately_does_not_stand_behind_those_that_may_be_dead() {
    let mut sites = Sites::new(8);
    let site = sent_one(&mut sites, 1);
    sites.ended(site, Stage::Busy, NOW);
    assert!(sites.by_place.is_empty());
    (10..30).for_each(|place| fill(&mut sites, place, 0..9, NOW));
    fill(&mut sites, 1, 1..3, NOW);
    let begun = starts(&mut sites, NOW);
    assert!(begun.iter().filter(|(_, place)| *place == 1).count() == 2, "{begun:?}");
    // until it takes nothing any more
    for (site, _) in begun.into_iter().filter(|(_, place)| *place == 1) {
        sites.refused(site, "mx", &no(), NOW, |_| NOW);
    }
    assert!(!sites.known.holds(&1) && sites.get(sites.by_place[&1]).unwrap().standing() == Standing::Failed);
}

#[test]
fn a_destination_that_takes_nothing_is_asked_for_one_message() {
    let mut sites = Sites::new(8);
    fill(&mut sites, 1, 0..3, NOW);
    let (site, _) = sites.start(NOW).unwrap();
    sites.connected(site, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 2);
    // the one that was taken is lost before it asks
    sites.ended(site, Stage::Connecting, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 1);
    let until = Timestamp(NOW.0 + 60_000);
    assert!(!sites.refused(site, "mx", &no(), NOW, |_| until), "others are on their way");
    assert!(!sites.refused(site, "mx", &no(), NOW, |_| until));
    assert!(sites.take_ready(site).is_some());
    assert!(sites.refused(site, "mx", &no(), NOW, |_| until));
    look_at_all(&mut sites, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    let resting = status(&sites, 1).resting.unwrap();
    assert_eq!((resting.0, resting.1, resting.2.as_str(), resting.3), (until, 1, "mx", no()));
    assert_eq!(sites.next_wake(), Some(until));
    fill(&mut sites, 1, 5..9, NOW);
    assert!(starts(&mut sites, NOW).is_empty(), "what comes now waits, too");
    look_at_all(&mut sites, until);
    assert_eq!(starts(&mut sites, until).len(), 1, "one is tried");
    // it is back: all go
    sites.connected(site, until);
    look_at_all(&mut sites, until);
    assert!(matches!(sites.next(site, Stage::Connecting, until), Next::Message(_)));
    assert_eq!(status(&sites, 1).resting, None);
}

#[test]
fn all_that_is_due_is_taken_where_a_destination_that_rests_refuses_for_good() {
    let mut sites = Sites::new(8);
    let until = Timestamp(NOW.0 + 60_000);
    fill(&mut sites, 1, 0..5, NOW);
    let (site, _) = sites.start(NOW).unwrap();
    assert!(sites.refused(site, "mx", &no(), NOW, |_| until));
    fill(&mut sites, 1, 5..7, NOW);
    sites.add(&1, BOUNDS, EntryId(7), Timestamp(until.0 + 1), NOW);
    look_at_all(&mut sites, until);
    assert_eq!(starts(&mut sites, until).len(), 1, "one is tried when the rest is over");
    sites.pause(&["1".to_owned()].into(), until);
    assert_eq!(sites.take_due(site), None, "what is paused waits");
    sites.pause(&BTreeSet::new(), until);
    look_at_all(&mut sites, until);
    let mut taken: Vec<u64> = std::iter::from_fn(|| sites.take_due(site)).map(|id| id.0).collect();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 3, 4, 5, 6], "and the others come with it");
    for id in taken {
        sites.done(site, EntryId(id), Vec::new(), until);
    }
    sites.ended(site, Stage::Connecting, until);
    assert_eq!((status(&sites, 1).waiting, sites.running()), (1, 0));
}

#[test]
fn what_is_asked_for_by_hand_ends_a_rest() {
    let mut sites = Sites::new(8);
    fill(&mut sites, 1, 0..2, NOW);
    for (site, _) in starts(&mut sites, NOW) {
        sites.refused(site, "mx", &no(), NOW, |_| LATER);
    }
    look_at_all(&mut sites, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    sites.wake_up(&2, NOW);
    sites.wake_up(&1, NOW);
    look_at_all(&mut sites, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 1);
}

#[test]
fn a_rate_is_kept_over_all_connections() {
    let mut sites = Sites::new(8);
    let bounds = Bounds { messages_per_minute: 60, ..BOUNDS };
    (0..3).for_each(|id| sites.add(&1, bounds, EntryId(id), NOW, NOW));
    look_at_all(&mut sites, NOW);
    let (site, _) = sites.start(NOW).unwrap();
    sites.connected(site, NOW);
    assert!(matches!(sites.next(site, Stage::Connecting, NOW), Next::Message(_)));
    let soon = Timestamp(NOW.0 + 1000);
    assert!(matches!(sites.next(site, Stage::Busy, NOW), Next::Wait(_, Some(slot)) if slot == soon));
    sites.ended(site, Stage::Idle, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    assert_eq!(sites.next_wake(), Some(soon));
    look_at_all(&mut sites, soon);
    let connections = starts(&mut sites, soon);
    let next = |(site, _): &(SiteId, u8)| sites.next(*site, Stage::Connecting, soon);
    let given: Vec<Next> = connections.iter().map(next).collect();
    assert!(matches!(given[..], [Next::Message(_), Next::Wait(_, Some(Timestamp(1_002_000)))]), "{given:?}");
}

#[test]
fn the_queues_of_one_destination_share_its_connections() {
    let mut sites = Sites::new(20);
    (APART..APART + 3).for_each(|place| fill(&mut sites, place, 0..9, NOW));
    let begun = starts(&mut sites, NOW);
    assert_eq!(begun.len(), 3, "one for each, as no server took a session yet");
    begun.iter().for_each(|(site, _)| sites.connected(*site, NOW));
    assert!(starts(&mut sites, NOW).is_empty(), "three are all");
    // who ends makes room for another one, in turn
    for (site, _) in &begun {
        assert!(matches!(sites.next(*site, Stage::Connecting, NOW), Next::Message(_)));
    }
    sites.ended(begun[0].0, Stage::Busy, NOW);
    let [(_, place)] = starts(&mut sites, NOW)[..] else { panic!() };
    assert_ne!(place, begun[0].1);
    assert_eq!(sites.running(), 3);
}

#[test]
fn an_idle_connection_ends_for_another_queue_of_its_destination() {
    let mut sites = Sites::new(20);
    let narrow = Bounds { connections: 1, ..BOUNDS };
    let add = |sites: &mut Sites<u8>, place: u8, id| {
        sites.add(&place, narrow, EntryId(id), NOW, NOW);
        look_at_all(sites, NOW);
    };
    add(&mut sites, APART, 1);
    let (site, _) = sites.start(NOW).unwrap();
    sites.connected(site, NOW);
    let Next::Message(id) = sites.next(site, Stage::Connecting, NOW) else { panic!() };
    sites.done(site, id, Vec::new(), NOW);
    let Next::Wait(bell, None) = sites.next(site, Stage::Busy, NOW) else { panic!() };
    add(&mut sites, APART + 1, 2);
    assert!(starts(&mut sites, NOW).is_empty(), "the only connection is there");
    let mut rung = std::pin::pin!(bell.notified());
    assert!(rung.as_mut().enable(), "it is woken");
    assert!(matches!(sites.next(site, Stage::Idle, NOW), Next::End));
    sites.ended(site, Stage::Busy, NOW);
    assert_eq!(starts(&mut sites, NOW).iter().map(|(_, place)| *place).collect::<Vec<_>>(), [APART + 1]);
}

#[test]
fn the_queues_of_one_destination_share_its_rate() {
    let mut sites = Sites::new(20);
    let bounds = Bounds { messages_per_minute: 60, ..BOUNDS };
    for place in [APART, APART + 1] {
        sites.add(&place, bounds, EntryId(1), NOW, NOW);
    }
    look_at_all(&mut sites, NOW);
    let begun = starts(&mut sites, NOW);
    assert_eq!(begun.len(), 2);
    let given: Vec<Next> = begun.iter().map(|(site, _)| sites.next(*site, Stage::Connecting, NOW)).collect();
    let soon = Timestamp(NOW.0 + 1000);
    assert!(matches!(given[..], [Next::Message(_), Next::Wait(_, Some(slot))] if slot == soon), "{given:?}");
    // one that comes new knows of it, and is looked at when the rate allows the next message
    sites.add(&(APART + 2), bounds, EntryId(1), NOW, NOW);
    look_at_all(&mut sites, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    assert_eq!(sites.next_wake(), Some(soon));
    look_at_all(&mut sites, soon);
    assert_eq!(starts(&mut sites, soon).len(), 1);
}

/// Connections from it in the model.
const FROM_ONE: usize = 3;

/// An address of ours that has bounds.
const OURS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 1);

fn from_one() -> SourceAddresses {
    SourceAddresses { v4: Some(OURS), v6: None }
}

fn limit(connections: Option<usize>, messages_per_minute: u32) -> SourceConfig {
    SourceConfig { address: OURS.into(), connections, messages_per_minute }
}

#[test]
fn destinations_share_the_connections_of_an_address_of_ours() {
    let mut sites = Sites::new(20);
    sites.set_source_limits(&[limit(Some(2), 0)]);
    let bounds = Bounds { sources: from_one(), ..BOUNDS };
    for (place, bounds) in [(1, bounds), (2, bounds), (3, bounds), (9, BOUNDS)] {
        sites.add(&place, bounds, EntryId(1), NOW, NOW);
    }
    look_at_all(&mut sites, NOW);
    let begun = starts(&mut sites, NOW);
    assert_eq!(begun.len(), 3);
    assert!(begun.iter().any(|(_, place)| *place == 9), "another address has bounds of its own");
    let (first, place) = *begun.iter().find(|(_, place)| *place != 9).unwrap();
    // an idle one ends, as another destination waits for its place
    sites.connected(first, NOW);
    let Next::Message(id) = sites.next(first, Stage::Connecting, NOW) else { panic!() };
    sites.done(first, id, Vec::new(), NOW);
    assert!(matches!(sites.next(first, Stage::Busy, NOW), Next::End));
    sites.ended(first, Stage::Busy, NOW);
    let [(_, last)] = starts(&mut sites, NOW)[..] else { panic!() };
    assert!(last != place && !begun.iter().any(|(_, other)| *other == last), "{last}");
    // those that are there are counted on
    sites.set_source_limits(&[limit(Some(3), 0)]);
    (4..=5).for_each(|place| sites.add(&place, bounds, EntryId(1), NOW, NOW));
    look_at_all(&mut sites, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 1);
}

#[test]
fn destinations_share_the_rate_of_an_address_of_ours() {
    let mut sites = Sites::new(20);
    sites.set_source_limits(&[limit(None, 60)]);
    let bounds = Bounds { sources: from_one(), ..BOUNDS };
    (1..=3).for_each(|place| sites.add(&place, bounds, EntryId(1), NOW, NOW));
    look_at_all(&mut sites, NOW);
    let begun = starts(&mut sites, NOW);
    assert_eq!(begun.len(), 3);
    let given: Vec<Next> = begun.iter().map(|(site, _)| sites.next(*site, Stage::Connecting, NOW)).collect();
    let soon = Timestamp(NOW.0 + 1000);
    let is_waiting = |next: &Next| matches!(next, Next::Wait(_, Some(slot)) if *slot == soon);
    assert!(matches!(given[0], Next::Message(_)) && given[1..].iter().all(is_waiting), "{given:?}");
    // without a connection it is looked at when the rate allows the next one
    sites.ended(begun[1].0, Stage::Idle, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    assert_eq!(sites.next_wake(), Some(soon));
    look_at_all(&mut sites, soon);
    assert_eq!(starts(&mut sites, soon).len(), 1);
}

#[test]
fn an_idle_connection_takes_the_next_message_and_ends_where_others_need_its_place() {
    let mut sites = Sites::new(1);
    let site = sent_one(&mut sites, 1);
    assert!(matches!(sites.next(site, Stage::Busy, NOW), Next::Wait(_, None)));
    fill(&mut sites, 1, 1..2, NOW);
    assert!(starts(&mut sites, NOW).is_empty(), "the idle one is enough");
    let Next::Message(id) = sites.next(site, Stage::Idle, NOW) else { panic!() };
    sites.done(site, id, Vec::new(), NOW);
    fill(&mut sites, 2, 2..3, NOW);
    assert!(matches!(sites.next(site, Stage::Busy, NOW), Next::End));
    sites.ended(site, Stage::Busy, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 1);
}

#[test]
fn what_is_being_looked_at_is_not_lost_where_the_last_connection_ends() {
    let mut sites = Sites::new(8);
    let site = sent_one(&mut sites, 1);
    sites.add(&1, BOUNDS, EntryId(7), NOW, NOW);
    assert_eq!(sites.due(NOW), [(site, EntryId(7), Because::Due(NOW))]);
    sites.ended(site, Stage::Busy, NOW);
    assert_eq!(sites.place(site), Some(&1));
    sites.make_ready(site, EntryId(7), 0, 0, NOW);
    assert_eq!(starts(&mut sites, NOW), [(site, 1)]);
    // where nothing came of it, the destination is forgotten
    let mut sites = Sites::new(8);
    sites.add(&1, BOUNDS, EntryId(7), NOW, NOW);
    assert_eq!((sites.due(NOW).len(), sites.due(NOW).len(), sites.statuses(NOW).len()), (1, 0, 0));
}

#[test]
fn a_connection_that_has_a_session_is_enough_for_one_message() {
    let mut sites = Sites::new(8);
    fill(&mut sites, 1, 0..1, NOW);
    let (site, _) = sites.start(NOW).unwrap();
    sites.connected(site, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
}

#[test]
fn a_connection_that_ends_before_it_asks_connects_no_more() {
    let mut sites = Sites::new(8);
    fill(&mut sites, 1, 0..2, NOW);
    let site = starts(&mut sites, NOW)[0].0;
    sites.connected(site, NOW);
    assert!(matches!(sites.next(site, Stage::Connecting, NOW), Next::Message(_)));
    sites.ended(site, Stage::Connecting, NOW);
    assert_eq!(starts(&mut sites, NOW).len(), 1, "one message is ready, one connection is busy");
}

#[test]
fn what_is_on_its_way_when_routes_change_is_not_sent_elsewhere_meanwhile() {
    let mut sites = Sites::new(8);
    let (old, id) = sending_one(&mut sites, 1);
    sites.clear(NOW);
    fill(&mut sites, 2, 0..1, NOW);
    assert!(starts(&mut sites, NOW).is_empty());
    sites.done(old, id, vec![(2, BOUNDS, NOW)], NOW);
    look_at_all(&mut sites, NOW);
    assert_eq!(starts(&mut sites, NOW).iter().map(|(_, place)| *place).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_message_that_is_settled_by_hand_is_taken_everywhere_or_nowhere() {
    let mut sites = Sites::new(8);
    fill(&mut sites, 1, 0..1, NOW);
    let taken = sites.take_all(EntryId(0), &[1, 2]).unwrap();
    assert_eq!(sites.take_all(EntryId(0), &[1]), None);
    let (site, _) = sites.start(NOW).unwrap();
    assert_eq!(sites.take_ready(site), None, "it was ready, but is not sent");
    for site in taken {
        sites.done(site, EntryId(0), Vec::new(), NOW);
    }
    sites.ended(site, Stage::Connecting, NOW);
    assert!(sites.statuses(NOW).is_empty() && !sites.is_in_flight(EntryId(0)));
}

/// A random number generator (splitmix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn take<T>(&mut self, all: &mut Vec<T>) -> Option<T> {
        let count = all.len() as u64;
        (count > 0).then(|| all.swap_remove(self.next(count) as usize))
    }
}

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    Connecting,
    /// A server took the session; it has not asked for a message yet.
    Connected,
    Sending(EntryId),
    Idle,
}

/// The world around the sites: a store that knows which items are open and when they are due, connections, what is looked at.
struct Model {
    chance: Chance,
    sites: Sites<u8>,
    now: Timestamp,
    /// When each open item is due.
    open: BTreeMap<(u8, EntryId), Timestamp>,
    connections: Vec<(SiteId, u8, Doing)>,
    /// Items that are settled without a connection.
    touches: Vec<(SiteId, u8, EntryId)>,
    looked_at: Vec<(SiteId, EntryId, Because)>,
    paused: BTreeSet<String>,
    most: usize,
    ids: u64,
    sent: usize,
}

/// The last two are queues of one destination.
const PLACES: u64 = 8;
const MINUTE: u64 = 60_000;

impl Model {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let most = 1 + chance.next(12) as usize;
        let mut sites = Sites::new(most);
        sites.set_source_limits(&[limit(Some(FROM_ONE), 240)]);
        Self {
            sites,
            chance,
            now: NOW,
            open: BTreeMap::new(),
            connections: Vec::new(),
            touches: Vec::new(),
            looked_at: Vec::new(),
            paused: BTreeSet::new(),
            most,
            ids: 0,
            sent: 0,
        }
    }

    /// Each destination has bounds of its own.
    fn bounds(place: u8) -> Bounds {
        if place >= APART {
            return Bounds { connections: 2, messages_per_minute: 30, ..BOUNDS };
        }
        let messages_per_minute = if place == 1 { 30 } else { 0 };
        let sources = if place >= 2 { from_one() } else { SourceAddresses::default() };
        Bounds { connections: 1 + usize::from(place), messages_per_minute, sources }
    }

    fn place(&mut self) -> u8 {
        match self.chance.next(PLACES) as u8 {
            place @ ..6 => place,
            apart => APART + apart - 6,
        }
    }

    fn after(&mut self, most: u64) -> Timestamp {
        self.now.after(std::time::Duration::from_millis(self.chance.next(most)))
    }

    fn step(&mut self) {
        match self.chance.next(100) {
            0..15 => self.accept(),
            15..20 => self.now = self.after(10_000),
            20..22 => self.now = self.after(10 * MINUTE),
            22..25 => self.retry(),
            25..27 => self.remove(),
            27..29 => self.pause(),
            29 => self.reroute(),
            30 => {
                self.most = 1 + self.chance.next(12) as usize;
                self.sites.set_connections_max(self.most);
            }
            31..33 => self.hang(),
            33..50 => self.look(),
            50..65 => drop(self.start()),
            65..70 => self.touch(),
            _ => self.go_on(false),
        }
    }

    fn hang(&mut self) {
        let hangs = |(_, _, doing): &&(SiteId, u8, Doing)| *doing == Doing::Connecting;
        if let Some((site, ..)) = self.connections.iter().find(hangs) {
            self.sites.hangs(*site, self.now);
        }
    }

    fn accept(&mut self) {
        self.ids += 1;
        for _ in 0..=self.chance.next(2) {
            let place = self.place();
            let due = if self.chance.next(4) == 0 { self.after(5 * MINUTE) } else { self.now };
            self.open.insert((place, EntryId(self.ids)), due);
            self.add(place, EntryId(self.ids), due);
        }
    }

    fn add(&mut self, place: u8, id: EntryId, due: Timestamp) {
        self.sites.add(&place, Self::bounds(place), id, due, self.now);
    }

    fn any(&mut self) -> Option<(u8, EntryId)> {
        let count = self.open.len() as u64;
        let at = if count > 0 { self.chance.next(count) } else { 0 };
        self.open.keys().nth(at as usize).copied()
    }

    fn retry(&mut self) {
        if let Some((place, id)) = self.any() {
            self.open.insert((place, id), self.now);
            self.add(place, id, self.now);
            self.sites.wake_up(&place, self.now);
        }
    }

    /// Taken out by hand, or held: the sites are not told.
    fn remove(&mut self) {
        if let Some(item) = self.any() {
            self.open.remove(&item);
        }
    }

    fn pause(&mut self) {
        let name = self.place().to_string();
        if !self.paused.remove(&name) {
            self.paused.insert(name);
        }
        self.sites.pause(&self.paused, self.now);
    }

    /// The routes change: what went to two destinations goes to each other's.
    fn reroute(&mut self) {
        let old = std::mem::take(&mut self.open);
        let other = |place: u8| if place < 2 { 1 - place } else { place };
        self.sites.clear(self.now);
        for ((place, id), due) in old {
            self.open.insert((other(place), id), due);
            self.add(other(place), id, due);
        }
    }

    /// As the runner does it: some items come up, and are looked at one by one while others do things.
    fn look(&mut self) {
        if self.looked_at.is_empty() {
            self.looked_at = self.sites.due(self.now);
        }
        if self.looked_at.is_empty() {
            return;
        }
        let (site, id, because) = self.looked_at.remove(0);
        let Some(place) = self.sites.place(site).copied() else { return };
        let Some(due) = self.open.get(&(place, id)).copied() else { return };
        if due > self.now {
            if because == Because::Due(due) {
                self.add(place, id, due);
            }
            return;
        }
        if self.sites.resting(site, self.now).is_none() {
            let (priority, sender) = (self.chance.next(3) as i8, self.chance.next(3));
            return self.sites.make_ready(site, id, priority, sender, self.now);
        }
        let deadline = Timestamp(NOW.0 + (1 + id.0 as i64 % 7) * 20 * MINUTE as i64);
        if deadline > self.now {
            self.sites.rest(site, id, deadline, self.now);
        } else if self.sites.take(site, id) {
            self.touches.push((site, place, id));
        }
    }

    fn start(&mut self) -> bool {
        let Some((site, place)) = self.sites.start(self.now) else { return false };
        assert!(!self.paused.contains(&place.to_string()), "a paused destination starts nothing");
        self.connections.push((site, place, Doing::Connecting));
        let is_here = |other: u8| other == place || place.others().contains(&other);
        let here = self.connections.iter().filter(|(_, other, _)| is_here(*other)).count();
        assert!(here <= Self::bounds(place).connections, "{here} connections to {place}");
        assert!(self.sites.running - self.sites.hanging <= self.most);
        let from_one = self.connections.iter().filter(|(_, place, _)| (2..APART).contains(place)).count();
        assert!(from_one <= FROM_ONE, "{from_one} connections from one address");
        true
    }

    /// What is settled without a connection is deferred, or given up.
    fn touch(&mut self) {
        if let Some((site, place, id)) = self.chance.take(&mut self.touches) {
            let next = (self.chance.next(2) == 0).then(|| self.after(30 * MINUTE));
            self.settle(place, id, next);
            self.done(site, id);
        }
    }

    /// The store knows what came of it: due again then, or sent.
    fn settle(&mut self, place: u8, id: EntryId, next: Option<Timestamp>) {
        // where the routes have changed since it was taken, it is elsewhere now; else it was taken out by hand
        let elsewhere = (place < 2 && self.sites.rerouted.contains(&id)).then(|| 1 - place);
        let is_open = |place: &u8| self.open.contains_key(&(*place, id));
        let Some(place) = [Some(place), elsewhere].into_iter().flatten().find(is_open) else { return };
        match next {
            Some(next) => drop(self.open.insert((place, id), next)),
            None => {
                self.open.remove(&(place, id));
                self.sent += 1;
            }
        }
    }

    fn done(&mut self, site: SiteId, id: EntryId) {
        let of = self.open.iter().filter(|((_, other), _)| *other == id);
        let again = of.map(|((place, _), due)| (*place, Self::bounds(*place), *due)).collect();
        self.sites.done(site, id, again, self.now);
    }

    /// A connection does the next thing. `is_well`: all servers take everything.
    fn go_on(&mut self, is_well: bool) {
        let Some((site, place, doing)) = self.chance.take(&mut self.connections) else { return };
        let dice = if is_well { 99 } else { self.chance.next(100) };
        match doing {
            Doing::Connecting if dice < 25 => {
                let taken = self.sites.take_ready(site);
                let until = self.after(20 * MINUTE);
                let rests = self.sites.refused(site, "mx", &no(), self.now, |_| until);
                assert_eq!(rests, !self.connections.iter().any(|(other, ..)| *other == site));
                if let Some(id) = taken {
                    if rests {
                        self.settle(place, id, Some(until));
                    }
                    self.done(site, id);
                }
            }
            Doing::Connecting if dice < 30 => {
                while let Some(id) = self.sites.take_due(site) {
                    self.settle(place, id, None);
                    self.done(site, id);
                }
                self.sites.ended(site, Stage::Connecting, self.now);
            }
            Doing::Connecting => {
                self.sites.connected(site, self.now);
                self.connections.push((site, place, Doing::Connected));
            }
            Doing::Connected => self.ask(site, place, Stage::Connecting),
            Doing::Sending(id) if dice < 5 => {
                // lost: it is due still
                self.sites.troubled(site);
                self.done(site, id);
                self.sites.ended(site, Stage::Busy, self.now);
            }
            Doing::Sending(id) => {
                self.sites.answered(site, self.now);
                let next = (dice < 30).then(|| self.after(10 * MINUTE));
                self.settle(place, id, next);
                self.done(site, id);
                self.ask(site, place, Stage::Busy);
            }
            Doing::Idle if dice < 50 => self.sites.ended(site, Stage::Idle, self.now),
            Doing::Idle => self.ask(site, place, Stage::Idle),
        }
    }

    fn ask(&mut self, site: SiteId, place: u8, stage: Stage) {
        match self.sites.next(site, stage, self.now) {
            Next::Message(id) => {
                assert!(!self.paused.contains(&place.to_string()), "a paused destination sends nothing");
                assert!(!self.is_sent(id, place), "{id} is in flight twice");
                self.connections.push((site, place, Doing::Sending(id)));
            }
            Next::Wait(..) => self.connections.push((site, place, Doing::Idle)),
            Next::End => self.sites.ended(site, Stage::Busy, self.now),
        }
    }

    fn is_sent(&self, id: EntryId, place: u8) -> bool {
        let sends = |(_, other, doing): &(SiteId, u8, Doing)| *doing == Doing::Sending(id) && *other == place;
        self.connections.iter().any(sends)
            || self.touches.iter().any(|(_, other, at)| (*other, *at) == (place, id))
    }

    fn check(&self) {
        let sites = &self.sites;
        assert_eq!(sites.running, self.connections.len());
        let flying = |(site, _, doing): &(SiteId, u8, Doing)| match doing {
            Doing::Sending(id) => Some((*id, *site)),
            Doing::Connecting | Doing::Connected | Doing::Idle => None,
        };
        let mut in_flight: Vec<_> = self.connections.iter().filter_map(flying).collect();
        in_flight.extend(self.touches.iter().map(|(site, _, id)| (*id, *site)));
        in_flight.sort_unstable();
        assert!(sites.in_flight.iter().copied().eq(in_flight), "each in flight once");
        let used = || {
            sites.sites.iter().zip(0..).filter_map(|(site, number)| Some((site.as_ref()?, SiteId(number))))
        };
        for (site, id) in used() {
            let count = |doing: fn(&Doing) -> bool| {
                self.connections.iter().filter(|(other, _, what)| *other == id && doing(what)).count()
            };
            let counts = (
                count(|_| true),
                count(|what| matches!(what, Doing::Connecting | Doing::Connected)),
                count(|what| *what == Doing::Idle),
            );
            assert_eq!((site.running, site.connecting, site.idle), counts, "{site:?}");
            assert_eq!(site.in_flight, sites.in_flight.iter().filter(|(_, other)| *other == id).count());
            assert_eq!(site.probes + site.hanging, if site.pace.is_proven() { 0 } else { site.running });
        }
        assert_eq!(sites.probes, used().map(|(site, _)| site.probes).sum::<usize>());
        assert_eq!(sites.hanging, used().map(|(site, _)| site.hanging).sum::<usize>());
        for (place, id) in self.open.keys() {
            assert!(self.is_somewhere(*place, *id), "{id} to {place} is lost");
        }
    }

    fn is_somewhere(&self, place: u8, id: EntryId) -> bool {
        let sites = &self.sites;
        // what was on its way when routes changed comes again when it is done
        if sites.rerouted.contains(&id) {
            return true;
        }
        let Some(site_id) = sites.by_place.get(&place) else { return false };
        let Some(site) = sites.get(*site_id) else { return false };
        let within = |heap: &ByTime| heap.iter().any(|Reverse((_, other))| *other == id);
        within(&site.later)
            || within(&site.resting)
            || site.ready.holds(id)
            || sites.in_flight.contains(&(id, *site_id))
            || self.looked_at.iter().any(|(at, other, _)| (*at, *other) == (*site_id, id))
    }

    /// Everything works from here on: all that is open is sent, and nothing is left over.
    fn run_dry(&mut self) {
        self.paused.clear();
        self.sites.pause(&self.paused, self.now);
        for _ in 0..200_000 {
            let wake = self.sites.next_wake();
            if !self.looked_at.is_empty() || wake.is_some_and(|at| at <= self.now) {
                self.look();
            } else if self.start() {
            } else if !self.connections.is_empty() {
                self.go_on_well();
            } else if !self.touches.is_empty() {
                self.touch();
            } else if let Some(at) = self.sites.next_wake() {
                // as the runner does, after it could start nothing
                self.now = at;
            } else {
                break;
            }
        }
        assert!(self.open.is_empty(), "these wait for ever: {:?}\n{:?}", self.open, self.sites);
        assert!(self.sites.due(LATER).is_empty());
        let Sites { running, probes, hanging, in_flight, by_place, rerouted, .. } = &self.sites;
        assert_eq!((*running, *probes, *hanging), (0, 0, 0));
        assert_eq!((in_flight.len(), by_place.len(), rerouted.len()), (0, 0, 0));
    }

    /// Connections that wait end where nothing came; the others send.
    fn go_on_well(&mut self) {
        if self.connections.iter().all(|(_, _, doing)| *doing == Doing::Idle) {
            let (site, ..) = self.connections.remove(0);
            return self.sites.ended(site, Stage::Idle, self.now);
        }
        self.go_on(true);
    }
}

#[test]
fn nothing_is_lost_doubled_or_forgotten_whatever_happens_when() {
    let number = |name, or| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(or);
    let (first, seeds) = (number("WAYPOST_SITES_SEED", 1), number("WAYPOST_SITES_SEEDS", 50));
    let mut sent = 0;
    for seed in first..first + seeds {
        let mut model = Model::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..1500 {
                model.step();
                model.check();
            }
            model.run_dry();
        }));
        assert!(run.is_ok(), "seed {seed}");
        sent += model.sent;
    }
    assert!(sent as u64 > 50 * seeds, "{sent}");
}
