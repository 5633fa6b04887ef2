//! Which document a request asks for.

use waypost_config::{Config, DomainConfig};
use waypost_net::{HttpQuery, HttpReply};

use crate::{autoconfig, autodiscover, policy};

const XML: &str = "text/xml; charset=utf-8";

/// The answer to a request, for a server that takes mail or, after a failed write, does not.
pub(crate) fn reply(config: &Config, is_well: bool, query: &HttpQuery) -> HttpReply {
    let xml = |body: String| HttpReply { status: 200, content_type: XML, body };
    match (query.path.as_str(), &query.body) {
        ("/health", None) if is_well => HttpReply::text(200, "ok\n"),
        ("/health", None) => HttpReply::text(
            503,
            "nothing is written any more, as a write failed: see the log, then restart\n",
        ),
        (policy::PATH, None) => match local(config, &query.host, &["mta-sts."]) {
            Some(domain) => HttpReply::text(200, policy::text(config, domain)),
            None => missing(),
        },
        (path, None) if autoconfig::PATHS.contains(&path) => {
            match local(config, &query.host, &["autoconfig.", ""]) {
                Some(domain) => xml(autoconfig::document(config, &domain.name)),
                None => missing(),
            }
        }
        (path, Some(_)) if path.eq_ignore_ascii_case(autodiscover::PATH) => {
            match local(config, &query.host, &["autodiscover.", ""]) {
                Some(_) => xml(autodiscover::document(config)),
                None => missing(),
            }
        }
        (_, None) => missing(),
        (_, Some(_)) => HttpReply::text(404, "Nothing is posted here.\n"),
    }
}

fn missing() -> HttpReply {
    HttpReply::text(404, "There is no such document here.\n")
}

/// The domain here that a host name belongs to: behind one of these labels. That of a backup MX has its documents elsewhere.
fn local<'a>(config: &'a Config, host: &str, labels: &[&str]) -> Option<&'a DomainConfig> {
    labels.iter().filter_map(|label| host.strip_prefix(label)).find_map(|name| {
        config.domains.iter().find(|domain| domain.name.as_str() == name && domain.relay_to.is_none())
    })
}

#[cfg(test)]
mod tests;
