//! Authentication-Results (RFC 8601): written for what we found, and read as far as we must. Pure.

use std::fmt::Write;

use waypost_message::HeaderBlock;

use super::{Verdict, dkim::DkimOutcome, dmarc::DmarcOutcome, iprev::IprevOutcome, policy::Disposition};

/// The name of the field.
pub(crate) const FIELD: &str = "Authentication-Results";
/// Longest value of a property in octets.
const VALUE_BYTES_MAX: usize = 320;

/// The whole field, with what is done about it.
pub(crate) fn field(verdict: &Verdict, disposition: &Disposition, authserv_id: &str) -> String {
    let mut field = format!("{FIELD}: {authserv_id}");
    iprev(&mut field, verdict);
    spf(&mut field, verdict);
    match verdict.dkim.as_slice() {
        [] => method(&mut field, "dkim", "none", None),
        all => all.iter().for_each(|outcome| dkim(&mut field, outcome)),
    }
    method(&mut field, "arc", verdict.arc.result.name(), verdict.arc.reason.as_deref());
    if let Some(newest) = verdict.arc.sealers.first() {
        property(&mut field, "header.d", &newest.domain);
    }
    verdict.dmarc.iter().for_each(|outcome| dmarc(&mut field, outcome, disposition));
    field + "\r\n"
}

fn iprev(field: &mut String, verdict: &Verdict) {
    method(field, "iprev", verdict.iprev.name(), None);
    if let IprevOutcome::Pass(name) = &verdict.iprev {
        comment(field, name);
    }
    if !verdict.peer.is_unspecified() {
        property(field, "policy.iprev", &verdict.peer.to_string());
    }
}

fn spf(field: &mut String, verdict: &Verdict) {
    method(field, "spf", verdict.spf.result.name(), verdict.spf.problem.as_deref());
    match verdict.sender.as_deref() {
        Some(sender) => property(field, "smtp.mailfrom", sender),
        None => property(field, "smtp.helo", &verdict.helo),
    }
    if let Some(outcome) = &verdict.helo_spf {
        method(field, "spf", outcome.result.name(), outcome.problem.as_deref());
        property(field, "smtp.helo", &verdict.helo);
    }
}

fn dkim(field: &mut String, outcome: &DkimOutcome) {
    method(field, "dkim", outcome.result.name(), outcome.reason.as_deref());
    let Some(signer) = &outcome.signer else { return };
    property(field, "header.d", &signer.domain);
    if let Some(identity) = &signer.identity {
        property(field, "header.i", identity);
    }
    property(field, "header.s", &signer.selector);
    property(field, "header.a", signer.algorithm);
    property(field, "header.b", &signer.mark);
}

fn dmarc(field: &mut String, outcome: &DmarcOutcome, disposition: &Disposition) {
    let reason = disposition.reason().filter(|_| outcome.is_a_failure());
    method(field, "dmarc", outcome.result.name(), reason);
    if !outcome.domain.is_empty() {
        property(field, "header.from", &outcome.domain);
        property(field, "policy.dmarc", outcome.policy.name());
    }
}

/// `resinfo = [CFWS] ";" methodspec [ CFWS reasonspec ] …`
fn method(field: &mut String, method: &str, result: &str, reason: Option<&str>) {
    field.push_str(";\r\n\t");
    field.push_str(method);
    field.push('=');
    field.push_str(result);
    if let Some(reason) = reason {
        field.push_str(" reason=");
        quoted(field, reason);
    }
}

/// `propspec = ptype [CFWS] "." [CFWS] property [CFWS] "=" pvalue`
fn property(field: &mut String, name: &str, value: &str) {
    let is_plain = !value.is_empty()
        && value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b".-_@+".contains(&octet));
    field.push_str("\r\n\t\t");
    field.push_str(name);
    field.push('=');
    if is_plain { field.push_str(&bounded(value)) } else { quoted(field, value) }
}

/// A comment of visible ASCII without parentheses.
fn comment(field: &mut String, text: &str) {
    let text: String =
        bounded(text).chars().filter(|c| c.is_ascii_graphic() && !"()\\".contains(*c)).collect();
    // writing to a String does not fail
    write!(field, " ({text})").unwrap_or_default();
}

