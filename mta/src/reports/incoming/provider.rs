//! Who a provider is: organisational domains, and which of them are one operator's. Pure.
//!
//! Without the list of public suffixes, which would have to be kept up to date, the organisational domain is guessed: the last two labels, or
//! three where the last but one is what registries of countries have there. What is decided by it is shown to the operator and nothing more.

/// What stands below the domain of a country and is nobody's own.
const SECOND_LEVEL: [&str; 16] = [
    "ac", "asn", "co", "com", "ed", "edu", "go", "gob", "gov", "gouv", "id", "mil", "ne", "net", "or", "org",
];

/// Operators whose mail exchangers, reports and mailboxes have different domains; the first stands for all.
const OPERATORS: [&[&str]; 6] = [
    &["google.com", "gmail.com", "googlemail.com"],
    &["outlook.com", "microsoft.com", "hotmail.com", "live.com", "msn.com", "office365.com"],
    &["yahoo.com", "yahoodns.net", "yahooinc.com", "oath.com", "aol.com", "ymail.com", "verizonmedia.com"],
    &["icloud.com", "apple.com", "me.com", "mac.com"],
    &["gmx.net", "gmx.de", "web.de", "1and1.com", "ionos.com", "kundenserver.de", "mail.com"],
    &["fastmail.com", "messagingengine.com", "fastmailteam.com"],
];

/// Domains of theirs in which strangers have mailboxes: their reports come from others, or from below.
const OPEN_TO_ALL: [&str; 18] = [
    "aol.com",
    "fastmail.com",
    "gmail.com",
    "gmx.de",
    "gmx.net",
    "googlemail.com",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mac.com",
    "mail.com",
    "me.com",
    "msn.com",
    "outlook.com",
    "proton.me",
    "web.de",
    "yahoo.com",
    "ymail.com",
];

/// Whether strangers have mailboxes in a domain of a large provider.
pub fn is_open_to_all(domain: &str) -> bool {
    OPEN_TO_ALL.contains(&domain)
}

/// The organisational domain of a name, in lower case.
pub fn organization(name: &str) -> String {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let depth = match labels.as_slice() {
        [.., second, country] if country.len() == 2 && SECOND_LEVEL.contains(second) => 3,
        _ => 2,
    };
    if is_address || labels.len() <= depth { name } else { labels[labels.len() - depth..].join(".") }
}

/// The operator of a name: one domain for all that are known to be one operator's.
pub fn operator(name: &str) -> String {
    let organization = organization(name);
    let known = OPERATORS.iter().find(|domains| domains.contains(&organization.as_str()));
    known.and_then(|domains| domains.first()).map_or(organization, |first| (*first).to_owned())
}

/// Whether a name is a domain or lies below it.
pub fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organizations_are_guessed() {
        for (name, expected) in [
            ("gmail-smtp-in.l.google.com", "google.com"),
            ("Google.com.", "google.com"),
            ("com", "com"),
            ("mx.example.co.uk", "example.co.uk"),
            ("co.uk", "co.uk"),
            ("mx.a.b.de", "b.de"),
            ("mail.example.com.au", "example.com.au"),
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("", ""),
        ] {
            assert_eq!(organization(name), expected);
        }
    }

    #[test]
    fn operators_have_one_name() {
        for (name, expected) in [
            ("a-test.mail.protection.outlook.com", "outlook.com"),
            ("dmarc.microsoft.com", "outlook.com"),
            ("aspmx.l.google.com", "google.com"),
            ("mta5.am0.yahoodns.net", "yahoo.com"),
            ("mx.far.test", "far.test"),
        ] {
            assert_eq!(operator(name), expected);
        }
        for domains in OPERATORS {
            for domain in domains {
                assert_eq!(operator(domain), domains[0], "{domain}");
            }
        }
    }

    #[test]
    fn domains_lie_in_one_another() {
        assert!(is_within("a.test", "a.test") && is_within("news.a.test", "a.test"));
        assert!(!is_within("xa.test", "a.test") && !is_within("test", "a.test"));
    }
}
