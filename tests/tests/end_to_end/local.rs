//! LMTP over a Unix socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use waypost_tests::SiteBuilder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_here_gives_mail_to_mailboxes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lmtp");
    // What a server left that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = format!(
        "[[listener]]\nservice = \"lmtp\"\naddress = \"unix:{}\"\nsocket_mode = \"0600\"",
        path.display()
    );
    let site = SiteBuilder::new("a.test").with(&listener).start().await;
    let found = std::fs::metadata(&path).unwrap();
    assert!(found.file_type().is_socket() && found.permissions().mode() & 0o777 == 0o600);

    let mut stream = UnixStream::connect(&path).await.unwrap();
    let session = "LHLO client.test\r\nMAIL FROM:<x@far.test>\r\nRCPT TO:<alice@a.test>\r\nRCPT TO:<x@far.test>\r\nRCPT TO:<bob@a.test>\r\n\
                   BDAT 14 LAST\r\nSubject: x\r\n\r\nQUIT\r\n";
    stream.write_all(session.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    assert!(!said.contains("STARTTLS"), "{said}");
    let (_, replies) = said.split_once("250 2.1.0 ").unwrap();
    let codes: Vec<&str> = replies.lines().skip(1).map(|line| &line[..9]).collect();
    assert_eq!(codes, ["250 2.1.5", "550 5.7.1", "250 2.1.5", "250 2.0.0", "250 2.0.0", "221 2.0.0"]);
    for user in ["alice", "bob"] {
        let message = String::from_utf8(site.messages(user, "INBOX", 1).await.remove(0)).unwrap();
        assert!(
            message.contains("Received: from client.test ([127.0.0.1])\r\n\tby mx.a.test with LMTP\r\n"),
            "{message}"
        );
    }
    drop(stream);
    site.finish().await;
    assert!(!path.exists(), "it goes with the server");
}
