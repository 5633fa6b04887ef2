//! Clients that download by POP3, over TLS from the first octet and behind STLS: what they get is what is stored, to the octet.

use std::{
    fs,
    path::{Path, PathBuf},
    slice,
};

use waypost_config::{Service, TlsMode};
use waypost_tests::{client::Output, sample, site::PASSWORD};

use super::{
    Scene, files,
    readers::{fetchmail, without_marks},
    unix,
};

const WAYS: [TlsMode; 2] = [TlsMode::Implicit, TlsMode::StartTls];

/// Messages with traps: dots, eight bits, no body, and one of several pieces with a dot wherever a piece may end.
fn traps() -> Vec<Vec<u8>> {
    let head = |number: u32| {
        format!(
            "Date: Sat, 21 Nov 2026 04:05:06 +0000\r\nFrom: <bob@a.test>\r\nTo: <alice@a.test>\r\nSubject: trap {number}\r\n\
             Message-ID: <trap.{number}@a.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 8bit\r\n\r\n"
        )
    };
    let dots: String =
        (0..4_000).map(|line| format!("{}{}\r\n", ".".repeat(line % 5), "x".repeat(line % 71))).collect();
    [
        sample("bob@a.test", "alice@a.test", 0),
        format!("{}.\r\n..\r\n...\r\n", head(1)).into_bytes(),
        format!("{}Grüße aus Zürich\r\n\r\n\r\n", head(2)).into_bytes(),
        head(3).into_bytes(),
        format!("{}{dots}", head(4)).into_bytes(),
    ]
    .into()
}

impl Scene {
    /// A scene with traps in alice's INBOX; these with the line ends of Unix.
    async fn with_traps() -> (Self, Vec<Vec<u8>>) {
        let scene = Self::new().await;
        let traps = traps();
        scene.site.append("alice", "INBOX", &traps).await;
        (scene, traps.iter().map(|message| unix(message)).collect())
    }

    async fn left(&self) -> usize {
        self.site.read_mailbox("alice", "INBOX").await.len()
    }

    /// A program that writes each message into a file of a folder of its own, in order.
    fn collector(&self) -> (String, PathBuf) {
        let folder = self.home.path().join("collected");
        fs::create_dir(&folder).unwrap();
        let script = format!("n=$(ls {0} | wc -l); exec cat > {0}/$(printf %03d $n)", folder.display());
        (self.program("collect", &script), folder)
    }
}

/// What was collected; the folder is empty then.
fn take(folder: &Path) -> Vec<Vec<u8>> {
    let mut taken = Vec::new();
    for file in files(folder) {
        taken.push(fs::read(&file).unwrap());
        fs::remove_file(&file).unwrap();
    }
    taken
}

/// Shows no more than a beginning of what differs.
fn assert_same(taken: &[Vec<u8>], expected: &[Vec<u8>], place: &str) {
    let shown = |messages: &[Vec<u8>]| {
        let beginning =
            |message: &Vec<u8>| String::from_utf8_lossy(&message[..message.len().min(600)]).into_owned();
        messages.iter().map(beginning).collect::<Vec<_>>()
    };
    assert!(taken == expected, "{place}: {:#?}\ninstead of {:#?}", shown(taken), shown(expected));
}

/// fetchmail with a server, options and the program that collects.
struct Fetchmail<'a> {
    scene: &'a Scene,
    collector: String,
}

