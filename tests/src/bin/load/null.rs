//! A limit, and the end of a relay: an SMTP server that says 250 to everything, keeps nothing, and counts (`XCOUNT`).

use std::{cell::Cell, net::Ipv4Addr, rc::Rc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::LocalSet,
};

const BUFFER_BYTES: usize = 64 * 1024;
const END_OF_DATA: &[u8] = b"\r\n.\r\n";

/// Serves until it is killed.
pub(crate) async fn run() -> serde_json::Value {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("ready smtp={}", listener.local_addr().unwrap());
    let (set, count) = (LocalSet::new(), Rc::new(Cell::new(0)));
    set.run_until(async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::task::spawn_local(serve(stream, Rc::clone(&count)));
        }
    })
    .await
}

async fn serve(mut stream: TcpStream, count: Rc<Cell<u64>>) -> Option<()> {
    stream.write_all(b"220 null\r\n").await.ok()?;
    let (mut buffer, mut octets, mut in_data) = (vec![0; BUFFER_BYTES], Vec::new(), false);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&buffer[..read]);
        let mut replies = String::new();
        loop {
            let end = if in_data { END_OF_DATA } else { b"\n" };
            let found = octets.windows(end.len()).position(|window| window == end);
            let Some(at) = found else { break };
            let line: Vec<u8> = octets.drain(..at + end.len()).collect();
            if std::mem::take(&mut in_data) {
                count.set(count.get() + 1);
                replies.push_str("250 taken\r\n");
                continue;
            }
            in_data = line == b"DATA\r\n";
            replies.push_str(&reply(&line, count.get()));
        }
        if in_data && octets.len() > END_OF_DATA.len() {
            // the empty message has its end at its beginning
            octets.drain(..octets.len() - END_OF_DATA.len() + 1);
        }
        stream.write_all(replies.as_bytes()).await.ok()?;
    }
}

fn reply(line: &[u8], count: u64) -> String {
    match line {
        b"DATA\r\n" => "354 go\r\n".to_owned(),
        b"QUIT\r\n" => "221 bye\r\n".to_owned(),
        b"XCOUNT\r\n" => format!("250 {count}\r\n"),
        ehlo if ehlo.starts_with(b"EHLO") => "250-null\r\n250-PIPELINING\r\n250 8BITMIME\r\n".to_owned(),
        _ => "250 ok\r\n".to_owned(),
    }
}
