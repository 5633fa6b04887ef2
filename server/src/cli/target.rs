//! Where administration commands go: to the running server, or to the store itself where none runs.

use std::sync::Arc;

use tokio::sync::mpsc;
use waypost_auth::Live;
use waypost_config::Config;
use waypost_mta::{
    Random,
    authenticity::Signers,
    dns::Resolver,
    reports::{
        incoming::Incoming,
        outgoing::{Counts, Reporter},
    },
    tls_policy::Policies,
};
use waypost_storage::Store;

use crate::{
    admin::{Parts, Request, Response, Router, execute, socket},
    cli::{Failure, arguments::ConfigFile},
    directory,
    port::Event,
    secret,
    start::{make_state_dir, reports_folder, store_options},
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
    let mut target = Target::new(file)?;
    let response = target.ask(request, tell).await;
    target.close().await;
    response
}

/// Takes several requests. A store that was opened for the first one stays open, and closed to a server, until [`Target::close`].
#[derive(Debug)]
pub struct Target {
    config: Arc<Config>,
    opened: Option<Opened>,
}

/// A store that no server has.
#[derive(Debug)]
struct Opened {
    store: Store,
    live: Arc<Live>,
    parts: Parts,
}

impl Target {
    /// Reads the configuration.
    pub fn new(file: &ConfigFile) -> Result<Self, Failure> {
        Ok(Self { config: Arc::new(load(file)?), opened: None })
    }

    /// Carries a request out. Errors as [`ask`].
    pub async fn ask(
        &mut self,
        request: Request,
        tell: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Response, Failure> {
        let state_dir = &self.config.state_dir;
        let answer = match self.opened {
            Some(_) => None,
            None => socket::ask(state_dir, &request, tell).await,
        };
        let response = match answer {
            Some(response) => response.map_err(|error| {
                Failure::new(format!("the running server, {}: {error}", socket::path(state_dir).display()))
            })?,
            None => self.alone(request, tell).await?,
        };
        match response {
            Response::Failed(text) => Err(Failure::new(text)),
            response => Ok(response),
        }
    }

    /// Ends what was opened.
    pub async fn close(self) {
        if let Some(opened) = self.opened {
            opened.store.close().await;
        }
    }

    async fn alone(
        &mut self,
        request: Request,
        tell: &mut (dyn FnMut(Event) + Send),
    ) -> Result<Response, Failure> {
        let Opened { store, live, parts } = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(open(self.config.clone()).await?),
        };
        let (sender, mut events) = mpsc::channel(socket::EVENTS_MAX);
        let told = async {
            while let Some(event) = events.recv().await {
                tell(event);
            }
        };
        Ok(tokio::join!(execute(store, live, parts, request, sender), told).0)
    }
}

async fn open(config: Arc<Config>) -> Result<Opened, Failure> {
    make_state_dir(&config.state_dir).map_err(Failure::new)?;
    let store = Store::open(store_options(&config)).await.map_err(Failure::new)?;
    let (router, reporter) = match parts(&config, &store) {
        Ok(parts) => parts,
        Err(failure) => {
            store.close().await;
            return Err(failure);
        }
    };
    let adopted = directory::adopt_file_accounts(&store, &config).await;
    match adopted.and_then(|()| directory::live(&store, config)) {
        Ok(live) => {
            let reports = Incoming::open(&live.config.state_dir, store.now());
            Ok(Opened { store, live, parts: Parts { router, control: None, reporter, reports } })
        }
        Err(problem) => {
            store.close().await;
            Err(Failure::configuration(problem))
        }
    }
}

/// What the server would have: DNS as the configuration says, and the key of return paths.
fn parts(config: &Config, store: &Store) -> Result<(Router, Reporter), Failure> {
    let resolver = Resolver::new(&config.dns).map_err(Failure::new)?;
    let srs = secret::srs(&config.state_dir).map_err(Failure::new)?;
    let now = store.now();
    let tls = Policies::open(resolver.clone(), &config.state_dir.join("tls"), now);
    let folder = reports_folder(config);
    let means = (store.clone(), resolver.clone(), Signers::default(), Random::default());
    let reporter = Reporter::new(&folder, Counts::open(&folder, now), tls.clone(), means);
    Ok((Router { resolver, tls, srs, random: Random::default() }, reporter))
}