impl Fetchmail<'_> {
    async fn run(&self, way: TlsMode, options: &str) -> Output {
        let tls = if way == TlsMode::Implicit { "ssl" } else { "sslproto TLS1.2+" };
        let rc = format!(
            "poll localhost protocol POP3 {} port {} user \"alice@a.test\" password \"{PASSWORD}\" {tls} sslcertck \
             sslcertfile \"{}\" mda \"{}\" no rewrite {options}\n",
            if options.contains("fastuidl") { "uidl" } else { "" },
            self.scene.port(Service::Pop3, way),
            self.scene.authority(),
            self.collector
        );
        let rc = self.scene.file("fetchmailrc", rc).display().to_string();
        fetchmail(self.scene, &rc).output().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetchmail_downloads_and_deletes_to_the_octet() {
    for way in WAYS {
        let (scene, traps) = Scene::with_traps().await;
        let (collector, folder) = scene.collector();
        let fetchmail = Fetchmail { scene: &scene, collector };
        for (options, left) in [("keep fetchall", traps.len()), ("nokeep", 0)] {
            let output = fetchmail.run(way, options).await;
            assert_eq!(output.code, 0, "{way:?} {options}: {}", output.text);
            assert_same(&take(&folder), &traps, &format!("{way:?} {options}"));
            assert_eq!(scene.left().await, left, "{way:?} {options}");
        }
        scene.site.finish().await;
    }
}

/// With a search by halves for the first message that is new, instead of a list of all, which it asks for up to seven messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetchmail_fastuidl_takes_each_message_once() {
    let (scene, mut traps) = Scene::with_traps().await;
    let more: Vec<_> = (10..20).map(|number| sample("bob@a.test", "alice@a.test", number)).collect();
    scene.site.append("alice", "INBOX", &more).await;
    traps.extend(more.iter().map(|message| unix(message)));
    let (collector, folder) = scene.collector();
    let fetchmail = Fetchmail { scene: &scene, collector };
    let options = "keep fastuidl 1";
    let output = fetchmail.run(TlsMode::StartTls, options).await;
    assert_eq!(output.code, 0, "{}", output.text);
    assert_same(&take(&folder), &traps, "first");
    let output = fetchmail.run(TlsMode::StartTls, options).await;
    assert_eq!(output.code, 1, "1 says that there is nothing new: {}", output.text);
    let late = sample("bob@a.test", "alice@a.test", 9);
    scene.site.append("alice", "INBOX", slice::from_ref(&late)).await;
    let output = fetchmail.run(TlsMode::StartTls, options).await;
    assert_eq!(output.code, 0, "{}", output.text);
    let asked = |line: &&str| line.contains("POP3> UIDL");
    let asked: Vec<_> = output.text.lines().filter(asked).collect();
    assert!(!asked.is_empty() && asked.iter().all(|line| !line.ends_with("UIDL")), "{asked:?}");
    assert_same(&take(&folder), &[unix(&late)], "new");
    scene.site.finish().await;
}

/// Over TLS from the first octet; STLS getmail does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn getmail_downloads_and_deletes_to_the_octet() {
    let (scene, traps) = Scene::with_traps().await;
    let (collector, folder) = scene.collector();
    for (options, left) in [("delete = false", traps.len()), ("delete = true", 0)] {
        let rc = format!(
            "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = localhost\nport = {}\nusername = alice@a.test\n\
             password = {PASSWORD}\nca_certs = {}\n[destination]\ntype = MDA_external\npath = {collector}\n\
             unixfrom = false\nallow_root_commands = true\n[options]\ndelivered_to = false\nreceived = false\n\
             read_all = true\n{options}\n",
            scene.port(Service::Pop3, TlsMode::Implicit),
            scene.authority()
        );
        let (home, rc) = (scene.home.path().display().to_string(), scene.file("getmailrc", rc));
        scene
            .client("getmail")
            .args(["--getmaildir", &home, "--rcfile", &rc.display().to_string()])
            .run()
            .await;
        let taken: Vec<_> = take(&folder).iter().map(|message| without_marks(message)).collect();
        // It puts a field in front of what has none.
        let expected: Vec<_> =
            traps.iter().map(|message| [b"Return-Path: <unknown>\n", &message[..]].concat()).collect();
        assert_same(&taken, &expected, options);
        assert_eq!(scene.left().await, left, "{options}");
    }
    scene.site.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mpop_downloads_and_deletes_to_the_octet() {
    for way in WAYS {
        let (scene, traps) = Scene::with_traps().await;
        let (collector, folder) = scene.collector();
        for (keep, left) in [("on", traps.len()), ("off", 0)] {
            let rc = format!(
                "account default\nhost localhost\nport {}\nuser alice@a.test\npassword {PASSWORD}\ntls on\n\
                 tls_starttls {}\ntls_trust_file {}\ndelivery mda {collector}\nkeep {keep}\nuidls_file {}/uidls-{keep}\n\
                 received_header off\n",
                scene.port(Service::Pop3, way),
                if way == TlsMode::StartTls { "on" } else { "off" },
                scene.authority(),
                scene.home.path().display()
            );
            let rc = scene.file("mpoprc", rc).display().to_string();
            scene.client("mpop").args(["-C", &rc]).run().await;
            assert_same(&take(&folder), &traps, &format!("{way:?}, keep {keep}"));
            assert_eq!(scene.left().await, left, "{way:?}, keep {keep}");
        }
        scene.site.finish().await;
    }
}

