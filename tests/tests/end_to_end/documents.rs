//! What a listener for HTTPS shows, read by curl, by our own reader of policies, and by a reader of XML.

use std::process::{Command, Output};

use waypost_config::{Service, TlsMode};
use waypost_mta::tls_policy::sts::{Mode, StsPolicy};
use waypost_tests::{Site, SiteBuilder};

fn curl(site: &Site, url: &str, more: &[&str]) -> Output {
    let address = site.address(Service::Http, TlsMode::Implicit);
    let found = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "20",
            "--connect-to",
            &format!("::{address}"),
        ])
        .args(more)
        .arg(url)
        .output()
        .unwrap();
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    found
}

fn text(site: &Site, url: &str, more: &[&str]) -> String {
    String::from_utf8(curl(site, url, more).stdout).unwrap()
}

/// The text of each element of these names, as Python's parser finds them.
fn elements(xml: &str, names: &str) -> String {
    let script = "import sys,xml.etree.ElementTree as e\nnames=sys.argv[2].split(',')\n\
                  print(' '.join(x.text for x in e.fromstring(sys.argv[1].encode()).iter() if x.tag.split('}')[-1] in names))";
    let found = Command::new("python3").args(["-c", script, xml, names]).output().unwrap();
    assert!(found.status.success(), "{xml}\n{}", String::from_utf8_lossy(&found.stderr));
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_found_where_others_look_for_them() {
    let http = "[[listener]]\nservice = \"http\"\naddress = \"127.0.0.1:0\"\n";
    let site = SiteBuilder::new("a.test").with(http).start().await;

    let policy = text(&site, "https://mta-sts.a.test/.well-known/mta-sts.txt", &[]);
    let policy = StsPolicy::parse(&policy).unwrap();
    assert_eq!((policy.mode, policy.exchangers), (Mode::Testing, vec!["mx.a.test".to_owned()]));

    // All listeners of the test are on loopback, where nobody can reach them: no way to them is told.
    let autoconfig =
        text(&site, "https://autoconfig.a.test/mail/config-v1.1.xml?emailaddress=alice%40a.test", &[]);
    assert_eq!(elements(&autoconfig, "domain,port"), "a.test");
    let posted = ["--data-binary", "<Autodiscover/>", "--header", "Content-Type: text/xml"];
    let autodiscover = text(&site, "https://autodiscover.a.test/autodiscover/autodiscover.xml", &posted);
    assert_eq!(elements(&autodiscover, "Action,Port"), "settings");

    assert_eq!(text(&site, "https://mx.a.test/health", &[]), "ok\n");
    let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
    assert_eq!(text(&site, "https://mta-sts.b.test/.well-known/mta-sts.txt", &status), "404");
    assert_eq!(
        text(&site, "https://mx.a.test/health", &[&status[..], &["--request", "PUT"]].concat()),
        "405"
    );
}
