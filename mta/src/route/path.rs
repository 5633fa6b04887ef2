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
    match (reverse_path, rewritten_by(live, reverse_path, alias)) {
        (ReversePath::Address(sender), Some(domain)) => {
            let rewritten = srs.forward(sender, domain, srs::day(now));
            ReversePath::Address(rewritten.unwrap_or_else(|| sender.clone()))
        }
        (unchanged, _) => unchanged.clone(),
    }
}

/// The domain that [`outgoing_path`] has, by which routes are chosen; `None`: the null path.
pub fn outgoing_domain<'a>(
    live: &'a Live,
    reverse_path: &'a ReversePath,
    alias: Option<&'a Domain>,
) -> Option<&'a Domain> {
    let own = reverse_path.address().map(|sender| &sender.domain);
    rewritten_by(live, reverse_path, alias).or(own)
}

/// The domain of the path that takes the place of another one. Our own mail needs none.
fn rewritten_by<'a>(
    live: &'a Live,
    reverse_path: &ReversePath,
    alias: Option<&'a Domain>,
) -> Option<&'a Domain> {
    let sender = reverse_path.address().filter(|_| live.config.srs.enabled)?;
    let alias = alias.filter(|_| !live.directory.is_local(&sender.domain))?;
    Some(live.config.srs.domain.as_ref().unwrap_or(alias))
}