/// mutt shows, pipes and deletes messages of a maildrop.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutt_reads_and_deletes_to_the_octet() {
    for way in WAYS {
        let (scene, traps) = Scene::with_traps().await;
        let (collector, folder) = scene.collector();
        let keys = format!(
            "<first-entry>{}",
            format!("<pipe-message>{collector}<enter><delete-message>").repeat(traps.len())
        );
        let (scheme, port) =
            (if way == TlsMode::Implicit { "pops" } else { "pop" }, scene.port(Service::Pop3, way));
        let rc = format!(
            "set ssl_force_tls = yes\nset ssl_starttls = yes\nset certificate_file = \"{}\"\nset ssl_verify_host = no\n\
             set pop_user = \"alice@a.test\"\nset pop_pass = \"{PASSWORD}\"\nset pipe_decode = no\nset delete = yes\nset quit = yes\n\
             set sort = mailbox-order\nset wait_key = no\nset move = no\nset beep = no\nset resolve = yes\n\
             folder-hook . 'push {keys}<sync-mailbox><quit>'\n",
            scene.authority()
        );
        let rc = scene.file("muttrc", rc).display().to_string();
        fs::create_dir(scene.home.path().join("Mail")).unwrap();
        let command = format!("mutt -n -F {rc} -f {scheme}://localhost:{port}/");
        // mutt wants a terminal; script(1) gives it one.
        let shown = scene.client("script").args(["-qec", &command, "/dev/null"]).run().await;
        assert_same(&take(&folder), &traps, &format!("{way:?}: {shown}"));
        assert_eq!(scene.left().await, 0, "{way:?}");
        scene.site.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_lists_downloads_and_deletes_to_the_octet() {
    for way in WAYS {
        let (scene, _) = Scene::with_traps().await;
        let traps = traps();
        let (scheme, port) =
            (if way == TlsMode::Implicit { "pop3s" } else { "pop3" }, scene.port(Service::Pop3, way));
        let (ca, login) = (scene.authority(), format!("alice@a.test:{PASSWORD}"));
        let out = scene.home.path().join("out").display().to_string();
        let run = async |path: &str, more: &[&str]| {
            let url = format!("{scheme}://localhost:{port}/{path}");
            let args = ["-sS", "--ssl-reqd", "--cacert", &ca, "--user", &login, "--output", &out, &url];
            scene.client("curl").args(args).args(more).run().await;
            // An answer without lines leaves no file.
            fs::read(&out).unwrap_or_default()
        };
        let listed: String = traps
            .iter()
            .enumerate()
            .map(|(index, message)| format!("{} {}\r\n", index + 1, message.len()))
            .collect();
        assert_eq!(String::from_utf8(run("", &[]).await).unwrap(), listed, "{way:?}");
        for (index, message) in traps.iter().enumerate() {
            let number = (index + 1).to_string();
            assert_same(
                &[run(&number, &[]).await],
                slice::from_ref(message),
                &format!("{way:?}, message {number}"),
            );
        }
        // Each run is a session of its own, with QUIT.
        run("1", &["--request", "DELE", "--list-only"]).await;
        assert_eq!(scene.left().await, traps.len() - 1, "{way:?}");
        scene.site.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thunderbird_downloads_leaves_and_deletes_to_the_octet() {
    let scene = Scene::new().await;
    for (number, message) in scene.fill(3).await.iter().enumerate() {
        scene.file(&format!("sent{number}"), message);
    }
    scene.python("thunderbird_pop3.py").args(["alice@a.test", "bob@a.test"]).run().await;
    assert_eq!(scene.left().await, 0);
    scene.site.finish().await;
}
