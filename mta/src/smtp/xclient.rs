//! XCLIENT, Postfix's extension: a trusted proxy says whom it speaks for, attribute by attribute.
//!
//! `XCLIENT SP attribute *(SP attribute)`, `attribute = name "=" value`; values are xtext (RFC 3461 section 4), or
//! `[UNAVAILABLE]` and `[TEMPUNAVAIL]` for what the proxy does not know.

use std::net::{IpAddr, Ipv4Addr};

use super::command::ClientName;

/// What EHLO says of it.
pub const KEYWORD: &str = "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT";
/// How the command is written.
pub(crate) const FORM: &str = "XCLIENT attribute=value ...";

/// Values that say that the proxy does not know.
const UNKNOWN: [&str; 2] = ["[UNAVAILABLE]", "[TEMPUNAVAIL]"];

/// The address of a client whose address nobody knows: the unspecified one, which is no host's.
pub const UNKNOWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The client that a proxy speaks for. What is `None` was not said, or the proxy does not know it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct XClient {
    /// `ADDR`; [`UNKNOWN_ADDRESS`]: the proxy says that it does not know it. `None`: it was not said, and stays as it was.
    pub address: Option<IpAddr>,
    /// `PORT`
    pub port: Option<u16>,
    /// `NAME`, from its reverse DNS.
    pub name: Option<String>,
    /// `HELO`
    pub helo: Option<ClientName<'static>>,
    /// `PROTO=SMTP`: the client has no extensions.
    pub is_plain_smtp: bool,
    /// `LOGIN`: the account that has logged in at the proxy.
    pub login: Option<String>,
    /// `DESTADDR`: the address that the client has connected to.
    pub destination_address: Option<IpAddr>,
    /// `DESTPORT`: its port.
    pub destination_port: Option<u16>,
}

impl XClient {
    /// Reads what stands behind the verb; `None` where the syntax is wrong or an attribute is unknown or there twice.
    pub(crate) fn parse(arguments: &str) -> Option<Self> {
        let (mut client, mut seen) = (Self::default(), Vec::new());
        for attribute in arguments.strip_prefix(' ')?.split(' ') {
            let (name, value) = attribute.split_once('=')?;
            let name = name.to_ascii_uppercase();
            if seen.contains(&name) {
                return None;
            }
            let is_unknown = UNKNOWN.iter().any(|word| value.eq_ignore_ascii_case(word));
            client.set(&name, if is_unknown { None } else { Some(xtext(value)?) })?;
            seen.push(name);
        }
        Some(client)
    }

    fn set(&mut self, name: &str, value: Option<String>) -> Option<()> {
        match (name, value) {
            ("NAME", value) => self.name = value,
            ("LOGIN", value) => self.login = value,
            ("HELO", Some(value)) => self.helo = Some(ClientName::new(&value)?.into_owned()),
            ("ADDR", Some(value)) => self.address = Some(address(&value)?),
            ("ADDR", None) => self.address = Some(UNKNOWN_ADDRESS),
            ("PORT", Some(value)) => self.port = Some(port(&value)?),
            ("DESTADDR", Some(value)) => self.destination_address = Some(address(&value)?),
            ("DESTPORT", Some(value)) => self.destination_port = Some(port(&value)?),
            ("PROTO", Some(value)) if value.eq_ignore_ascii_case("SMTP") => self.is_plain_smtp = true,
            ("PROTO", Some(value)) if value.eq_ignore_ascii_case("ESMTP") => {}
            ("HELO" | "PORT" | "PROTO" | "DESTADDR" | "DESTPORT", None) => {}
            _ => return None,
        }
        Some(())
    }
}

/// `192.0.2.1` or `IPV6:2001:db8::1`
fn address(text: &str) -> Option<IpAddr> {
    match text.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPV6:")) {
        Some(_) => text[5..].parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// `xtext = *( xchar / hexchar )`, decoded: visible UTF-8 without controls, at least one character.
fn xtext(text: &str) -> Option<String> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut octets, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, more @ ..] = rest {
        let octet;
        (octet, rest) = match (first, more) {
            (b'+', [high, low, more @ ..]) => (digit(*high)? << 4 | digit(*low)?, more),
            (b'+' | b'=', _) => return None,
            (octet, more) => (*octet, more),
        };
        octets.push(octet);
    }
    let text = String::from_utf8(octets).ok()?;
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read() {
        let helo = |name| Some(ClientName::new(name).unwrap());
        for (arguments, expected) in [
            (
                " NAME=mail.far.test ADDR=198.51.100.7 PORT=40000",
                XClient {
                    name: Some("mail.far.test".into()),
                    address: Some([198, 51, 100, 7].into()),
                    port: Some(40_000),
                    ..XClient::default()
                },
            ),
            (
                " addr=IPv6:2001:db8::7 helo=c.test proto=smtp",
                XClient {
                    address: "2001:db8::7".parse().ok(),
                    helo: helo("c.test"),
                    is_plain_smtp: true,
                    ..XClient::default()
                },
            ),
            (
                " LOGIN=a+2Bb@a.test NAME=[UNAVAILABLE] ADDR=[tempunavail] PROTO=ESMTP",
                XClient {
                    login: Some("a+b@a.test".into()),
                    address: Some(UNKNOWN_ADDRESS),
                    ..XClient::default()
                },
            ),
            (" ADDR=[UNAVAILABLE]", XClient { address: Some(UNKNOWN_ADDRESS), ..XClient::default() }),
            (
                " NAME=c.test DESTADDR=192.0.2.1 DESTPORT=25",
                XClient {
                    name: Some("c.test".into()),
                    destination_address: Some([192, 0, 2, 1].into()),
                    destination_port: Some(25),
                    ..XClient::default()
                },
            ),
            (" DESTADDR=[UNAVAILABLE] DESTPORT=[unavailable]", XClient::default()),
        ] {
            assert_eq!(XClient::parse(arguments), Some(expected), "{arguments}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for arguments in [
            "",
            " ",
            "NAME=x",
            " NAME",
            " NAME=",
            " NAME=x  PORT=1",
            " NAME=x NAME=y",
            " FOO=x",
            " ADDR=198.51.100",
            " ADDR=2001:db8::7",
            " ADDR=IPV6:198.51.100.7",
            " PORT=0",
            " DESTADDR=x",
            " DESTPORT=0",
            " PORT=65536",
            " PROTO=LMTP",
            " HELO=a+20b",
            " LOGIN=a+0Ab",
            " LOGIN=a+2",
            " LOGIN=a+FF",
            " LOGIN=a=b",
        ] {
            assert_eq!(XClient::parse(arguments), None, "{arguments}");
        }
    }
}
