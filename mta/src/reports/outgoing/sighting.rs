//! What an aggregate report tells of one message (RFC 9990 sections 3.1.1.5 to 3.1.1.14). Pure.

use mail_auth::report as wire;
use waypost_config::AuthenticityConfig;
use waypost_mail::Domain;
use waypost_message::HeaderBlock;

use crate::authenticity::{
    Verdict,
    dkim::{DkimOutcome, DkimResult},
    dmarc::{DmarcOutcome, DmarcResult, Found, Policy, record::Alignment},
    policy::{Exemption, exemption},
    spf::SpfResult,
};

/// Longest name that is told, in octets; strangers choose selectors and names in EHLO.
const NAME_BYTES_MAX: usize = 255;

/// What was seen of one author's domain in a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sighting {
    /// The policy that the domain published.
    pub(crate) policy: wire::PolicyPublished,
    /// Where it wants reports.
    pub(crate) report_uris: String,
    /// What is counted; its count is 0.
    pub(crate) record: wire::Record,
}

/// What a message is told of, for each author whose domain has a policy and wants reports. `applied`: what was done with it. `to`: the
/// domain of its recipients, where it is one. `header`: its header block.
pub(crate) fn sightings(
    config: &AuthenticityConfig,
    verdict: &Verdict,
    applied: Policy,
    to: Option<&Domain>,
    header: &[u8],
) -> Vec<Sighting> {
    let told = verdict.dmarc.iter().filter_map(|outcome| {
        let found = outcome.found.as_deref().filter(|found| !found.record.report_uris.is_empty())?;
        // a report that is told of would be answered by one, for ever
        if outcome.result == DmarcResult::Pass && is_report(header) {
            return None;
        }
        let reason = reason(config, verdict, (outcome, found), applied);
        let to = to.map(|domain| domain.as_str().to_owned());
        Some(Sighting {
            policy: policy_published(found),
            report_uris: found.record.report_uris.clone(),
            record: wire::Record {
                row: wire::Row {
                    source_ip: Some(verdict.peer),
                    count: 0,
                    policy_evaluated: wire::PolicyEvaluated {
                        disposition: disposition(outcome, applied),
                        dkim: aligned(!found.dkim.is_empty()),
                        spf: aligned(found.spf),
                        reason: reason.into_iter().collect(),
                    },
                },
                identifiers: wire::Identifier {
                    envelope_to: to,
                    envelope_from: name(sender_domain(verdict).unwrap_or_default()),
                    header_from: outcome.domain.clone(),
                },
                auth_results: wire::AuthResult {
                    dkim: signatures(verdict, outcome, found),
                    spf: vec![spf(verdict)],
                },
                extensions: Vec::new(),
            },
        })
    });
    told.collect()
}

/// Whether a message says that it is a report itself: of DMARC by its subject (RFC 9990 section 3.5.2), of TLS by its fields (RFC 8460
/// section 5.3).
fn is_report(header: &[u8]) -> bool {
    let header = HeaderBlock::new(header.to_vec());
    let subject = header.first("Subject").unwrap_or_default();
    let words: Vec<String> =
        String::from_utf8_lossy(&subject).split_whitespace().take(2).map(str::to_lowercase).collect();
    words == ["report", "domain:"] || header.count("TLS-Report-Domain") > 0
}

fn policy_published(found: &Found) -> wire::PolicyPublished {
    let published = found.record.published();
    let wish = |policy| match policy {
        Policy::None => wire::Disposition::None,
        Policy::Quarantine => wire::Disposition::Quarantine,
        Policy::Reject => wire::Disposition::Reject,
    };
    let mode = |alignment| match alignment {
        Alignment::Relaxed => wire::Alignment::Relaxed,
        Alignment::Strict => wire::Alignment::Strict,
    };
    wire::PolicyPublished {
        domain: found.domain.clone(),
        version_published: None,
        adkim: mode(found.record.dkim),
        aspf: mode(found.record.spf),
        p: wish(published.policy),
        sp: wish(published.subdomains),
        np: wish(published.nonexistent),
        testing: published.is_test,
        discovery_method: wire::Discovery::Treewalk,
        fo: found.record.failure_options.clone(),
    }
}

/// `pass` is that nothing was done as the message passed a policy that asks for something.
fn disposition(outcome: &DmarcOutcome, applied: Policy) -> wire::ActionDisposition {
    match applied {
        Policy::Quarantine => wire::ActionDisposition::Quarantine,
        Policy::Reject => wire::ActionDisposition::Reject,
        Policy::None if outcome.result == DmarcResult::Pass && outcome.policy > Policy::None => {
            wire::ActionDisposition::Pass
        }
        Policy::None => wire::ActionDisposition::None,
    }
}

