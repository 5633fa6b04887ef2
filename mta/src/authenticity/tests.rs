use waypost_config::{AuthenticityConfig, DmarcMode};

use super::{
    arc::ArcResult,
    dmarc::{DmarcResult, Policy},
    policy::{Disposition, decide},
    testing::{Signing, Zone, verdict as check},
    *,
};

const PEER: &str = "192.0.2.1";
const MESSAGE: &str = "From: A <a@a.test>\r\nTo: b@b.test\r\nSubject: x\r\n\r\nHello\r\n";

fn enforcing() -> AuthenticityConfig {
    AuthenticityConfig { enabled: true, ..AuthenticityConfig::default() }
}

fn dmarc(verdict: &Verdict) -> Vec<(DmarcResult, &str, Policy)> {
    verdict.dmarc.iter().map(|one| (one.result, one.domain.as_str(), one.policy)).collect()
}

/// What is done with a message of `a@a.test` that only a zone speaks for.
async fn done(zone: Zone) -> (DmarcResult, &'static str) {
    let verdict = check(zone, "x@a.test", MESSAGE).await;
    (verdict.dmarc[0].result, decide(&enforcing(), &verdict).name())
}

#[tokio::test]
async fn a_domain_stands_behind_what_it_sent() {
    let reject = || Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject");
    let spf = |zone: Zone| zone.text("a.test", "v=spf1 ip4:192.0.2.1 -all");
    assert_eq!(done(spf(reject())).await, (DmarcResult::Pass, "deliver"));
    assert_eq!(done(reject()).await, (DmarcResult::Fail, "refuse"));
    assert_eq!(done(Zone::default()).await, (DmarcResult::None, "deliver"));
    assert_eq!(
        done(Zone::default().text("_dmarc.a.test", "TIMEOUT")).await,
        (DmarcResult::TempError, "deliver")
    );
    assert_eq!(done(reject().text("a.test", "TIMEOUT")).await, (DmarcResult::TempError, "refuse"));
    let quarantine = Zone::default().text("_dmarc.a.test", "v=DMARC1; p=quarantine");
    assert_eq!(done(quarantine).await, (DmarcResult::Fail, "quarantine"));
    let test = Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject; t=y");
    assert_eq!(done(test).await, (DmarcResult::Fail, "quarantine"));
    let by = Signing::new("a.test");
    let zone = by.zone().text("_dmarc.a.test", "v=DMARC1; p=reject");
    let verdict = check(zone.clone(), "x@elsewhere.test", &by.sign(MESSAGE)).await;
    assert_eq!(dmarc(&verdict), [(DmarcResult::Pass, "a.test", Policy::Reject)]);
    let changed = by.sign(MESSAGE).replace("Hello", "Hallo");
    let verdict = check(zone, "x@elsewhere.test", &changed).await;
    assert_eq!(dmarc(&verdict), [(DmarcResult::Fail, "a.test", Policy::Reject)]);
}

#[tokio::test]
async fn what_must_be_alike_is() {
    let policy = "v=DMARC1; p=reject";
    for (signer, records, expected) in [
        ("a.test", &[("_dmarc.a.test", policy)][..], DmarcResult::Pass),
        ("mail.a.test", &[("_dmarc.a.test", policy)], DmarcResult::Pass),
        ("mail.a.test", &[("_dmarc.a.test", "v=DMARC1; p=reject; adkim=s")], DmarcResult::Fail),
        ("a.test", &[("_dmarc.a.test", "v=DMARC1; p=reject; adkim=s")], DmarcResult::Pass),
        ("xa.test", &[("_dmarc.a.test", policy)], DmarcResult::Fail),
        ("test", &[("_dmarc.a.test", policy)], DmarcResult::Fail),
        // another organization below ours
        (
            "mail.a.test",
            &[("_dmarc.a.test", policy), ("_dmarc.mail.a.test", "v=DMARC1; p=none; psd=n")],
            DmarcResult::Fail,
        ),
        // a public suffix
        ("b.a.test", &[("_dmarc.a.test", "v=DMARC1; p=reject; psd=y")], DmarcResult::Fail),
    ] {
        let by = Signing::new(signer);
        let zone = records.iter().fold(by.zone(), |zone, (name, text)| zone.text(name, text));
        let verdict = check(zone, "", &by.sign(MESSAGE)).await;
        assert_eq!(verdict.dkim[0].result, DkimResult::Pass, "{signer}");
        assert_eq!(verdict.dmarc[0].result, expected, "{signer} {records:?}");
    }
    // the author below the signer
    let by = Signing::new("a.test");
    let zone = by.zone().text("_dmarc.a.test", policy);
    let message = MESSAGE.replace("a@a.test", "a@news.a.test");
    let verdict = check(zone, "", &by.sign(&message)).await;
    assert_eq!(dmarc(&verdict), [(DmarcResult::Pass, "news.a.test", Policy::Reject)]);
}

