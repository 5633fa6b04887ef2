//! Where administration commands go: to the running server, or to the store itself where none runs.

use std::sync::Arc;

use tokio::sync::mpsc;
use waypost_config::Config;
use waypost_mta::{Random, dns::Resolver};
use waypost_storage::Store;

use crate::{
    admin::{Request, Response, Router, execute, socket},
    cli::{Failure, arguments::ConfigFile},
    directory,
    port::Event,
    secret,
    start::{make_state_dir, store_options},
};

/// Reads the configuration.
pub fn load(file: &ConfigFile) -> Result<Config, Failure> {
    waypost_config::load(&file.config)
        .map_err(|error| Failure::configuration(format!("bad configuration\n{error}")))
}

/// Carries a request out. Errors: its failure, a server that does not answer, a store that cannot be opened.
pub async fn ask(file: &ConfigFile, request: Request) -> Result<Response, Failure> {
    ask_long(file, request, &mut drop).await
}

/// The same for what takes long and has events.
pub async fn ask_long(
    file: &ConfigFile,
    request: Request,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Result<Response, Failure> {
    let config = load(file)?;
    let response = match socket::ask(&config.state_dir, &request, tell).await {
        Some(response) => response.map_err(|error| {
            Failure::new(format!(
                "the running server, {}: {error}",
                socket::path(&config.state_dir).display()
            ))
        })?,
        None => offline(config, request, tell).await?,
    };
    match response {
        Response::Failed(text) => Err(Failure::new(text)),
        response => Ok(response),
    }
}

async fn offline(
    config: Config,
    request: Request,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Result<Response, Failure> {
    make_state_dir(&config.state_dir).map_err(Failure::new)?;
    let store = Store::open(store_options(&config)).await.map_err(Failure::new)?;
    let router = router(&config)?;
    let adopted = directory::adopt_file_accounts(&store, &config).await;
    let live = adopted.and_then(|()| directory::live(&store, Arc::new(config)));
    let response = match live {
        Ok(live) => {
            let (sender, mut events) = mpsc::channel(socket::EVENTS_MAX);
            let told = async {
                while let Some(event) = events.recv().await {
                    tell(event);
                }
            };
            Ok(tokio::join!(execute(&store, &live, &router, request, sender), told).0)
        }
        Err(problem) => Err(Failure::configuration(problem)),
    };
    store.close().await;
    response
}

/// What the server would have: DNS as the configuration says, and the key of return paths.
fn router(config: &Config) -> Result<Router, Failure> {
    let resolver = Resolver::new(&config.dns).map_err(Failure::new)?;
    let srs = secret::srs(&config.state_dir).map_err(Failure::new)?;
    Ok(Router { resolver, srs, random: Random::default() })
}
