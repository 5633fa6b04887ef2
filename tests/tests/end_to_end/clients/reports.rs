//! A notification crosses two servers, is noted with its message, and is read by people.

use std::{fs, time::Duration};

use waypost_mail::EntryId;
use waypost_net::{ClientTls, Verification};
use waypost_server::{
    agent::{Login, mailbox::Imap},
    demo::dns::Data,
};
use waypost_storage::{QueueEvent, ReturnedReport};
use waypost_tests::World;

use super::*;

/// Two servers, of which b.test forwards to a domain that takes no mail; a message of alice's that took that way.
async fn bounced() -> (World, EntryId) {
    let records = [("null.test", Data::Mx(0, ".".to_owned()))];
    let world = World::start(&records, |site| match site.is("a.test") {
        true => site.queue("verp = true"),
        false => site.with("[[alias]]\nfrom = \"fwd@b.test\"\nto = [\"x@null.test\"]"),
    })
    .await;
    let id = send(&world.a, "fwd@b.test", &sample("alice@a.test", "fwd@b.test", 1)).await;
    world.a.messages("alice", "INBOX", 1).await;
    (world, id)
}

/// The reports that are noted with a message: soon after the mail that brings them is in the mailbox.
async fn noted(world: &World, id: EntryId) -> Vec<ReturnedReport> {
    for _ in 0..500 {
        let history = world.a.store().queue_history(id).await.unwrap();
        let reports = history.into_iter().find_map(|event| match event {
            QueueEvent::Reported { reports, .. } => Some(reports),
            _ => None,
        });
        if let Some(reports) = reports {
            return reports;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no report is noted with {id}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_of_another_server_is_noted_with_its_message_and_read_over_imap() {
    let (world, id) = bounced().await;
    let reports = noted(&world, id).await;
    let [report] = &reports[..] else { panic!("{reports:?}") };
    assert_eq!((report.what.as_str(), report.status.as_deref()), ("failed", Some("5.1.10")), "{report:?}");
    let tls = ClientTls::new("mx.a.test", &Verification::Pkix(vec![world.a.authority()])).unwrap();
    let login = Login { user: world.a.user("alice"), password: PASSWORD.to_owned() };
    let address = world.a.address(Service::Imap, TlsMode::Implicit);
    let (mut imap, count) = Imap::inbox(address, tls, &login).await.unwrap();
    assert_eq!(count, 1);
    for (item, expected) in [
        ("BODYSTRUCTURE", "\"report\" (\"report-type\" \"delivery-status\""),
        ("BODY.PEEK[HEADER]", &format!("Delivered-To: alice+b={id}=")),
        ("BINARY.PEEK[1]", "Your mail could not be delivered.\r\n\r\n    Subject: sample 1\r\n"),
        ("BINARY.PEEK[1]", "What stands behind the @ takes no mail at all. It will not be tried again.\r\n"),
        ("BINARY.PEEK[1]", "(which fwd@b.test leads to)"),
        ("BODY.PEEK[2]", "Final-Recipient: rfc822; x@null.test\r\nAction: failed\r\nStatus: 5.1.10\r\n"),
        ("BODY.PEEK[3]", "Subject: sample 1\r\n"),
    ] {
        let answers = imap.ask(&format!("FETCH 1 {item}"), "FETCH").await.unwrap();
        let text = String::from_utf8_lossy(&answers.concat()).into_owned();
        assert!(text.contains(expected), "{expected:?} is not in {item}: {text}");
    }
    imap.logout().await.unwrap();
    world.a.drain_queue().await;
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutt_shows_a_notification() {
    let (World { a, b, dns: _dns }, _) = bounced().await;
    let scene = Scene { site: a, home: tempfile::tempdir().unwrap() };
    let shown = scene.home.path().join("shown");
    let rc = format!(
        "set ssl_force_tls = yes\nset certificate_file = \"{}\"\nset ssl_verify_host = no\nset imap_user = \"alice@a.test\"\n\
         set imap_pass = \"{PASSWORD}\"\nset wait_key = no\nset move = no\nset beep = no\nset pipe_decode = yes\nset quit = yes\n\
         folder-hook . 'push \"<first-entry><pipe-message>cat > {}<enter><quit>\"'\n",
        scene.authority(),
        shown.display()
    );
    let rc = scene.file("muttrc", rc).display().to_string();
    let folder = format!("imaps://localhost:{}/INBOX", scene.port(Service::Imap, TlsMode::Implicit));
    // Without its folder mutt asks whether to make it.
    fs::create_dir(scene.home.path().join("Mail")).unwrap();
    let command = format!("mutt -n -F {rc} -f {folder}");
    let output = scene.client("script").args(["-qec", &command, "/dev/null"]).run().await;
    let text =
        fs::read_to_string(&shown).unwrap_or_else(|error| panic!("{error}: mutt shows nothing:\n{output}"));
    for expected in [
        "Subject: Your mail could not be delivered\n",
        "What stands behind the @ takes no mail at all. It will not be tried again.\n",
        "Check the address for typing errors, or ask the recipient for the right one.\n",
        "Final-Recipient: rfc822; x@null.test\n",
        "Subject: sample 1\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in {text}");
    }
    scene.site.finish().await;
    b.finish().await;
}