/// A quoted string; strangers' control characters are left out.
fn quoted(field: &mut String, text: &str) {
    field.push('"');
    for c in bounded(text).chars().filter(|c| !c.is_control()) {
        if c == '"' || c == '\\' {
            field.push('\\');
        }
        field.push(c);
    }
    field.push('"');
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(VALUE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Writes what a stranger said wherever his words may stand.
#[cfg(feature = "fuzzing")]
pub(super) fn write_strangers(field: &mut String, text: &str) {
    method(field, "spf", "fail", Some(text));
    property(field, "smtp.mailfrom", text);
    comment(field, text);
    method(field, "dkim", "fail", None);
    property(field, "header.i", text);
}

/// Removes the fields that say they are ours, or may be read so (RFC 8601 section 5); how many.
pub(crate) fn remove_forged(header: &mut HeaderBlock, authserv_id: &str) -> usize {
    if !header.has(FIELD) {
        return 0;
    }
    header.remove_if(|field| field.is(FIELD) && may_be_of(field.raw, authserv_id))
}

/// Whether a value begins with this identifier, or with none that can be read.
fn may_be_of(raw: &[u8], authserv_id: &str) -> bool {
    let Some(text) = Tokens::all(raw) else { return true };
    let own = text.first().map(|info| info.split_ascii_whitespace().next().unwrap_or_default().to_owned());
    own.is_none_or(|own| own.is_empty() || own.eq_ignore_ascii_case(authserv_id))
}

/// Whether a value says that a method has passed. What stands in quotes and comments says nothing.
pub(crate) fn says_pass(raw: &[u8], method: &str) -> bool {
    let Some(parts) = Tokens::all(raw) else { return false };
    parts.iter().any(|part| {
        let rest = part.trim().strip_prefix(method).map(str::trim_start);
        let result = rest.and_then(|rest| rest.strip_prefix('=')).map(str::trim_start);
        result.and_then(|result| result.split_ascii_whitespace().next()) == Some("pass")
    })
}

/// The domains that a field of this identifier says stood behind the message: signers whose signatures hold, and authors that DMARC found
/// to be such. In lower case.
pub(crate) fn vouched(raw: &[u8], authserv_id: &str) -> Vec<String> {
    let parts = Tokens::all(raw).unwrap_or_default();
    let is_ours = |part: &String| part.trim().eq_ignore_ascii_case(authserv_id);
    if !parts.first().is_some_and(is_ours) {
        return Vec::new();
    }
    let vouched = |part: &String| {
        let mut words = part.split_ascii_whitespace();
        let property = match words.next()? {
            "dkim=pass" => "header.d=",
            "dmarc=pass" => "header.from=",
            _ => return None,
        };
        words.find_map(|word| word.strip_prefix(property)).map(str::to_owned)
    };
    parts.iter().skip(1).filter_map(vouched).collect()
}

/// Takes a value apart.
struct Tokens;

impl Tokens {
    /// What stands between semicolons, in lower case: without comments, with quoted strings as they would be unquoted but for white
    /// space and semicolons in them, which become `?`. `None`: a comment or a string has no end.
    fn all(raw: &[u8]) -> Option<Vec<String>> {
        let (mut parts, mut depth, mut is_quoted) = (vec![String::new()], 0_usize, false);
        let text = String::from_utf8_lossy(raw).to_lowercase();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let part = parts.last_mut()?;
            match c {
                '\\' if is_quoted || depth > 0 => {
                    let escaped = rest.next()?;
                    if depth == 0 {
                        part.push(if escaped.is_alphanumeric() || escaped == '.' { escaped } else { '?' });
                    }
                }
                '"' if depth == 0 => is_quoted = !is_quoted,
                '(' if !is_quoted => depth += 1,
                ')' if !is_quoted && depth > 0 => {
                    depth -= 1;
                    part.push(' ');
                }
                _ if depth > 0 => {}
                c if is_quoted && (c.is_whitespace() || c == ';' || c == '=') => part.push('?'),
                ';' => parts.push(String::new()),
                c => part.push(c),
            }
        }
        (depth == 0 && !is_quoted).then_some(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_say_they_are_ours_are_removed() {
        let mut header = HeaderBlock::new(
            "Authentication-Results: mx.b.test; spf=pass\r\n\
             authentication-results:\r\n\t(x) MX.b.test 1;\r\n\tdkim=pass\r\n\
             Authentication-Results: \"mx.b.test\"; dkim=pass\r\n\
             Authentication-Results: (a (b)\\)) mx.b.test (c); none\r\n\
             Authentication-Results: (no end; none\r\n\
             Authentication-Results: ; none\r\n\
             Authentication-Results: other.test; spf=pass smtp.mailfrom=mx.b.test\r\n\
             Authentication-Results: mx.b.test.other.test; spf=pass\r\n\
             X: mx.b.test\r\n\r\n"
                .into(),
        );
        assert_eq!(remove_forged(&mut header, "mx.b.test"), 6);
        let left = String::from_utf8(header.into_octets()).unwrap();
        assert!(left.starts_with("Authentication-Results: other.test;"), "{left}");
        assert_eq!(left.lines().count(), 4);
    }

    #[test]
    fn only_a_result_says_that_something_passed() {
        for (text, expected) in [
            (" i=1; a.test; dmarc=pass", true),
            (" i=1; a.test;\r\n\tspf=fail;\r\n\tDMARC = Pass (p=none) header.from=b.test", true),
            (" i=1; a.test; dmarc=fail", false),
            (" i=1; a.test; dmarc=passing", false),
            (" i=1; a.test; spf=fail smtp.mailfrom=\"x; dmarc=pass\"@b.test", false),
            (" i=1; a.test; spf=fail (; dmarc=pass;) x=y", false),
            (" i=1; a.test; spf=fail reason=\"\\\"; dmarc=pass\"", false),
            (" i=1; a.test; xdmarc=pass", false),
            (" i=1; a.test; dmarc=pass \"no end", false),
        ] {
            assert_eq!(says_pass(text.as_bytes(), "dmarc"), expected, "{text}");
        }
    }

    #[test]
    fn what_we_wrote_says_who_vouched() {
        let field = " mx.b.test;\r\n\tiprev=pass (x.test)\r\n\t\tpolicy.iprev=192.0.2.1;\r\n\tspf=pass\r\n\t\tsmtp.mailfrom=x@s.test;\r\n\
            \tdkim=fail reason=\"; dkim=pass header.d=f.test\"\r\n\t\theader.d=e.test;\r\n\
            \tdkim=pass\r\n\t\theader.d=D.test\r\n\t\theader.s=s;\r\n\tarc=pass\r\n\t\theader.d=c.test;\r\n\
            \tdmarc=pass\r\n\t\theader.from=a.test\r\n\t\tpolicy.dmarc=reject\r\n";
        assert_eq!(vouched(field.as_bytes(), "mx.b.test"), ["d.test", "a.test"]);
        assert_eq!(vouched(field.as_bytes(), "other.test"), [""; 0]);
        assert_eq!(vouched(b" mx.b.test; dkim=pass (no end", "mx.b.test"), [""; 0]);
    }

    #[test]
    fn strangers_words_stay_in_their_place() {
        let mut field = String::new();
        property(&mut field, "smtp.mailfrom", "a\"b\\;c\r\nd@e.test");
        method(&mut field, "spf", "permerror", Some("x\"\r\nSubject: y"));
        assert_eq!(
            field,
            "\r\n\t\tsmtp.mailfrom=\"a\\\"b\\\\;cd@e.test\";\r\n\tspf=permerror reason=\"x\\\"Subject: y\""
        );
        let mut field = String::new();
        comment(&mut field, "a)b(c\r\n");
        property(&mut field, "x.y", &"ü".repeat(400));
        assert_eq!(field, format!(" (abc)\r\n\t\tx.y=\"{}\"", "ü".repeat(160)));
    }
}
