//! Whether strangers could send mail to anyone through this server: what decides about recipients is asked as each of them.
//!
//! A stranger may be let in by `[[trust]]`, or by a listener that lets him say who he is: as a proxy in `xclient` or `proxy_protocol`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use waypost_auth::{Live, Srs};
use waypost_config::{Network, Service};
use waypost_mail::{Address, ReversePath, Timestamp};

use super::recipient::{Recipient, Trust};
use crate::smtp::{parameters::RcptParameters, path::ForwardPath};

/// Recipients elsewhere, in a domain that nobody has: as they are, and written so that a server that looks at local
/// parts would send them on.
const RECIPIENTS: [&str; 3] =
    ["anyone@open-relay.invalid", "\"anyone@elsewhere\"@open-relay.invalid", "a!b%c@open-relay.invalid"];

/// Networks of IPv6 from which registries give addresses (IANA's list of unicast address assignments), in their first 32 bits.
const BLOCKS_V6: [u32; 12] = [
    0x2001_0218,
    0x2001_0468,
    0x2001_0638,
    0x2001_1218,
    0x2003_0004,
    0x2400_0001,
    0x2600_0001,
    0x2620_0001,
    0x2800_0001,
    0x2a00_0001,
    0x2a10_0001,
    0x2c00_0001,
];

/// One stranger of each network 0/8 to 223/8 that is not private.
fn strangers_v4() -> impl Iterator<Item = IpAddr> {
    let public = (1..=223).filter(|first| !matches!(first, 10 | 127));
    public.map(|first| IpAddr::V4(Ipv4Addr::new(first, 200, 113, 1)))
}

fn strangers_v6() -> impl Iterator<Item = IpAddr> {
    BLOCKS_V6.into_iter().map(|block| IpAddr::V6(Ipv6Addr::from_bits(u128::from(block) << 96 | 1)))
}

/// The family of addresses, `IPv4` or `IPv6`, of whose strangers this server would relay the mail of most to anyone; `None`: of neither.
pub fn relays_for_strangers(live: &Live, srs: &Srs, now: Timestamp) -> Option<&'static str> {
    let serves_most = |strangers: Vec<IpAddr>| {
        let served = strangers.iter().filter(|peer| is_served(live, srs, **peer, now)).count();
        served * 2 > strangers.len()
    };
    if serves_most(strangers_v4().collect()) {
        Some("IPv4")
    } else if serves_most(strangers_v6().collect()) {
        Some("IPv6")
    } else {
        None
    }
}

/// Whether mail of a stranger to an address elsewhere would be taken.
fn is_served(live: &Live, srs: &Srs, peer: IpAddr, now: Timestamp) -> bool {
    may_be_anyone(live, peer) || RECIPIENTS.iter().any(|to| is_accepted(live, srs, (peer, to), now))
}

/// Whether a listener for mail believes whatever he says of his address.
fn may_be_anyone(live: &Live, peer: IpAddr) -> bool {
    let holds = |networks: &[Network]| networks.iter().any(|network| network.contains(peer));
    let takes_mail = |service| matches!(service, Service::Smtp | Service::Submission | Service::Lmtp);
    let mut listeners = live.config.listeners.iter().filter(|listener| takes_mail(listener.service));
    listeners.any(|listener| holds(&listener.rules.xclient) || holds(&listener.rules.proxy_protocol))
}

fn is_accepted(live: &Live, srs: &Srs, (peer, to): (IpAddr, &str), now: Timestamp) -> bool {
    let Ok(to) = Address::parse(to) else { return false };
    let (path, parameters) = (ForwardPath::Address(to), RcptParameters::default());
    let trust = Trust::of(live, peer);
    Recipient::decide_in(live, srs, path, parameters, &ReversePath::Null, (trust, now)).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use waypost_auth::Directory;

    use super::*;

    const CONFIG: &str = r#"
        hostname = "mx.a.test"
        state_dir = "state"
        [[domain]]
        name = "a.test"
        catch_all = "anyone@elsewhere.test"
    "#;

    fn relays(listener: &str, more: &str) -> Option<&'static str> {
        let text = format!(
            "{CONFIG}\n{more}\n[[listener]]\nservice = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n{listener}"
        );
        let config = waypost_config::parse(Path::new("/nowhere/x.toml"), &text).unwrap();
        let directory = Directory::new(&config, &[]).unwrap();
        let live = Live { config: Arc::new(config), directory };
        relays_for_strangers(&live, &Srs::new(&[7; 32]), Timestamp(0))
    }

    fn networks(of: impl Iterator<Item = u32>) -> String {
        of.map(|first| format!("\"{first}.0.0.0/8\"")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn networks_that_hold_most_strangers_make_an_open_relay() {
        let trust = |networks: &str| format!("[[trust]]\nnetworks = [{networks}]");
        let all_v6 = "\"2000::/7\", \"2200::/7\", \"2400::/7\", \"2600::/7\", \"2800::/7\", \"2a00::/7\"";
        for (listener, more, expected) in [
            (String::new(), String::new(), None),
            (String::new(), trust("\"10.0.0.0/8\", \"172.16.0.0/12\", \"fc00::/7\""), None),
            (String::new(), trust(&networks(1..100)), None),
            (String::new(), trust(&networks(1..120)), Some("IPv4")),
            (String::new(), trust(all_v6), Some("IPv6")),
            (format!("xclient = [{}]", networks(1..120)), String::new(), Some("IPv4")),
            (format!("proxy_protocol = [{all_v6}]"), String::new(), Some("IPv6")),
            ("xclient = [\"192.0.2.0/24\"]".to_owned(), String::new(), None),
        ] {
            assert_eq!(relays(&listener, &more), expected, "{listener} {more}");
        }
    }
}
