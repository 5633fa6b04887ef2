//! Certificates that log in to an account of the store. Those of an account of the configuration file stand there.

use serde::{Deserialize, Serialize};
use waypost_auth::Live;
use waypost_mail::{AccountCertificate, AccountRecord};
use waypost_storage::Store;

use super::{
    app_password::check_name,
    request::{Response, of_the_store},
};

/// One certificate in a listing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CertificateLine {
    /// What it is called.
    pub name: String,
    /// Its SHA-256 fingerprint: 64 hexadecimal digits.
    pub sha256: String,
    /// Since when it is there, RFC 3339.
    pub added: String,
}

/// Answers with all of the account.
pub(super) async fn add(
    store: &Store,
    live: &Live,
    address: &str,
    name: String,
    sha256: [u8; 32],
) -> Result<Response, String> {
    let record = of_the_store(store, live, address)?;
    check_name(&name)?;
    let certificate = AccountCertificate { name, sha256, added: store.now() };
    store.add_certificate(record.id, certificate).await.map_err(|error| error.to_string())?;
    list(store, live, address)
}

pub(super) fn list(store: &Store, live: &Live, address: &str) -> Result<Response, String> {
    let AccountRecord { certificates, .. } = of_the_store(store, live, address)?;
    let lines = certificates.iter().map(|AccountCertificate { name, sha256, added }| CertificateLine {
        name: name.clone(),
        sha256: sha256.iter().map(|octet| format!("{octet:02x}")).collect(),
        added: added.to_string(),
    });
    Ok(Response::Certificates(lines.collect()))
}

/// Answers with those that are left.
pub(super) async fn remove(
    store: &Store,
    live: &Live,
    address: &str,
    name: String,
) -> Result<Response, String> {
    let record = of_the_store(store, live, address)?;
    store.remove_certificate(record.id, name).await.map_err(|error| error.to_string())?;
    list(store, live, address)
}
