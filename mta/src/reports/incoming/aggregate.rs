//! Aggregate reports of DMARC (RFC 9990 section 3.1; RFC 7489 appendix C, which most still send). Pure.
//!
//! Elements are known by their place and local name, in any order and whatever their namespace; others are passed over. What is not well
//! formed, has a document type (and so could have entities of its own) or a count that is none is no report. Rows that say the same of one
//! address are counted together, so that a report of any length becomes one of bounded length.

use std::{collections::BTreeMap, net::IpAddr};

use quick_xml::{Reader, events::Event};
use serde::{Deserialize, Serialize};

use super::text::bounded;

/// Deepest element.
const DEPTH_MAX: usize = 16;
/// Longest text of an element in octets; what stands behind it is not looked at.
const TEXT_BYTES_MAX: usize = 1024;
/// Most rows that are kept of one report; of further ones only the messages are counted.
pub const ROWS_MAX: usize = 1000;
/// Most signatures that are kept of a row.
pub const SIGNATURES_MAX: usize = 4;
/// Most errors that a report tells of our record.
const ERRORS_MAX: usize = 5;

/// What a provider saw of mail with a domain in From.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Aggregate {
    /// Who reports, by its own name.
    pub organization: String,
    /// Whom to ask.
    pub email: String,
    /// The name of the report.
    pub id: String,
    /// Begin of its time, in seconds since 1970.
    pub begin: i64,
    /// Its end.
    pub end: i64,
    /// The domain whose policy was found.
    pub domain: String,
    /// What that policy asks for.
    pub policy: String,
    /// What was wrong with our record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// What was seen; at most [`ROWS_MAX`].
    pub rows: Vec<Row>,
    /// Messages of rows beyond those.
    #[serde(default)]
    pub left_out: u64,
}

/// What was seen from one address, with one outcome.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Row {
    /// The address; `None` where the report's cannot be read.
    pub source: Option<IpAddr>,
    /// How many messages.
    pub count: u64,
    /// The domain in From.
    pub from: String,
    /// The domain of the recipients, where the report tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whether a signature stood for that domain.
    pub dkim: bool,
    /// Whether SPF did.
    pub spf: bool,
    /// What was done: `none` or `pass`, `quarantine`, `reject`.
    pub disposition: String,
    /// Why something else was done than the policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Signatures of the first of these messages; at most [`SIGNATURES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signatures: Vec<Signature>,
    /// The domain that SPF was asked about, and what came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spf_result: Option<(String, String)>,
}

/// A signature that was looked at.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signature {
    /// `d=`
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// What came of it.
    pub result: String,
}

impl Row {
    /// Whether the domain stood behind these messages.
    pub fn passes(&self) -> bool {
        self.dkim || self.spf
    }
}

/// Whether this may be such a report: the first element has its name.
pub fn is_aggregate(document: &[u8]) -> bool {
    let text = String::from_utf8_lossy(document.get(..4096).unwrap_or(document)).into_owned();
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    loop {
        match reader.read_event() {
            Ok(Event::Start(element)) => return element.local_name().as_ref() == "feedback",
            Ok(Event::Eof | Event::Empty(_) | Event::End(_)) | Err(_) => return false,
            Ok(_) => {}
        }
    }
}

impl Aggregate {
    /// Reads a report. Errors: why it is none, in words.
    pub fn parse(document: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(document);
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut parser = Parser::default();
        loop {
            match reader.read_event() {
                Ok(Event::Start(element)) => parser.open(element.local_name().as_ref())?,
                Ok(Event::Empty(element)) => {
                    parser.open(element.local_name().as_ref())?;
                    parser.close()?;
                }
                Ok(Event::End(_)) => parser.close()?,
                Ok(Event::Text(text)) => parser.text(&text),
                Ok(Event::CData(text)) => parser.text(&text),
                Ok(Event::GeneralRef(reference)) => parser.text(&character(&reference).to_string()),
                Ok(Event::DocType(_)) => return Err("its XML has a document type".to_owned()),
                Ok(Event::Decl(_) | Event::PI(_) | Event::Comment(_)) => {}
                Ok(Event::Eof) => return parser.finish(),
                Err(error) => return Err(bounded(&format!("its XML cannot be read: {error}"))),
            }
        }
    }
}