#[tokio::test]
async fn domains_that_do_not_exist_have_a_policy_of_their_own() {
    let zone = || Zone::default().text("_dmarc.a.test", "v=DMARC1; p=none; sp=quarantine; np=reject");
    for (author, zone, policy) in [
        ("a.test", zone(), Policy::None),
        ("mail.a.test", zone().address("mail.a.test", "192.0.2.9"), Policy::Quarantine),
        ("mail.a.test", zone(), Policy::Reject),
    ] {
        let message = MESSAGE.replace("a@a.test", &format!("a@{author}"));
        let verdict = check(zone, "", &message).await;
        assert_eq!(dmarc(&verdict), [(DmarcResult::Fail, author, policy)]);
    }
}

#[tokio::test]
async fn of_several_authors_each_must_stand_behind_it() {
    let by = Signing::new("a.test");
    let zone =
        || by.zone().text("_dmarc.a.test", "v=DMARC1; p=reject").text("_dmarc.c.test", "v=DMARC1; p=reject");
    for (from, expected) in [
        ("From: a@a.test\r\n", "deliver"),
        ("From: a@a.test, b@A.test\r\n", "deliver"),
        ("From: a@a.test, c@c.test\r\n", "refuse"),
        ("From: a@a.test\r\nFrom: c@c.test\r\n", "refuse"),
    ] {
        let message = MESSAGE.replace("From: A <a@a.test>\r\n", from);
        let verdict = check(zone(), "", &by.sign(&message)).await;
        assert_eq!(decide(&enforcing(), &verdict).name(), expected, "{from}");
    }
    for from in [
        "",
        "From: nobody\r\n",
        "From: x@[192.0.2.1]\r\n",
        "From: a@a.test, b@b.test, c@c.test, d@d.test, e@e.test\r\n",
    ] {
        let verdict = check(zone(), "", &MESSAGE.replace("From: A <a@a.test>\r\n", from)).await;
        assert_eq!(verdict.dmarc[0].result, DmarcResult::PermError, "{from}");
    }
}

#[tokio::test]
async fn wishes_are_honoured_as_far_as_is_configured() {
    let zone = || Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject");
    let verdict = check(zone(), "x@a.test", MESSAGE).await;
    let rule = |name: &str, mode| (Domain::new(name).unwrap(), mode);
    for (dmarc, domains, expected) in [
        (DmarcMode::Enforce, vec![], "refuse"),
        (DmarcMode::Quarantine, vec![], "quarantine"),
        (DmarcMode::Observe, vec![], "deliver"),
        (DmarcMode::Enforce, vec![rule("test", DmarcMode::Observe)], "deliver"),
        (
            DmarcMode::Enforce,
            vec![rule("test", DmarcMode::Observe), rule("a.test", DmarcMode::Quarantine)],
            "quarantine",
        ),
        (
            DmarcMode::Observe,
            vec![rule("a.test", DmarcMode::Enforce), rule("test", DmarcMode::Observe)],
            "refuse",
        ),
        (
            DmarcMode::Enforce,
            vec![rule("b.a.test", DmarcMode::Observe), rule(".test".trim_matches('.'), DmarcMode::Enforce)],
            "refuse",
        ),
    ] {
        let config = AuthenticityConfig { dmarc, domains, ..enforcing() };
        assert_eq!(decide(&config, &verdict).name(), expected, "{config:?}");
    }
    let Disposition::Refuse(refusal) = decide(&enforcing(), &verdict) else { panic!("not refused") };
    assert_eq!((refusal.code, refusal.status.to_string().as_str()), (550, "5.7.1"));
    assert!(refusal.text.contains("a.test"), "{}", refusal.text);
    let open = check(zone().text("a.test", "TIMEOUT"), "x@a.test", MESSAGE).await;
    let Disposition::Refuse(refusal) = decide(&enforcing(), &open) else { panic!("not refused") };
    assert_eq!((refusal.code, refusal.status.to_string().as_str()), (451, "4.7.1"));
}

