//! Debian's Dovecot as the server that mail comes from.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, UNIX_EPOCH},
};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
};
use waypost_imap::wire::mutf7;
use waypost_tests::{client::Client, not_run, scripted, site::free_port};

/// The host that its certificate is for.
pub(super) const HOST: &str = "mx.far.test";
pub(super) const PASSWORD: &str = "far-away";
const LOOKS_MAX: usize = 400;
const LOOK_PAUSE: Duration = Duration::from_millis(25);

/// Dovecot with mail of alice in a Maildir.
pub(super) struct Dovecot {
    folder: TempDir,
    ports: [u16; 2],
    process: Child,
}

impl Dovecot {
    /// Starts it. `None`: the machine does not allow it, which is said.
    pub(super) async fn start() -> Option<Self> {
        if !is_root().await {
            not_run("Dovecot", "root", "it gives each user's mail to the user");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Its users are not ours.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        drop(scripted::certificate(folder.path(), HOST));
        let other = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let ports = [free_port(other), free_port(other)];
        fs::write(folder.path().join("dovecot.conf"), configuration(folder.path(), ports)).unwrap();
        super::super::maildir(&folder.path().join("mail/alice"));
        let process = Command::new("dovecot")
            .arg("-F")
            .arg("-c")
            .arg(folder.path().join("dovecot.conf"))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("dovecot: {error}; tests/run installs it"));
        let mut dovecot = Self { folder, ports, process };
        for _ in 0..LOOKS_MAX {
            assert_eq!(dovecot.process.try_wait().unwrap(), None, "{}", dovecot.log());
            if TcpStream::connect((Ipv4Addr::LOCALHOST, ports[1])).await.is_ok() {
                return Some(dovecot);
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        panic!("Dovecot does not listen:\n{}", dovecot.log());
    }

    /// Where it has TLS with the first octet.
    pub(super) fn implicit(&self) -> String {
        format!("{HOST}:{}", self.ports[0])
    }

    /// Where it has STARTTLS.
    pub(super) fn starttls(&self) -> SocketAddr {
        SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.ports[1])
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The Maildir of one of alice's folders.
    fn maildir(&self, name: &str) -> PathBuf {
        let root = self.folder.path().join("mail/alice");
        if name == "INBOX" {
            return root;
        }
        let levels = name.split('/').map(mutf7::encode).collect::<Vec<_>>();
        root.join(format!(".{}", levels.join(".")))
    }

    /// Puts a message into a folder. `letters`: its flags in a Maildir; `a` and `b` are `$Forwarded` and `wichtig`.
    pub(super) fn put(&self, name: &str, number: u64, octets: &[u8], letters: &str, seconds: u64) {
        let folder = self.maildir(name);
        if !folder.join("cur").exists() {
            super::super::maildir(&folder);
            fs::write(folder.join("maildirfolder"), "").unwrap();
        }
        fs::write(folder.join("dovecot-keywords"), "0 $Forwarded\n1 wichtig\n").unwrap();
        // Where they are written first, Dovecot does not meet them half.
        let path = folder.join(format!("tmp/{number:010}.P1.far"));
        fs::write(&path, octets).unwrap();
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        fs::rename(&path, folder.join(format!("cur/{number:010}.P1.far:2,{letters}"))).unwrap();
    }

    pub(super) fn subscribe(&self, names: &[&str]) {
        let line = |name: &&str| name.split('/').map(mutf7::encode).collect::<Vec<_>>().join(".") + "\n";
        fs::write(self.maildir("INBOX").join("subscriptions"), names.iter().map(line).collect::<String>())
            .unwrap();
    }

    /// What was put there is the user's whose mail it is.
    pub(super) async fn own(&self) {
        let mail = self.folder.path().join("mail");
        Client::new("chown", self.folder.path()).args(["-R", "nobody:nogroup"]).args([mail]).run().await;
    }

    /// Forgets the UIDs of a folder.
    pub(super) fn forget_uids(&self, name: &str) {
        for entry in fs::read_dir(self.maildir(name)).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_string_lossy().into_owned();
            if file == "dovecot-uidlist" || file.starts_with("dovecot.index") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    pub(super) async fn end(mut self) {
        let id = self.process.id().unwrap().to_string();
        assert!(Command::new("kill").arg(id).status().await.unwrap().success());
        self.process.wait().await.unwrap();
    }
}

async fn is_root() -> bool {
    Client::new("id", Path::new("/")).args(["-u"]).run().await.trim() == "0"
}

fn configuration(folder: &Path, ports: [u16; 2]) -> String {
    let folder = folder.display();
    let [implicit, starttls] = ports;
    format!(
        "protocols = imap
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/log
listen = 127.0.0.1
ssl = yes
ssl_cert = <{folder}/cert.pem
ssl_key = <{folder}/key.pem
disable_plaintext_auth = yes
auth_mechanisms = plain login scram-sha-256
mail_max_userip_connections = 100
mail_location = maildir:{folder}/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
login_trusted_networks =
namespace inbox {{
  inbox = yes
  mailbox \"Gesendete Objekte\" {{
    special_use = \\Sent
  }}
}}
passdb {{
  driver = static
  args = password={PASSWORD}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {starttls}
  }}
  inet_listener imaps {{
    port = {implicit}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"
    )
}
