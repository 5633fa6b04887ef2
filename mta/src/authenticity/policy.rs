//! What is done about a message whose authors' domains do not stand behind it. Pure.

use waypost_config::{AuthenticityConfig, DmarcMode};
use waypost_mail::{EnhancedStatus, Refusal};

use super::{
    Verdict,
    arc::ArcResult,
    dmarc::{DmarcOutcome, DmarcResult, Policy},
};

/// What is done with a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Disposition {
    /// It is delivered; with the reason, where its domain asked for something else.
    Deliver(Option<String>),
    /// It is delivered to Junk, for this reason.
    Quarantine(String),
    /// It is refused.
    Refuse(Refusal),
}

impl Disposition {
    /// Why, for people.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Deliver(reason) => reason.as_deref(),
            Self::Quarantine(reason) => Some(reason),
            Self::Refuse(refusal) => Some(&refusal.text),
        }
    }

    /// A word for logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Deliver(_) => "deliver",
            Self::Quarantine(_) => "quarantine",
            Self::Refuse(_) => "refuse",
        }
    }
}

impl DmarcOutcome {
    /// Whether its domain asks for something because of it, or might.
    pub(crate) fn is_a_failure(&self) -> bool {
        matches!(self.result, DmarcResult::Fail | DmarcResult::TempError) && self.policy > Policy::None
    }
}

/// Decides; of several authors the one counts whose domain asks for most.
pub(crate) fn decide(config: &AuthenticityConfig, verdict: &Verdict) -> Disposition {
    let worst = verdict
        .dmarc
        .iter()
        .filter(|outcome| outcome.is_a_failure())
        .max_by_key(|outcome| (honoured(config, outcome), outcome.result == DmarcResult::Fail));
    let Some(worst) = worst else { return Disposition::Deliver(None) };
    let (domain, asked, policy) = (&worst.domain, worst.policy.name(), honoured(config, worst));
    if policy == Policy::None {
        return Disposition::Deliver(Some(format!("{domain} asks for {asked}, which is not honoured here")));
    }
    if let Some(sealer) = vouching(config, verdict) {
        return Disposition::Deliver(Some(format!("{sealer}, who is trusted, saw it pass")));
    }
    let is_open = worst.result == DmarcResult::TempError
        || verdict.arc.is_temporary && !config.trusted_sealers.is_empty();
    match policy {
        Policy::Reject if is_open => Disposition::Refuse(unanswered(domain)),
        Policy::Reject => Disposition::Refuse(refused(domain)),
        // Junk can be looked through; a refusal could not be taken back.
        _ => Disposition::Quarantine(format!(
            "quarantined: neither SPF nor DKIM holds for {domain}, which asks for {asked}"
        )),
    }
}

/// Why less was done with a message than the record asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Exemption {
    /// The record is a test (`t=y`).
    Test,
    /// The configuration does not honour it.
    Local,
    /// Somebody who is trusted saw it pass.
    Forwarder(String),
}

/// Why less is done, where it is, for an author's domain whose record asks for `asked`.
pub(crate) fn exemption(
    config: &AuthenticityConfig,
    verdict: &Verdict,
    outcome: &DmarcOutcome,
    asked: Policy,
) -> Option<Exemption> {
    if honoured(config, outcome) < outcome.policy {
        return Some(Exemption::Local);
    }
    if let Some(sealer) = vouching(config, verdict).filter(|_| outcome.is_a_failure()) {
        return Some(Exemption::Forwarder(sealer.to_owned()));
    }
    (outcome.policy < asked).then_some(Exemption::Test)
}

/// What of its wishes is honoured for a domain.
fn honoured(config: &AuthenticityConfig, outcome: &DmarcOutcome) -> Policy {
    match config.dmarc_for(&outcome.domain) {
        DmarcMode::Enforce => outcome.policy,
        DmarcMode::Quarantine => outcome.policy.min(Policy::Quarantine),
        DmarcMode::Observe => Policy::None,
    }
}

/// The sealer whom we believe that it saw the message pass: of a chain that stands the newest ones, as long as they are trusted
/// (RFC 8617 section 7.2.1).
fn vouching<'a>(config: &AuthenticityConfig, verdict: &'a Verdict) -> Option<&'a str> {
    let is_trusted = |domain: &str| config.trusted_sealers.iter().any(|trusted| trusted.as_str() == domain);
    let sealers = verdict.arc.sealers.iter().filter(|_| verdict.arc.result == ArcResult::Pass);
    let mut trusted = sealers.take_while(|sealer| is_trusted(&sealer.domain));
    trusted.find(|sealer| sealer.saw_dmarc_pass).map(|sealer| sealer.domain.as_str())
}

fn refused(domain: &str) -> Refusal {
    let text = format!(
        "Neither SPF nor DKIM shows that this is from {domain}, which asks to refuse such mail (DMARC)"
    );
    Refusal::new(550, EnhancedStatus(5, 7, 1), text)
}

fn unanswered(domain: &str) -> Refusal {
    let text = format!("DNS does not answer whether this is from {domain}, try again later (DMARC)");
    Refusal::new(451, EnhancedStatus(4, 7, 1), text)
}