fn aligned(passes: bool) -> wire::DmarcResult {
    if passes { wire::DmarcResult::Pass } else { wire::DmarcResult::Fail }
}

/// Why something else was done than the record asks for, where that is so (RFC 9990 section 3.1.6).
fn reason(
    config: &AuthenticityConfig,
    verdict: &Verdict,
    (outcome, found): (&DmarcOutcome, &Found),
    applied: Policy,
) -> Option<wire::PolicyOverrideReason> {
    let asked = if outcome.result == DmarcResult::Pass { Policy::None } else { found.asked };
    if asked == applied {
        return None;
    }
    let reason = |kind, comment: Option<String>| Some(wire::PolicyOverrideReason { type_: kind, comment });
    let exemption = exemption(config, verdict, outcome, found.asked).filter(|_| applied < asked);
    match exemption {
        Some(Exemption::Test) => reason(wire::PolicyOverride::PolicyTestMode, None),
        Some(Exemption::Local) => reason(wire::PolicyOverride::LocalPolicy, None),
        Some(Exemption::Forwarder(sealer)) => {
            reason(wire::PolicyOverride::TrustedForwarder, Some(format!("ARC sealed by {}", name(&sealer))))
        }
        // the message has other authors, or DNS did not answer
        None => reason(wire::PolicyOverride::Other, None),
    }
}

/// The domain of the sender in the envelope; `None`: the null path.
fn sender_domain(verdict: &Verdict) -> Option<&str> {
    verdict.sender.as_deref()?.rsplit_once('@').map(|(_, domain)| domain)
}

/// The result for the MAIL FROM identity, which of a null path is the name in EHLO (RFC 7208 section 2.4).
fn spf(verdict: &Verdict) -> wire::SPFAuthResult {
    wire::SPFAuthResult {
        domain: name(sender_domain(verdict).unwrap_or(&verdict.helo)),
        scope: wire::SPFDomainScope::MailFrom,
        result: match verdict.spf.result {
            SpfResult::None => wire::SpfResult::None,
            SpfResult::Neutral => wire::SpfResult::Neutral,
            SpfResult::Pass => wire::SpfResult::Pass,
            SpfResult::Fail => wire::SpfResult::Fail,
            SpfResult::SoftFail => wire::SpfResult::SoftFail,
            SpfResult::TempError => wire::SpfResult::TempError,
            SpfResult::PermError => wire::SpfResult::PermError,
        },
        human_result: None,
    }
}

/// Signatures whose signers could be read, those that count for most first (RFC 9990 section 3.1.3).
fn signatures(verdict: &Verdict, outcome: &DmarcOutcome, found: &Found) -> Vec<wire::DKIMAuthResult> {
    let rank = |(signature, domain): &(&DkimOutcome, &str)| match signature.result {
        DkimResult::Pass if *domain == outcome.domain => 0,
        DkimResult::Pass if found.dkim.iter().any(|aligned| aligned == domain) => 1,
        DkimResult::Pass => 2,
        _ => 3,
    };
    let mut read: Vec<(&DkimOutcome, &str)> = verdict
        .dkim
        .iter()
        .filter_map(|signature| Some((signature, signature.signer.as_ref()?.domain.as_str())))
        .collect();
    read.sort_by_key(rank);
    read.into_iter().filter_map(|(signature, _)| told(signature)).collect()
}

fn told(signature: &DkimOutcome) -> Option<wire::DKIMAuthResult> {
    let signer = signature.signer.as_ref()?;
    Some(wire::DKIMAuthResult {
        domain: name(&signer.domain),
        selector: name(&signer.selector),
        result: match signature.result {
            DkimResult::Pass => wire::DkimResult::Pass,
            DkimResult::Fail => wire::DkimResult::Fail,
            DkimResult::Policy => wire::DkimResult::Policy,
            DkimResult::Neutral => wire::DkimResult::Neutral,
            DkimResult::TempError => wire::DkimResult::TempError,
            DkimResult::PermError => wire::DkimResult::PermError,
        },
        human_result: signature.reason.as_deref().map(name),
    })
}

/// What strangers call something: visible characters that XML can hold, within a bound.
fn name(text: &str) -> String {
    let visible: String = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    visible.chars().take(NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests;
