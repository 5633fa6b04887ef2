//! `waypost serve`

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    cli::{Failure, arguments::ConfigFile, target, terminal},
    start::{Parts, Running, Server, StartError},
};

/// Serves until SIGTERM or SIGINT; SIGHUP reloads. A second SIGTERM or SIGINT ends at once.
pub async fn run(file: ConfigFile) -> Result<(), Failure> {
    let config = target::load(&file)?;
    let mut signals = Signals::new().map_err(Failure::new)?;
    let running = Server::start(config, Parts::default()).await.map_err(|error| match error {
        StartError::Tls(_) | StartError::Directory(_) | StartError::OpenRelay(_) => {
            Failure::configuration(error)
        }
        error => Failure::new(error),
    })?;
    let bound: Vec<String> = running.bound().iter().map(ToString::to_string).collect();
    terminal::complain(&format!("ready {}", bound.join(" ")));
    while let Wanted::Reload = signals.next().await {
        reload(&running, &file).await;
    }
    tracing::info!("stopping: no new sessions, running ones may end");
    tokio::select! {
        in_time = running.drain() => {
            tracing::info!(in_time, "stopped");
            Ok(())
        }
        () = signals.stop() => Err(Failure::new("stopped at once by a second signal")),
    }
}

async fn reload(running: &Running, file: &ConfigFile) {
    let config = match waypost_config::load(&file.config) {
        Ok(config) => config,
        Err(error) => return tracing::error!("the old configuration goes on serving:\n{error}"),
    };
    match running.reload(config).await {
        Ok(()) => tracing::info!("configuration reloaded"),
        Err(error) => tracing::error!("the old configuration goes on serving: {error}"),
    }
}

/// What a signal asks for.
enum Wanted {
    Reload,
    Stop,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.terminate.recv() => Wanted::Stop,
            _ = self.interrupt.recv() => Wanted::Stop,
            _ = self.hangup.recv() => Wanted::Reload,
        }
    }

    async fn stop(&mut self) {
        while let Wanted::Reload = self.next().await {}
    }
}
