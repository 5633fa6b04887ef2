//! The network: hosts, connections as streams in memory, and what goes wrong between them.
//!
//! Octets take time. A connection can break at any octet, with what is under way lost or not; a host that is dead is silent or
//! resets; between hosts that are parted nothing arrives until they are joined again. All of it is decided by the seed.

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};
use waypost_net::{Dialled, Dialling, Network};

use crate::{
    chance::Chance,
    life::Life,
    tap::{Disks, Tap},
    trace::Trace,
};

/// Octets that are under way in one direction before the writer has to wait.
const WINDOW_BYTES: usize = 64 * 1024;
/// Octets that are taken at once.
const WRITE_BYTES: usize = 4096;
/// A connection breaks within so many octets, if it does.
const BREAK_WITHIN_BYTES: u64 = 6000;

/// A host by its place.
pub(crate) type Host = usize;

/// What the network does wrong, until a moment.
#[derive(Clone, Debug)]
pub(crate) struct Weather {
    pub(crate) until: Instant,
    /// Time that octets take, in milliseconds, at most.
    pub(crate) latency: u64,
    /// Of a thousand connections so many break.
    pub(crate) breaks: u64,
    /// Of a thousand so many are refused.
    pub(crate) refuses: u64,
}

/// How a dead host looks from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Death {
    /// The system lives and closes the connections of the process.
    Resets,
    /// Nothing answers any more.
    Silent,
}

/// A host that takes connections.
#[derive(Clone, Debug)]
enum Door {
    Refuses,
    Silent,
    Open(mpsc::UnboundedSender<Arriving>, Arc<Life>),
}

/// A connection that arrives.
#[derive(Debug)]
pub(crate) struct Arriving {
    pub(crate) stream: End,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
}

/// The network. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    chance: Chance,
    trace: Trace,
    weather: Weather,
    doors: Vec<Door>,
    parted: BTreeMap<(Host, Host), Instant>,
    links: Vec<Weak<Mutex<Link>>>,
    count: u64,
    /// How often each message may have been taken without its sender's knowledge.
    unclear: BTreeMap<u64, u64>,
    /// Transactions that were begun although what comes of them cannot be recorded.
    rash: u64,
}

pub(crate) fn address(host: Host) -> SocketAddr {
    let octet = u8::try_from(host + 1).unwrap();
    SocketAddr::from(([10, 0, 0, octet], 25))
}

/// The address of a host for peers of a family.
fn of_family(host: Host, other: SocketAddr) -> IpAddr {
    if other.is_ipv6() { address_v6(host).into() } else { address(host).ip() }
}

/// The IPv6 address of a host.
pub(crate) fn address_v6(host: Host) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::try_from(host + 1).unwrap())
}

/// An IPv6 address that DNS has for a host, and where nobody answers.
pub(crate) fn dead_address(host: Host) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0xdead, 0, 0, 0, 0, 0, u16::try_from(host + 1).unwrap())
}

fn host(ip: IpAddr) -> Option<Host> {
    let number = match ip {
        IpAddr::V4(ip) if ip.octets()[..3] == [10, 0, 0] => usize::from(ip.octets()[3]),
        IpAddr::V6(ip) if ip.segments()[..7] == [0xfd00, 0, 0, 0, 0, 0, 0] => usize::from(ip.segments()[7]),
        _ => return None,
    };
    number.checked_sub(1)
}

fn between(a: Host, b: Host) -> (Host, Host) {
    (a.min(b), a.max(b))
}

