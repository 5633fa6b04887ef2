//! What reports mean, and what to do about it, in words. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use super::{aggregate::Row, summary::MailLine};

/// Most addresses and signatures that one sentence names.
const NAMED_MAX: usize = 3;

/// What a failure of TLS means (RFC 8460 section 4.3), and what to do.
pub(super) fn of_tls(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "starttls-not-supported" => (
            "STARTTLS was not offered",
            "check that the listener on port 25 has TLS, and that nothing on the way removes STARTTLS",
        ),
        "certificate-host-mismatch" => {
            ("the certificate is not for the name of the host", "its names must hold that of each MX record")
        }
        "certificate-expired" => ("the certificate had expired", "renew it, and see why it was not renewed"),
        "certificate-not-trusted" => {
            ("nobody whom they trust signed the certificate", "serve the whole chain of a public authority")
        }
        "validation-failure" => ("the certificate did not hold", "see what they add"),
        "tlsa-invalid" => ("no TLSA record could be used", "publish a 3 1 1 record of the key in use"),
        "dnssec-invalid" => {
            ("DNSSEC did not hold", "the zone's signatures, or its DS record, are wrong or old")
        }
        "dane-required" => ("they demand TLSA records, and found none", "publish some, or ask them why"),
        "sts-policy-fetch-error" => (
            "the policy of MTA-STS could not be fetched",
            "see that https://mta-sts.DOMAIN/.well-known/mta-sts.txt answers, or take the record _mta-sts away",
        ),
        "sts-policy-invalid" => {
            ("the policy of MTA-STS could not be read", "compare it with `waypost dns DOMAIN`")
        }
        "sts-webpki-invalid" => (
            "the certificate of the host with the policy of MTA-STS did not hold",
            "renew the certificate of mta-sts.DOMAIN",
        ),
        _ => ("something that is not registered", "see what they add"),
    }
}

/// What to do about what a provider saw.
pub(super) fn of_mail(line: &MailLine, failing: &[&Row]) -> Vec<String> {
    let MailLine { domain, .. } = line;
    let mut advice = Vec::new();
    if line.failed_dkim > 0 {
        advice.push(of_dkim(domain, failing));
    }
    let addresses = named(failing.iter().filter(|row| !row.spf).filter_map(|row| row.source));
    if line.failed_spf > 0 && !addresses.is_empty() {
        advice.push(format!(
            "SPF failed for {addresses}: the record of the domain in the envelope must name it (`waypost dns {domain}`)"
        ));
    }
    if line.others > 0 {
        advice.push(match line.policy.as_str() {
            "reject" => format!(
                "others sent as {domain}: who of them is yours needs a key (DKIM) or a place in SPF; the rest is refused by your policy"
            ),
            _ => format!(
                "others sent as {domain}: who of them is yours needs a key (DKIM) or a place in SPF; once nothing of yours is among them, p=reject ends the rest"
            ),
        });
    }
    if line.sent.is_some_and(|sent| sent == 0) && line.seen > 0 {
        advice.push(format!(
            "nothing went from here to {} on that day: another server sends for {domain} and passes, or mail went by a smarthost",
            line.provider
        ));
    }
    advice
}

fn of_dkim(domain: &str, failing: &[&Row]) -> String {
    let failed: Vec<&&Row> = failing.iter().filter(|row| !row.dkim).collect();
    let of_domain =
        failed.iter().flat_map(|row| &row.signatures).filter(|signature| signature.result != "pass");
    let signatures: BTreeSet<String> = of_domain
        .map(|signature| format!("{} of {}: {}", signature.selector, signature.domain, signature.result))
        .take(NAMED_MAX)
        .collect();
    let is_unsigned = failed.iter().all(|row| row.signatures.is_empty());
    match is_unsigned {
        true => format!(
            "they saw no signature: `waypost dkim list {domain}` shows whether there is a key, `waypost dkim new {domain}` makes some"
        ),
        false if signatures.is_empty() => {
            format!("the signatures that held were not those of {domain} (alignment)")
        }
        false => format!(
            "signatures did not hold ({}): `permerror` and `none` mean that the key's record is missing or wrong (`waypost dns {domain}`), `fail` that something changed the message on its way",
            signatures.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

fn named(addresses: impl Iterator<Item = IpAddr>) -> String {
    let all: BTreeSet<IpAddr> = addresses.collect();
    let mut named: Vec<String> = all.iter().take(NAMED_MAX).map(IpAddr::to_string).collect();
    if all.len() > NAMED_MAX {
        named.push(format!("{} others", all.len() - NAMED_MAX));
    }
    named.join(", ")
}
