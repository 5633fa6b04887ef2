//! What a SCRAM exchange needs of an account: first a salt and how often it iterates, and, once the client has shown a proof, the
//! verifier: the account's, one that is made of its password in the configuration file, or, for a user who does not exist, one that no
//! password fits. From outside the three are not told apart: all have a salt that is always the same and the same iterations, which
//! cost next to nothing, and the first proof costs one derivation. A client that has shown none has cost none.

use std::{collections::HashMap, sync::Mutex};

use aws_lc_rs::{hmac, rand};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    Directory, LoginError,
    directory::ScramSecret,
    locked,
    password::Passwords,
    sasl::{ScramHash, ServerFirst, Verifier, scram::ITERATIONS},
};

/// Most verifiers that are kept.
const VERIFIERS_MAX: usize = 10_000;
/// Octets of our part of a nonce.
const NONCE_BYTES: usize = 18;
/// Octets of a salt.
const SALT_BYTES: usize = 16;

/// Finds verifiers.
#[derive(Debug)]
pub(crate) struct Verifiers {
    /// Of the salts of those who have none stored.
    key: hmac::Key,
    kept: Mutex<HashMap<[u8; 32], Verifier>>,
}

impl Verifiers {
    pub(crate) fn new(salt_key: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, salt_key), kept: Mutex::default() }
    }

    /// What the first message of the server says. Errors: no randomness.
    pub(crate) fn server_first(
        &self,
        directory: &Directory,
        login: &str,
        hash: ScramHash,
    ) -> Result<ServerFirst, LoginError> {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).map_err(|_| LoginError::Busy)?;
        // Made in any case: whose salt is stored is not faster.
        let salt = self.salt(&directory.login_name(login), hash);
        let (salt, iterations) = match directory.scram_secret(login, hash) {
            Some(ScramSecret::Stored(verifier)) => (verifier.salt.clone(), verifier.iterations),
            Some(ScramSecret::Plain(_)) | None => (salt, ITERATIONS),
        };
        Ok(ServerFirst { nonce: BASE64_STANDARD.encode(nonce), salt, iterations })
    }

    /// What a proof is verified with.
    pub(crate) async fn find(
        &self,
        directory: &Directory,
        passwords: &Passwords,
        login: &str,
        hash: ScramHash,
    ) -> Result<Verifier, LoginError> {
        let name = directory.login_name(login);
        let secret = directory.scram_secret(login, hash);
        let (password, stored) = match &secret {
            Some(ScramSecret::Plain(password)) => (*password, None),
            Some(ScramSecret::Stored(verifier)) => ("", Some(*verifier)),
            None => ("", None),
        };
        let stored_text = stored.map(ToString::to_string).unwrap_or_default();
        let tag = self.tag(&[
            b"verifier",
            hash.scheme().as_bytes(),
            name.as_bytes(),
            password.as_bytes(),
            stored_text.as_bytes(),
        ]);
        if let Some(verifier) = locked(&self.kept).get(&tag) {
            return Ok(verifier.clone());
        }
        // Who has no password gets the verifier of one that nobody knows.
        let nobodys = BASE64_STANDARD.encode(self.tag(&[b"nobody", name.as_bytes()]));
        let password = if password.is_empty() { nobodys } else { password.to_owned() };
        let derived = passwords.derive(hash, password, self.salt(&name, hash), ITERATIONS).await?;
        let verifier = stored.cloned().or(derived).ok_or(LoginError::Invalid)?;
        let mut kept = locked(&self.kept);
        if kept.len() >= VERIFIERS_MAX {
            kept.clear();
        }
        kept.insert(tag, verifier.clone());
        Ok(verifier)
    }

    /// The salt of a name that has none stored.
    fn salt(&self, name: &str, hash: ScramHash) -> Vec<u8> {
        self.tag(&[b"salt", hash.scheme().as_bytes(), name.as_bytes()])[..SALT_BYTES].to_vec()
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}
