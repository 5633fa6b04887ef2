//! The client's messages (RFC 5802 section 7). A value never holds a comma, so messages are cut at commas.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::sasl::{NAME_BYTES_MAX, prepare::prepare};

/// Longest nonce of a client in octets.
const NONCE_BYTES_MAX: usize = 512;

/// `gs2-cbind-flag = ("p=" cb-name) / "n" / "y"`
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Flag<'a> {
    /// `n`: the client cannot bind.
    Unsupported,
    /// `y`: it can, but thinks that we cannot.
    NotOffered,
    /// `p`: it binds by this.
    Required(&'a str),
}

/// `client-first-message = gs2-header client-first-message-bare`
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ClientFirst<'a> {
    pub(super) flag: Flag<'a>,
    /// `gs2-header`, with its second comma.
    pub(super) header: &'a str,
    pub(super) authorization: String,
    /// `client-first-message-bare`
    pub(super) bare: &'a str,
    pub(super) login: String,
    pub(super) nonce: &'a str,
}

/// `client-final-message = client-final-message-without-proof "," proof`
#[derive(Debug, Eq, PartialEq)]
pub(super) struct ClientFinal<'a> {
    pub(super) without_proof: &'a str,
    pub(super) binding_input: Vec<u8>,
    pub(super) nonce: &'a str,
    pub(super) proof: Vec<u8>,
}

impl<'a> ClientFirst<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (flag, rest) = text.split_once(',')?;
        let (authzid, bare) = rest.split_once(',')?;
        let header = text.get(..text.len() - bare.len())?;
        let authorization = match authzid {
            "" => String::new(),
            name => saslname(name.strip_prefix("a=")?)?,
        };
        // reserved-mext would stand where the name does, and is refused with it.
        let mut attributes = bare.split(',');
        let login = saslname(attributes.next()?.strip_prefix("n=")?)?;
        let nonce = nonce(attributes.next()?)?;
        let short = nonce.len() <= NONCE_BYTES_MAX;
        (short && extensions(attributes)).then_some(Self {
            flag: self::flag(flag)?,
            header,
            authorization,
            bare,
            login,
            nonce,
        })
    }
}

impl<'a> ClientFinal<'a> {
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (without_proof, proof) = text.rsplit_once(",p=")?;
        let mut attributes = without_proof.split(',');
        let binding_input = BASE64_STANDARD.decode(attributes.next()?.strip_prefix("c=")?).ok()?;
        let nonce = nonce(attributes.next()?)?;
        let proof = BASE64_STANDARD.decode(proof).ok()?;
        extensions(attributes).then_some(Self { without_proof, binding_input, nonce, proof })
    }
}

/// Whom a client wants to act as, by a `gs2-header` without channel binding (RFC 5801 section 4).
pub(in crate::sasl) fn gs2_header(text: &str) -> Option<String> {
    let (flag, authzid) = text.strip_suffix(',')?.split_once(',')?;
    match (self::flag(flag)?, authzid) {
        (Flag::Required(_), _) => None,
        (_, "") => Some(String::new()),
        (_, name) => saslname(name.strip_prefix("a=")?),
    }
}

fn flag(text: &str) -> Option<Flag<'_>> {
    // cb-name = 1*(ALPHA / DIGIT / "." / "-")
    let is_name = |name: &&str| {
        !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-".contains(&octet))
    };
    match text {
        "n" => Some(Flag::Unsupported),
        "y" => Some(Flag::NotOffered),
        text => text.strip_prefix("p=").filter(is_name).map(Flag::Required),
    }
}

/// `saslname = 1*(value-safe-char / "=2C" / "=3D")`, decoded and prepared.
fn saslname(text: &str) -> Option<String> {
    if text.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (c, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return None,
        };
        name.push(c);
        name.push_str(rest);
    }
    prepare(&name)
}

/// `nonce = "r=" c-nonce [s-nonce]`, both `printable = %x21-2B / %x2D-7E`
fn nonce(attribute: &str) -> Option<&str> {
    let printable = |nonce: &&str| !nonce.is_empty() && nonce.bytes().all(|octet| octet.is_ascii_graphic());
    attribute.strip_prefix("r=").filter(printable)
}

/// `extensions = attr-val *("," attr-val)`: those that we do not know are passed over, but for `m`, which is mandatory.
fn extensions<'a>(mut attributes: impl Iterator<Item = &'a str>) -> bool {
    attributes.all(|attribute| match attribute.as_bytes() {
        [name, b'=', value @ ..] => {
            name.is_ascii_alphabetic() && *name != b'm' && !value.is_empty() && !value.contains(&0)
        }
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_decoded() {
        for (text, name) in [
            ("user", Some("user")),
            ("a=2Cb=3Dc", Some("a,b=c")),
            ("=3D2C", Some("=2C")),
            ("a=2cb", None),
            ("a=", None),
            ("a=41", None),
            ("", None),
            ("a\0b", None),
            ("I\u{ad}X", Some("IX")),
            (&"x".repeat(NAME_BYTES_MAX), Some(&*"x".repeat(NAME_BYTES_MAX))),
            (&"x".repeat(NAME_BYTES_MAX + 1), None),
            (&"\u{fdfa}".repeat(3_000), None),
        ] {
            assert_eq!(saslname(text).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn first_messages() {
        let parsed = ClientFirst::parse("p=tls-exporter,a=other,n=us=2Cer,r=abc,x=1,y=2=3").unwrap();
        assert_eq!(
            parsed,
            ClientFirst {
                flag: Flag::Required("tls-exporter"),
                header: "p=tls-exporter,a=other,",
                authorization: "other".into(),
                bare: "n=us=2Cer,r=abc,x=1,y=2=3",
                login: "us,er".into(),
                nonce: "abc",
            }
        );
        let longest = format!("n,,n=u,r={}", "x".repeat(NONCE_BYTES_MAX));
        assert!(ClientFirst::parse(&longest).is_some());
        for wrong in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=u",
            "n,,n=u,r=",
            "n,,n=,r=x",
            "n,,r=x,n=u",
            "n,,m=1,n=u,r=x",
            "n,,n=u,r=x,m=1",
            "n,,n=u,r=x,",
            "n,,n=u,r=x,e",
            "n,,n=u,r=x,1=e",
            "n,,n=u,r=x,e=",
            "n,,n=u,r=x,e=\0",
            "n,,n=u,r=x y",
            "n,,n=u,r=ü",
            "n,other,n=u,r=x",
            "n,a=,n=u,r=x",
            "N,,n=u,r=x",
            "p,,n=u,r=x",
            "p=,,n=u,r=x",
            "p=tls_unique,,n=u,r=x",
            "F,n,,n=u,r=x",
            &format!("{longest}x"),
        ] {
            assert_eq!(ClientFirst::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn final_messages() {
        let parsed = ClientFinal::parse("c=biws,r=abcdef,x=y,p=AAEC").unwrap();
        assert_eq!((parsed.without_proof, parsed.nonce), ("c=biws,r=abcdef,x=y", "abcdef"));
        assert_eq!((&parsed.binding_input[..], &parsed.proof[..]), (&b"n,,"[..], &[0, 1, 2][..]));
        for wrong in [
            "",
            "c=biws,r=abc",
            "c=biws,p=AAEC",
            "r=abc,c=biws,p=AAEC",
            "c=biw,r=abc,p=AAEC",
            "c=biws,r=abc,p=AAE",
            "c=biws,r=abc,m=1,p=AAEC",
            "c=biws,r=abc,p=AAEC,x=y",
        ] {
            assert_eq!(ClientFinal::parse(wrong), None, "{wrong:?}");
        }
    }
}
