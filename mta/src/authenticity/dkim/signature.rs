//! What a signature says of itself (RFC 6376 section 3.5), and which octets it signs (section 3.7).

use std::collections::HashMap;

use mail_auth::common::crypto::Algorithm;
use waypost_mail::Domain;
use waypost_message::{Field, HeaderBlock};

use super::{canonical::Canonicalization, tags::Tags};

/// Most names in `h=`.
const SIGNED_FIELDS_MAX: usize = 500;

/// Why a field is no signature, or one that cannot be good, for people.
pub(crate) type Fault = &'static str;

/// What a signature of any kind has: who signed, with what.
#[derive(Debug)]
pub(crate) struct Seal {
    pub(crate) algorithm: Algorithm,
    /// `b=`
    pub(crate) signature: Vec<u8>,
    /// `d=`
    pub(crate) domain: Domain,
    /// `s=`
    pub(crate) selector: Domain,
}

/// A signature of a message: DKIM-Signature, or ARC-Message-Signature.
#[derive(Debug)]
pub(crate) struct Signature {
    pub(crate) seal: Seal,
    /// `bh=`
    pub(crate) body_hash: Vec<u8>,
    /// `c=`
    pub(crate) header_form: Canonicalization,
    pub(crate) body_form: Canonicalization,
    /// `h=`
    pub(crate) fields: Vec<String>,
    /// `i=` of DKIM-Signature
    pub(crate) identity: Option<String>,
    /// `l=`: octets of the canonical body that are signed.
    pub(crate) length: Option<u64>,
    /// `x=`, in seconds since 1970.
    pub(crate) expires: Option<u64>,
}

/// Which field a signature stands in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Dkim,
    /// ARC-Message-Signature: no `v=`, `i=` is its instance, and it need not sign anything of the header (RFC 8617 section 4.1.2).
    Arc,
}

impl Seal {
    /// Takes what all signatures have from the tags.
    pub(crate) fn of(tags: &Tags<'_>) -> Result<Self, Fault> {
        let algorithm = match tags.find("a").ok_or("a= is missing")? {
            "rsa-sha256" => Algorithm::RsaSha256,
            "ed25519-sha256" => Algorithm::Ed25519Sha256,
            // RFC 8301 section 3.1: it says nothing any more.
            "rsa-sha1" => return Err("rsa-sha1 is not secure"),
            _ => return Err("the algorithm is unknown"),
        };
        let name = |tag: &str| Domain::new(tags.find(tag)?).ok().filter(|name| name.as_ip().is_none());
        let seal = Self {
            algorithm,
            signature: tags.base64("b").ok_or("b= is missing or wrong")?,
            domain: name("d").ok_or("d= is missing or wrong")?,
            selector: name("s").ok_or("s= is missing or wrong")?,
        };
        tags.number("t").ok_or("t= is wrong")?;
        Ok(seal)
    }

    /// Where its key is.
    pub(crate) fn key_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }
}

impl Signature {
    /// Reads the value of a field.
    pub(crate) fn parse(value: &[u8], kind: Kind) -> Result<Self, Fault> {
        let tags = Tags::parse(value).ok_or("it is no tag list")?;
        Self::of(&tags, kind)
    }

    /// Takes a signature from its tags.
    pub(crate) fn of(tags: &Tags<'_>, kind: Kind) -> Result<Self, Fault> {
        if kind == Kind::Dkim && tags.find("v") != Some("1") {
            return Err("v= is not 1");
        }
        let seal = Seal::of(tags)?;
        let (header_form, body_form) = forms(tags, kind).ok_or("c= is unknown")?;
        let fields: Vec<String> = tags.parts("h").map(str::to_ascii_lowercase).collect();
        let has_empty = kind == Kind::Dkim && fields.iter().any(String::is_empty);
        if fields.is_empty() || fields.len() > SIGNED_FIELDS_MAX || has_empty {
            return Err("h= is missing or wrong");
        }
        if kind == Kind::Dkim && !fields.iter().any(|name| name == "from") {
            return Err("From is not signed");
        }
        if tags.find("q").is_some() && !tags.parts("q").any(|method| method == "dns/txt") {
            return Err("q= is unknown");
        }
        let (time, expires) = (tags.number("t").flatten(), tags.number("x").ok_or("x= is wrong")?);
        if time.zip(expires).is_some_and(|(time, expires)| expires < time) {
            return Err("it expired before it was made");
        }
        Ok(Self {
            body_hash: tags.base64("bh").ok_or("bh= is missing or wrong")?,
            header_form,
            body_form,
            fields,
            identity: match kind {
                Kind::Dkim => identity(tags, &seal.domain)?,
                Kind::Arc => None,
            },
            length: tags.number("l").ok_or("l= is wrong")?,
            expires,
            seal,
        })
    }

