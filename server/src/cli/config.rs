//! `waypost config …`

use waypost_auth::DeadEnd;
use waypost_config::Config;
use waypost_mail::Address;
use waypost_mta::authenticity::Signers;

use crate::{
    admin::{Request, Response, socket},
    certificates::{check_certificate_dates, load_tls},
    cli::{Failure, arguments::ConfigCommand, terminal},
    precaution::{dead_ends, refuse_open_relay},
    start::StartError,
};

/// Runs the command.
pub async fn run(command: ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { file, config } => {
            let file = file.unwrap_or(config.config);
            let config = waypost_config::load(&file)
                .map_err(|error| Failure::configuration(format!("bad configuration\n{error}")))?;
            load_tls(&config)
                .and_then(|_| check_certificate_dates(&config))
                .map_err(|error| Failure::configuration(format!("bad configuration\n{error}")))?;
            Signers::check(&config)
                .map_err(|error| Failure::configuration(format!("bad configuration\n{error}")))?;
            refuse_open_relay(&config)
                .map_err(StartError::OpenRelay)
                .map_err(|error| Failure::configuration(format!("bad configuration\n{error}")))?;
            warn_of_aliases(&config).await;
            terminal::say(&format!("{}: good", file.display()));
            Ok(())
        }
        ConfigCommand::Explain { key } => match waypost_config::explain(&key) {
            Ok(text) => {
                terminal::say(text.trim_end());
                Ok(())
            }
            Err(nearest) => {
                let hint = nearest.map_or_else(String::new, |nearest| format!("; did you mean {nearest}?"));
                Err(Failure::new(format!("{key} is not a known key{hint}")))
            }
        },
        ConfigCommand::Reference => {
            terminal::say(waypost_config::reference().trim_end());
            Ok(())
        }
    }
}

/// Warns of aliases that lead to an address of ours that nobody has. That is no error: an account may be made later. Which accounts the store
/// has a running server knows.
async fn warn_of_aliases(config: &Config) {
    let running = socket::ask(&config.state_dir, &Request::AccountList, &mut drop).await;
    let (stored, known) = match running {
        Some(Ok(Response::Accounts(accounts))) => {
            (accounts.iter().filter_map(|account| Address::parse(&account.address).ok()).collect(), "")
        }
        _ => (Vec::new(), " by the file (no server runs that knows the accounts of the store)"),
    };
    for DeadEnd { from, to } in dead_ends(config, &stored) {
        terminal::complain(&format!("warning: the alias {from} leads to {to}, which nobody has{known}"));
    }
}
