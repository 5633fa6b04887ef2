//! A limit: an SMTP server that says 250 to everything and keeps nothing.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

const BUFFER_BYTES: usize = 64 * 1024;

/// Serves until it is killed.
pub(crate) async fn run() -> serde_json::Value {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("ready smtp={}", listener.local_addr().unwrap());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        tokio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> Option<()> {
    stream.write_all(b"220 null\r\n").await.ok()?;
    let (mut buffer, mut octets, mut in_data) = (vec![0; BUFFER_BYTES], Vec::new(), false);
    loop {
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        octets.extend_from_slice(&buffer[..read]);
        // The load waits for each reply, so that nothing stands behind the end of a message.
        if in_data {
            if octets.ends_with(b"\r\n.\r\n") {
                in_data = false;
                octets.clear();
                stream.write_all(b"250 taken\r\n").await.ok()?;
            } else if octets.len() > BUFFER_BYTES {
                octets.drain(..octets.len() - 4);
            }
        } else if octets.ends_with(b"\r\n") {
            let mut replies = String::new();
            for line in octets.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
                in_data |= line == b"DATA\r";
                replies.push_str(match line {
                    b"DATA\r" => "354 go\r\n",
                    b"QUIT\r" => "221 bye\r\n",
                    _ => "250 ok\r\n",
                });
            }
            octets.clear();
            stream.write_all(replies.as_bytes()).await.ok()?;
        }
    }
}
