//! Samples of reports, in the forms that large providers have.

use std::io::Write;

use flate2::{
    Compression, Crc,
    write::{DeflateEncoder, GzEncoder},
};

/// In gzip.
pub(crate) fn gzip(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(octets).unwrap();
    encoder.finish().unwrap()
}

/// A ZIP archive, written as streaming tools do: sizes stand in its directory alone. Method 0 or 8.
pub(crate) fn zip(members: &[(&str, &[u8])], method: u16) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, octets) in members {
        let packed = match method {
            8 if !octets.is_empty() => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
                encoder.write_all(octets).unwrap();
                encoder.finish().unwrap()
            }
            _ => octets.to_vec(),
        };
        let mut crc = Crc::new();
        crc.update(octets);
        let (place, name_bytes) = (archive.len() as u32, name.len() as u16);
        archive.extend(b"PK\x03\x04\x14\0\x08\0");
        archive.extend(method.to_le_bytes());
        archive.extend([0; 16]);
        archive.extend(name_bytes.to_le_bytes());
        archive.extend([0; 2]);
        archive.extend(name.as_bytes());
        archive.extend(&packed);
        directory.extend(b"PK\x01\x02\x14\0\x14\0\x08\0");
        directory.extend(method.to_le_bytes());
        directory.extend([0; 4]);
        directory.extend(crc.sum().to_le_bytes());
        directory.extend((packed.len() as u32).to_le_bytes());
        directory.extend((octets.len() as u32).to_le_bytes());
        directory.extend(name_bytes.to_le_bytes());
        directory.extend([0; 12]);
        directory.extend(place.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let (place, count) = (archive.len() as u32, (members.len() as u16).to_le_bytes());
    let bytes = directory.len() as u32;
    archive.extend(directory);
    archive.extend(b"PK\x05\x06\0\0\0\0");
    archive.extend([count, count].concat());
    archive.extend(bytes.to_le_bytes());
    archive.extend(place.to_le_bytes());
    archive.extend([0; 2]);
    archive
}

/// A record of an aggregate report about a.test.
pub(crate) fn record(source: &str, count: u64, dkim: &str, spf: &str) -> String {
    format!(
        "  <record>\n    <row>\n      <source_ip>{source}</source_ip>\n      <count>{count}</count>\n      <policy_evaluated>\n        \
         <disposition>none</disposition>\n        <dkim>{dkim}</dkim>\n        <spf>{spf}</spf>\n      </policy_evaluated>\n    </row>\n    \
         <identifiers>\n      <header_from>a.test</header_from>\n    </identifiers>\n    <auth_results>\n      <dkim>\n        \
         <domain>a.test</domain>\n        <result>{dkim}</result>\n        <selector>s1</selector>\n      </dkim>\n      <spf>\n        \
         <domain>a.test</domain>\n        <result>{spf}</result>\n      </spf>\n    </auth_results>\n  </record>\n"
    )
}

/// An aggregate report of big.test about 2026-11-25, in the older form.
pub(crate) fn aggregate(records: &[String]) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\n<feedback>\n  <report_metadata>\n    <org_name>big.test</org_name>\n    \
         <email>noreply-dmarc@big.test</email>\n    <extra_contact_info>https://big.test/dmarc</extra_contact_info>\n    \
         <report_id>1122334455</report_id>\n    <date_range>\n      <begin>1795564800</begin>\n      <end>1795651199</end>\n    \
         </date_range>\n  </report_metadata>\n  <policy_published>\n    <domain>a.test</domain>\n    <adkim>r</adkim>\n    \
         <aspf>r</aspf>\n    <p>quarantine</p>\n    <sp>quarantine</sp>\n    <pct>100</pct>\n  </policy_published>\n{}</feedback>\n",
        records.concat()
    )
}

/// A report of TLS of big.test about 2026-11-25.
pub(crate) fn tls_report() -> String {
    r#"{
  "organization-name": "Big Mail Inc.",
  "date-range": {"start-datetime": "2026-11-25T00:00:00Z", "end-datetime": "2026-11-25T23:59:59Z"},
  "contact-info": "smtp-tls@big.test",
  "report-id": "2026-11-25T00:00:00Z_a.test",
  "policies": [
    {
      "policy": {"policy-type": "sts", "policy-string": ["version: STSv1", "mode: testing"], "policy-domain": "A.test", "mx-host": ["mx.a.test"]},
      "summary": {"total-successful-session-count": 120, "total-failure-session-count": 5},
      "failure-details": [
        {"result-type": "certificate-expired", "sending-mta-ip": "198.51.100.7", "receiving-ip": "not an address",
         "receiving-mx-hostname": "mx.a.test", "failed-session-count": 3},
        {"result-type": "something-new", "failed-session-count": 2, "failure-reason-code": "X-AGAIN", "more": [{}]}
      ]
    },
    {
      "policy": {"policy-type": "tlsa", "policy-string": ["3 1 1 00"], "policy-domain": "mx.a.test"},
      "summary": {"total-successful-session-count": 7, "total-failure-session-count": 0}
    }
  ]
}
"#
    .to_owned()
}

/// A mail with a report, as it lies in a mailbox of mx.a.test: vouched for by `signer`, of the type and with the content given.
pub(crate) fn mail(signer: &str, headers: &str, octets: &[u8]) -> Vec<u8> {
    let results = match signer {
        "" => "Authentication-Results: mx.a.test; spf=pass smtp.mailfrom=x@big.test; dkim=none; dmarc=fail header.from=big.test\r\n".to_owned(),
        signer => format!("Authentication-Results: mx.a.test;\r\n\tspf=none;\r\n\tdkim=pass\r\n\t\theader.d={signer}\r\n"),
    };
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, octets);
    let lines: Vec<&str> =
        encoded.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!(
        "Return-Path: <noreply-dmarc@big.test>\r\nDelivered-To: postmaster@a.test\r\n{results}\
         Received: from mx.big.test ([192.0.2.77])\r\n\tby mx.a.test with ESMTPS (TLSv1.3 x)\r\n\tid 0000000000c1s for <postmaster@a.test>;\r\n\t\
         Thu, 26 Nov 2026 01:02:03 +0000\r\nAuthentication-Results: mx.a.test; dkim=pass header.d=evil.test\r\n\
         From: Reports <noreply-dmarc@big.test>\r\nTo: postmaster@a.test\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n{headers}\r\n{}\r\n",
        lines.join("\r\n")
    )
    .into_bytes()
}
