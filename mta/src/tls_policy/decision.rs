//! What is demanded of TLS towards one server, decided over what is known of it. Pure.
//!
//! In this order: the operator's word, DANE (RFC 7672), MTA-STS (RFC 8461), what was good before, TLS where it is offered
//! (RFC 7435). DANE goes before MTA-STS, and its failure is not mended by that (RFC 8461 section 2).

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct};
use waypost_config::{LostTls, TlsLevel};
use waypost_mail::{Domain, ReversePath, Wishes};
use waypost_net::{Dane, TlsaRecord};

use super::sts::{Mode, StsPolicy, matches};
use crate::dns::{HostSecurity, Security, Tlsa};

/// What the sender of a message wishes.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Wish {
    /// Nothing.
    #[default]
    Usual,
    /// `TLS-Required: No`: to be delivered rather than protected (RFC 8689 section 5).
    Optional,
    /// REQUIRETLS: not to be sent where the server is not sure (RFC 8689 section 4.2.1).
    Required,
}

impl Wish {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Usual, Self::Optional, Self::Required];

    /// What the sender of a message that waits in the queue wishes. A notification, which must not be lost, goes as usual
    /// (RFC 8689 sections 4.2.1 and 5).
    pub fn of(wishes: &Wishes, reverse_path: &ReversePath) -> Self {
        match wishes {
            Wishes { require_tls: true, .. } if *reverse_path != ReversePath::Null => Self::Required,
            Wishes { require_tls: false, tls_optional: true, .. } => Self::Optional,
            Wishes { .. } => Self::Usual,
        }
    }
}

/// What was good of a domain's TLS, for weeks and until lately.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Standing {
    /// Its servers had TLS.
    pub encrypted: bool,
    /// Their certificates were good.
    pub verified: bool,
}

/// What is known of a mail exchanger.
#[derive(Clone, Debug)]
pub struct Inputs<'a> {
    /// The operator's word on the domain; `None`: what the domain publishes.
    pub level: Option<TlsLevel>,
    /// The exchangers that the operator names; empty: any.
    pub exchangers: &'a [String],
    /// What is done where TLS was lost.
    pub lost: LostTls,
    /// The sender's wish.
    pub wish: Wish,
    /// The domain of the recipients.
    pub domain: &'a Domain,
    /// The exchanger.
    pub host: &'a str,
    /// Whether it is surely the domain's: what DNSSEC says of the answer that named it.
    pub mx: Security,
    /// Whether its addresses are surely its own.
    pub addresses: &'a HostSecurity,
    /// The name whose TLSA records were looked for (the TLSA base domain).
    pub base: &'a str,
    /// Those records.
    pub tlsa: &'a Tlsa,
    /// The domain's policy of MTA-STS, if it has one.
    pub sts: Option<&'a StsPolicy>,
    /// What was good before.
    pub standing: Standing,
}

/// What is demanded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Demand {
    /// No TLS at all.
    NoTls,
    /// TLS where it is offered, with any certificate.
    Offered,
    /// TLS with any certificate.
    Encrypted,
    /// TLS with a certificate for one of these names, by a trusted authority.
    Named(Vec<String>),
    /// TLS with a certificate by TLSA records.
    Dane {
        /// The name of which they are, which is asked for in the handshake (RFC 7672 section 8.1).
        base: String,
        /// The records.
        dane: Dane,
    },
    /// The server is not used.
    Unusable(Obstacle),
}

/// Why a server is not used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Obstacle {
    /// It is not known whether it has TLSA records; in words.
    TlsaUnknown(String),
    /// It is not known whether its addresses are signed, and so whether it has TLSA records; in words.
    AddressesUnknown(String),
    /// It has none, and the operator demands them.
    NoTlsa,
    /// The policy of MTA-STS, or the operator's, does not name it.
    NotNamed,
    /// The sender requires TLS, and nothing says surely that the server is the domain's.
    NotSure,
}

/// What is done where the demand is not met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnFailure {
    /// The mail is sent without TLS.
    FallBack,
    /// The next server is tried, or the mail waits.
    TryLater,
    /// The mail comes back.
    Never,
}

/// What the decision rests on; TLS reports tell it (RFC 8460 section 4.4).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Basis {
    /// Nothing that the domain publishes.
    Nothing,
    /// TLSA records of a name, as in a zone file.
    Tlsa(String, Vec<String>),
    /// A policy of MTA-STS.
    Sts(StsPolicy),
}

