//! A world: nodes, peers and DNS, mail that is handed in, and what goes wrong meanwhile; all of it decided by one seed.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::{
    book::{Book, Entry, Leaf},
    chance::Chance,
    life::Life,
    network::{Death, Host, Net, Weather, address},
    node::{Living, Node},
    peer::{Handed, Peer, Submission, Temper},
    tap::TOKEN_FIELD,
    trace::Trace,
    verdict,
    zones::{Zone, Zones},
};

pub(crate) const NODES: usize = 3;
pub(crate) const DOMAINS: [&str; NODES] = ["n0.test", "n1.test", "n2.test"];
/// Takes everything, but for some local parts.
pub(crate) const GOOD: Host = 3;
/// Refuses and hangs up, also for good.
pub(crate) const MOODY: Host = 4;
/// Refuses and hangs up, never for good.
pub(crate) const VAGUE: Host = 5;
/// The host of a domain that takes no mail; it would take it.
pub(crate) const TRAP: Host = 6;
/// Refuses connections.
const DEAD: Host = 7;
/// Answers nothing.
const HOLE: Host = 8;
/// Hands mail in.
const AGENT: Host = 9;
const HOSTS: usize = 10;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// Within it things go wrong.
const TROUBLE: Duration = Duration::from_secs(12 * 3600);
/// The first wait between two tries.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);
/// When mail is given up.
const LIFETIME: Duration = Duration::from_secs(48 * 3600);
/// When all must have ended: a message, and the notification of it.
const HORIZON: Duration = Duration::from_secs(5 * 24 * 3600);
/// The body of a large message is a file of its own.
const LARGE_BODY_BYTES: u64 = 300 * 1024;

/// A defect that a world has on purpose, so that it is known to be seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Control {
    None,
    /// What was recorded of a message that the next server took is lost.
    ForgottenOutcome,
    /// Mail is tried again at once.
    NoBackOff,
    /// Null MX is not seen.
    IgnoredNullMx,
    /// Syncs of the disk do nothing.
    NoSyncs,
}

/// What happened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    /// All of it, as one number.
    pub(crate) trace: u64,
    pub(crate) accepted: u64,
    pub(crate) deaths: u64,
    /// Messages that may have been taken without the sender's knowledge.
    pub(crate) windows: u64,
    pub(crate) duplicates: u64,
    pub(crate) copies: u64,
    pub(crate) notifications: u64,
    pub(crate) problems: Vec<String>,
}

/// How a life ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// At the moment.
    AtOnce,
    /// Before the nth step after it.
    BeforeStep(u64),
    /// From the moment on the nth sync, or write, of its disk fails; it is started again some time later.
    DiskFails { sync: bool, nth: u64, lives_on: Duration },
}

/// A death to come.
#[derive(Clone, Debug)]
pub(crate) struct Doom {
    pub(crate) at: Duration,
    pub(crate) way: Way,
    pub(crate) death: Death,
    pub(crate) absence: Duration,
    /// It dies again at this step of its next start.
    pub(crate) again: Option<u64>,
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    pub(crate) net: Net,
    pub(crate) nodes: Vec<Node>,
    pub(crate) living: Vec<Arc<Mutex<Option<Living>>>>,
    pub(crate) peers: Vec<(Host, Peer)>,
    pub(crate) begun: Instant,
    pub(crate) book: Arc<Mutex<Book>>,
    pub(crate) deaths: Arc<Mutex<Vec<Instant>>>,
}

fn zones(hides_null: bool, chance: Chance, fails: (u64, Instant)) -> Zones {
    let zones = [
        ("n0.test", Zone::Mx(vec![(10, 0)])),
        ("n1.test", Zone::Mx(vec![(10, 1)])),
        ("n2.test", Zone::Mx(vec![(10, 2), (20, DEAD)])),
        ("good.test", Zone::Mx(vec![(10, GOOD)])),
        ("two.test", Zone::Mx(vec![(5, DEAD), (10, GOOD)])),
        ("plain.test", Zone::Address(GOOD)),
        ("moody.test", Zone::Mx(vec![(10, MOODY)])),
        ("vague.test", Zone::Mx(vec![(10, VAGUE)])),
        ("null.test", Zone::Null(TRAP)),
        ("servfail.test", Zone::Fails),
        ("dead.test", Zone::Mx(vec![(10, DEAD)])),
        ("hole.test", Zone::Mx(vec![(10, HOLE)])),
    ];
    let zones = Arc::new(zones.into_iter().collect());
    Zones { chance, fails, zones, hides_null: Arc::new(hides_null.into()) }
}

