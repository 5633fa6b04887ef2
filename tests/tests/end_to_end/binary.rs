//! A binary message (RFC 3030): taken by SMTP, shown by IMAP and POP3.

use waypost_config::{Service, TlsMode};
use waypost_tests::{SiteBuilder, site::PASSWORD};

use crate::hostile::Peer;

const HEADER: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n";
const PART: &str =
    "--b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n";

/// All octets, and what would end a message behind DATA.
fn octets() -> Vec<u8> {
    (0..=255).chain(*b"\r\n.\r\n\n.\n\r\r\n").collect()
}

/// As IMAP shows it outside of BINARY.
fn without_nul(octets: &[u8]) -> Vec<u8> {
    octets.iter().map(|octet| if *octet == 0 { 0x80 } else { *octet }).collect()
}

/// As it goes over POP3: dots doubled behind each LF.
fn stuffed(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.flat_map(|line| [&b"."[..usize::from(line[0] == b'.')], line].concat()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_octet_of_a_binary_message_is_kept() {
    let site = SiteBuilder::new("a.test").start().await;
    let message = [HEADER.as_bytes(), PART.as_bytes(), &octets(), b"\r\n--b--"].concat();
    let mut smtp = Peer::connect(site.address(Service::Smtp, TlsMode::StartTls), None).await;
    smtp.until("220 ", "the greeting").await;
    let begin = "EHLO c.test\r\nMAIL FROM:<x@far.test> BODY=BINARYMIME\r\nRCPT TO:<alice@a.test>\r\n";
    smtp.send(format!("{begin}BDAT {}\r\n", message.len()).as_bytes()).await;
    smtp.send(&message).await;
    smtp.send(b"BDAT 0 LAST\r\nQUIT\r\n").await;
    smtp.until(" accepted\r\n", "BDAT").await;

    let stored = site.read_mailbox("alice", "INBOX").await.pop().unwrap();
    assert!(stored.ends_with(&message));

    // IMAP: BINARY to the octet; elsewhere NUL, which a literal cannot hold, is shown as 0x80, and all sizes are as they are.
    let mut imap = Peer::connect(site.address(Service::Imap, TlsMode::None), None).await;
    imap.send(format!("a LOGIN alice@a.test \"{PASSWORD}\"\r\nb EXAMINE INBOX\r\n").as_bytes()).await;
    imap.until("b OK", "EXAMINE").await;
    imap.send(b"c FETCH 1 (BINARY.SIZE[1] BINARY[1])\r\nd FETCH 1 (BODY[1] RFC822.SIZE BODY[])\r\n").await;
    let said = imap.octets_until(b"\r\nd OK", "FETCH").await;
    let size = octets().len();
    let part = [format!("BINARY.SIZE[1] {size} BINARY[1] ~{{{size}}}\r\n").as_bytes(), &octets()].concat();
    assert!(holds(&said, &part), "{}", said.escape_ascii());
    let shown = without_nul(&octets());
    assert!(holds(&said, &[format!("BODY[1] {{{size}}}\r\n").as_bytes(), &shown].concat()));
    let whole = without_nul(&stored);
    let size = stored.len();
    assert!(holds(
        &said,
        &[format!(" RFC822.SIZE {size} BODY[] {{{size}}}\r\n").as_bytes(), &whole].concat()
    ));

    // POP3: as it is, bare CR, LF and NUL too; a line ends with each LF, and the last one gets the CRLF that it lacks.
    let mut pop3 = Peer::connect(site.address(Service::Pop3, TlsMode::None), None).await;
    pop3.send(format!("USER alice@a.test\r\nPASS {PASSWORD}\r\nLIST\r\nRETR 1\r\n").as_bytes()).await;
    let said = pop3.octets_until(b"--b--\r\n.\r\n", "RETR").await;
    assert!(holds(&said, format!("\r\n1 {size}\r\n.\r\n").as_bytes()));
    assert!(holds(&said, &[&stuffed(&stored)[..], b"\r\n.\r\n"].concat()), "{}", said.escape_ascii());
    drop((smtp, imap, pop3));
    site.finish().await;
}

fn holds(said: &[u8], octets: &[u8]) -> bool {
    said.windows(octets.len()).any(|window| window == octets)
}
