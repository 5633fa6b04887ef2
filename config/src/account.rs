//! `[[account]]`, `[[alias]]` and `[[send_as]]`: who has mail here, under which addresses.

use waypost_mail::{Address, Domain};

use crate::{
    facts::FileFacts,
    reader::{Found, Section, values},
    texts::{address, domain, size},
    tls::fingerprint,
};

/// A password that the file declares.
#[derive(Clone, PartialEq)]
pub enum Password {
    /// PHC string.
    Hash(String),
    /// The password itself; the file is mode 0600.
    Plain(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

/// `[[account]]`
#[derive(Clone, Debug, PartialEq)]
pub struct AccountConfig {
    /// Its address; the domain is one of `[[domain]]`.
    pub address: Address,
    /// How it logs in.
    pub password: Password,
    /// Bytes it may hold.
    pub quota_bytes: Option<u64>,
    /// SHA-256 of the certificates that log in to it. Empty: those that name its address.
    pub certificates: Vec<[u8; 32]>,
}

/// `[[alias]]`
#[derive(Clone, Debug, PartialEq)]
pub struct AliasConfig {
    /// An address in one of our domains.
    pub from: Address,
    /// Who gets its mail: ours or elsewhere; at least one.
    pub to: Vec<Address>,
}

/// `[[send_as]]`: addresses that accounts may send from, besides their own.
#[derive(Clone, Debug, PartialEq)]
pub struct SendAsConfig {
    /// The accounts, in the file or in the store; at least one.
    pub accounts: Vec<Address>,
    /// The addresses; at least one.
    pub addresses: Vec<SendAsAddress>,
    /// Whether a field Sender tells which account it was; default yes.
    pub add_sender: bool,
}

/// What an account may send from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SendAsAddress {
    /// One address.
    Address(Address),
    /// Every address of a domain.
    Domain(Domain),
}

impl FileFacts<'_> {
    pub(crate) fn account(&self, section: Section<'_, '_>) -> Option<Found<AccountConfig>> {
        let address = section.need("address", section.parsed("address", address));
        let quota_bytes = section.parsed("quota", size).map(|found| found.value);
        let password = self.password(&section);
        let certificates = section.list("certificate_sha256", fingerprint).map(values).unwrap_or_default();
        section.end();
        let Found { value: address, place } = address?;
        Some(Found {
            value: AccountConfig { address, password: password?, quota_bytes, certificates },
            place,
        })
    }

    fn password(&self, section: &Section<'_, '_>) -> Option<Password> {
        let (hash, plain) = (self.secret(section, "password_hash"), self.secret(section, "password"));
        let has = |key: &str| section.has(key) || section.has(&format!("{key}_file"));
        match (hash, plain) {
            (Some(_), Some(plain)) => {
                section.problems().add(Some(plain.place), "password_hash and password are both there");
                None
            }
            (Some(hash), None) if is_argon2(&hash.value) => Some(Password::Hash(hash.value)),
            (Some(hash), None) => {
                let text =
                    "password_hash is not a whole argon2 PHC string; `waypost hash-password` makes one";
                section.problems().add(Some(hash.place), text);
                None
            }
            (None, Some(plain)) if section.has("password") && !self.is_private => {
                let text = "a password in the file is only accepted where no one else can read the file: \
                            chmod 0600, or use password_hash or password_file";
                section.problems().add(Some(plain.place), text);
                None
            }
            (None, Some(plain)) if plain.value.is_empty() => {
                section.problems().add(Some(plain.place), "the password is empty");
                None
            }
            (None, Some(plain)) => Some(Password::Plain(plain.value)),
            (None, None) => {
                if !has("password") && !has("password_hash") {
                    section.wrong("account.password_hash is missing");
                }
                None
            }
        }
    }
}

/// Whether a text has the shape of an argon2 PHC string with salt and hash: `$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA`.
/// A truncated one would let nobody in, and nobody would know why.
fn is_argon2(text: &str) -> bool {
    let is_base64 =
        |text: &str| text.len() >= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b));
    let is_parameter = |text: &str| {
        text.split_once('=').is_some_and(|(name, number)| {
            !name.is_empty() && !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let parts: Vec<&str> = text.split('$').collect();
    let [empty, name, parameters @ .., salt, hash] = parts.as_slice() else { return false };
    empty.is_empty()
        && ["argon2id", "argon2i", "argon2d"].contains(name)
        && (1..=2).contains(&parameters.len())
        && parameters.iter().flat_map(|text| text.split(',')).all(is_parameter)
        && is_base64(salt)
        && is_base64(hash)
}

pub(crate) fn alias(section: Section<'_, '_>) -> Option<Found<AliasConfig>> {
    let from = section.need("from", section.parsed("from", address));
    let to = section.need("to", section.list("to", address));
    section.refuse_empty_list("to");
    section.end();
    let Found { value: from, place } = from?;
    Some(Found { value: AliasConfig { from, to: values(to?) }, place })
}

pub(crate) fn send_as(section: Section<'_, '_>) -> Option<SendAsConfig> {
    let accounts = section.need("accounts", section.list("accounts", address));
    let from = |text: &str| match text.strip_prefix('@') {
        Some(name) => domain(name).map(SendAsAddress::Domain),
        None => address(text).map(SendAsAddress::Address),
    };
    let addresses = section.need("addresses", section.list("addresses", from));
    section.refuse_empty_list("accounts");
    section.refuse_empty_list("addresses");
    let add_sender = section.boolean("add_sender").is_none_or(|found| found.value);
    section.end();
    Some(SendAsConfig { accounts: values(accounts?), addresses: values(addresses?), add_sender })
}
