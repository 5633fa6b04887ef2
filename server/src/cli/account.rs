//! `waypost account …`

mod certificate;

use waypost_auth::{Secrets, apop, app_password, totp};
use waypost_config::Config;
use waypost_mail::Address;

use crate::{
    admin::{self, AccountLine, AppPasswordLine, Request, Response},
    cli::{
        Failure,
        arguments::{AccountCommand, AppPasswordCommand, NamedOfAccount, OfAccount, Switch},
        target, terminal,
    },
};

/// Runs the command.
pub async fn run(command: AccountCommand) -> Result<(), Failure> {
    match command {
        AccountCommand::Add { address, quota, config } => {
            may_be_added(&target::load(&config)?, &address)?;
            let quota_bytes = quota.as_deref().map(size).transpose()?;
            let password = terminal::read_new_password(&format!("Password for {address}: "))?;
            let Secrets { password_hash, scram_verifiers } = Secrets::of(&password).map_err(Failure::new)?;
            let request =
                Request::AccountAdd { address: address.clone(), password_hash, scram_verifiers, quota_bytes };
            target::ask(&config, request).await?;
            terminal::say(&format!("added {address}"));
        }
        AccountCommand::List { json, config } => {
            if let Response::Accounts(lines) = target::ask(&config, Request::AccountList).await? {
                list(&lines, json)?;
            }
        }
        AccountCommand::Remove { address, purge, config } => {
            target::ask(&config, Request::AccountRemove { address: address.clone(), purge }).await?;
            terminal::say(&format!("removed {address}"));
        }
        AccountCommand::Password { address, config } => {
            target::load(&config)?;
            let password = terminal::read_new_password(&format!("New password for {address}: "))?;
            let Secrets { password_hash, scram_verifiers } = Secrets::of(&password).map_err(Failure::new)?;
            let request =
                Request::AccountPassword { address: address.clone(), password_hash, scram_verifiers };
            target::ask(&config, request).await?;
            terminal::say(&format!("changed the password of {address}"));
        }
        AccountCommand::Quota { address, quota, config } => {
            let quota_bytes = if quota == "none" { None } else { Some(size(&quota)?) };
            target::ask(&config, Request::AccountQuota { address: address.clone(), quota_bytes }).await?;
            terminal::say(&format!("changed the quota of {address}"));
        }
        AccountCommand::Totp { address, state: Switch::On, config } => {
            let hostname = target::load(&config)?.hostname;
            let secret = totp::generate().map_err(Failure::new)?;
            let kept = Some(secret.0.clone());
            target::ask(&config, Request::AccountTotp { address: address.clone(), secret: kept }).await?;
            // The one time that they are shown.
            terminal::say(&totp::uri(hostname.as_str(), &address, &secret));
            terminal::say(&totp::base32(&secret));
        }
        AccountCommand::Totp { address, state: Switch::Off, config } => {
            target::ask(&config, Request::AccountTotp { address: address.clone(), secret: None }).await?;
            terminal::say(&format!("the password of {address} needs no code"));
        }
        AccountCommand::Apop { address, state: Switch::On, config } => {
            let secret = apop::generate().map_err(Failure::new)?.0;
            target::ask(&config, Request::AccountApop { address, secret: Some(secret.clone()) }).await?;
            // The one time that it is shown; alone, so that a script can take it.
            terminal::say(&secret);
        }
        AccountCommand::Apop { address, state: Switch::Off, config } => {
            target::ask(&config, Request::AccountApop { address: address.clone(), secret: None }).await?;
            terminal::say(&format!("{address} does not log in by APOP any more"));
        }
        AccountCommand::AppPassword(command) => app_passwords(command).await?,
        AccountCommand::Certificate(command) => certificate::run(command).await?,
    }
    Ok(())
}

async fn app_passwords(command: AppPasswordCommand) -> Result<(), Failure> {
    match command {
        AppPasswordCommand::Add { address, name, services, config } => {
            let password = app_password::generate().map_err(Failure::new)?;
            let hash = app_password::hash(&password);
            target::ask(&config, Request::AppPasswordAdd { address, name, hash, services }).await?;
            // The one time that it is shown; alone, so that a script can take it.
            terminal::say(&password);
        }
        AppPasswordCommand::List(OfAccount { address, json, config }) => {
            let response = target::ask(&config, Request::AppPasswordList { address }).await?;
            if let Response::AppPasswords(lines) = response {
                list_app_passwords(&lines, json)?;
            }
        }
        AppPasswordCommand::Remove(NamedOfAccount { address, name, config }) => {
            let request = Request::AppPasswordRemove { address: address.clone(), name: name.clone() };
            target::ask(&config, request).await?;
            terminal::say(&format!("removed the app password {name} of {address}"));
        }
    }
    Ok(())
}

fn list_app_passwords(lines: &[AppPasswordLine], json: bool) -> Result<(), Failure> {
    if json {
        terminal::say(&serde_json::to_string_pretty(lines).map_err(Failure::new)?);
        return Ok(());
    }
    terminal::say(&format!("{:<30} {:<24} services", "name", "since"));
    for AppPasswordLine { name, services, created } in lines {
        terminal::say(&format!("{name:<30} {created:<24} {}", services.join(", ")));
    }
    Ok(())
}

/// Says before the password is asked for what the server would say after it.
fn may_be_added(config: &Config, address: &str) -> Result<(), Failure> {
    let parsed = Address::parse(address).map_err(|problem| Failure::new(format!("{address}: {problem}")))?;
    admin::may_be_added(config, &parsed).map_err(Failure::new)
}

fn size(text: &str) -> Result<u64, Failure> {
    waypost_config::parse_size(text).map_err(|text| Failure { text, code: 2 })
}

fn list(lines: &[AccountLine], json: bool) -> Result<(), Failure> {
    if json {
        terminal::say(&serde_json::to_string_pretty(lines).map_err(Failure::new)?);
        return Ok(());
    }
    let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    terminal::say(&format!(
        "{:<40} {:>9} {:>14} {:>14}  declared in",
        "address", "messages", "bytes", "quota"
    ));
    for line in lines {
        let (messages, bytes, quota) = (number(line.messages), number(line.bytes), number(line.quota_bytes));
        terminal::say(&format!(
            "{:<40} {messages:>9} {bytes:>14} {quota:>14}  {}",
            line.address, line.declared_in
        ));
    }
    Ok(())
}
