//! Entrances for the fuzz targets to what is private here: what strangers write into fields and records.

use waypost_message::HeaderBlock;

use super::{
    arc::{ArcCheck, SETS_MAX},
    dkim::{
        body::Bodies,
        canonical::Canonicalization,
        key::Keys,
        signature::{Kind, Signature},
        tags::Tags,
    },
    dmarc, results, spf,
};

/// A tag list comes back from its own tags; a signature signs the same octets however its field is folded and spaced; a key is read or refused.
pub fn signature(octets: &[u8]) {
    Keys::read(octets);
    if let Some(tags) = Tags::parse(octets) {
        let text: Vec<String> = tags.all().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(Tags::parse(text.join(";").as_bytes()).as_ref(), Some(&tags), "other tags than were read");
    }
    for kind in [Kind::Dkim, Kind::Arc] {
        let Ok(signature) = Signature::parse(octets, kind) else { continue };
        let signed = |signature: &Signature, space: &[u8]| {
            let own = [b"X:".as_slice(), space, octets, b"\r\nFrom: a\r\n\r\n"].concat();
            let own = HeaderBlock::new(own);
            own.fields().find(|field| field.is("X")).map(|field| signature.signed_octets(&own, &field))
        };
        let relaxed = Signature { header_form: Canonicalization::Relaxed, ..signature };
        assert_eq!(signed(&relaxed, b""), signed(&relaxed, b" \t"));
        assert!(relaxed.seal.key_name().contains("._domainkey."));
    }
}

/// A record is refused or read, and what its macros stand for is no longer than a name.
pub fn spf_record(octets: &[u8]) {
    spf::fuzz(octets);
}

/// What a stranger says of himself proves nothing, wherever it stands in a field; a field that may be ours does not stay.
pub fn authentication_results(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mut field = "mx.b.test".to_owned();
    results::write_strangers(&mut field, &text);
    assert!(!results::says_pass(field.as_bytes(), "dmarc"), "{field}");
    assert!(field.split("\r\n").skip(1).all(|line| line.starts_with('\t')), "{field}");
    let ours = [b"Authentication-Results: mx.b.test;".as_slice(), octets].concat();
    let mut header = HeaderBlock::new(ours);
    assert!(results::remove_forged(&mut header, "mx.b.test") > 0);
    assert_eq!(results::remove_forged(&mut header, "mx.b.test"), 0);
}

/// A record is none or asks for something.
pub fn dmarc_record(octets: &[u8]) {
    dmarc::fuzz(octets);
}

/// Sets are none, a chain, or broken; no further one follows the last that may be.
pub fn arc_sets(octets: &[u8]) {
    let check = ArcCheck::begin(&HeaderBlock::new(octets.to_vec()), &mut Bodies::default(), 0);
    assert!(check.key_names().count() <= SETS_MAX + 1);
    if let ArcCheck::Broken { chain: Some(chain), .. } = check {
        assert!(chain.sets < SETS_MAX && chain.octets.is_empty());
    }
}