/// The decision.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TlsPolicy {
    /// What is demanded.
    pub demand: Demand,
    /// What is done where it is not met.
    pub failure: OnFailure,
    /// Whether the name of the server can be trusted: then a certificate for it is what REQUIRETLS asks for.
    pub authentic: bool,
    /// What it rests on.
    pub basis: Basis,
    /// Why, in words.
    pub reasons: Vec<String>,
}

/// What is demanded of a mail exchanger.
pub fn policy(inputs: &Inputs<'_>) -> TlsPolicy {
    let decided = decide(inputs);
    if inputs.wish == Wish::Required { required(decided, inputs.host) } else { decided }
}

/// What is demanded of a server that the operator names (`[[route]]`, `relay_to`): his word is all there is. `names`: those of which one
/// must stand in its certificate, where that is verified.
pub fn next_hop_policy(level: TlsLevel, names: Vec<String>) -> TlsPolicy {
    let (demand, failure) = match level {
        TlsLevel::None => (Demand::NoTls, OnFailure::FallBack),
        TlsLevel::Opportunistic => (Demand::Offered, OnFailure::FallBack),
        TlsLevel::Encrypt => (Demand::Encrypted, OnFailure::TryLater),
        TlsLevel::Verify | TlsLevel::Dane => (Demand::Named(names), OnFailure::TryLater),
    };
    let reasons = vec!["the route says so".to_owned()];
    TlsPolicy { demand, failure, authentic: true, basis: Basis::Nothing, reasons }
}

fn decide(inputs: &Inputs<'_>) -> TlsPolicy {
    let authentic = inputs.mx == Security::Secure;
    let said = |level: TlsLevel| format!("the configuration says {:?}", level.name());
    let plain = |demand, reason: String| TlsPolicy {
        demand,
        failure: OnFailure::FallBack,
        authentic,
        basis: Basis::Nothing,
        reasons: vec![reason],
    };
    match inputs.level {
        Some(level @ TlsLevel::None) => return plain(Demand::NoTls, said(level)),
        Some(level @ TlsLevel::Opportunistic) => return plain(Demand::Offered, said(level)),
        // what the domain publishes does not count then, but what the operator says does
        None if inputs.wish == Wish::Optional => {
            return plain(Demand::Offered, "the message says TLS-Required: No".into());
        }
        None | Some(_) => {}
    }
    let dane = match dane(inputs) {
        Ok(policy) => return policy,
        Err(reason) => reason,
    };
    let mut policy = match inputs.level {
        Some(level @ TlsLevel::Dane) => TlsPolicy {
            demand: Demand::Unusable(Obstacle::NoTlsa),
            failure: OnFailure::TryLater,
            authentic,
            basis: Basis::Nothing,
            reasons: vec![said(level)],
        },
        _ => without_dane(inputs, authentic),
    };
    policy.reasons.push(dane);
    policy
}

/// The policy by TLSA records; or why there is none by them.
fn dane(inputs: &Inputs<'_>) -> Result<TlsPolicy, String> {
    let Inputs { host, base, .. } = *inputs;
    let authentic = inputs.mx == Security::Secure;
    let policy = |demand, basis, reason| TlsPolicy {
        demand,
        failure: OnFailure::TryLater,
        authentic,
        basis,
        reasons: vec![reason],
    };
    // RFC 7672 section 2.1.2: an attacker may be why nothing is known. What was asked for has been asked for by section 2.2.1, too, where
    // the exchanger itself is not sure: who keeps the records back would have mail without them.
    let unknown = |obstacle, reason| Ok(policy(Demand::Unusable(obstacle), Basis::Nothing, reason));
    match (inputs.addresses, inputs.tlsa) {
        (HostSecurity::Insecure, _) => Err(format!("no DANE: the addresses of {host} are not signed")),
        (HostSecurity::Failed(text), _) => unknown(
            Obstacle::AddressesUnknown(text.clone()),
            format!("whether the addresses of {host} are signed cannot be found out"),
        ),
        (HostSecurity::Secure { .. } | HostSecurity::OnlyAlias, Tlsa::Records(records)) => {
            by_records(inputs, records, policy)
        }
        (HostSecurity::Secure { .. } | HostSecurity::OnlyAlias, Tlsa::Failed(text)) => unknown(
            Obstacle::TlsaUnknown(text.clone()),
            format!("the zone of {base} is signed, and its TLSA records cannot be had"),
        ),
        (HostSecurity::Secure { .. } | HostSecurity::OnlyAlias, Tlsa::None) => {
            Err(format!("no DANE: {base} has no TLSA records"))
        }
    }
}

