//! The server's certificates: loaded, reloaded when their files change, and told of before they expire.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{sync::watch, time::MissedTickBehavior};
use waypost_auth::Live;
use waypost_config::Config;
use waypost_net::{ServerTls, TlsError, tls::CertificateFiles};

/// How often the files are looked at.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);
/// So many looks are a day.
const LOOKS_A_DAY: u64 = 24 * 60;
/// A certificate that lasts for fewer days should have been renewed: those for 90 days are, with 30 left.
pub const EXPIRY_DAYS_WARNED: u64 = 14;

/// Loads the certificates of a configuration; `None` where it has no `[tls]`.
pub fn load_tls(config: &Config) -> Result<Option<ServerTls>, TlsError> {
    let files = certificate_files(config);
    if files.is_empty() {
        return Ok(None);
    }
    ServerTls::load(&files)?.with_client_certificates(&authorities(config)).map(Some)
}

/// Checks that no certificate of a configuration is out of date. Who changes a configuration should hear of it; a running server
/// serves on with it, because mail between servers needs no valid certificate and users would lose all service.
pub fn check_certificate_dates(config: &Config) -> Result<(), TlsError> {
    let now = SystemTime::now();
    certificate_files(config).iter().try_for_each(|files| files.check_dates(now))
}

/// Says in the log which certificates are out of date, or soon will be.
pub(crate) fn warn_of_dates(config: &Config) {
    let now = SystemTime::now();
    for files in certificate_files(config) {
        if let Err(problem) = files.check_dates(now) {
            tracing::warn!(%problem, "clients will not trust this server");
        } else if let Ok(Some(days)) = files.expires_within(now, EXPIRY_DAYS_WARNED) {
            let file = files.certificate.display();
            tracing::warn!(alert = "certificate", %file, days, "a certificate expires soon: renew it");
        }
    }
}

/// Takes certificates that were renewed, and warns of those that were not once a day. Never ends.
pub(crate) async fn watch(live: watch::Receiver<Arc<Live>>, tls: watch::Sender<Option<ServerTls>>) {
    let config = || live.borrow().config.clone();
    let mut known = fingerprints(&config());
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u64.. {
        ticks.tick().await;
        let config = config();
        if look > 0 && look.is_multiple_of(LOOKS_A_DAY) {
            warn_of_dates(&config);
        }
        let found = fingerprints(&config);
        if found != known {
            known = found;
            take(&config, &tls);
        }
    }
}

/// Serves with the certificates of the files, if they are good. Whoever writes the certificate first and the key a moment later is
/// understood at the next look.
fn take(config: &Config, tls: &watch::Sender<Option<ServerTls>>) {
    match load_tls(config) {
        Ok(loaded) => {
            tls.send_replace(loaded);
            tracing::info!("certificates reloaded: their files have changed");
            warn_of_dates(config);
        }
        Err(error) => {
            tracing::warn!(%error, "certificates have changed and cannot be used; the old ones serve on");
        }
    }
}

/// What shows that a file was written or replaced; `None`: it cannot be seen.
type Fingerprint = Option<(u64, u64, i64, i64)>;

fn fingerprints(config: &Config) -> Vec<Fingerprint> {
    let fingerprint = |file: &Path| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    let files = certificate_files(config);
    let (served, issuing) =
        (files.iter().flat_map(|files| [&files.certificate, &files.key]), authorities(config));
    served.chain(&issuing).map(|file| fingerprint(file)).collect()
}

/// The files with the authorities of clients' certificates.
fn authorities(config: &Config) -> Vec<PathBuf> {
    config.listeners.iter().filter_map(|listener| listener.rules.client_certificates.clone()).collect()
}

fn certificate_files(config: &Config) -> Vec<CertificateFiles> {
    let Some(tls) = &config.tls else { return Vec::new() };
    let files = |names: Vec<String>, certificate: &Path, key: &Path| CertificateFiles {
        names,
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    };
    let mut all = vec![files(Vec::new(), &tls.certificate, &tls.key)];
    all.extend(tls.certificates.iter().map(|named| {
        let names = named.names.iter().map(|name| name.as_str().to_owned()).collect();
        files(names, &named.certificate, &named.key)
    }));
    all
}