fn aliases(node: usize) -> String {
    let (own, next, after) = (DOMAINS[node], DOMAINS[(node + 1) % NODES], DOMAINS[(node + 2) % NODES]);
    let alias = |from: &str, to: &[String]| {
        let to: Vec<_> = to.iter().map(|to| format!("\"{to}\"")).collect();
        format!("[[alias]]\nfrom = \"{from}@{own}\"\nto = [{}]\n", to.join(", "))
    };
    [
        alias("fwd", &[format!("a@{next}")]),
        alias("team", &[format!("a@{own}"), format!("b@{next}"), "ok-team@good.test".into()]),
        alias("chain", &[format!("fwd@{next}")]),
        alias("gone", &[format!("nobody@{after}")]),
        alias("loop", &[format!("loop@{next}")]),
        "[[trust]]\nnetworks = [\"10.0.0.10/32\"]\n[limits]\nmessages_per_minute = 0\nconnections_per_minute = 0\n".into(),
    ]
    .concat()
}

impl World {
    /// A quiet world, or one in which things go wrong.
    pub(crate) fn new(seed: u64, is_calm: bool, control: Control) -> Self {
        let (chance, trace, begun) = (Chance::new(seed), Trace::new(), Instant::now());
        let until = if is_calm { begun } else { begun + TROUBLE };
        let weather = Weather {
            until,
            latency: 1 + chance.below(200),
            breaks: chance.below(300),
            refuses: chance.below(200),
        };
        let net = Net::new(HOSTS, chance.fork(), trace.clone(), weather);
        net.silence(HOLE);
        let zones = zones(control == Control::IgnoredNullMx, chance.fork(), (chance.below(200), until));
        let node = |host: Host| {
            let mut config = Node::config(host, DOMAINS[host], &aliases(host));
            config.queue.lifetime = LIFETIME;
            if control == Control::NoBackOff {
                (config.queue.retry, config.queue.lifetime) = (vec![Duration::from_secs(10)], HOUR / 2);
            }
            Node {
                host,
                config: Arc::new(config),
                disk: waypost_storage::disk::Simulated::new(chance.next()),
                net: net.clone(),
                zones: zones.clone(),
                chance: chance.fork(),
                begun,
                forgets: control == Control::ForgottenOutcome,
            }
        };
        let nodes: Vec<_> = (0..NODES).map(node).collect();
        for node in &nodes {
            node.disk.set_sync_is_noop(control == Control::NoSyncs);
        }
        let good = Temper { moods: (0, until), rigour: 0 };
        let moody = Temper { moods: (chance.below(400), until), rigour: 250 };
        let vague = Temper { moods: (chance.below(500), until), rigour: 0 };
        let peers = [(GOOD, good), (MOODY, moody), (VAGUE, vague), (TRAP, good)];
        let peers: Vec<_> =
            peers.into_iter().map(|(host, temper)| (host, Peer::new(chance.fork(), temper))).collect();
        for (host, peer) in &peers {
            tokio::spawn(peer.clone().run(net.listen(*host, Arc::default())));
        }
        let living = nodes.iter().map(|_| Arc::default()).collect();
        let (book, deaths) = Default::default();
        Self { chance, trace, net, nodes, living, peers, begun, book, deaths }
    }

    /// Lives the lives of a node.
    pub(crate) fn operate(&self, place: usize, dooms: Vec<Doom>) {
        let (node, living) = (self.nodes[place].clone(), Arc::clone(&self.living[place]));
        let (deaths, trace) = (Arc::clone(&self.deaths), self.trace.clone());
        tokio::spawn(async move {
            let mut again = None;
            for doom in dooms {
                let life = start(&node, &living, again).await;
                sleep_until(node.begun + doom.at).await;
                match doom.way {
                    Way::AtOnce => {}
                    Way::BeforeStep(nth) => {
                        life.end_before(nth);
                        // Where nothing happens it dies all the same.
                        timeout(6 * HOUR, life.ended.notified()).await.ok();
                    }
                    Way::DiskFails { sync, nth, lives_on } => {
                        if sync {
                            node.disk.fail_sync(nth);
                        } else {
                            node.disk.fail_write(nth);
                        }
                        sleep(lives_on).await;
                    }
                }
                node.bury(&life, doom.death);
                trace.tell(|| format!("{} dies", node.host));
                deaths.lock().unwrap().push(Instant::now());
                let dead = living.lock().unwrap().take();
                if let Some(dead) = dead {
                    tokio::spawn(dead.end());
                }
                again = doom.again;
                sleep(doom.absence).await;
            }
            start(&node, &living, again).await;
        });
    }