/// The policy by these records of the base; or why there is none by them.
fn by_records(
    inputs: &Inputs<'_>,
    records: &[TlsaRecord],
    policy: impl Fn(Demand, Basis, String) -> TlsPolicy,
) -> Result<TlsPolicy, String> {
    let Inputs { domain, base, .. } = *inputs;
    let basis = Basis::Tlsa(base.to_owned(), records.iter().map(ToString::to_string).collect());
    // RFC 7672 section 3.2.2: the TLSA base domain, and the domain that has the exchanger
    let mut names = vec![base.to_owned()];
    names.extend((domain.as_str() != base).then(|| domain.to_string()));
    match Dane::new(records, names) {
        Some(dane) => {
            let reason = format!("{base} has {} TLSA records that can be used", dane.records().len());
            Ok(policy(Demand::Dane { base: base.to_owned(), dane }, basis, reason))
        }
        // RFC 7672 section 2.2: TLS is there, or there were no records
        None if !is_enforced(inputs) => {
            let reason = format!("{base} has TLSA records, none of which can be used");
            Ok(policy(Demand::Encrypted, basis, reason))
        }
        None => Err(format!("no DANE: none of the TLSA records of {base} can be used")),
    }
}

/// Whether a policy of MTA-STS, or the operator's, demands verified certificates.
fn is_enforced(inputs: &Inputs<'_>) -> bool {
    inputs.level == Some(TlsLevel::Verify) || inputs.sts.is_some_and(|policy| policy.mode == Mode::Enforce)
}

fn without_dane(inputs: &Inputs<'_>, authentic: bool) -> TlsPolicy {
    let host = || vec![inputs.host.to_owned()];
    let policy = |demand, basis, authentic, reason: &str| TlsPolicy {
        demand,
        failure: OnFailure::TryLater,
        authentic,
        basis,
        reasons: vec![reason.to_owned()],
    };
    if !inputs.exchangers.is_empty() {
        let is_named = inputs.exchangers.iter().any(|pattern| matches(pattern, inputs.host));
        let demand = if is_named { Demand::Named(host()) } else { Demand::Unusable(Obstacle::NotNamed) };
        return policy(demand, Basis::Nothing, true, "the configuration names the exchangers of the domain");
    }
    let sts = inputs.sts.filter(|policy| policy.mode != Mode::None);
    let basis = sts.map_or(Basis::Nothing, |policy| Basis::Sts(policy.clone()));
    match (sts, inputs.level) {
        (Some(sts), _) if sts.mode == Mode::Enforce => {
            let named = sts.allows(inputs.host);
            let demand = if named { Demand::Named(host()) } else { Demand::Unusable(Obstacle::NotNamed) };
            policy(demand, basis, true, "MTA-STS, mode enforce")
        }
        (_, Some(TlsLevel::Verify)) => {
            let mut names = host();
            names.extend((inputs.domain.as_str() != inputs.host).then(|| inputs.domain.to_string()));
            policy(Demand::Named(names), basis, authentic, "the configuration says \"verify\"")
        }
        (_, Some(TlsLevel::Encrypt)) => {
            policy(Demand::Encrypted, basis, authentic, "the configuration says \"encrypt\"")
        }
        (sts, _) => {
            // RFC 8461 section 5: a policy that is tested is told of, and stops nothing
            let sure = authentic || sts.is_some_and(|sts| sts.allows(inputs.host));
            before(inputs, basis, sure, sts.map_or("TLS where it is offered", |_| "MTA-STS, mode testing"))
        }
    }
}

/// As good as it was, where the operator wants that; else what is offered.
fn before(inputs: &Inputs<'_>, basis: Basis, authentic: bool, reason: &str) -> TlsPolicy {
    let Standing { encrypted, verified } = inputs.standing;
    let lost = "its TLS was good for weeks, and mail waits where it is not any more".to_owned();
    let (demand, failure, reason) = match inputs.lost {
        LostTls::Defer if verified => {
            (Demand::Named(vec![inputs.host.to_owned()]), OnFailure::TryLater, lost)
        }
        LostTls::Defer if encrypted => (Demand::Encrypted, OnFailure::TryLater, lost),
        LostTls::Defer | LostTls::Warn | LostTls::Ignore => {
            (Demand::Offered, OnFailure::FallBack, reason.to_owned())
        }
    };
    TlsPolicy { demand, failure, authentic, basis, reasons: vec![reason] }
}

