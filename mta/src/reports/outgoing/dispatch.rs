//! Sends a report: as a mail by the queue, or by HTTPS.
//!
//! The mail has the null reverse path and asks for no notification: nothing can come back of it, and nobody here is told when it does not
//! arrive. It is signed, or not sent: without a signature a report counts for nothing (RFC 9990 section 3.5.2, RFC 8460 section 3).

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bytes::Bytes;
use waypost_auth::Live;
use waypost_mail::{Address, Notify, Wishes};
use waypost_message::{HeaderBlock, Splitter};
use waypost_net::{Bounds, HttpsClient, HttpsRequest, HttpsUrl, Payload};
use waypost_storage::{Acceptance, Relay, Store, StoreError};

use super::{
    document::{Document, Kind},
    uri::ReportUri,
};
use crate::{
    Random,
    authenticity::Signers,
    dns::{DnsError, Resolver},
    notification::{boundary, destinations, split},
};

/// What a server may take for a report, and say to it.
const HTTPS_BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(30), body_bytes_max: 64 * 1024 };
/// Behind mail of users (RFC 6710 section 1: non-urgent).
const PRIORITY: i8 = -4;

/// What became of a report for one destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// It is in the queue, or there.
    Sent,
    /// It cannot be sent there.
    Refused(String),
    /// It cannot be sent there now.
    Later(String),
}

/// What reports are sent with.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    pub(crate) store: Store,
    pub(crate) resolver: Resolver,
    pub(crate) signers: Signers,
    pub(crate) random: Random,
}

impl Means {
    /// Sends a report to one destination.
    pub(crate) async fn send(&self, live: &Live, document: &Document, to: &ReportUri) -> Outcome {
        match to {
            ReportUri::Mail { address, bytes_max } => {
                self.mail(live, document, address, bytes_max.unwrap_or(u64::MAX)).await
            }
            ReportUri::Https(url) => self.post(live, document, url).await,
        }
    }

    /// Accepts the mail: durable when it resolves.
    async fn mail(&self, live: &Live, document: &Document, to: &Address, bytes_max: u64) -> Outcome {
        let (store, now) = (&self.store, self.store.now());
        let id = store.new_entry_id();
        let mail = document.mail(to, now, &id.to_string(), boundary(id, self.random.next()));
        let message = mail.build();
        if message.len() as u64 > bytes_max {
            return Outcome::Refused(format!(
                "it has {} octets, more than the {bytes_max} that are wanted",
                message.len()
            ));
        }
        let Some((local, relay)) = destinations(live, to, now, false) else {
            return Outcome::Refused("there is no such mailbox here".to_owned());
        };
        let (header, text) = message.split_at(split(&message));
        let Some(header) = self.signed(live, header, text) else {
            return Outcome::Later(format!(
                "mail of {} is not signed: it needs a DKIM key that signs (waypost dkim new)",
                mail.from.1.domain
            ));
        };
        let mut splitter = Splitter::new();
        splitter.feed(&header);
        splitter.feed(text);
        let structure = splitter.finish();
        let relay = relay.map(|relay| quiet(relay, document.kind()));
        let accepted = async {
            let mut body = store.body_writer();
            body.write(text).await?;
            store.accept(Acceptance { id, header, body: body.finish().await?, structure, local, relay }).await
        };
        let accepted: Result<_, StoreError> = accepted.await;
        match accepted {
            Ok(_) => Outcome::Sent,
            Err(error) => Outcome::Later(error.to_string()),
        }
    }

    /// The header block with our signatures; `None`: there is no key for its author.
    fn signed(&self, live: &Live, header: &[u8], text: &[u8]) -> Option<Bytes> {
        let mut block = HeaderBlock::new(header.to_vec());
        let context = (&*live.config, &self.store);
        let mut signing = self.signers.begin(context, &mut block, true, None, self.store.now())?;
        signing.feed(text);
        let mut octets = block.into_octets();
        signing.finish(&mut octets).ok()?;
        Some(octets.into())
    }