#[tokio::test]
async fn who_is_trusted_vouches_for_what_it_forwards() {
    let (list, other) = (Signing::new("list.test"), Signing::new("other.test"));
    let zone = || {
        let records = Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject");
        records
            .text("s._domainkey.list.test", &list.record())
            .text("s._domainkey.other.test", &other.record())
    };
    let (pass, fail) = ("spf=pass; dmarc=pass header.from=a.test", "dmarc=fail header.from=a.test");
    let config =
        AuthenticityConfig { trusted_sealers: vec![Domain::new("list.test").unwrap()], ..enforcing() };
    let by_list = list.seal(MESSAGE, 1, pass);
    let by_other = other.seal(MESSAGE, 1, pass);
    for (message, result, expected) in [
        (MESSAGE.to_owned(), ArcResult::None, "refuse"),
        (by_list.clone(), ArcResult::Pass, "deliver"),
        (list.seal(MESSAGE, 1, fail), ArcResult::Pass, "refuse"),
        (by_list.replace("Hello", "Hallo"), ArcResult::Fail, "refuse"),
        (by_list.replace("dmarc=pass", "dmarc=fail"), ArcResult::Fail, "refuse"),
        (by_list.replace("Subject: x", "Subject: y"), ArcResult::Fail, "refuse"),
        (by_other.clone(), ArcResult::Pass, "refuse"),
        (list.seal(&by_other, 2, fail), ArcResult::Pass, "refuse"),
        (list.seal(&by_other, 2, pass), ArcResult::Pass, "deliver"),
        (other.seal(&by_list, 2, pass), ArcResult::Pass, "refuse"),
        (list.seal(&list.seal(&by_list, 2, fail), 3, fail), ArcResult::Pass, "deliver"),
        // a set goes missing
        (list.seal(&by_list, 2, pass).replacen("i=1;", "i=3;", 1), ArcResult::Fail, "refuse"),
    ] {
        let verdict = check(zone(), "x@list.test", &message).await;
        assert_eq!(verdict.arc.result, result, "{:?}\n{message}", verdict.arc.reason);
        assert_eq!(decide(&config, &verdict).name(), expected, "{message}");
    }
    let late =
        Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject").text("s._domainkey.list.test", "TIMEOUT");
    let verdict = check(late, "x@list.test", &by_list).await;
    assert!(verdict.arc.is_temporary);
    let Disposition::Refuse(refusal) = decide(&config, &verdict) else { panic!("not refused") };
    assert_eq!(refusal.code, 451, "a later try may find the key");
}

