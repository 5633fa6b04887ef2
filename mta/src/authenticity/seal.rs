//! One more set of ARC, for a message that goes on to others after it was checked here (RFC 8617 section 5.1). Pure.
//!
//! ```text
//! Check::for_seal ── the body passes ── Verdict::custody, and the header as it goes on ──set──► three fields to put before it
//! ```

use base64::{Engine, engine::general_purpose::STANDARD};
use waypost_mail::Timestamp;
use waypost_message::HeaderBlock;

use super::{
    Verdict,
    arc::Chain,
    dkim::signature::add_fields,
    keys::{KeyError, SigningKey},
    sign::{FOLD, FORM, NAMES_MAX, folded, names, signed, write_names, write_signer},
};

/// What of a message that was checked its seal is made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Custody {
    /// What is there.
    pub(crate) chain: Chain,
    /// The hash of the body.
    pub(crate) body_hash: Vec<u8>,
}

/// The three fields of a set of our own, the newest of the chain, to stand before this header; `results` is the field
/// Authentication-Results. `None`: no set may follow, or the header has so many fields of one name that nothing sane would come of it.
/// Errors: the key does not sign.
pub(crate) fn set(
    key: &SigningKey,
    verdict: &Verdict,
    results: &str,
    header: &HeaderBlock,
    now: Timestamp,
) -> Result<Option<String>, KeyError> {
    let Some(Custody { chain, body_hash }) = &verdict.custody else { return Ok(None) };
    let names = signed_names(header);
    if names.len() > NAMES_MAX {
        return Ok(None);
    }
    let instance = chain.sets + 1;
    let (_, results) = results.split_once(':').unwrap_or_default();
    let results = format!("ARC-Authentication-Results: i={instance};{results}");
    let mut unsigned =
        format!("ARC-Message-Signature: i={instance}; a={}; c=relaxed/relaxed;{FOLD}", key.tag());
    write_signer(key, now, &mut unsigned);
    unsigned.push_str(" h=");
    write_names(&names, &mut unsigned);
    unsigned.push_str(&format!("bh={};{FOLD}b=", STANDARD.encode(body_hash)));
    let mut octets = Vec::new();
    add_fields(FORM, names.iter().copied(), header, &mut octets);
    let signature = complete(key, &unsigned, octets)?;

    let result = verdict.arc.result.name();
    let mut unsigned = format!("ARC-Seal: i={instance}; a={}; cv={result};{FOLD}", key.tag());
    write_signer(key, now, &mut unsigned);
    unsigned.push_str(&format!("{FOLD}b="));
    let mut octets = chain.octets.clone();
    let set = HeaderBlock::new([results.as_str(), &signature].concat().into());
    set.fields().for_each(|field| FORM.field(&field, &mut octets));
    let seal = complete(key, &unsigned, octets)?;
    Ok(Some([seal, signature, results].concat()))
}

/// A field that ends with `b=`, with the signature over these octets and itself.
fn complete(key: &SigningKey, unsigned: &str, octets: Vec<u8>) -> Result<String, KeyError> {
    let signature = signed(key, format!("{unsigned}\r\n").as_bytes(), octets)?;
    Ok(format!("{unsigned}{}\r\n", folded(&STANDARD.encode(signature))))
}

/// What a signature of DKIM has in `h=`, and the signatures that are there (RFC 8617 section 4.1.2). Neither fields of ARC nor
/// Authentication-Results are among them.
fn signed_names(header: &HeaderBlock) -> Vec<&'static str> {
    let signatures = std::iter::repeat_n("DKIM-Signature", header.count("DKIM-Signature"));
    names(header).into_iter().chain(signatures).collect()
}

#[cfg(test)]
mod tests;
