//! What domains publish of TLS: policies of MTA-STS and their TXT records, TLSA records.

use waypost_mta::tls_policy::sts::{EXCHANGERS_MAX, MAX_AGE_MAX, StsPolicy, policy_id};
use waypost_net::{Dane, TlsaRecord};

/// A policy that was read is written and read again as the same one, and is bounded.
pub(crate) fn sts(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Some(id) = policy_id(&[text.clone().into_owned()]) {
        assert!((1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
        assert_eq!(policy_id(&[format!("v=STSv1; id={id}")]), Some(id));
    }
    let Ok(policy) = StsPolicy::parse(&text) else { return };
    assert!(policy.max_age <= MAX_AGE_MAX && policy.exchangers.len() <= EXCHANGERS_MAX);
    assert_eq!(StsPolicy::parse(&policy.lines().join("\r\n")).as_ref(), Ok(&policy));
    for exchanger in &policy.exchangers {
        assert!(policy.allows(&exchanger.replace('*', "x")), "{exchanger}");
    }
}

/// Three octets of a record's kind and its data: what counts is usable, and no more than what came.
pub(crate) fn tlsa(octets: &[u8]) {
    let [usage, selector, matching, data @ ..] = octets else { return };
    let record = TlsaRecord { usage: *usage, selector: *selector, matching: *matching, data: data.to_vec() };
    assert!(record.to_string().len() >= 6 + 2 * data.len());
    let dane = Dane::new(std::slice::from_ref(&record), Vec::new());
    assert_eq!(dane.is_some(), record.is_usable());
    assert!(dane.is_none_or(|dane| dane.records() == std::slice::from_ref(&record)));
}
