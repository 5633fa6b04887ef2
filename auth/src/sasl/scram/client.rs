//! SCRAM-SHA-256 on the client's side (RFC 5802, RFC 7677), without channel binding. Pure: messages, not their base 64.
//!
//! ```text
//! begin ── client-first-message ──► server-first-message ── prove ──► server-final-message ── is_in ──► done
//! ```

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, prelude::BASE64_STANDARD};

use super::verifier::ScramHash;
use crate::sasl::prepare::prepare;

/// Fewest iterations that a server may ask for (RFC 7677 section 4): a proof of fewer gives a listener the password too cheaply.
pub const ITERATIONS_MIN: u32 = 4_096;
/// Most iterations: some hundredths of a second of work.
pub const ITERATIONS_MAX: u32 = 100_000;

/// Why the exchange ends early.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ServerFault {
    /// It is no `server-first-message`, or one with an extension that we do not know.
    #[error("its challenge is none of SCRAM")]
    Malformed,
    /// The nonce does not begin with ours.
    #[error("it answers another exchange")]
    Nonce,
    /// Too few or too many iterations.
    #[error("it asks for fewer than {ITERATIONS_MIN} or more than {ITERATIONS_MAX} iterations")]
    Iterations,
}

/// An exchange of which the first message was made.
#[derive(Clone, Eq, PartialEq)]
pub struct ScramClient {
    password: String,
    nonce: String,
    /// `client-first-message-bare`
    bare: String,
}

/// What a server proves with that it knows the password, too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerSignature(Vec<u8>);

impl std::fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramClient").field("bare", &self.bare).finish_non_exhaustive()
    }
}

impl ScramClient {
    /// Begins, with a nonce that is `printable`, random, and never the same twice; gives the `client-first-message`. `None` where SASLprep
    /// refuses name or password.
    pub fn begin(user: &str, password: &str, nonce: &str) -> Option<(Self, String)> {
        let name = prepare(user)?.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={name},r={nonce}");
        let message = format!("n,,{bare}");
        Some((Self { password: prepare(password)?, nonce: nonce.to_owned(), bare }, message))
    }

    /// Takes the `server-first-message`; gives the `client-final-message` and what the server must answer it with. Takes milliseconds.
    pub fn prove(self, server_first: &str) -> Result<(String, ServerSignature), ServerFault> {
        let hash = ScramHash::Sha256;
        let (nonce, salt, iterations) = server_first_message(server_first).ok_or(ServerFault::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ServerFault::Nonce);
        }
        let iterations = Some(iterations).filter(|count| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(count));
        let iterations = iterations.and_then(NonZeroU32::new).ok_or(ServerFault::Iterations)?;
        // c= is the gs2-header "n,,".
        let without_proof = format!("c=biws,r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.bare);
        let salted = hash.salted(&self.password, &salt, iterations);
        let client_key = hash.hmac(&salted, "Client Key");
        let signature = hash.hmac(&hash.hash(&client_key), &auth_message);
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        let message = format!("{without_proof},p={}", BASE64_STANDARD.encode(proof));
        let server_key = hash.hmac(&salted, "Server Key");
        Ok((message, ServerSignature(hash.hmac(&server_key, &auth_message))))
    }
}

impl ServerSignature {
    /// Whether the `server-final-message` proves that the server knows the password.
    pub fn is_in(&self, server_final: &str) -> bool {
        let value = server_final.split(',').next().and_then(|first| first.strip_prefix("v="));
        let value = value.and_then(|value| BASE64_STANDARD.decode(value).ok());
        value.is_some_and(|value| verify_slices_are_equal(&value, &self.0).is_ok())
    }
}

/// `server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]`; a mandatory extension is refused.
fn server_first_message(text: &str) -> Option<(&str, Vec<u8>, u32)> {
    let mut attributes = text.split(',');
    let nonce = attributes.next()?.strip_prefix("r=")?;
    let salt = BASE64_STANDARD.decode(attributes.next()?.strip_prefix("s=")?).ok()?;
    let iterations = attributes.next()?.strip_prefix("i=")?.parse().ok()?;
    let known = attributes.all(|attribute| !attribute.starts_with("m="));
    (known && nonce.bytes().all(|octet| octet.is_ascii_graphic())).then_some((nonce, salt, iterations))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    /// The example of RFC 7677 section 3.
    #[test]
    fn the_example_is_spoken() {
        let (client, first) = ScramClient::begin("user", "pencil", NONCE).unwrap();
        assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, signature) = client.prove(SERVER_FIRST).unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(signature.is_in("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for wrong in
            ["", "v=", "v=AAAA", "e=invalid-proof", "x=1,v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="]
        {
            assert!(!signature.is_in(wrong), "{wrong}");
        }
    }

    #[test]
    fn names_are_encoded_and_prepared() {
        let (_, first) = ScramClient::begin("a=b,c", "p", "x").unwrap();
        assert_eq!(first, "n,,n=a=3Db=2Cc,r=x");
        assert!(ScramClient::begin("u", "a\u{7}", "x").is_none());
        assert!(ScramClient::begin("\u{7}", "p", "x").is_none());
    }

    #[test]
    fn challenges_that_are_none_are_refused() {
        let rest = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
        for (text, fault) in [
            (String::new(), ServerFault::Malformed),
            (format!("r={NONCE}x,{rest}"), ServerFault::Malformed),
            (format!("m=1,r={NONCE}x,{rest},i=4096"), ServerFault::Malformed),
            (format!("r={NONCE}x,{rest},i=4096,m=1"), ServerFault::Malformed),
            (format!("r={NONCE}x,s=*,i=4096"), ServerFault::Malformed),
            (format!("r={NONCE}x,{rest},i=99999999999"), ServerFault::Malformed),
            (format!("r={NONCE} x,{rest},i=4096"), ServerFault::Malformed),
            (format!("r={NONCE},{rest},i=4096"), ServerFault::Nonce),
            (format!("r=other,{rest},i=4096"), ServerFault::Nonce),
            (format!("r={NONCE}x,{rest},i=4095"), ServerFault::Iterations),
            (format!("r={NONCE}x,{rest},i=100001"), ServerFault::Iterations),
        ] {
            let (client, _) = ScramClient::begin("user", "pencil", NONCE).unwrap();
            assert_eq!(client.prove(&text), Err(fault), "{text}");
        }
    }
}
