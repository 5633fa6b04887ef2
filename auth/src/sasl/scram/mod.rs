//! SCRAM on the server's side (RFC 5802; with SHA-256: RFC 7677), bound to TLS by `tls-exporter` (RFC 9266) or
//! `tls-server-end-point` (RFC 5929).
//!
//! ```text
//! First ── client-first-message ──► Verifier ── keys ──► Final ── client-final-message, right ──► End ── "" ──► Done
//!   │                                                      │
//!   └── y where -PLUS was offered, no such binding ──► Done ◄── wrong proof, wrong binding
//! ```
//! A proof that is wrong ends in [`Claim::Scram`] with its [`Fault`], so that it is counted as any failed login is; what is no
//! message of SCRAM ends in [`Progress::Malformed`]. Clients are not told more than that they failed: `e=` is not sent.

mod client;
mod message;
#[cfg(test)]
mod tests;
mod verifier;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, prelude::BASE64_STANDARD};

pub(super) use self::message::gs2_header;
use self::message::{ClientFinal, ClientFirst, Flag};
pub use self::{
    client::{ITERATIONS_MAX, ITERATIONS_MIN, ScramClient, ServerFault, ServerSignature},
    verifier::{ITERATIONS, ScramHash, Verifier},
};
use super::{Channel, Claim, Lookup, Progress};

/// What the exchange is given for a [`Lookup::Verifier`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Keys {
    /// The account's verifier. Of a user who does not exist: one that no password fits.
    pub verifier: Verifier,
    /// Our part of the nonce: `printable`, random, never the same twice.
    pub nonce: String,
}

/// What a client has proven.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Proof {
    /// Whom the client wants to act as; empty: as `login`.
    pub authorization: String,
    /// Who it says it is.
    pub login: String,
    /// Whether it knows the password.
    pub verdict: Result<(), Fault>,
}

/// Why a proof is none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The password is another one, or the nonce is.
    #[error("wrong proof")]
    Proof,
    /// The client sees another TLS connection than we do.
    #[error("wrong channel binding")]
    Binding,
    /// The client did not see that channel binding is offered.
    #[error("the announcement of channel binding was removed")]
    Downgrade,
}

/// What the mechanism says of channel binding.
#[derive(Debug)]
enum Binding {
    /// None; whether a -PLUS mechanism was offered.
    Unbound { plus_offered: bool },
    /// It is a -PLUS mechanism.
    Bound(Channel),
}

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Dialogue {
    hash: ScramHash,
    state: State,
}

#[derive(Debug)]
enum State {
    First(Binding),
    Verifier(Greeting),
    Final(Greeting, Box<Keys>),
    End(Proof),
}

/// What the client-first-message said.
#[derive(Debug)]
struct Greeting {
    authorization: String,
    login: String,
    nonce: String,
    /// `client-first-message-bare`
    bare: String,
    /// `cbind-input`
    binding_input: Vec<u8>,
}

type Turn = (Option<Dialogue>, Progress);

impl Dialogue {
    /// SCRAM without channel binding; whether SCRAM with it was offered as well.
    pub(super) fn unbound(hash: ScramHash, plus_offered: bool) -> Self {
        Self { hash, state: State::First(Binding::Unbound { plus_offered }) }
    }

    /// SCRAM with channel binding.
    pub(super) fn bound(hash: ScramHash, channel: Channel) -> Self {
        Self { hash, state: State::First(Binding::Bound(channel)) }
    }

    /// Takes a message of the client.
    pub(super) fn take(self, text: &str) -> Turn {
        let hash = self.hash;
        match self.state {
            State::First(binding) => first(hash, &binding, text),
            State::Final(greeting, keys) => last(hash, greeting, &keys, text),
            // The client accepts our signature with an empty response (RFC 4422 section 3.1).
            State::End(proof) if text.is_empty() => (None, Progress::Done(Claim::Scram(proof))),
            State::Verifier(_) | State::End(_) => (None, Progress::Malformed),
        }
    }

    /// Takes the verifier that was asked for, and sends the server-first-message.
    pub(super) fn verifier(self, keys: &Keys) -> Turn {
        let State::Verifier(greeting) = self.state else { return (None, Progress::Malformed) };
        let challenge = BASE64_STANDARD.encode(greeting.server_first(keys));
        let state = State::Final(greeting, Box::new(keys.clone()));
        (Some(Self { hash: self.hash, state }), Progress::Challenge(challenge))
    }
}

fn first(hash: ScramHash, binding: &Binding, text: &str) -> Turn {
    let Some(message) = ClientFirst::parse(text) else { return (None, Progress::Malformed) };
    let failed = |fault| (None, Progress::Done(message.claim(Err(fault))));
    let data = match (binding, &message.flag) {
        (Binding::Unbound { plus_offered: true }, Flag::NotOffered) => return failed(Fault::Downgrade),
        (Binding::Unbound { .. }, Flag::Unsupported | Flag::NotOffered) => &[],
        (Binding::Bound(channel), Flag::Required(name)) => match channel.by_name(name) {
            Some(data) => data,
            None => return failed(Fault::Binding),
        },
        (Binding::Unbound { .. }, Flag::Required(_)) | (Binding::Bound(_), _) => {
            return (None, Progress::Malformed);
        }
    };
    let greeting = Greeting {
        authorization: message.authorization.clone(),
        login: message.login.clone(),
        nonce: message.nonce.to_owned(),
        bare: message.bare.to_owned(),
        binding_input: [message.header.as_bytes(), data].concat(),
    };
    let lookup = Lookup::Verifier { login: message.login, hash };
    (Some(Dialogue { hash, state: State::Verifier(greeting) }), Progress::Needs(lookup))
}

fn last(hash: ScramHash, greeting: Greeting, keys: &Keys, text: &str) -> Turn {
    let Some(message) = ClientFinal::parse(text) else { return (None, Progress::Malformed) };
    let auth_message = format!("{},{},{}", greeting.bare, greeting.server_first(keys), message.without_proof);
    let nonce = format!("{}{}", greeting.nonce, keys.nonce);
    let verdict = if verify_slices_are_equal(&message.binding_input, &greeting.binding_input).is_err() {
        Err(Fault::Binding)
    } else if message.nonce != nonce || !keys.verifier.accepts(&auth_message, &message.proof) {
        Err(Fault::Proof)
    } else {
        Ok(())
    };
    let Greeting { authorization, login, .. } = greeting;
    let proof = Proof { authorization, login, verdict };
    if proof.verdict.is_err() {
        return (None, Progress::Done(Claim::Scram(proof)));
    }
    let signature = BASE64_STANDARD.encode(keys.verifier.sign(&auth_message));
    let challenge = BASE64_STANDARD.encode(format!("v={signature}"));
    (Some(Dialogue { hash, state: State::End(proof) }), Progress::Challenge(challenge))
}

impl Greeting {
    /// `server-first-message = nonce "," salt "," iteration-count`
    fn server_first(&self, Keys { verifier, nonce }: &Keys) -> String {
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        format!("r={}{nonce},s={salt},i={}", self.nonce, verifier.iterations)
    }
}

impl ClientFirst<'_> {
    fn claim(&self, verdict: Result<(), Fault>) -> Claim {
        let (authorization, login) = (self.authorization.clone(), self.login.clone());
        Claim::Scram(Proof { authorization, login, verdict })
    }
}