    /// The octets that are signed: fields of the header, then the field of the signature itself (RFC 6376 section 3.7).
    pub(crate) fn signed_octets(&self, header: &HeaderBlock, own: &Field<'_>) -> Vec<u8> {
        let mut octets = Vec::new();
        add_fields(self.header_form, self.fields.iter().map(String::as_str), header, &mut octets);
        add_unsigned(self.header_form, own, &mut octets);
        octets
    }
}

/// Adds the fields that `h=` names in its order, of each name from the bottom up; one that is not there is signed as nothing (RFC 6376
/// section 5.4.2).
pub(crate) fn add_fields<'a>(
    form: Canonicalization,
    names: impl Iterator<Item = &'a str>,
    header: &HeaderBlock,
    octets: &mut Vec<u8>,
) {
    let mut by_name: HashMap<String, Vec<Field<'_>>> = HashMap::new();
    for field in header.fields() {
        let name = String::from_utf8_lossy(field.name).to_ascii_lowercase();
        by_name.entry(name).or_default().push(field);
    }
    for name in names {
        if let Some(field) = by_name.get_mut(name.to_ascii_lowercase().as_str()).and_then(Vec::pop) {
            form.field(&field, octets);
        }
    }
}

/// Adds a field that signs itself: without the value of `b=`, and without CRLF.
pub(crate) fn add_unsigned(form: Canonicalization, own: &Field<'_>, octets: &mut Vec<u8>) {
    let colon = own.octets.len() - own.raw.len();
    let mut stripped = own.octets[..colon].to_vec();
    stripped.extend(without_signature(own.raw));
    let field = Field { name: own.name, raw: &stripped[colon..], octets: &stripped };
    form.field(&field, octets);
    octets.truncate(octets.len() - b"\r\n".len());
}

/// A tag list without the value of `b=`, white space around it included.
fn without_signature(raw: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    for (at, spec) in raw.split(|octet| *octet == b';').enumerate() {
        if at > 0 {
            kept.push(b';');
        }
        match spec.iter().position(|octet| *octet == b'=') {
            Some(equals) if spec[..equals].trim_ascii() == b"b" => kept.extend_from_slice(&spec[..=equals]),
            _ => kept.extend_from_slice(spec),
        }
    }
    kept
}

/// `c=`: of header and body; simple where it says nothing. Without it that of DKIM is simple; ARC as it is spoken has relaxed, though RFC
/// 8617 section 4.1.2 does not say so.
fn forms(tags: &Tags<'_>, kind: Kind) -> Option<(Canonicalization, Canonicalization)> {
    let Some(value) = tags.find("c") else {
        return Some(match kind {
            Kind::Dkim => (Canonicalization::Simple, Canonicalization::Simple),
            Kind::Arc => (Canonicalization::Relaxed, Canonicalization::Relaxed),
        });
    };
    let (header, body) = value.split_once('/').unwrap_or((value, "simple"));
    Some((Canonicalization::by_name(header)?, Canonicalization::by_name(body)?))
}

