//! Forged URLs (RFC 4467 section 8): no other URL than the one that was authorized gives anything.

use super::*;

/// The octet that stands for another one, never the same in another case.
fn another(octet: u8) -> u8 {
    match octet {
        b'0'..=b'8' | b'a'..=b'y' | b'A'..=b'Y' => octet + 1,
        b'9' => b'0',
        _ => b'x',
    }
}

#[tokio::test]
async fn every_change_to_a_url_makes_it_worthless() {
    let world = world().await;
    world.deliver(&[PLAIN, MIXED, PLAIN]).await;
    let mut client = world.login().await;
    let rump = "imap://user@mx.a.test/INBOX/;UID=2/;SECTION=1;EXPIRE=2120-01-01T00:00:00Z;URLAUTH=user+user";
    let told = client.ok(&format!("GENURLAUTH {rump} INTERNAL")).await;
    let url = told.trim_end().strip_prefix("* GENURLAUTH ").unwrap();
    let mut fetch = async |url: &str| {
        let length = url.len();
        client.command(&format!("URLFETCH {{{length}+}}\r\n{url}")).await
    };
    let (fetched, _) = fetch(url).await;
    assert!(fetched.ends_with(" {12}\r\nZ2VoZWltbmlz\r\n"), "{fetched}");
    let mut forged = 0;
    for at in 0..url.len() {
        let (mut changed, mut shorter, mut longer) =
            (url.as_bytes().to_vec(), url.as_bytes().to_vec(), url.as_bytes().to_vec());
        changed[at] = another(changed[at]);
        shorter.remove(at);
        longer.insert(at, b'0');
        let mut forgeries = vec![changed, shorter, longer];
        forgeries.push(url.as_bytes()[..at].to_vec());
        for forgery in forgeries {
            let forgery = String::from_utf8(forgery).unwrap();
            if forgery.is_empty() || forgery == url {
                continue;
            }
            let (fetched, tagged) = fetch(&forgery).await;
            assert!(
                tagged.starts_with("OK") && fetched.ends_with(" NIL\r\n"),
                "{forgery}: {fetched}{tagged}"
            );
            forged += 1;
        }
    }
    assert!(forged > 3 * url.len());
    // And it is good still.
    assert_eq!(fetch(url).await.0, fetched);
}
