//! SCRAM on the server's side (RFC 5802; with SHA-256: RFC 7677), bound to TLS by `tls-exporter` (RFC 9266) or
//! `tls-server-end-point` (RFC 5929).
//!
//! ```text
//! First ── client-first-message ──► Opening ── salt ──► Final ── client-final-message ──► Proving ── verifier, right ──► End ── "" ──► Done
//!   │                                                     │                               │
//!   └── y where -PLUS was offered, no such binding ──► Done ◄── wrong binding, wrong nonce  └── wrong proof ──► Done
//! ```
//! What verifies a proof is asked for when there is one: it may have to be made first, which is worth something.
//! A proof that is wrong ends in [`Claim::Scram`] with its [`Fault`], so that it is counted as any failed login is; what is no
//! message of SCRAM ends in [`Progress::Malformed`]. Clients are not told more than that they failed: `e=` is not sent.

mod client;
mod message;
#[cfg(test)]
mod tests;
mod verifier;

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::{Engine, prelude::BASE64_STANDARD};

pub(super) use self::message::gs2_header;
use self::message::{ClientFinal, ClientFirst, Flag};
pub use self::{
    client::{ITERATIONS_MAX, ITERATIONS_MIN, ScramClient, ServerFault, ServerSignature},
    verifier::{ITERATIONS, ScramHash, Verifier},
};
use super::{Channel, Claim, Lookup, Progress};

/// What the exchange is given for a [`Lookup::ServerFirst`]: the same for users who do not exist.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerFirst {
    /// Our part of the nonce: `printable`, random, never the same twice.
    pub nonce: String,
    /// That of the verifier.
    pub salt: Vec<u8>,
    /// Those of the verifier.
    pub iterations: NonZeroU32,
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
    Opening(Greeting),
    Final(Greeting, Box<ServerFirst>),
    Proving(Box<Proving>),
    End(Proof),
}

/// A proof that is to be verified.
#[derive(Debug)]
struct Proving {
    authorization: String,
    login: String,
    /// `AuthMessage`
    auth_message: String,
    /// `ClientProof`
    proof: Vec<u8>,
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
            State::Final(greeting, first) => last(hash, greeting, &first, text),
            // The client accepts our signature with an empty response (RFC 4422 section 3.1).
            State::End(proof) if text.is_empty() => (None, Progress::Done(Claim::Scram(proof))),
            State::Opening(_) | State::Proving(_) | State::End(_) => (None, Progress::Malformed),
        }
    }

    /// Takes the salt that was asked for, and sends the server-first-message.
    pub(super) fn opened(self, first: &ServerFirst) -> Turn {
        let State::Opening(greeting) = self.state else { return (None, Progress::Malformed) };
        let challenge = BASE64_STANDARD.encode(greeting.server_first(first));
        (
            Some(Self { hash: self.hash, state: State::Final(greeting, Box::new(first.clone())) }),
            Progress::Challenge(challenge),
        )
    }

    /// Takes the verifier that was asked for, and sends the server-final-message if the proof is right.
    pub(super) fn verified(self, verifier: &Verifier) -> Turn {
        let State::Proving(shown) = self.state else { return (None, Progress::Malformed) };
        let Proving { authorization, login, auth_message, proof } = *shown;
        if !verifier.accepts(&auth_message, &proof) {
            return (
                None,
                Progress::Done(Claim::Scram(Proof { authorization, login, verdict: Err(Fault::Proof) })),
            );
        }
        let signature = BASE64_STANDARD.encode(verifier.sign(&auth_message));
        let challenge = BASE64_STANDARD.encode(format!("v={signature}"));
        let state = State::End(Proof { authorization, login, verdict: Ok(()) });
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
    let lookup = Lookup::ServerFirst { login: message.login, hash };
    (Some(Dialogue { hash, state: State::Opening(greeting) }), Progress::Needs(lookup))
}

fn last(hash: ScramHash, greeting: Greeting, first: &ServerFirst, text: &str) -> Turn {
    let Some(message) = ClientFinal::parse(text) else { return (None, Progress::Malformed) };
    let auth_message =
        format!("{},{},{}", greeting.bare, greeting.server_first(first), message.without_proof);
    let nonce = format!("{}{}", greeting.nonce, first.nonce);
    let Greeting { authorization, login, binding_input, .. } = greeting;
    let fault = if verify_slices_are_equal(&message.binding_input, &binding_input).is_err() {
        Some(Fault::Binding)
    } else {
        (message.nonce != nonce).then_some(Fault::Proof)
    };
    if let Some(fault) = fault {
        return (None, Progress::Done(Claim::Scram(Proof { authorization, login, verdict: Err(fault) })));
    }
    let lookup = Lookup::Verifier { login: login.clone(), hash };
    let shown = Proving { authorization, login, auth_message, proof: message.proof };
    (Some(Dialogue { hash, state: State::Proving(Box::new(shown)) }), Progress::Needs(lookup))
}

impl Greeting {
    /// `server-first-message = nonce "," salt "," iteration-count`
    fn server_first(&self, ServerFirst { nonce, salt, iterations }: &ServerFirst) -> String {
        let salt = BASE64_STANDARD.encode(salt);
        format!("r={}{nonce},s={salt},i={iterations}", self.nonce)
    }
}

impl ClientFirst<'_> {
    fn claim(&self, verdict: Result<(), Fault>) -> Claim {
        let (authorization, login) = (self.authorization.clone(), self.login.clone());
        Claim::Scram(Proof { authorization, login, verdict })
    }
}
