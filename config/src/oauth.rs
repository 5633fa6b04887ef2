//! `[oauth]`: logins by bearer tokens.

use std::path::PathBuf;

use crate::{
    facts::FileFacts,
    reader::{Section, values},
};

/// `[oauth]`: logins by bearer tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct OauthConfig {
    /// `iss` of the tokens.
    pub issuer: String,
    /// `aud` of the tokens.
    pub audience: String,
    /// The claim that holds the login name.
    pub claim: String,
    /// How tokens are checked.
    pub source: TokenSource,
    /// PEM files with the roots that the issuer's host is verified by; empty: the system's.
    pub roots: Vec<PathBuf>,
}

/// How tokens are checked.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenSource {
    /// By the issuer's keys: a JSON Web Key Set (RFC 7517).
    Keys(String),
    /// By the keys that are found at this `https` URL.
    KeysUrl(String),
    /// By asking the issuer (RFC 7662).
    Introspection(Introspection),
}

/// Whom is asked about tokens, and as whom.
#[derive(Clone, PartialEq)]
pub struct Introspection {
    /// An `https` URL.
    pub url: String,
    /// Our name there.
    pub client_id: String,
    /// Our password there.
    pub client_secret: String,
}

impl std::fmt::Debug for Introspection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Introspection").field("url", &self.url).finish_non_exhaustive()
    }
}

impl FileFacts<'_> {
    pub(crate) fn oauth(&self, root: &Section<'_, '_>) -> Option<OauthConfig> {
        if !root.has("oauth") {
            return None;
        }
        let section = root.table("oauth");
        let string = |key: &str| section.string(key).map(|found| found.value.to_owned());
        let (issuer, audience) =
            (section.need("issuer", string("issuer")), section.need("audience", string("audience")));
        let source = self.token_source(&section);
        // What OpenID's tokens and what introspection (RFC 7662 section 2.2) call it.
        let usual = if matches!(source, Some(TokenSource::Introspection(_))) { "username" } else { "email" };
        let claim = string("claim").unwrap_or_else(|| usual.to_owned());
        let roots = section.list("roots", |file| self.readable(file)).map(values).unwrap_or_default();
        section.end();
        Some(OauthConfig { issuer: issuer?, audience: audience?, claim, source: source?, roots })
    }

    fn token_source(&self, section: &Section<'_, '_>) -> Option<TokenSource> {
        const WAYS: [&str; 3] = ["keys", "keys_url", "introspection_url"];
        let (keys_url, asked) =
            (section.parsed("keys_url", https_url), section.parsed("introspection_url", https_url));
        let client_id = section.string("client_id").map(|found| found.value.to_owned());
        let client_secret = self.secret(section, "client_secret").map(|found| found.value);
        let keys = section.has("keys").then(|| self.text(section, "keys")).flatten();
        if WAYS.iter().filter(|way| section.has(way)).count() != 1 {
            section.wrong("oauth has one of keys, keys_url and introspection_url");
            return None;
        }
        let credentials = ["client_id", "client_secret", "client_secret_file"];
        if !section.has("introspection_url") && credentials.iter().any(|key| section.has(key)) {
            section.wrong("oauth.client_id and oauth.client_secret_file are only for introspection_url");
        }
        if let Some(url) = asked {
            let (client_id, client_secret) = client_id.zip(client_secret).or_else(|| {
                section.wrong("oauth.introspection_url needs client_id and client_secret_file");
                None
            })?;
            return Some(TokenSource::Introspection(Introspection {
                url: url.value,
                client_id,
                client_secret,
            }));
        }
        keys_url.map(|url| TokenSource::KeysUrl(url.value)).or_else(|| keys.map(TokenSource::Keys))
    }
}

/// Whoever fetches from it looks at the rest.
fn https_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_url = text.bytes().all(|octet| octet.is_ascii_graphic()) && !host.is_empty();
    if is_url && !host.contains('@') && !text.contains('#') {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a URL, like https://id.example.org/keys"))
    }
}
