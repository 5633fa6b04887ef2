use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::*;
use crate::tls_policy::results::{PolicyText, Summary};

fn by() -> Identity {
    Identity {
        organization: "Example & Co".into(),
        from: Address::parse("postmaster@b.test").unwrap(),
        contact: "https://b.test/reports".into(),
        hostname: Domain::new("mx.b.test").unwrap(),
    }
}

fn day() -> Day {
    Day::parse("2026-11-25").unwrap()
}

fn unpacked(document: &Document) -> String {
    let mut text = String::new();
    GzDecoder::new(&document.octets[..]).read_to_string(&mut text).unwrap();
    text
}

fn counts() -> DomainCounts {
    let record = wire::Record::new()
        .with_source_ip("2001:db8::1".parse().unwrap())
        .with_count(3)
        .with_action_disposition(wire::ActionDisposition::Quarantine)
        .with_dmarc_dkim_result(wire::DmarcResult::Fail)
        .with_dmarc_spf_result(wire::DmarcResult::Fail)
        .with_policy_override_reason(wire::PolicyOverrideReason {
            type_: wire::PolicyOverride::LocalPolicy,
            comment: Some("a <b>".into()),
        })
        .with_envelope_to("b.test")
        .with_header_from("news.a.test")
        .with_dkim_auth_result(
            wire::DKIMAuthResult::new()
                .with_domain("x.test")
                .with_selector("s")
                .with_result(wire::DkimResult::Fail),
        )
        .with_spf_auth_result(
            wire::SPFAuthResult::new()
                .with_domain("mx.x.test")
                .with_scope(wire::SPFDomainScope::MailFrom)
                .with_result(wire::SpfResult::SoftFail),
        );
    let policy = wire::PolicyPublished {
        domain: "a.test".into(),
        version_published: None,
        adkim: wire::Alignment::Strict,
        aspf: wire::Alignment::Relaxed,
        p: wire::Disposition::Reject,
        sp: wire::Disposition::Reject,
        np: wire::Disposition::None,
        testing: true,
        discovery_method: wire::Discovery::Treewalk,
        fo: Some("1".into()),
    };
    DomainCounts { policy, report_uris: String::new(), messages: 5, unlisted: 2, records: vec![record] }
}

#[test]
fn a_report_of_dmarc_is_as_the_rfc_has_it() {
    let document = Document::dmarc(&by(), "a.test", day(), counts()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let lines: Vec<String> = unpacked(&document).lines().map(|line| line.trim().to_owned()).collect();
    let expected = format!(
        r#"<?xml version="1.0" encoding="UTF-8" ?>
<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
<version>1.0</version>
<report_metadata>
<org_name>Example &amp; Co</org_name>
<email>postmaster@b.test</email>
<extra_contact_info>https://b.test/reports</extra_contact_info>
<report_id>20261125mxbtest</report_id>
<date_range>
<begin>1795564800</begin>
<end>1795651199</end>
</date_range>
<error>2 more messages were seen and are in no record, for want of room</error>
<generator>Waypost {version}</generator>
</report_metadata>
<policy_published>
<domain>a.test</domain>
<p>reject</p>
<sp>reject</sp>
<np>none</np>
<adkim>s</adkim>
<aspf>r</aspf>
<discovery_method>treewalk</discovery_method>
<fo>1</fo>
<testing>y</testing>
</policy_published>
<record>
<row>
<source_ip>2001:db8::1</source_ip>
<count>3</count>
<policy_evaluated>
<disposition>quarantine</disposition>
<dkim>fail</dkim>
<spf>fail</spf>
<reason>
<type>local_policy</type>
<comment>a &lt;b&gt;</comment>
</reason>
</policy_evaluated>
</row>
<identifiers>
<envelope_to>b.test</envelope_to>
<envelope_from></envelope_from>
<header_from>news.a.test</header_from>
</identifiers>
<auth_results>
<dkim>
<domain>x.test</domain>
<selector>s</selector>
<result>fail</result>
</dkim>
<spf>
<domain>mx.x.test</domain>
<scope>mfrom</scope>
<result>softfail</result>
</spf>
</auth_results>
</record>
</feedback>"#
    );
    assert_eq!(lines.join("\n"), expected);
    let again = Document::dmarc(&by(), "a.test", day(), counts()).unwrap();
    assert_eq!(again.octets, document.octets, "a report that is sent again is the same");
}

#[test]
fn a_report_of_tls_is_as_the_rfc_has_it() {
    let policy = PolicyText {
        policy_type: "sts".into(),
        policy_string: vec!["version: STSv1".into()],
        policy_domain: "a.test".into(),
        mx_host: vec!["*.a.test".into()],
    };
    let results =
        PolicyResults { policy, summary: Summary { successful: 5, failed: 0 }, details: Vec::new() };
    let document = Document::tls(&by(), "a.test", day(), &[results]).unwrap();
    let report: Value = serde_json::from_str(&unpacked(&document)).unwrap();
    assert_eq!(
        report,
        json!({
            "organization-name": "Example & Co",
            "date-range": {"start-datetime": "2026-11-25T00:00:00Z", "end-datetime": "2026-11-25T23:59:59Z"},
            "contact-info": "https://b.test/reports",
            "report-id": "20261125mxbtest@mx.b.test",
            "policies": [{
                "policy": {
                    "policy-type": "sts", "policy-string": ["version: STSv1"], "policy-domain": "a.test",
                    "mx-host": ["*.a.test"],
                },
                "summary": {"total-successful-session-count": 5, "total-failure-session-count": 0},
            }],
        })
    );
}

#[test]
fn subjects_files_and_fields_are_as_the_rfcs_have_them() {
    let to = Address::parse("d@a.test").unwrap();
    let mail = |document: &Document| document.mail(&to, day().end(), "1", "b".into());
    let dmarc = mail(&Document::dmarc(&by(), "a.test", day(), counts()).unwrap());
    assert_eq!(dmarc.subject, "Report Domain: a.test Submitter: b.test Report-ID: <20261125mxbtest>");
    assert_eq!(dmarc.file_name, "b.test!a.test!1795564800!1795651199!20261125mxbtest.xml.gz");
    assert_eq!(
        (dmarc.media_type, dmarc.container, dmarc.fields.len()),
        ("application/gzip", Container::Mixed, 0)
    );
    let tls = mail(&Document::tls(&by(), "a.test", day(), &[]).unwrap());
    let id = "20261125mxbtest@mx.b.test";
    assert_eq!(tls.subject, format!("Report Domain: a.test Submitter: b.test Report-ID: <{id}>"));
    assert_eq!(tls.file_name, "b.test!a.test!1795564800!1795651199!20261125mxbtest.json.gz");
    assert_eq!((tls.media_type, tls.container), ("application/tlsrpt+gzip", Container::Report("tlsrpt")));
    let fields: Vec<String> = tls.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(fields, ["TLS-Report-Domain: a.test", "TLS-Report-Submitter: b.test", "TLS-Required: No"]);
    assert_eq!(tls.from, ("Example & Co".into(), by().from));
}