    /// RFC 8460 section 5.4
    async fn post(&self, live: &Live, document: &Document, url: &HttpsUrl) -> Outcome {
        let addresses = match self.addresses(live, url).await {
            Ok(addresses) => addresses,
            Err(outcome) => return outcome,
        };
        let client = match client(live.config.outbound_tls.roots.clone()).await {
            Ok(client) => client,
            Err(problem) => return Outcome::Later(problem),
        };
        let payload = Payload {
            content_type: document.kind().media_type().to_owned(),
            octets: document.octets.clone(),
        };
        let request = HttpsRequest { fields: Vec::new(), payload: Some(payload) };
        match client.exchange(url, &addresses, &request, HTTPS_BOUNDS).await {
            Ok(answer) => of_status(answer.status),
            Err(error) => Outcome::Later(error.to_string()),
        }
    }

    /// Where the host of a URL is. A stranger chose it: what is no address on the Internet is only asked where the operator says by roots of
    /// his own that this server is not there either.
    async fn addresses(&self, live: &Live, url: &HttpsUrl) -> Result<Vec<SocketAddr>, Outcome> {
        let found = match url.host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![address]),
            Err(_) => self.resolver.addresses(&url.host).await,
        };
        let found = found.map_err(|error| match error {
            DnsError::Temporary(..) => Outcome::Later(error.to_string()),
            DnsError::NoSuchDomain(_) | DnsError::NoRecords(_) => Outcome::Refused(error.to_string()),
        })?;
        let is_closed = !live.config.outbound_tls.roots.is_empty();
        let may_be_asked = |address: &IpAddr| is_closed || is_public(*address);
        let addresses: Vec<_> = found
            .into_iter()
            .filter(may_be_asked)
            .map(|address| SocketAddr::new(address, url.port))
            .collect();
        match addresses.is_empty() {
            true => Err(Outcome::Refused(format!("{} is not on the Internet", url.host))),
            false => Ok(addresses),
        }
    }
}

/// What is asked of the queue for a report: nobody is told of it, it comes behind mail of users, and one of TLS goes whatever TLS does.
fn quiet(mut relay: Relay, kind: Kind) -> Relay {
    for recipient in &mut relay.recipients {
        recipient.notify = Some(Notify::default());
    }
    relay.wishes = Wishes { tls_optional: kind == Kind::Tls, priority: PRIORITY, ..Wishes::default() };
    relay
}

/// Reads roots, which blocks.
async fn client(roots: Vec<PathBuf>) -> Result<HttpsClient, String> {
    let made = tokio::task::spawn_blocking(move || HttpsClient::new(&roots)).await;
    made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// What an answer means (RFC 9110 section 15).
fn of_status(status: u16) -> Outcome {
    match status {
        200..=299 => Outcome::Sent,
        408 | 429 | 500..=599 => Outcome::Later(format!("HTTP status {status}")),
        _ => Outcome::Refused(format!("HTTP status {status}")),
    }
}

/// Whether an address is one that anybody may have on the Internet (the registries of RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let is_shared = ip.to_bits() >> 22 == 0x6440_0000 >> 22;
            let is_here = ip.octets()[0] == 0 || ip.is_loopback() || ip.is_private() || ip.is_link_local();
            !(is_here || is_shared || ip.is_multicast() || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            let is_here = ip == Ipv6Addr::UNSPECIFIED || ip.is_loopback();
            !(is_here || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_multicast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_on_the_internet_are_public() {
        for (address, expected) in [
            ("192.0.2.1", true),
            ("8.8.8.8", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("192.168.0.1", false),
            ("172.16.0.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("fd00::1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_status_says_whether_it_is_there() {
        assert_eq!((of_status(200), of_status(204)), (Outcome::Sent, Outcome::Sent));
        for status in [408, 429, 500, 503] {
            assert!(matches!(of_status(status), Outcome::Later(_)), "{status}");
        }
        for status in [301, 400, 404, 413] {
            assert!(matches!(of_status(status), Outcome::Refused(_)), "{status}");
        }
    }
}
