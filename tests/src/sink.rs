//! A next hop that takes everything.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

/// Starts a next hop on loopback. It gives what stands behind `RCPT TO:` in each transaction to `whole` when its message is
/// whole, answers when that is done, and hangs up on `None`. It ends with the runtime.
///
/// # Panics
/// If no port can be had.
pub async fn sink<F>(whole: impl Fn(Vec<String>) -> F + Clone + Send + 'static) -> SocketAddr
where
    F: Future<Output = Option<()>> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, whole.clone()));
        }
    });
    address
}

async fn take<F: Future<Output = Option<()>>>(
    stream: TcpStream,
    whole: impl Fn(Vec<String>) -> F,
) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let (mut to, mut in_data) = (Vec::new(), false);
    write.write_all(b"220 sink\r\n").await.ok()?;
    while let Some(line) = lines.next_line().await.ok()? {
        let reply = match (in_data, line.as_str()) {
            (true, ".") => {
                in_data = false;
                whole(std::mem::take(&mut to)).await?;
                "250 2.0.0 mine\r\n"
            }
            (true, _) => continue,
            (false, "DATA") => {
                in_data = true;
                "354 go\r\n"
            }
            (false, "QUIT") => "221 bye\r\n",
            (false, line) => {
                to.extend(line.strip_prefix("RCPT TO:").map(str::to_owned));
                "250 ok\r\n"
            }
        };
        write.write_all(reply.as_bytes()).await.ok()?;
    }
    None
}
