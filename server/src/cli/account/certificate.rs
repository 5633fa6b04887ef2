//! `waypost account certificate …`

use std::path::Path;

use crate::{
    admin::{CertificateLine, Request, Response},
    cli::{
        Failure,
        arguments::{CertificateCommand, NamedOfAccount, OfAccount},
        target, terminal,
    },
};

/// Runs the command.
pub(super) async fn run(command: CertificateCommand) -> Result<(), Failure> {
    match command {
        CertificateCommand::Add { address, name, certificate, config } => {
            let sha256 = fingerprint(&certificate)?;
            let request = Request::CertificateAdd { address: address.clone(), name: name.clone(), sha256 };
            target::ask(&config, request).await?;
            terminal::say(&format!("the certificate {name} logs in to {address}"));
        }
        CertificateCommand::List(OfAccount { address, json, config }) => {
            let response = target::ask(&config, Request::CertificateList { address }).await?;
            if let Response::Certificates(lines) = response {
                list(&lines, json)?;
            }
        }
        CertificateCommand::Remove(NamedOfAccount { address, name, config }) => {
            let request = Request::CertificateRemove { address: address.clone(), name: name.clone() };
            let left = target::ask(&config, request).await?;
            terminal::say(&format!("removed the certificate {name} of {address}"));
            if matches!(left, Response::Certificates(lines) if lines.is_empty()) {
                terminal::say(&format!("it was the last one: now those log in that have {address} in them"));
            }
        }
    }
    Ok(())
}

/// Of a certificate that is given by it, or as a file.
fn fingerprint(given: &str) -> Result<[u8; 32], Failure> {
    waypost_config::parse_fingerprint(given).or_else(|problem| {
        let of_file = waypost_net::fingerprint(Path::new(given));
        of_file.map_err(|error| Failure::new(format!("{problem}, and no certificate either: {error}")))
    })
}

fn list(lines: &[CertificateLine], json: bool) -> Result<(), Failure> {
    if json {
        terminal::say(&serde_json::to_string_pretty(lines).map_err(Failure::new)?);
        return Ok(());
    }
    terminal::say(&format!("{:<30} {:<24} SHA-256", "name", "since"));
    for CertificateLine { name, sha256, added } in lines {
        terminal::say(&format!("{name:<30} {added:<24} {sha256}"));
    }
    Ok(())
}
