//! The reverse path of what goes out.

use waypost_auth::{Live, Srs, srs};
use waypost_mail::{Domain, ReversePath, Timestamp};

/// The sender, or, where an alias of a domain forwards what comes from elsewhere, a path of ours that leads back to him. One that
/// would be too long stays as it is.
pub fn outgoing_path(
    live: &Live,
    srs: &Srs,
    reverse_path: &ReversePath,
    alias: Option<&Domain>,
    now: Timestamp,
) -> ReversePath {
    let (sender, alias) = match (reverse_path, alias) {
        (ReversePath::Address(sender), Some(alias)) if live.config.srs.enabled => (sender, alias),
        (unchanged, _) => return unchanged.clone(),
    };
    // Our own mail needs no other path.
    if live.directory.is_local(&sender.domain) {
        return reverse_path.clone();
    }
    let domain = live.config.srs.domain.as_ref().unwrap_or(alias);
    let rewritten = srs.forward(sender, domain, srs::day(now));
    ReversePath::Address(rewritten.unwrap_or_else(|| sender.clone()))
}