/// One of the five entities that XML knows by itself, or a character by its number; else U+FFFD.
fn character(reference: &quick_xml::events::BytesRef<'_>) -> char {
    match &**reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => reference.resolve_char_ref().ok().flatten().unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

/// What makes two rows one.
type Key = (Option<IpAddr>, String, Option<String>, bool, bool, String);

#[derive(Default)]
struct Parser {
    path: Vec<String>,
    text: String,
    report: Aggregate,
    has_metadata: bool,
    has_range: (bool, bool),
    row: Row,
    has_count: bool,
    signature: Signature,
    places: BTreeMap<Key, usize>,
}

impl Parser {
    fn open(&mut self, name: &str) -> Result<(), String> {
        if self.path.len() >= DEPTH_MAX {
            return Err(format!("its XML is more than {DEPTH_MAX} elements deep"));
        }
        if self.path.is_empty() && name != "feedback" {
            return Err(bounded(&format!("its XML is no feedback, but {name}")));
        }
        self.path.push(name.to_owned());
        self.text.clear();
        Ok(())
    }

    fn text(&mut self, text: &str) {
        let room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        self.text.push_str(&text[..text.floor_char_boundary(room)]);
    }

    /// An element ends; what stood in it is known.
    fn close(&mut self) -> Result<(), String> {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let text = bounded(self.text.trim());
        match path.as_slice() {
            ["feedback", "report_metadata", rest @ ..] => {
                self.has_metadata = true;
                metadata(&mut self.report, &mut self.has_range, rest, text)?;
            }
            ["feedback", "policy_published", "domain"] => self.report.domain = domain(&text),
            ["feedback", "policy_published", "p"] => self.report.policy = text.to_ascii_lowercase(),
            ["feedback", "record"] => self.end_row()?,
            ["feedback", "record", "row", "count"] => {
                self.row.count = text.parse().map_err(|_| format!("a count of it is {text:?}"))?;
                self.has_count = true;
            }
            ["feedback", "record", "auth_results", "dkim"] => {
                let signature = std::mem::take(&mut self.signature);
                if self.row.signatures.len() < SIGNATURES_MAX {
                    self.row.signatures.push(signature);
                }
            }
            ["feedback", "record", "auth_results", "dkim", name] => match *name {
                "domain" => self.signature.domain = domain(&text),
                "selector" => self.signature.selector = text,
                "result" => self.signature.result = text.to_ascii_lowercase(),
                _ => {}
            },
            ["feedback", "record", rest @ ..] => row(&mut self.row, rest, text),
            _ => {}
        }
        self.path.pop();
        self.text.clear();
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.has_count) {
            return Err("a record of it has no count".to_owned());
        }
        let mut row = std::mem::take(&mut self.row);
        if row.from.is_empty() {
            row.from.clone_from(&self.report.domain);
        }
        let key = (row.source, row.from.clone(), row.to.clone(), row.dkim, row.spf, row.disposition.clone());
        let Aggregate { rows, left_out, .. } = &mut self.report;
        let place = self.places.get(&key).copied().unwrap_or(rows.len());
        if let Some(known) = rows.get_mut(place) {
            known.count = known.count.saturating_add(row.count);
        } else if place < ROWS_MAX {
            self.places.insert(key, place);
            rows.push(row);
        } else {
            *left_out = left_out.saturating_add(row.count);
        }
        Ok(())
    }

    fn finish(self) -> Result<Aggregate, String> {
        let missing = match &self.report {
            _ if !self.path.is_empty() => "its end",
            _ if !self.has_metadata => "report_metadata",
            _ if self.has_range != (true, true) => "date_range",
            Aggregate { domain, .. } if domain.is_empty() => "the domain of policy_published",
            Aggregate { id, .. } if id.is_empty() => "report_id",
            _ => return Ok(self.report),
        };
        Err(format!("it lacks {missing}"))
    }
}

