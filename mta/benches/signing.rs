//! What it costs to sign a message.
//!
//!     cargo bench -p waypost-mta --bench signing
//!
//! A usual header with a body of 4 KiB, by each kind of key and by both; then a body of 50 MiB in pieces, and what of it is hashing. Medians of
//! several rounds. Fails where signing takes longer than it may: 1 ms by RSA, 0.1 ms by Ed25519, and, of a large body, 8 MiB of memory.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark")]

use std::{hint::black_box, sync::Arc, time::Instant};

use allocation_counter::measure;
use waypost_mail::{Domain, Timestamp};
use waypost_message::HeaderBlock;
use waypost_mta::authenticity::{
    keys::{SigningKey, generate},
    sign::Signing,
};
use waypost_storage::DkimAlgorithm;

const ROUNDS: usize = 9;
const MESSAGES: usize = 200;
/// Octets of a piece, as they come from a connection.
const PIECE_BYTES: usize = 64 * 1024;
const MEMORY_BYTES_MAX: u64 = 8 << 20;
const RSA_MILLISECONDS_MAX: f64 = 1.0;
const ED25519_MILLISECONDS_MAX: f64 = 0.1;

const HEADER: &str = "Received: from ua ([192.0.2.1])\r\n\tby mx.example.org (TLSv1.3 TLS13_AES_256_GCM_SHA384) with ESMTPSA\r\n\tid 01abcdef;\r\n\t\
    Thu, 26 Nov 2026 09:00:00 +0000\r\nMessage-ID: <5a1c3f0e-8f1f-4a57-9d3e-2d3a6f@example.org>\r\nDate: Thu, 26 Nov 2026 09:00:00 +0000\r\n\
    MIME-Version: 1.0\r\nUser-Agent: Mozilla Thunderbird\r\nSubject: Re: the plan for the week after next\r\nTo: Bob <bob@example.net>\r\n\
    References: <1@example.net> <2@example.org>\r\nContent-Language: en-GB\r\nFrom: Alice <alice@example.org>\r\nIn-Reply-To: <1@example.net>\r\n\
    Content-Type: text/plain; charset=UTF-8; format=flowed\r\nContent-Transfer-Encoding: 8bit\r\n\r\n";
const LINE: &str = "It was the best of times, it was the worst of times, it was the age.\r\n";

fn key(algorithm: DkimAlgorithm) -> Arc<SigningKey> {
    let domain = Domain::new("example.org").unwrap();
    let kept = generate(domain.clone(), "s-20261126".to_owned(), algorithm, Timestamp(0)).unwrap();
    Arc::new(SigningKey::new(domain, kept.selector, kept.secret.pkcs8()).unwrap())
}

fn sign(keys: &[Arc<SigningKey>], pieces: usize, piece: &[u8]) {
    let mut header = HeaderBlock::new(HEADER.into());
    let mut signing = Signing::begin(keys, &mut header, Timestamp(1)).unwrap();
    for _ in 0..pieces {
        signing.feed(black_box(piece));
    }
    let mut octets = header.into_octets();
    signing.finish(&mut octets).unwrap();
    black_box(octets);
}

/// Milliseconds for each message.
fn median(messages: usize, one: impl Fn()) -> f64 {
    let round = |_| {
        let begun = Instant::now();
        (0..messages).for_each(|_| one());
        begun.elapsed().as_secs_f64() * 1000.0 / messages as f64
    };
    let mut rounds: Vec<f64> = (0..ROUNDS).map(round).collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let both = [key(DkimAlgorithm::Rsa), key(DkimAlgorithm::Ed25519)];
    let body = LINE.repeat(4096 / LINE.len());
    let small = |keys: &[Arc<SigningKey>]| median(MESSAGES, || sign(keys, 1, body.as_bytes()));
    let (rsa, ed25519) = (small(&both[..1]), small(&both[1..]));
    println!("{rsa:8.3} ms RSA-2048, 4 KiB");
    println!("{ed25519:8.3} ms Ed25519, 4 KiB");
    println!("{:8.3} ms both, 4 KiB", small(&both));
    let piece = &LINE.repeat(PIECE_BYTES / LINE.len() + 1).into_bytes()[..PIECE_BYTES];
    let pieces = (50 << 20) / PIECE_BYTES;
    let large = median(1, || sign(&both, pieces, piece));
    println!("{large:8.1} ms both, 50 MiB: {:.0} MiB/s", 50_000.0 / large);
    let most = measure(|| sign(&both, pieces, piece)).bytes_max;
    println!("{most:8} octets at most are held for that");
    assert!(rsa <= RSA_MILLISECONDS_MAX && ed25519 <= ED25519_MILLISECONDS_MAX, "signing takes too long");
    assert!(most <= MEMORY_BYTES_MAX, "the body is held in memory");
}
