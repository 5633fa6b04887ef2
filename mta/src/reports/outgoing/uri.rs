//! Where a domain wants its reports, and the records that say so: `rua` of DMARC (RFC 9989 section 4.7, RFC 9990 section 4) and of
//! TLSRPT (RFC 8460 section 3). Pure.

use std::fmt;

use waypost_mail::{Address, Domain};
use waypost_net::HttpsUrl;

use crate::authenticity::{dkim::tags::Tags, dmarc::record::is_record};

/// Most destinations of one domain that are served, the first ones; RFC 7489 section 6.2 wants two or more.
pub(crate) const URIS_MAX: usize = 5;

/// One destination.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ReportUri {
    /// `mailto:`
    Mail {
        /// The mailbox.
        address: Address,
        /// Largest message that it wants, in octets: `!10m` (RFC 7489 section 6.2; RFC 9990 knows it no more).
        bytes_max: Option<u64>,
    },
    /// `https:`
    Https(HttpsUrl),
}

impl fmt::Display for ReportUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail { address, .. } => write!(f, "mailto:{address}"),
            Self::Https(url) => write!(f, "{url}"),
        }
    }
}

impl ReportUri {
    /// The destinations of a list between commas, each once; what is none is left out.
    pub(crate) fn list(text: &str) -> Vec<Self> {
        let mut uris: Vec<Self> = Vec::new();
        for uri in text.split(',').filter_map(|part| Self::parse(part.trim_ascii())) {
            if uris.len() < URIS_MAX && !uris.iter().any(|known| known.to_string() == uri.to_string()) {
                uris.push(uri);
            }
        }
        uris
    }

    fn parse(text: &str) -> Option<Self> {
        let (text, size) = text.split_once('!').map_or((text, None), |(uri, size)| (uri, Some(size)));
        let bytes_max = match size {
            Some(size) => Some(octets(size)?),
            None => None,
        };
        let (scheme, rest) = text.split_once(':')?;
        if scheme.eq_ignore_ascii_case("mailto") {
            // what follows are fields of a mail that a person would write
            let address = decoded(rest.split('?').next()?)?;
            let address = Address::parse(&address).ok().filter(|address| address.domain.as_ip().is_none())?;
            return Some(Self::Mail { address, bytes_max });
        }
        let url = scheme.eq_ignore_ascii_case("https").then(|| HttpsUrl::parse(&format!("https:{rest}")))?;
        url.ok().map(Self::Https)
    }
}

/// `1*DIGIT [ "k" / "m" / "g" / "t" ]`, in powers of two (RFC 7489 section 6.2).
fn octets(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| "kmgtKMGT".contains(c));
    let power = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // what is larger than all numbers is no bound
    is_number.then(|| digits.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(1 << power))
}

/// Takes away the percent-encoding (RFC 3986 section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let (high, low) =
                    (char::from(rest.next()?).to_digit(16)?, char::from(rest.next()?).to_digit(16)?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

/// Reads the TXT records of `_smtp._tls.DOMAIN`; of several that are records of TLSRPT none counts.
pub(crate) fn tls_destinations(texts: &[Vec<u8>]) -> Vec<ReportUri> {
    let record = |text: &&Vec<u8>| {
        let first = text.split(|octet| *octet == b';').next().unwrap_or_default();
        first.trim_ascii() == b"v=TLSRPTv1" && text.contains(&b';')
    };
    let mut records = texts.iter().filter(record);
    let Some(only) = records.next().filter(|_| records.next().is_none()) else { return Vec::new() };
    let text = String::from_utf8_lossy(only);
    let fields = text.split(';').skip(1).filter_map(|field| field.split_once('='));
    let mut uris = fields.filter(|(name, _)| name.trim_ascii() == "rua").map(|(_, value)| value);
    uris.next().map(ReportUri::list).unwrap_or_default()
}

/// What a host says to reports about another domain that are to come to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Consent {
    /// It does not want them.
    No,
    /// It wants them.
    Yes,
    /// It wants them there.
    Instead(ReportUri),
}