fn metadata(
    report: &mut Aggregate,
    has_range: &mut (bool, bool),
    path: &[&str],
    text: String,
) -> Result<(), String> {
    let seconds = |text: &str| text.parse().map_err(|_| format!("a time of it is {text:?}"));
    match path {
        ["org_name"] => report.organization = text,
        ["email"] => report.email = text,
        ["report_id"] => report.id = text,
        ["date_range", "begin"] => (report.begin, has_range.0) = (seconds(&text)?, true),
        ["date_range", "end"] => (report.end, has_range.1) = (seconds(&text)?, true),
        ["error"] if !text.is_empty() && report.errors.len() < ERRORS_MAX => report.errors.push(text),
        _ => {}
    }
    Ok(())
}

fn row(row: &mut Row, path: &[&str], text: String) {
    let has_passed = |text: &str| text.eq_ignore_ascii_case("pass");
    match path {
        ["row", "source_ip"] => row.source = text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
        ["row", "policy_evaluated", "disposition"] => row.disposition = text.to_ascii_lowercase(),
        ["row", "policy_evaluated", "dkim"] => row.dkim = has_passed(&text),
        ["row", "policy_evaluated", "spf"] => row.spf = has_passed(&text),
        ["row", "policy_evaluated", "reason", "type"] => row.reason = Some(text),
        ["row", "policy_evaluated", "reason", "comment"] if !text.is_empty() => {
            let kind = row.reason.take().unwrap_or_default();
            row.reason = Some(bounded(&format!("{kind}: {text}")));
        }
        // one schema has it as `identities`
        ["identifiers" | "identities", "header_from"] => row.from = domain(&text),
        ["identifiers" | "identities", "envelope_to"] if !text.is_empty() => row.to = Some(domain(&text)),
        ["auth_results", "spf", "domain"] => row.spf_result.get_or_insert_default().0 = domain(&text),
        ["auth_results", "spf", "result"] => {
            row.spf_result.get_or_insert_default().1 = text.to_ascii_lowercase();
        }
        _ => {}
    }
}