#[tokio::test]
async fn both_names_of_a_client_are_asked_about() {
    let zone = || Zone::default().text("_dmarc.a.test", "v=DMARC1; p=reject");
    let helo = |zone: Zone, text: &str| zone.text("mx.a.test", text);
    let all =
        |verdict: &Verdict| (verdict.spf.result, verdict.helo_spf.as_ref().map(|outcome| outcome.result));
    let allowed = zone().text("a.test", "v=spf1 ip4:192.0.2.1 -all");
    for (text, expected) in [
        ("v=spf1 a -all", SpfResult::Fail),
        ("v=spf1 ip4:192.0.2.1", SpfResult::Pass),
        // the local part is that of nobody
        ("v=spf1 exists:%{l}.%{d}.x.test -all", SpfResult::Pass),
        ("TIMEOUT", SpfResult::TempError),
        ("v=spf1 include:mx.a.test", SpfResult::PermError),
    ] {
        let zone = helo(allowed.clone(), text).address("postmaster.mx.a.test.x.test", "127.0.0.2");
        let verdict = check(zone, "x@a.test", MESSAGE).await;
        assert_eq!(all(&verdict), (SpfResult::Pass, Some(expected)), "{text}");
        // what HELO comes to decides nothing
        assert_eq!(decide(&enforcing(), &verdict).name(), "deliver", "{text}");
        let field = results::field(&verdict, &Disposition::Deliver(None), "mx.b.test");
        let told = format!("smtp.mailfrom=x@a.test;\r\n\tspf={}", expected.name());
        assert!(
            field.contains(&told) && field.contains("\r\n\t\tsmtp.helo=mx.a.test;\r\n\tdkim="),
            "{field}"
        );
        let line = format!(" spf=pass spf={expected}(mx.a.test) ");
        assert!(verdict.to_string().contains(&line), "{verdict}");
    }
    // a host's own word does not stand for the author, whose domain is above it
    let verdict = check(helo(zone(), "v=spf1 +all"), "x@a.test", MESSAGE).await;
    assert_eq!(
        (all(&verdict), verdict.dmarc[0].result),
        ((SpfResult::None, Some(SpfResult::Pass)), DmarcResult::Fail)
    );
    // without a sender it is what is asked about, once
    let verdict = check(helo(zone(), "v=spf1 +all"), "", MESSAGE).await;
    assert_eq!((all(&verdict), verdict.dmarc[0].result), ((SpfResult::Pass, None), DmarcResult::Pass));
}

#[tokio::test]
async fn a_field_says_what_came_of_it() {
    let by = Signing::new("a.test");
    let zone = by
        .zone()
        .text("_dmarc.a.test", "v=DMARC1; p=quarantine")
        .text("a.test", "v=spf1 -all")
        .name(PEER, "mx.a.test")
        .address("mx.a.test", PEER);
    let signed = by.sign(MESSAGE).replace("Hello", "Hallo");
    let verdict = check(zone.clone(), "x@a.test", &signed).await;
    let disposition = decide(&enforcing(), &verdict);
    let mark = verdict.dkim[0].signer.clone().unwrap().mark;
    let mark = if mark.contains(['/', '+']) && mark.contains('/') { format!("\"{mark}\"") } else { mark };
    assert_eq!(
        results::field(&verdict, &disposition, "mx.b.test"),
        format!(
            "Authentication-Results: mx.b.test;\r\n\tiprev=pass (mx.a.test)\r\n\t\tpolicy.iprev=192.0.2.1;\r\n\t\
             spf=fail\r\n\t\tsmtp.mailfrom=x@a.test;\r\n\tspf=none\r\n\t\tsmtp.helo=mx.a.test;\r\n\t\
             dkim=fail reason=\"the body was changed\"\r\n\t\theader.d=a.test\r\n\t\theader.s=s\r\n\t\t\
             header.a=ed25519-sha256\r\n\t\theader.b={mark};\r\n\tarc=none;\r\n\t\
             dmarc=fail reason=\"quarantined: neither SPF nor DKIM holds for a.test, which asks for quarantine\"\r\n\t\t\
             header.from=a.test\r\n\t\tpolicy.dmarc=quarantine\r\n"
        )
    );
    assert_eq!(
        verdict.to_string(),
        "iprev=pass spf=fail spf=none(mx.a.test) dkim=fail(a.test) arc=none dmarc=fail(a.test quarantine)"
    );
    let verdict = check(Zone::default(), "", MESSAGE).await;
    assert_eq!(
        results::field(&verdict, &Disposition::Deliver(None), "mx.b.test"),
        "Authentication-Results: mx.b.test;\r\n\tiprev=permerror\r\n\t\tpolicy.iprev=192.0.2.1;\r\n\tspf=none\r\n\t\tsmtp.helo=mx.a.test;\r\n\t\
         dkim=none;\r\n\tarc=none;\r\n\tdmarc=none\r\n\t\theader.from=a.test\r\n\t\tpolicy.dmarc=none\r\n"
    );
}
