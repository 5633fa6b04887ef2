//! `waypost demo`: the main job on one machine, within seconds.
//!
//! Two complete servers in this process, each with its own domain, store and certificate; the MX records are in an
//! in-process DNS. The walk goes user agent → MTA client → MTA server → user agent, and checks what it sees.

pub mod dns;
pub mod picture;
pub mod walk;
pub mod world;

use std::{path::PathBuf, time::Duration};

use crate::cli::{Failure, arguments::DemoOptions, terminal};

/// The walk ends within this, or fails.
const WALK_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the demo.
pub async fn run(options: DemoOptions) -> Result<(), Failure> {
    let temporary = tempfile::Builder::new().prefix("waypost-demo-").tempdir().map_err(Failure::new)?;
    let folder: PathBuf = options.keep.clone().unwrap_or_else(|| temporary.path().to_owned());
    let world = world::World::start(&folder).await?;
    let walked = tokio::time::timeout(WALK_TIMEOUT, walk::walk(&world)).await;
    let walked = walked
        .map_err(|_| Failure::new(format!("the demo did not end within {} s", WALK_TIMEOUT.as_secs())))?;
    match walked {
        Ok(walk) => {
            terminal::say(&if options.json { picture::json(&walk)? } else { picture::draw(&walk) });
            if options.keep.is_some() {
                keep_serving(&world, &folder).await?;
            }
            world.stop().await;
            terminal_ok(options.json);
            Ok(())
        }
        Err(failure) => {
            world.stop().await;
            Err(failure)
        }
    }
}

fn terminal_ok(json: bool) {
    if !json {
        terminal::say("ok");
    }
}

async fn keep_serving(world: &world::World, folder: &std::path::Path) -> Result<(), Failure> {
    terminal::complain(&world.describe(folder));
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(Failure::new)?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Failure::new),
    }
}