    /// Hands a message in, and notes what is owed for it.
    pub(crate) fn hand_in(&self, after: Duration, token: u64, submission: Submission, via: usize) {
        let (net, book, begun) = (self.net.clone(), Arc::clone(&self.book), self.begun);
        let trace = self.trace.clone();
        tokio::spawn(async move {
            sleep_until(begun + after).await;
            let dialled = net.dial(AGENT, address(via), Arc::default(), false);
            let handed = match timeout(MINUTE, dialled).await {
                Ok(Ok(stream)) => timeout(HOUR, submission.hand(stream))
                    .await
                    .unwrap_or(Handed::Unclear(submission.to.clone())),
                Ok(Err(_)) | Err(_) => Handed::Refused,
            };
            trace.tell(|| format!("{token} {handed:?}"));
            book.lock().unwrap().entries.push(Entry { token, submission, handed });
        });
    }

    /// Runs until all has ended, or the time is over; what is wrong then.
    pub(crate) async fn run(&self, messages: usize, from: Duration) -> Outcome {
        sleep_until(self.begun + from).await;
        while !self.is_quiet(messages) && self.begun.elapsed() < HORIZON {
            sleep(HOUR).await;
        }
        let mut outcome = verdict::judge(self).await;
        for living in &self.living {
            let living = living.lock().unwrap().take();
            if let Some(living) = living {
                living.end().await;
            }
        }
        outcome.trace = self.trace.sum();
        outcome
    }

    fn is_quiet(&self, messages: usize) -> bool {
        let is_idle = |living: &Arc<Mutex<Option<Living>>>| {
            let living = living.lock().unwrap();
            living.as_ref().is_some_and(|living| living.store.queue().is_empty())
        };
        self.book.lock().unwrap().entries.len() == messages
            && self.living.iter().all(is_idle)
            && self.net.open() == 0
    }
}

/// Starts a node, again and again where it dies in it.
async fn start(node: &Node, place: &Mutex<Option<Living>>, mut again: Option<u64>) -> Arc<Life> {
    loop {
        let life = Arc::new(Life::default());
        if let Some(step) = again.take() {
            life.end_before(step);
        }
        match node.start(&life).await {
            Ok(living) if !life.is_dead() => {
                life.end_never();
                if node.chance.permille(300) {
                    // Refused where something is damaged: then the check says so.
                    living.store.compact().await.ok();
                }
                *place.lock().unwrap() = Some(living);
                return life;
            }
            Ok(living) => drop(tokio::spawn(living.end())),
            Err(_) if life.is_dead() || life.disk_has_failed() => {}
            Err(error) => panic!("{} does not start: {error}", node.domain()),
        }
        node.bury(&life, *node.chance.pick(&[Death::Resets, Death::Silent]));
        sleep(MINUTE).await;
    }
}

/// The text of a message.
pub(crate) fn text(token: u64, from: &str, lines: u64, chance: &Chance) -> String {
    let mut text = format!(
        "From: <{from}>\r\nTo: undisclosed-recipients:;\r\nDate: Thu, 14 Jan 2027 08:00:00 +0000\r\nMessage-ID: <{token}@ua.test>\r\n\
         {TOKEN_FIELD}{token}\r\nSubject: {token}\r\n\r\n"
    );
    for line in 0..lines {
        let begin = chance.pick(&["", ".", "..", "a", "From "]);
        text += &format!("{begin}{token}.{line} {:016x}\r\n", chance.next());
    }
    text
}