/// `i=`, whose domain is that of the signature or one below it.
fn identity(tags: &Tags<'_>, domain: &Domain) -> Result<Option<String>, Fault> {
    let Some(value) = tags.find("i") else { return Ok(None) };
    let (_, of) = value.rsplit_once('@').ok_or("i= is wrong")?;
    let of = Domain::new(of).map_err(|_| "i= is wrong")?;
    let prefix = of.as_str().strip_suffix(domain.as_str()).ok_or("i= is not within d=")?;
    let is_within = prefix.is_empty() || prefix.ends_with('.');
    if is_within { Ok(Some(value.to_owned())) } else { Err("i= is not within d=") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "v=1; a=rsa-sha256; d=a.test; s=s; h=From:To; bh=aGk=; b=aGk=";

    #[test]
    fn what_cannot_be_good_is_no_signature() {
        assert!(Signature::parse(GOOD.as_bytes(), Kind::Dkim).is_ok());
        for (from, to, fault) in [
            ("v=1; ", "", "v= is not 1"),
            ("v=1", "v=2", "v= is not 1"),
            ("rsa-sha256", "rsa-sha1", "rsa-sha1 is not secure"),
            ("rsa-sha256", "RSA-SHA256", "the algorithm is unknown"),
            ("a=rsa-sha256; ", "", "a= is missing"),
            ("d=a.test", "d=", "d= is missing or wrong"),
            ("d=a.test", "d=[192.0.2.1]", "d= is missing or wrong"),
            ("s=s; ", "", "s= is missing or wrong"),
            ("h=From:To", "h=To", "From is not signed"),
            ("h=From:To", "h=", "h= is missing or wrong"),
            ("h=From:To", "h=From::To", "h= is missing or wrong"),
            ("bh=aGk=", "bh=?", "bh= is missing or wrong"),
            ("b=aGk=", "b=", "b= is missing or wrong"),
            ("v=1", "v=1; c=other", "c= is unknown"),
            ("v=1", "v=1; c=relaxed/", "c= is unknown"),
            ("v=1", "v=1; q=finger", "q= is unknown"),
            ("v=1", "v=1; i=@b.test", "i= is not within d="),
            ("v=1", "v=1; i=@xa.test", "i= is not within d="),
            ("v=1", "v=1; i=a.test", "i= is wrong"),
            ("v=1", "v=1; l=-1", "l= is wrong"),
            ("v=1", "v=1; t=x", "t= is wrong"),
            ("v=1", "v=1; t=2; x=1", "it expired before it was made"),
            ("v=1", "v=1; d=b.test", "it is no tag list"),
        ] {
            let text = GOOD.replace(from, to);
            assert_eq!(Signature::parse(text.as_bytes(), Kind::Dkim).err(), Some(fault), "{text}");
        }
    }

    #[test]
    fn the_rest_is_taken_as_it_is() {
        let text =
            GOOD.replace("v=1", "v=1; c=relaxed; i=x@mail.A.test; l=9; x=8; q=finger:dns/txt; extra=1");
        let signature = Signature::parse(text.as_bytes(), Kind::Dkim).unwrap();
        assert_eq!(signature.fields, ["from", "to"]);
        assert_eq!((signature.length, signature.expires), (Some(9), Some(8)));
        assert_eq!(signature.identity.as_deref(), Some("x@mail.A.test"));
        assert_eq!(signature.seal.key_name(), "s._domainkey.a.test");
        let forms = (signature.header_form, signature.body_form);
        assert_eq!(forms, (Canonicalization::Relaxed, Canonicalization::Simple));
    }

    #[test]
    fn fields_are_signed_from_the_bottom_up() {
        let block = "A: 1\r\nB: 2\r\nA: 3\r\nDKIM-Signature: v=1; b = x\r\n y; bh=b=;h=a:a\r\n\r\n";
        let block = HeaderBlock::new(block.into());
        let own = block.fields().find(|field| field.is("DKIM-Signature")).unwrap();
        let text = "a=rsa-sha256; d=a.test; s=s; h=a:c:a:a:b; bh=aGk=; b=aGk=; c=simple";
        let signature = Signature::parse(text.as_bytes(), Kind::Arc).unwrap();
        let expected = "A: 3\r\nA: 1\r\nB: 2\r\nDKIM-Signature: v=1; b =; bh=b=;h=a:a";
        assert_eq!(String::from_utf8(signature.signed_octets(&block, &own)).unwrap(), expected);
        let text = text.replace("simple", "relaxed");
        let signature = Signature::parse(text.as_bytes(), Kind::Arc).unwrap();
        let expected = "a:3\r\na:1\r\nb:2\r\ndkim-signature:v=1; b =; bh=b=;h=a:a";
        assert_eq!(String::from_utf8(signature.signed_octets(&block, &own)).unwrap(), expected);
    }
}