/// Reads the TXT records of `DOMAIN._report._dmarc.HOST` (RFC 9990 section 4, steps 6 to 9).
pub(crate) fn consent(texts: &[Vec<u8>], host: &Domain) -> Consent {
    let records: Vec<Tags<'_>> =
        texts.iter().filter(|text| is_record(text)).filter_map(|text| Tags::parse(text)).collect();
    if records.is_empty() {
        return Consent::No;
    }
    let Some(instead) = records.iter().find_map(|record| record.find("rua")) else { return Consent::Yes };
    let is_there =
        |uri: &ReportUri| matches!(uri, ReportUri::Mail { address, .. } if address.domain == *host);
    match ReportUri::list(instead) {
        uris if uris.iter().all(is_there) => uris.into_iter().next().map_or(Consent::No, Consent::Instead),
        _ => Consent::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        let shown = |uri: ReportUri| match &uri {
            ReportUri::Mail { bytes_max: Some(most), .. } => format!("{uri} {most}"),
            _ => uri.to_string(),
        };
        ReportUri::list(text).into_iter().map(shown).collect()
    }

    #[test]
    fn destinations_are_read_and_junk_is_not() {
        for (text, expected) in [
            ("", &[][..]),
            ("mailto:d@a.test", &["mailto:d@a.test"]),
            (" MAILTO:d@A.test , https://r.test/x ", &["mailto:d@a.test", "https://r.test/x"]),
            ("mailto:d@a.test!10m", &["mailto:d@a.test 10485760"]),
            ("mailto:d@a.test!5,mailto:e@a.test!1K", &["mailto:d@a.test 5", "mailto:e@a.test 1024"]),
            ("mailto:d@a.test!99999999999999999999999t", &["mailto:d@a.test 18446744073709551615"]),
            ("mailto:d@a.test!", &[]),
            ("mailto:d@a.test!10mm", &[]),
            ("mailto:d@a.test!m", &[]),
            ("mailto:d@a.test!-1", &[]),
            ("mailto:d%2Bx@a.test?subject=x", &["mailto:d+x@a.test"]),
            ("mailto:d%2", &[]),
            ("mailto:d%0d%0aBcc:x@a.test", &[]),
            ("mailto:d@a.test%2Ce@a.test", &[]),
            ("mailto:d@[192.0.2.1]", &[]),
            ("mailto:", &[]),
            ("http://r.test/x", &[]),
            ("https://u:p@r.test/", &[]),
            ("d@a.test", &[]),
            (
                "mailto:d@a.test,mailto:D@a.test!1k,;;,\u{0},mailto:d@a.test",
                &["mailto:d@a.test", "mailto:D@a.test 1024"],
            ),
        ] {
            assert_eq!(list(text), expected, "{text:?}");
        }
        let many: Vec<String> = (0..1000).map(|n| format!("mailto:d{n}@a.test")).collect();
        assert_eq!(list(&many.join(",")).len(), URIS_MAX);
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_record_holds_is_read_within_bounds(text in ".{0,200}", octets in proptest::collection::vec(0_u8.., 0..200)) {
            let with = format!("mailto:x@a.test!{text},https://{text},mailto:{text}@a.test,{text}");
            proptest::prop_assert!(ReportUri::list(&with).len() <= URIS_MAX);
            tls_destinations(&[octets.clone(), [b"v=TLSRPTv1;rua=".as_slice(), &octets].concat()]);
            consent(&[octets.clone(), [b"v=DMARC1;rua=".as_slice(), &octets].concat()], &Domain::new("a.test").unwrap());
        }
    }

    #[test]
    fn of_records_of_tlsrpt_one_counts() {
        let destinations = |texts: &[&str]| {
            let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            tls_destinations(&texts).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let one = ["mailto:t@a.test"];
        assert_eq!(destinations(&["v=TLSRPTv1;rua=mailto:t@a.test"]), one);
        assert_eq!(destinations(&["v=TLSRPTv1 ; x=y; rua = mailto:t@a.test ;"]), one);
        assert_eq!(destinations(&["v=spf1 -all", "v=TLSRPTv1; rua=mailto:t@a.test"]), one);
        let both = destinations(&["v=TLSRPTv1; rua=mailto:t@a.test,https://t.a.test/v1?x=1"]);
        assert_eq!(both, ["mailto:t@a.test", "https://t.a.test/v1?x=1"]);
        for texts in [
            &[][..],
            &["v=TLSRPTv1"],
            &["v=TLSRPTv1;"],
            &["v=TLSRPTv1; rua="],
            &["v=TLSRPTv2; rua=mailto:t@a.test"],
            &["rua=mailto:t@a.test; v=TLSRPTv1"],
            &["v=TLSRPTv1; rua=mailto:t@a.test", "v=TLSRPTv1; rua=mailto:u@a.test"],
        ] {
            assert_eq!(destinations(texts), [""; 0], "{texts:?}");
        }
    }

    #[test]
    fn a_host_says_which_reports_it_wants() {
        let asked = |texts: &[&str]| {
            let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
            consent(&texts, &Domain::new("r.test").unwrap())
        };
        for (texts, expected) in [
            (&[][..], Consent::No),
            (&["v=DMARC1"], Consent::Yes),
            (&["v=DMARC1;"], Consent::Yes),
            (&["other", "v=DMARC1; x=y"], Consent::Yes),
            (&["v=DMARC2"], Consent::No),
            (&["v=DMARC1; x"], Consent::No),
            (&["v=DMARC1; rua=mailto:x@elsewhere.test"], Consent::No),
            (&["v=DMARC1; rua=mailto:x@r.test,mailto:x@elsewhere.test"], Consent::No),
            (&["v=DMARC1; rua=https://r.test/"], Consent::No),
            (&["v=DMARC1; rua=junk"], Consent::No),
        ] {
            assert_eq!(asked(texts), expected, "{texts:?}");
        }
        let address = Address::parse("x@r.test").unwrap();
        let instead = Consent::Instead(ReportUri::Mail { address, bytes_max: None });
        assert_eq!(asked(&["v=DMARC1; rua=mailto:x@r.test"]), instead);
    }
}
