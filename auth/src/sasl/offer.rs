//! Which mechanisms a session offers, and what ties them to its TLS.

use super::{
    Awaits, Exchange, Progress,
    oauth::{self, Dialect},
    scram::{Dialogue, ScramHash},
};

/// A mechanism.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mechanism {
    /// RFC 4422 appendix A: who the client is was shown by TLS.
    External,
    /// RFC 5802, bound to the TLS connection.
    ScramPlus(ScramHash),
    /// RFC 5802.
    Scram(ScramHash),
    /// RFC 4616.
    Plain,
    /// The obsolete LOGIN, which many clients still use.
    Login,
    /// RFC 7628.
    OauthBearer,
    /// What came before it.
    Xoauth2,
}

impl Mechanism {
    /// All that there are, strongest first.
    pub const ALL: [Self; 9] = [
        Self::External,
        Self::ScramPlus(ScramHash::Sha256),
        Self::ScramPlus(ScramHash::Sha1),
        Self::Scram(ScramHash::Sha256),
        Self::Scram(ScramHash::Sha1),
        Self::Plain,
        Self::Login,
        Self::OauthBearer,
        Self::Xoauth2,
    ];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::ScramPlus(ScramHash::Sha256) => "SCRAM-SHA-256-PLUS",
            Self::ScramPlus(ScramHash::Sha1) => "SCRAM-SHA-1-PLUS",
            Self::Scram(hash) => hash.scheme(),
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// The mechanism of a name, in any case.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.name().eq_ignore_ascii_case(name))
    }
}

/// Whether SCRAM is possible.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Scram {
    /// For some account there is nothing to verify a proof with.
    #[default]
    Absent,
    /// For all accounts.
    Offered,
    /// For all accounts, also bound to the TLS connection where there is one.
    Bound,
}

/// What is known of a session's TLS that a login can stand on: the channel bindings of RFC 5929 and RFC 9266, which only the two
/// ends of one connection know, and who the client is.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Channel {
    /// `tls-exporter`
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point`
    pub end_point: Option<Vec<u8>>,
    /// The client's certificate, where it has shown one and it was verified.
    pub certificate: Option<Certificate>,
}

/// What a client's certificate, verified, says of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Its addresses.
    pub emails: Vec<String>,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
}

impl Channel {
    /// The data of a channel binding type by its registered name.
    pub(super) fn by_name(&self, name: &str) -> Option<&[u8]> {
        match name {
            "tls-exporter" => self.exporter.as_ref().map(<[u8; 32]>::as_slice),
            "tls-server-end-point" => self.end_point.as_deref(),
            _ => None,
        }
    }

    fn has_binding(&self) -> bool {
        self.exporter.is_some() || self.end_point.is_some()
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (exporter, end_point) = (self.exporter.is_some(), self.end_point.is_some());
        let mut shown = f.debug_struct("Channel");
        shown.field("exporter", &exporter).field("end_point", &end_point);
        shown.field("certificate", &self.certificate).finish()
    }
}

/// What a session offers at the moment.
#[derive(Clone, Debug, Default)]
pub struct Offer {
    /// Whether SCRAM is.
    pub scram: Scram,
    /// The session's TLS.
    pub channel: Channel,
    /// Whether bearer tokens are taken.
    pub tokens: Tokens,
}

/// Whether bearer tokens are taken.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Tokens {
    /// Nobody issues any.
    #[default]
    Absent,
    /// They are.
    Offered,
}

impl Offer {
    /// What is announced, strongest first.
    pub fn mechanisms(&self) -> impl Iterator<Item = Mechanism> {
        Mechanism::ALL.into_iter().filter(|mechanism| self.has(*mechanism))
    }

    /// The names of [`Offer::mechanisms`] with a space between them.
    pub fn names(&self) -> String {
        self.mechanisms().map(Mechanism::name).collect::<Vec<_>>().join(" ")
    }

    /// Begins an exchange; `initial` is the initial response in base 64 (`=` stands for an empty one). `None`: there is no such
    /// mechanism, or it is not offered.
    pub fn begin(&self, mechanism: &str, initial: Option<&str>) -> Option<(Exchange, Progress)> {
        let mechanism = Mechanism::by_name(mechanism).filter(|mechanism| self.has(*mechanism))?;
        let awaits = match mechanism {
            Mechanism::External => Awaits::External(self.channel.certificate.clone()?),
            Mechanism::OauthBearer => Awaits::Oauth(oauth::Dialogue::new(Dialect::OauthBearer)),
            Mechanism::Xoauth2 => Awaits::Oauth(oauth::Dialogue::new(Dialect::Xoauth2)),
            Mechanism::Plain => Awaits::PlainMessage,
            Mechanism::Login => Awaits::LoginUser,
            Mechanism::Scram(hash) => {
                Awaits::Scram(Dialogue::unbound(hash, self.has(Mechanism::ScramPlus(hash))))
            }
            Mechanism::ScramPlus(hash) => Awaits::Scram(Dialogue::bound(hash, self.channel.clone())),
        };
        Some(Exchange::begin(awaits, initial))
    }

    fn has(&self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::External => self.channel.certificate.is_some(),
            Mechanism::ScramPlus(_) => self.scram == Scram::Bound && self.channel.has_binding(),
            Mechanism::Scram(_) => self.scram != Scram::Absent,
            Mechanism::Plain | Mechanism::Login => true,
            Mechanism::OauthBearer | Mechanism::Xoauth2 => self.tokens == Tokens::Offered,
        }
    }
}