/// One seed from its beginning to its end.
pub(crate) async fn run_seed(seed: u64, control: Control) -> Outcome {
    // Without trouble nothing at all may happen twice.
    let is_calm = seed.is_multiple_of(5);
    let world = World::new(seed, is_calm, control);
    let chance = world.chance.clone();
    for place in 0..NODES {
        let mut dooms = Vec::new();
        let most = match control {
            Control::ForgottenOutcome | Control::NoSyncs => 4,
            _ if is_calm => 1,
            _ => 3,
        };
        let mut at = Duration::ZERO;
        for _ in 0..chance.below(most) {
            at += MINUTE + HOUR * u32::try_from(chance.below(10)).unwrap() / 2;
            dooms.push(Doom {
                at,
                way: match chance.below(10) {
                    0..=1 => Way::AtOnce,
                    _ if is_calm => Way::AtOnce,
                    2..=7 => Way::BeforeStep(1 + chance.below(150)),
                    _ => Way::DiskFails {
                        sync: chance.permille(500),
                        nth: 1 + chance.below(20),
                        lives_on: MINUTE * (1 + chance.below(240)) as u32,
                    },
                },
                death: *chance.pick(&[Death::Resets, Death::Silent]),
                absence: Duration::from_secs(1 + chance.below(3000)),
                again: chance.permille(300).then(|| 1 + chance.below(25)),
            });
            at += 8 * HOUR;
        }
        world.operate(place, dooms);
    }
    if !is_calm {
        for node in world.nodes.iter().filter(|_| chance.permille(250)) {
            let (disk, begun) = (node.disk.clone(), world.begun);
            let (begin, length) = (1 + chance.below(10 * 60), 1 + chance.below(200));
            tokio::spawn(async move {
                sleep_until(begun + MINUTE * begin as u32).await;
                disk.set_capacity(Some(0));
                sleep(MINUTE * length as u32).await;
                disk.set_capacity(None);
            });
        }
        for _ in 0..chance.below(4) {
            let (a, b) = (chance.below(6) as usize, chance.below(NODES as u64) as usize);
            let (begin, length) = (chance.below(10 * 60), 1 + chance.below(300));
            let (net, begun) = (world.net.clone(), world.begun);
            tokio::spawn(async move {
                sleep_until(begun + MINUTE * begin as u32).await;
                net.part(a, b, Instant::now() + MINUTE * length as u32);
            });
        }
    }
    let messages = 6 + chance.below(10);
    for number in 0..messages {
        let token = seed * 1000 + number;
        let (via, submission) = submission(token, &chance);
        let after = Duration::from_secs(30 + chance.below(10 * 3600));
        world.hand_in(after, token, submission, via);
    }
    world.run(messages as usize, TROUBLE).await
}

/// A message to some recipients, none of which leads where another one leads, too.
fn submission(token: u64, chance: &Chance) -> (usize, Submission) {
    let home = chance.below(NODES as u64) as usize;
    let via = if chance.permille(800) { home } else { chance.below(NODES as u64) as usize };
    let from = match chance.below(10) {
        0 => String::new(),
        1..=2 => format!("s-{token}@good.test"),
        _ => format!("{}@{}", chance.pick(&["a", "b"]), DOMAINS[home]),
    };
    let (mut to, mut places) = (Vec::new(), BTreeSet::new());
    for _ in 0..1 + chance.below(4) {
        let recipient = recipient(token, chance);
        let leaves = Leaf::all(&recipient);
        let is_alone = recipient.starts_with("loop@");
        if leaves.iter().any(|leaf| places.contains(leaf.address())) || (is_alone && !to.is_empty()) {
            continue;
        }
        places.extend(leaves.iter().map(|leaf| leaf.address().to_owned()));
        to.push(recipient);
        if is_alone {
            break;
        }
    }
    let lines = match chance.below(40) {
        0 => LARGE_BODY_BYTES / 24,
        1..=4 => 2000,
        _ => 1 + chance.below(60),
    };
    (via, Submission { text: text(token, &from, lines, chance), from, to })
}

fn recipient(token: u64, chance: &Chance) -> String {
    let node = *chance.pick(&DOMAINS);
    match chance.below(26) {
        0..=5 => format!("{}@{node}", chance.pick(&["a", "b"])),
        6..=7 => format!("fwd@{node}"),
        8..=9 => format!("team@{node}"),
        10 => format!("chain@{node}"),
        11 => format!("gone@{node}"),
        12 => format!("loop@{node}"),
        13 => format!("nobody-{token}@{node}"),
        14 => format!("ok-{token}@good.test"),
        15 => format!("ok-{token}@two.test"),
        16 => format!("ok-{token}@plain.test"),
        17 => format!("no-{token}@good.test"),
        18 => format!("later-{token}@good.test"),
        19 => format!("x-{token}@null.test"),
        20 => format!("x-{token}@{}", chance.pick(&["nx.test", "servfail.test", "dead.test", "hole.test"])),
        21..=23 => format!("x-{token}@moody.test"),
        _ => format!("x-{token}@vague.test"),
    }
}