/// Domains as they are compared here.
fn domain(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reports::incoming::testing::{aggregate, record};

    fn problem(document: &str) -> String {
        Aggregate::parse(document.as_bytes()).unwrap_err()
    }

    #[test]
    fn the_older_form_is_read() {
        let document = aggregate(&[
            record("192.0.2.1", 38, "pass", "pass"),
            record("192.0.2.1", 3, "fail", "pass"),
            record("203.0.113.9", 2, "fail", "fail").replace("<disposition>none", "<disposition>Reject"),
        ]);
        let report = Aggregate::parse(document.as_bytes()).unwrap();
        assert_eq!(
            (report.organization.as_str(), report.email.as_str(), report.id.as_str()),
            ("big.test", "noreply-dmarc@big.test", "1122334455")
        );
        assert_eq!((report.begin, report.end), (1_795_564_800, 1_795_651_199));
        assert_eq!((report.domain.as_str(), report.policy.as_str()), ("a.test", "quarantine"));
        let seen: Vec<_> = report
            .rows
            .iter()
            .map(|row| (row.source.unwrap().to_string(), row.count, row.dkim, row.spf, &*row.disposition))
            .collect();
        assert_eq!(
            seen,
            [
                ("192.0.2.1".to_owned(), 38, true, true, "none"),
                ("192.0.2.1".to_owned(), 3, false, true, "none"),
                ("203.0.113.9".to_owned(), 2, false, false, "reject"),
            ]
        );
        let row = &report.rows[1];
        let signature = Signature { domain: "a.test".into(), selector: "s1".into(), result: "fail".into() };
        assert_eq!(row.signatures, [signature]);
        assert_eq!(row.spf_result, Some(("a.test".into(), "pass".into())));
        assert_eq!((row.from.as_str(), row.to.as_deref()), ("a.test", None));
        assert!(is_aggregate(document.as_bytes()));
    }

    #[test]
    fn the_newer_form_is_read_with_what_it_adds() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- a comment -->\n\
            <x:feedback xmlns:x=\"urn:ietf:params:xml:ns:dmarc-2.0\" xmlns:y=\"urn:other\"><x:version>1.0</x:version>\
            <x:report_metadata><x:org_name>Big &amp; <![CDATA[Sons]]></x:org_name><x:email>dmarc@big.test</x:email>\
            <x:extra_contact_info>x</x:extra_contact_info><x:report_id>7@big.test</x:report_id>\
            <x:date_range><x:begin> 1795564800 </x:begin><x:end>1795651200</x:end></x:date_range>\
            <x:error>two records</x:error><x:error/><x:generator>G 1.2</x:generator></x:report_metadata>\
            <x:policy_published><x:domain>A.Test.</x:domain><x:discovery_method>treewalk</x:discovery_method>\
            <x:p>reject</x:p><x:sp>none</x:sp><x:np>reject</x:np><x:fo>1</x:fo><x:testing>n</x:testing></x:policy_published>\
            <x:extension><y:count>-1</y:count><y:record><y:count>1</y:count></y:record></x:extension>\
            <x:record><x:row><x:source_ip>::ffff:192.0.2.7</x:source_ip><x:count>5</x:count><x:policy_evaluated>\
            <x:disposition>pass</x:disposition><x:dkim>pass</x:dkim><x:spf>fail</x:spf>\
            <x:reason><x:type>mailing_list</x:type><x:comment>arc=pass</x:comment></x:reason></x:policy_evaluated></x:row>\
            <x:identifiers><x:header_from>News.A.test</x:header_from><x:envelope_from/><x:envelope_to>c.test</x:envelope_to></x:identifiers>\
            <x:auth_results>\
            <x:dkim><x:domain>a.test</x:domain><x:selector>s&#49;</x:selector><x:result>pass</x:result></x:dkim>\
            <x:dkim><x:domain>list.test</x:domain><x:selector>l</x:selector><x:result>pass</x:result></x:dkim>\
            <x:spf><x:domain>list.test</x:domain><x:scope>mfrom</x:scope><x:result>pass</x:result></x:spf>\
            </x:auth_results><y:more>x</y:more></x:record></x:feedback>\n";
        let report = Aggregate::parse(document.as_bytes()).unwrap();
        assert_eq!((report.organization.as_str(), report.domain.as_str()), ("Big & Sons", "a.test"));
        assert_eq!(report.errors, ["two records"]);
        let [row] = report.rows.as_slice() else { panic!("{report:?}") };
        assert_eq!(row.source, Some("192.0.2.7".parse().unwrap()));
        assert_eq!((row.count, row.dkim, row.spf), (5, true, false));
        assert_eq!((row.from.as_str(), row.to.as_deref()), ("news.a.test", Some("c.test")));
        assert_eq!(row.reason.as_deref(), Some("mailing_list: arc=pass"));
        assert_eq!((row.signatures.len(), row.signatures[0].selector.as_str()), (2, "s1"));
        assert!(is_aggregate(document.as_bytes()));
    }

    #[test]
    fn what_is_no_report_is_told_why() {
        let whole = aggregate(&[record("192.0.2.1", 1, "pass", "pass")]);
        let without = |element: &str| {
            let (open, close) = (format!("<{element}>"), format!("</{element}>"));
            let (start, end) = (whole.find(&open).unwrap(), whole.find(&close).unwrap() + close.len());
            format!("{}{}", &whole[..start], &whole[end..])
        };
        for (document, expected) in [
            (String::new(), "it lacks report_metadata"),
            ("<html><body>hello</body></html>".into(), "its XML is no feedback, but html"),
            ("<feedback></feedback>".into(), "it lacks report_metadata"),
            ("hello".into(), "it lacks report_metadata"),
            (without("report_id"), "it lacks report_id"),
            (without("begin"), "it lacks date_range"),
            (without("domain"), "it lacks the domain of policy_published"),
            (without("count"), "a record of it has no count"),
            (whole.replace(">1</count>", ">-1</count>"), "a count of it is \"-1\""),
            (
                whole.replace(">1</count>", ">18446744073709551616</count>"),
                "a count of it is \"18446744073709551616\"",
            ),
            (whole.replace(">1</count>", ">1e3</count>"), "a count of it is \"1e3\""),
            (whole.replace(">1</count>", "></count>"), "a count of it is \"\""),
            (whole.replace("1795564800", "yesterday"), "a time of it is \"yesterday\""),
            (whole.replace("1795564800", "99999999999999999999"), "a time of it is \"99999999999999999999\""),
            (whole.replace("</feedback>", ""), "it lacks its end"),
        ] {
            assert_eq!(problem(&document), expected, "{document}");
        }
        for broken in [
            whole.replace("</row>", "</rows>"),
            whole.replace("<row>", "<row a=\""),
            whole[..whole.len() - 20].to_owned(),
            whole.replace("</feedback>", "</feedback></feedback>"),
        ] {
            assert!(
                problem(&broken).starts_with("its XML cannot be read: ")
                    || problem(&broken) == "it lacks its end"
            );
        }
        for octets in [&b"\xff\xfe<\0f\0"[..], b"PK", b"<", b"<feedback", b"\0\0\0"] {
            assert!(Aggregate::parse(octets).is_err(), "{octets:?}");
            assert!(!is_aggregate(octets));
        }
    }

    #[test]
    fn entities_and_depth_and_length_are_bounded() {
        let bomb = format!(
            "<?xml version=\"1.0\"?><!DOCTYPE lolz [<!ENTITY a \"ha\"><!ENTITY b \"{}\">]>{}",
            "&a;".repeat(1000),
            aggregate(&[]).replace("big.test</org_name>", "&b;</org_name>")
        );
        assert_eq!(problem(&bomb), "its XML has a document type");
        let external = "<!DOCTYPE feedback SYSTEM \"file:///etc/passwd\"><feedback></feedback>";
        assert_eq!(problem(external), "its XML has a document type");
        let unknown = aggregate(&[]).replace("big.test</org_name>", "&b;</org_name>");
        assert_eq!(Aggregate::parse(unknown.as_bytes()).unwrap().organization, "\u{fffd}");
        let deep = |depth: usize| {
            let (open, close) = ("<x>".repeat(depth), "</x>".repeat(depth));
            aggregate(&[]).replace("</feedback>", &format!("{open}{close}</feedback>"))
        };
        assert!(Aggregate::parse(deep(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert_eq!(problem(&deep(DEPTH_MAX)), "its XML is more than 16 elements deep");
        assert_eq!(problem(&deep(1_000_000)), "its XML is more than 16 elements deep");
        let long =
            aggregate(&[]).replace("big.test</org_name>", &format!("{}</org_name>", "ü".repeat(100_000)));
        let organization = Aggregate::parse(long.as_bytes()).unwrap().organization;
        assert!(organization.len() <= super::super::text::TEXT_BYTES_MAX && organization.starts_with('ü'));
    }

    #[test]
    fn many_rows_become_few_and_all_are_counted() {
        let same = vec![record("192.0.2.1", 2, "pass", "pass"); 5000];
        let report = Aggregate::parse(aggregate(&same).as_bytes()).unwrap();
        assert_eq!((report.rows.len(), report.rows[0].count, report.left_out), (1, 10_000, 0));
        let different: Vec<_> = (0..ROWS_MAX + 10)
            .map(|number| record(&format!("10.0.{}.{}", number / 256, number % 256), 1, "fail", "fail"))
            .collect();
        let report = Aggregate::parse(aggregate(&different).as_bytes()).unwrap();
        assert_eq!((report.rows.len(), report.left_out), (ROWS_MAX, 10));
        let huge = vec![record("192.0.2.1", u64::MAX, "pass", "pass"); 3];
        assert_eq!(Aggregate::parse(aggregate(&huge).as_bytes()).unwrap().rows[0].count, u64::MAX);
        let unreadable = [record("not an address", 4, "pass", "pass"), record("", 5, "pass", "pass")];
        let report = Aggregate::parse(aggregate(&unreadable).as_bytes()).unwrap();
        assert_eq!((report.rows.len(), report.rows[0].source, report.rows[0].count), (1, None, 9));
    }

    #[test]
    fn a_large_document_becomes_little() {
        let row = |number: usize| record(&format!("2001:db8::{number:x}"), 1, "fail", "fail");
        let rows: Vec<String> = (0..8_000).map(row).collect();
        let document = aggregate(&rows);
        assert!(document.len() > 4 << 20);
        let used = allocation_counter::measure(|| {
            assert_eq!(Aggregate::parse(document.as_bytes()).unwrap().left_out, 7_000);
        });
        assert!(used.bytes_max < 4 << 20, "{used:?}");
    }
}
