//! Reports of another server about our mail, as `waypost reports` shows them.

use serde_json::Value;
use waypost_config::{Service, TlsMode};
use waypost_mail::{Address, ReversePath};
use waypost_server::{
    agent::{Login, Submission, Tls, submit},
    demo::dns::Data,
};
use waypost_tests::{Client, Site, SiteBuilder, World, program, sample, site::PASSWORD};

/// What each domain says in DNS.
fn records() -> Vec<(&'static str, Data)> {
    let text = |text: &str| Data::Text(text.to_owned());
    vec![
        ("a.test", text("v=spf1 ip4:127.0.0.0/8 -all")),
        ("_dmarc.a.test", text("v=DMARC1; p=none; rua=mailto:bob@a.test")),
        ("b.test", text("v=spf1 ip4:127.0.0.0/8 -all")),
        ("_dmarc.b.test", text("v=DMARC1; p=reject")),
    ]
}

async fn send(from: &Site, (user, to): (&str, &str), message: &[u8]) {
    let (sender, to) = (Address::parse(user).unwrap(), Address::parse(to).unwrap());
    let submission = Submission {
        address: from.address(Service::Submission, TlsMode::None),
        tls: Tls::None,
        login: Some(Login { user: user.to_owned(), password: PASSWORD.to_owned() }),
        from: &ReversePath::Address(sender),
        to: &[to],
        message,
    };
    submit(submission).await.unwrap();
}

/// Today, in seconds since 1970, as the server counts it.
fn today(site: &Site) -> (i64, i64) {
    let now = site.store().now().seconds();
    let begin = now - now.rem_euclid(86_400);
    (begin, begin + 86_399)
}

fn aggregate(site: &Site, from: &str) -> Vec<u8> {
    let (begin, end) = today(site);
    let record = |source: &str, count: u64, dkim: &str, spf: &str| {
        format!(
            "<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated><disposition>none</disposition>\r\n\
             <dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row><identifiers><header_from>a.test</header_from></identifiers>\r\n\
             <auth_results><spf><domain>a.test</domain><result>{spf}</result></spf></auth_results></record>\r\n"
        )
    };
    let records = [record("127.0.0.1", 3, "fail", "pass"), record("203.0.113.9", 2, "fail", "fail")].concat();
    format!(
        "From: Reports <{from}>\r\nTo: bob@a.test\r\nSubject: Report Domain: a.test Submitter: b.test Report-ID: 77\r\n\
         Content-Type: application/xml; name=\"b.test!a.test!{begin}!{end}.xml\"\r\n\r\n\
         <?xml version=\"1.0\"?>\r\n<feedback><report_metadata><org_name>b.test</org_name><email>dmarc@b.test</email>\r\n\
         <report_id>77</report_id><date_range><begin>{begin}</begin><end>{end}</end></date_range></report_metadata>\r\n\
         <policy_published><domain>a.test</domain><p>none</p></policy_published>\r\n{records}</feedback>\r\n"
    )
    .into_bytes()
}

async fn reports(site: &Site, more: &[&str]) -> String {
    let config = site.folder.path().join("waypost.toml").display().to_string();
    let client = Client::new(program().to_str().unwrap(), site.folder.path());
    client.args(["reports", "--config", &config]).args(more.iter().copied()).run().await
}

/// What `--json` prints, once it is so.
async fn until(site: &Site, is_so: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..200 {
        let found = serde_json::from_str(&reports(site, &["--json", "--days", "2"]).await).unwrap();
        if is_so(&found) {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{}", reports(site, &[]).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_server_saw_stands_beside_what_was_sent() {
    let world = World::start(&records(), |site| site.with("[authenticity]\nexempt = []")).await;
    let World { a, b, .. } = &world;
    for number in 1..=3 {
        send(a, ("alice@a.test", "bob@b.test"), &sample("alice@a.test", "bob@b.test", number)).await;
    }
    b.messages("bob", "INBOX", 3).await;
    a.drain_queue().await;
    // to the address that the domain's own record names, twice, and once in a stranger's name
    let report = aggregate(a, "bob@b.test");
    send(b, ("bob@b.test", "bob@a.test"), &report).await;
    send(b, ("bob@b.test", "bob@a.test"), &report).await;
    let found = until(a, |found| found["mail"] != Value::Array(Vec::new())).await;
    let line = &found["mail"][0];
    assert_eq!((&line["domain"], &line["provider"]), (&"a.test".into(), &"b.test".into()));
    let counts =
        ["seen", "sent", "failed_dkim", "failed_spf", "others"].map(|key| line[key].as_u64().unwrap());
    assert_eq!(counts, [3, 3, 3, 0, 2], "{line}");
    assert_eq!(line["sources"][0]["address"], "203.0.113.9");
    let text = reports(a, &["--domain", "a.test"]).await;
    for expected in [
        "    saw 3, you sent 3\n",
        "    3 failed DKIM, 0 failed SPF",
        "    2 messages in the name of a.test came from elsewhere",
        "    → they saw no signature: `waypost dkim list a.test`",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    assert!(reports(a, &["--domain", "other.test"]).await.contains("no reports of the last 7 days came"));
    // it is mail all the same, and each can be shown
    a.messages("bob", "INBOX", 2).await;
    let id = line["reports"][0].as_str().unwrap();
    let shown = reports(a, &["show", id]).await;
    assert!(
        shown.contains("b.test vouches for it")
            && shown.contains("127.0.0.1  3 from a.test: DKIM fail, SPF pass, none"),
        "{shown}"
    );
    // what is wrong is told of
    let wrong = String::from_utf8(report)
        .unwrap()
        .replace("<count>3", "<count>-3")
        .replace("Report-ID: 77", "Report-ID: 78");
    send(b, ("bob@b.test", "postmaster@a.test"), wrong.as_bytes()).await;
    until(a, |found| found["problems"] == 1).await;
    let errors = reports(a, &["--errors"]).await;
    assert!(errors.contains("Reports <bob@b.test>: a count of it is \"-3\""), "{errors}");
    b.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_are_shown_without_a_server_too() {
    let site = SiteBuilder::new("a.test").start().await;
    let told = "From: fbl@b.test\r\nTo: postmaster@a.test\r\nMIME-Version: 1.0\r\n\
        Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n\r\nwords\r\n\
        --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\n\r\n\
        --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <1@a.test>\r\nSubject: news\r\n--b--\r\n";
    let (from, to) = (Address::parse("fbl@b.test").unwrap(), Address::parse("postmaster@a.test").unwrap());
    let submission = Submission {
        address: site.address(Service::Smtp, TlsMode::StartTls),
        tls: Tls::None,
        login: None,
        from: &ReversePath::Address(from),
        to: &[to],
        message: told.as_bytes(),
    };
    submit(submission).await.unwrap();
    let found = until(&site, |found| found["incidents"] != Value::Array(Vec::new())).await;
    assert_eq!(found["incidents"][0]["told"]["message_id"], "1@a.test");
    let Site { running, folder, .. } = site;
    assert!(running.drain().await);
    let config = folder.path().join("waypost.toml").display().to_string();
    let client = Client::new(program().to_str().unwrap(), folder.path());
    let text = client.args(["reports", "-c", &config]).run().await;
    assert!(
        text.contains("a complaint")
            && text.contains("Message-ID 1@a.test")
            && text.contains("it is not known here"),
        "{text}"
    );
}