/// What REQUIRETLS makes of a policy.
fn required(policy: TlsPolicy, host: &str) -> TlsPolicy {
    let TlsPolicy { demand, failure, authentic, basis, mut reasons } = policy;
    reasons.insert(0, "the sender requires TLS (REQUIRETLS)".to_owned());
    let (demand, failure) = match demand {
        // it may be had later
        Demand::Unusable(obstacle) => (Demand::Unusable(obstacle), failure),
        demand @ (Demand::Named(_) | Demand::Dane { .. }) if authentic => (demand, OnFailure::Never),
        Demand::Offered | Demand::Encrypted if authentic => {
            (Demand::Named(vec![host.to_owned()]), OnFailure::Never)
        }
        _ => (Demand::Unusable(Obstacle::NotSure), OnFailure::Never),
    };
    TlsPolicy { demand, failure, authentic, basis, reasons }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TlsaUnknown(text) => write!(f, "its TLSA records cannot be had: {text}"),
            Self::AddressesUnknown(text) => {
                write!(f, "what DNSSEC says of its addresses cannot be had: {text}")
            }
            Self::NoTlsa => f.write_str("it has no TLSA records, which are demanded"),
            Self::NotNamed => f.write_str("it is not one of the exchangers that the domain's policy names"),
            Self::NotSure => {
                f.write_str("nothing says surely that it is the domain's, which the sender demands")
            }
        }
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTls => f.write_str("no TLS"),
            Self::Offered => f.write_str("TLS where offered, with any certificate"),
            Self::Encrypted => f.write_str("TLS with any certificate"),
            Self::Named(names) => write!(f, "TLS with a trusted certificate for {}", names.join(" or ")),
            Self::Dane { base, .. } => {
                write!(f, "TLS with a certificate by the TLSA records of {base} (DANE)")
            }
            Self::Unusable(obstacle) => write!(f, "not used: {obstacle}"),
        }
    }
}

impl fmt::Display for TlsPolicy {
    /// `TLS with any certificate, else the mail waits (the configuration says "encrypt"; no DANE: …)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.demand)?;
        match (&self.demand, self.failure) {
            (Demand::NoTls, _) => {}
            (Demand::Unusable(_), OnFailure::Never) => f.write_str("; the mail comes back")?,
            (Demand::Unusable(_), _) => f.write_str("; the mail waits")?,
            (_, OnFailure::FallBack) => f.write_str(", else without")?,
            (_, OnFailure::TryLater) => f.write_str(", else the mail waits")?,
            (_, OnFailure::Never) => f.write_str(", else the mail comes back")?,
        }
        write!(f, " ({})", self.reasons.join("; "))
    }
}

impl Demand {
    /// Its word in JSON.
    fn name(&self) -> &'static str {
        match self {
            Self::NoTls => "none",
            Self::Offered => "offered",
            Self::Encrypted => "encrypted",
            Self::Named(_) => "named",
            Self::Dane { .. } => "dane",
            Self::Unusable(_) => "unusable",
        }
    }

    fn names(&self) -> &[String] {
        match self {
            Self::Named(names) => names,
            Self::Dane { dane, .. } => dane.names(),
            Self::NoTls | Self::Offered | Self::Encrypted | Self::Unusable(_) => &[],
        }
    }
}

impl Serialize for TlsPolicy {
    /// `{"demand": "dane", "names": […], "records": […], "failure": "later", "authentic": true, "basis": "tlsa", "reasons": […]}`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let records = match &self.basis {
            Basis::Tlsa(_, records) => records.as_slice(),
            Basis::Nothing | Basis::Sts(_) => &[],
        };
        let obstacle = match &self.demand {
            Demand::Unusable(obstacle) => Some(obstacle.to_string()),
            _ => None,
        };
        let mut object = serializer.serialize_struct("TlsPolicy", 9)?;
        object.serialize_field("demand", self.demand.name())?;
        object.serialize_field("names", self.demand.names())?;
        object.serialize_field("records", records)?;
        object.serialize_field("obstacle", &obstacle)?;
        let failure = match self.failure {
            OnFailure::FallBack => "without",
            OnFailure::TryLater => "later",
            OnFailure::Never => "never",
        };
        object.serialize_field("failure", failure)?;
        object.serialize_field("authentic", &self.authentic)?;
        let basis = match self.basis {
            Basis::Nothing => "none",
            Basis::Tlsa(..) => "tlsa",
            Basis::Sts(_) => "sts",
        };
        object.serialize_field("basis", basis)?;
        object.serialize_field("reasons", &self.reasons)?;
        object.serialize_field("text", &self.to_string())?;
        object.end()
    }
}

#[cfg(test)]
mod tests;
