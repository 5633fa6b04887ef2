//! `waypost config …`

use waypost_mta::authenticity::Signers;

use crate::{
    certificates::{check_certificate_dates, load_tls},
    cli::{Failure, arguments::ConfigCommand, terminal},
};

/// Runs the command.
pub fn run(command: ConfigCommand) -> Result<(), Failure> {
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
