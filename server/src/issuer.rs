//! Asks the issuer of bearer tokens: fetches its keys, and what it says of a token (RFC 7662). What the answers mean is known in
//! `auth`; here are the connection, its bounds, and when keys are fetched.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::sync::watch;
use waypost_auth::{
    Authenticator, Live,
    token::{Ask, Errand, Issuer},
};
use waypost_config::{Introspection, TokenSource};
use waypost_mta::dns::Resolver;
use waypost_net::{Bounds, HttpsClient, HttpsRequest, HttpsUrl, Payload};

/// How often keys are fetched.
const KEYS_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// How soon after a try that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);
/// What an answer is bounded by: who logs in waits for it.
const BOUNDS: Bounds = Bounds { timeout: Duration::from_secs(10), body_bytes_max: 256 * 1024 };

/// Asks issuers over HTTPS.
pub(crate) fn ask(resolver: Resolver) -> Ask {
    let clients = Arc::new(Clients::default());
    Arc::new(move |issuer, errand| {
        let (resolver, clients) = (resolver.clone(), Arc::clone(&clients));
        Box::pin(async move { run(&clients.of(&issuer).await?, &issuer, &resolver, errand).await })
    })
}

/// The client of the last issuer: its roots are read once, and anew with the configuration.
#[derive(Default)]
struct Clients {
    last: Mutex<Option<(Arc<Issuer>, HttpsClient)>>,
}

impl Clients {
    async fn of(&self, issuer: &Arc<Issuer>) -> Result<HttpsClient, String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, client)) = last.filter(|(known, _)| Arc::ptr_eq(known, issuer)) {
            return Ok(client);
        }
        let roots = issuer.config().roots.clone();
        let made = tokio::task::spawn_blocking(move || HttpsClient::new(&roots)).await;
        let client = made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Arc::clone(issuer), client.clone()));
        Ok(client)
    }
}

/// Fetches the keys at start, every so often, and when the configuration names another issuer. Never ends.
pub(crate) async fn keep_keys(authenticator: Authenticator, mut live: watch::Receiver<Arc<Live>>) {
    loop {
        let issuer = live.borrow_and_update().directory.issuer().cloned();
        let wait = match &issuer {
            Some(issuer) if authenticator.refresh_keys(issuer).await.is_err() => RETRY_INTERVAL,
            _ => KEYS_INTERVAL,
        };
        let config = issuer.map(|issuer| issuer.config().clone());
        let is_other =
            |live: &Arc<Live>| live.directory.issuer().map(|issuer| issuer.config()) != config.as_ref();
        // Cancel-safe: both only wait.
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = live.wait_for(is_other) => if changed.is_err() { return },
        }
    }
}

async fn run(
    client: &HttpsClient,
    issuer: &Issuer,
    resolver: &Resolver,
    errand: Errand,
) -> Result<Vec<u8>, String> {
    let config = issuer.config();
    let (url, request) = match (&config.source, errand) {
        (TokenSource::KeysUrl(url), Errand::KeySet) => (url, HttpsRequest::default()),
        (TokenSource::Introspection(asked), Errand::Introspect(token)) => {
            (&asked.url, question(asked, &token))
        }
        _ => return Err("the configuration does not say where".to_owned()),
    };
    let url = HttpsUrl::parse(url).map_err(|error| error.to_string())?;
    let addresses = tokio::time::timeout(BOUNDS.timeout, addresses(resolver, &url)).await;
    let addresses = addresses.map_err(|_| format!("{}: no answer from DNS", url.host))??;
    let answer = client.exchange(&url, &addresses, &request, BOUNDS).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if answer.status == 200 { Ok(answer.body) } else { Err(format!("the server said {}", answer.status)) }
}

async fn addresses(resolver: &Resolver, url: &HttpsUrl) -> Result<Vec<SocketAddr>, String> {
    let found = match url.host.parse() {
        Ok(address) => vec![address],
        Err(_) => resolver.addresses(&url.host).await.map_err(|error| error.to_string())?,
    };
    Ok(found.into_iter().map(|address| SocketAddr::new(address, url.port)).collect())
}

/// RFC 7662 section 2.1, with the client's credentials as RFC 6749 section 2.3.1 wants them.
fn question(asked: &Introspection, token: &str) -> HttpsRequest {
    let credentials = format!("{}:{}", encoded(&asked.client_id), encoded(&asked.client_secret));
    let authorization = format!("Basic {}", BASE64_STANDARD.encode(credentials));
    let form = format!("token={}&token_type_hint=access_token", encoded(token));
    HttpsRequest {
        fields: vec![
            ("Authorization".to_owned(), authorization),
            ("Accept".to_owned(), "application/json".to_owned()),
        ],
        payload: Some(Payload {
            content_type: "application/x-www-form-urlencoded".to_owned(),
            octets: form.into_bytes(),
        }),
    }
}

/// As a value of a form: all but letters, digits and `-._~` by their octets.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_form() {
        let (url, client_id) = ("https://id.a.test/".into(), "way:post".into());
        let asked = Introspection { url, client_id, client_secret: "s é+".into() };
        let request = question(&asked, "a+b/c=&token=x");
        let credentials = BASE64_STANDARD.encode("way%3Apost:s%20%C3%A9%2B");
        assert_eq!(request.fields[0].1, format!("Basic {credentials}"));
        let payload = request.payload.unwrap();
        let form = "token=a%2Bb%2Fc%3D%26token%3Dx&token_type_hint=access_token";
        assert_eq!(String::from_utf8(payload.octets).unwrap(), form);
    }
}
