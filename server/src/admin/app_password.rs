//! App passwords of an account: each is made by the command that adds it, and only its hash comes here.

use serde::{Deserialize, Serialize};
use waypost_mail::{AppPassword, LoginService};
use waypost_storage::Store;

use super::request::{Response, done, named};

/// Longest name in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// One app password in a listing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AppPasswordLine {
    /// What it is called.
    pub name: String,
    /// The services it is for.
    pub services: Vec<String>,
    /// Since when it is there, RFC 3339.
    pub created: String,
}

pub(super) async fn add(
    store: &Store,
    address: &str,
    name: String,
    hash: String,
    services: &[String],
) -> Result<Response, String> {
    let record = named(store, address)?;
    check_name(&name)?;
    let services = services.iter().map(|service| known(service)).collect::<Result<Vec<_>, _>>()?;
    if services.is_empty() {
        return Err("an app password is for at least one service".to_owned());
    }
    let app_password = AppPassword { name, hash, services, created: store.now() };
    done(store.add_app_password(record.id, app_password).await)
}

pub(super) fn list(store: &Store, address: &str) -> Result<Response, String> {
    let lines = named(store, address)?.app_passwords.into_iter().map(|one| AppPasswordLine {
        name: one.name,
        services: one.services.iter().map(ToString::to_string).collect(),
        created: one.created.to_string(),
    });
    Ok(Response::AppPasswords(lines.collect()))
}

pub(super) async fn remove(store: &Store, address: &str, name: String) -> Result<Response, String> {
    let record = named(store, address)?;
    done(store.remove_app_password(record.id, name).await)
}

/// Whether something of an account can be called like that; if not, why.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let length = name.chars().count();
    if (1..=NAME_CHARACTERS_MAX).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(format!("a name has 1 to {NAME_CHARACTERS_MAX} characters, and no control characters"))
}

fn known(service: &str) -> Result<LoginService, String> {
    LoginService::by_name(service).ok_or_else(|| {
        let all = LoginService::ALL.map(LoginService::name).join(", ");
        format!("{service} is no service: there are {all}")
    })
}