impl Net {
    pub(crate) fn new(hosts: usize, chance: Chance, trace: Trace, weather: Weather) -> Self {
        let doors = (0..hosts).map(|_| Door::Refuses).collect();
        let (parted, links, unclear) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let state = State { chance, trace, weather, doors, parted, links, count: 0, unclear, rash: 0 };
        Self(Arc::new(Mutex::new(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Takes the connections of a host from now on.
    pub(crate) fn listen(&self, at: Host, life: Arc<Life>) -> mpsc::UnboundedReceiver<Arriving> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().doors[at] = Door::Open(sender, life);
        receiver
    }

    /// Nobody ever answers at a host.
    pub(crate) fn silence(&self, at: Host) {
        self.lock().doors[at] = Door::Silent;
    }

    /// Nothing passes between two hosts until then.
    pub(crate) fn part(&self, a: Host, b: Host, until: Instant) {
        self.lock().parted.insert(between(a, b), until);
    }

    /// A host that has died: what becomes of its connections.
    pub(crate) fn sever(&self, at: Host, death: Death) {
        let links: Vec<_> = {
            let mut state = self.lock();
            state.doors[at] = if death == Death::Silent { Door::Silent } else { Door::Refuses };
            state.links.retain(|link| link.strong_count() > 0);
            state.links.iter().filter_map(Weak::upgrade).collect()
        };
        for link in links {
            let mut link = link.lock().unwrap();
            if link.hosts[0] == at {
                self.note(&mut link);
            }
            if link.hosts.contains(&at) && death == Death::Resets {
                let chance = self.lock().chance.clone();
                link.break_off(&chance);
            }
        }
    }

    /// Notes what may have been taken on a connection whose client has ended.
    fn note(&self, link: &mut Link) {
        let disks = disks(&link.lives);
        let Some(tap) = &mut link.tap else { return };
        let mut state = self.lock();
        state.rash += std::mem::take(&mut tap.rash);
        for token in tap.end(disks) {
            state.trace.tell(|| format!("{} unclear {token}", link.number));
            *state.unclear.entry(token).or_default() += 1;
        }
    }

    pub(crate) fn unclear(&self, token: u64) -> u64 {
        self.lock().unclear.get(&token).copied().unwrap_or(0)
    }

    /// Transactions that were begun although what comes of them cannot be recorded.
    pub(crate) fn rash(&self) -> u64 {
        self.lock().rash
    }

    /// Connections that are still open.
    pub(crate) fn open(&self) -> usize {
        self.lock().links.iter().filter(|link| link.strong_count() > 0).count()
    }

    /// Connects; `tapped`: the client is one of ours, whose mail is watched.
    pub(crate) async fn dial(
        &self,
        from: Host,
        to: SocketAddr,
        life: Arc<Life>,
        tapped: bool,
    ) -> io::Result<End> {
        life.step()?;
        let Some(there) = host(to.ip()) else { return std::future::pending().await };
        let (latency, parted, refused) = {
            let state = self.lock();
            let bad = Instant::now() < state.weather.until;
            let refused = bad && state.chance.permille(state.weather.refuses);
            (state.latency(), state.parted.get(&between(from, there)).copied(), refused)
        };
        if let Some(until) = parted {
            sleep_until(until).await;
        }
        tokio::time::sleep(2 * latency).await;
        life.alive()?;
        let (sender, other) = match self.door(there) {
            Some(Door::Open(sender, other)) if !refused && !other.is_dead() => (sender, other),
            Some(Door::Silent) | None => return std::future::pending().await,
            Some(_) => {
                self.lock().trace.tell(|| format!("{from} refused by {there}"));
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
        };
        let [ours, theirs] = self.join([from, there], [life, other], tapped);
        let peer = SocketAddr::new(of_family(from, to), 40_000);
        sender
            .send(Arriving { stream: theirs, peer, local: to })
            .map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(ours)
    }

    fn door(&self, at: Host) -> Option<Door> {
        self.lock().doors.get(at).cloned()
    }

    /// A connection between two hosts.
    fn join(&self, hosts: [Host; 2], lives: [Arc<Life>; 2], tapped: bool) -> [End; 2] {
        let mut state = self.lock();
        state.count += 1;
        let number = state.count;
        let bad = Instant::now() < state.weather.until;
        let breaks = bad && state.chance.permille(state.weather.breaks);
        let link = Link {
            number,
            hosts,
            lives: lives.clone(),
            halves: Default::default(),
            left: breaks.then(|| 1 + state.chance.below(BREAK_WITHIN_BYTES)),
            broken: false,
            tap: tapped.then(Tap::new),
        };
        state.trace.tell(|| format!("{number} {} connects to {}", hosts[0], hosts[1]));
        let link = Arc::new(Mutex::new(link));
        state.links.retain(|link| link.strong_count() > 0);
        state.links.push(Arc::downgrade(&link));
        drop(state);
        let end = |side, life| End {
            net: self.clone(),
            link: Arc::clone(&link),
            side,
            life,
            timer: None,
            forgets: false,
        };
        let [client, server] = lives;
        [end(0, client), end(1, server)]
    }
}

impl State {
    fn latency(&self) -> Duration {
        Duration::from_millis(1 + self.chance.below(self.weather.latency))
    }

    /// When octets arrive that are sent now.
    fn arrival(&self, hosts: [Host; 2]) -> Instant {
        let joined = self.parted.get(&between(hosts[0], hosts[1]));
        let now = Instant::now();
        joined.copied().unwrap_or(now).max(now) + self.latency()
    }
}

/// A network as one of its hosts sees it, in one life.
pub(crate) struct Seen {
    pub(crate) net: Net,
    pub(crate) host: Host,
    pub(crate) life: Arc<Life>,
    /// Of each message that is taken the record is lost: a control.
    pub(crate) forgets: bool,
}

impl Network for Seen {
    fn dial(&self, to: SocketAddr) -> Dialling {
        let (net, host, life) = (self.net.clone(), self.host, Arc::clone(&self.life));
        let forgets = self.forgets;
        Box::pin(async move {
            let mut stream = net.dial(host, to, life, true).await?;
            stream.forgets = forgets;
            Ok(Dialled { stream: Box::new(stream), local: SocketAddr::new(of_family(host, to), 25) })
        })
    }
}

fn disks(lives: &[Arc<Life>; 2]) -> Disks {
    let [client_failed, server_failed] = [&lives[0], &lives[1]].map(|life| life.is_poisoned());
    Disks { client_failed, client_full: lives[0].waits_for_room(), server_failed }
}

/// A connection: side 0 is the client.
#[derive(Debug)]
struct Link {
    number: u64,
    hosts: [Host; 2],
    lives: [Arc<Life>; 2],
    /// What each side has sent.
    halves: [Half; 2],
    /// Octets until it breaks.
    left: Option<u64>,
    broken: bool,
    tap: Option<Tap>,
}

#[derive(Debug, Default)]
struct Half {
    under_way: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// When the end arrives.
    end: Option<Instant>,
    /// Nobody reads it any more.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Half {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Link {
    /// Breaks it; what is under way arrives or not.
    fn break_off(&mut self, chance: &Chance) {
        self.broken = true;
        for half in &mut self.halves {
            if chance.permille(500) {
                half.under_way.clear();
            }
            half.wake();
        }
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    net: Net,
    link: Arc<Mutex<Link>>,
    side: usize,
    pub(crate) life: Arc<Life>,
    timer: Option<Pin<Box<Sleep>>>,
    forgets: bool,
}

impl End {
    /// Whether the server records nothing any more, as its disk has failed.
    pub(crate) fn server_disk_failed(&self) -> bool {
        self.link.lock().unwrap().lives[1].is_poisoned()
    }

    fn wait_until(&mut self, at: Instant, context: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(context));
        self.timer = None;
        Poll::Ready(())
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            this.life.alive()?;
            let mut link = this.link.lock().unwrap();
            let broken = link.broken;
            let half = &mut link.halves[1 - this.side];
            half.reader = Some(context.waker().clone());
            let next = half.under_way.front().map(|(at, _)| *at).or(half.end);
            let Some(at) = next else {
                return if broken {
                    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
                } else {
                    Poll::Pending
                };
            };
            if at > Instant::now() {
                drop(link);
                ready!(this.wait_until(at, context));
                continue;
            }
            let Some((_, octets)) = half.under_way.front_mut() else { return Poll::Ready(Ok(())) };
            this.life.step()?;
            let count = octets.len().min(buffer.remaining());
            let taken: Vec<u8> = octets.drain(..count).collect();
            if octets.is_empty() {
                half.under_way.pop_front();
            }
            half.bytes -= count;
            half.writer.take().into_iter().for_each(Waker::wake);
            buffer.put_slice(&taken);
            let disks = disks(&link.lives);
            if let Some(tap) = link.tap.as_mut().filter(|_| this.side == 0) {
                tap.client_read(&taken, disks);
                if this.forgets && std::mem::take(&mut tap.just_taken) {
                    this.life.forget_next_write();
                }
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.life.alive()?;
        let mut link = this.link.lock().unwrap();
        let link = &mut *link;
        let half = &mut link.halves[this.side];
        if half.bytes >= WINDOW_BYTES && !link.broken && !half.deaf {
            half.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        this.life.step()?;
        let mut count = octets.len().min(WRITE_BYTES);
        if let Some(left) = &mut link.left {
            count = count.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= count as u64;
        }
        if let Some(tap) = link.tap.as_mut().filter(|_| this.side == 0) {
            tap.client_writes(&octets[..count], disks(&link.lives));
        }
        if link.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if half.deaf {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let state = this.net.lock();
        let earliest = half.under_way.back().map(|(at, _)| *at);
        let at = state.arrival(link.hosts).max(earliest.unwrap_or_else(Instant::now));
        half.bytes += count;
        half.under_way.push_back((at, octets[..count].to_vec()));
        half.reader.take().into_iter().for_each(Waker::wake);
        let (number, side) = (link.number, this.side);
        state.trace.octets(number, side, &octets[..count]);
        if link.left == Some(0) {
            state.trace.tell(|| format!("{number} breaks"));
            let chance = state.chance.clone();
            link.break_off(&chance);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.life.alive()?;
        let mut link = this.link.lock().unwrap();
        let hosts = link.hosts;
        let half = &mut link.halves[this.side];
        let earliest = half.under_way.back().map(|(at, _)| *at);
        let at = this.net.lock().arrival(hosts).max(earliest.unwrap_or_else(Instant::now));
        half.end.get_or_insert(at);
        half.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let Ok(mut link) = self.link.lock() else { return };
        if self.side == 0 {
            self.net.note(&mut link);
        }
        // A dead host says no farewell.
        if self.life.is_dead() {
            return;
        }
        let hosts = link.hosts;
        let at = self.net.lock().arrival(hosts);
        let ours = &mut link.halves[self.side];
        let earliest = ours.under_way.back().map(|(at, _)| *at);
        ours.end.get_or_insert(at.max(earliest.unwrap_or(at)));
        ours.wake();
        let theirs = &mut link.halves[1 - self.side];
        theirs.deaf = true;
        theirs.wake();
    }
}
