//! The vocabulary: what is parsed at the edge, and printed again.

use waypost_mail::{Address, DateTime, Domain, EnhancedStatus, Flag, Keyword, LocalPart, address};

/// An address that is valid is printed as text that is the same address; the same for its domain in Unicode.
pub(crate) fn address(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Ok(domain) = Domain::new(text) {
        assert!(domain.as_str().len() <= address::DOMAIN_BYTES_MAX);
        assert_eq!(Domain::new(domain.as_str()).as_ref(), Ok(&domain));
        assert_eq!(Domain::new(&domain.to_unicode()).as_ref(), Ok(&domain), "{}", domain.to_unicode());
    }
    if let Ok(address) = Address::parse(text) {
        assert_eq!(Address::parse(&address.to_string()).as_ref(), Ok(&address));
        assert!(address.same_mailbox(&address) && !address.to_string().contains(['\r', '\n', '\0']));
        let _ = address.folded();
    }
    if let Ok(local) = LocalPart::new(text) {
        let (user, detail) = local.split_detail('+');
        let joined = detail.map_or_else(|| user.to_owned(), |detail| format!("{user}+{detail}"));
        assert_eq!(joined, local.as_str());
    }
}

/// A date that is valid is printed as text that is the same date.
pub(crate) fn date_time(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Some(date) = DateTime::parse_imap(text) {
        assert_eq!(DateTime::parse_imap(&date.imap()), Some(date), "{}", date.imap());
        assert!(date.rfc5322().is_ascii());
        let (year, ..) = date.parts();
        assert!((1..=9999).contains(&year));
        let _ = date.day_number();
    }
    if let Some(status) = EnhancedStatus::parse(text) {
        assert_eq!(EnhancedStatus::parse(&status.to_string()), Some(status));
    }
}

/// A flag that is valid is printed as text that is the same flag, and that can stand in a flag list.
pub(crate) fn flags(octets: &[u8]) {
    let Ok(text) = str::from_utf8(octets) else { return };
    if let Some(keyword) = Keyword::new(text) {
        assert_eq!(Keyword::new(keyword.as_str()), Some(keyword));
    }
    if let Some(flag) = Flag::parse(text) {
        let mut flags = waypost_mail::Flags::default();
        flags.insert(flag.clone());
        flags.insert(flag);
        assert!(!flags.is_empty() && flags.keywords.len() <= 1);
    }
}
