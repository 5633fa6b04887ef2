//! What status codes mean to people: those of class 4 and 5 in the registry of RFC 5248 (IANA, "SMTP Enhanced Status Codes", as of 2024-12-06).
//!
//! X.0 to X.6 and X.7.0 to X.7.7 are those of RFC 3463 section 3; further ones of RFC 4954 section 6 (X.7.8, X.7.9, X.7.11), RFC 5248
//! (X.7.10, X.7.12 to X.7.14), RFC 6531 (X.6.7, X.6.9), RFC 6710 (X.7.15, X.7.16), RFC 7293 (X.7.17 to X.7.19), RFC 7372 (X.7.20 to X.7.26), RFC
//! 7505 (X.1.10, X.7.27), RFC 8617 (X.7.29) and RFC 8689 (X.7.30, and X.7.10 in section 4.2.1). What has no row means what its subject
//! means (X.5.1, X.5.2: the protocol); codes of class 2 alone (X.1.5, X.1.9, X.3.6, X.6.4) are not told.

use waypost_mail::EnhancedStatus;

/// What a status means, in a sentence each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Meaning {
    /// What happened.
    pub(super) what: &'static str,
    /// What the sender can do about it once it is for good.
    pub(super) advice: &'static str,
}

const CHECK_ADDRESS: &str = "Check the address for typing errors, or ask the recipient for the right one.";
const OTHER_WAY: &str = "Reach the recipient in another way, or send the mail again later.";
const ASK_POSTMASTER: &str = "Show this report to whoever runs your mail server.";
const ASK_RECIPIENT: &str = "Reach the recipient in another way and ask to be let in, or show this report to whoever runs your mail server.";
const SMALLER: &str = "Send less at once: leave out attachments, or send a link to them instead.";
const PLAINER: &str = "Send it without special characters and attachments.";
const LOGIN: &str = "The server that should send the mail on does not let your mail server log in.";
const AS_IS: &str = "The answer below may say more. If it does not help, reach the recipient in another way.";

/// By subject and detail of the code, for both classes.
const BOTH: &[(u16, u16, &str, &str)] = &[
    (1, 0, "There is something wrong with the address.", CHECK_ADDRESS),
    (1, 1, "There is no mailbox with this address.", CHECK_ADDRESS),
    (1, 2, "There is no mail server for what stands behind the @.", CHECK_ADDRESS),
    (1, 3, "This is not an address.", CHECK_ADDRESS),
    (
        1,
        4,
        "The address stands for several mailboxes, and the server cannot tell which one is meant.",
        CHECK_ADDRESS,
    ),
    (1, 6, "The recipient has moved and left no new address.", "Ask the recipient for the new address."),
    (1, 7, "The recipient's server does not take your address for one.", ASK_POSTMASTER),
    (
        1,
        8,
        "The recipient's server finds nobody who could answer behind the @ of your address.",
        ASK_POSTMASTER,
    ),
    (1, 10, "What stands behind the @ takes no mail at all.", CHECK_ADDRESS),
    (2, 0, "There is something wrong with the recipient's mailbox.", OTHER_WAY),
    (2, 1, "The mailbox is switched off.", "Reach the recipient in another way."),
    (2, 2, "The recipient's mailbox is full.", OTHER_WAY),
    (2, 3, "The mail is larger than the recipient may get.", SMALLER),
    (2, 4, "The address is a list, and the list could not be read.", OTHER_WAY),
    (3, 0, "Something went wrong within the recipient's mail server.", OTHER_WAY),
    (3, 1, "The recipient's mail server has no room left.", OTHER_WAY),
    (3, 2, "The mail server takes no mail now.", OTHER_WAY),
    (3, 3, "The recipient's mail server cannot do what this mail asks for.", ASK_POSTMASTER),
    (3, 4, "The mail is larger than the recipient's mail server takes.", SMALLER),
    (3, 5, "The recipient's mail server is not set up well.", OTHER_WAY),
    (4, 0, "The way to the recipient's mail server is disturbed.", OTHER_WAY),
    (4, 1, "The recipient's mail server does not answer.", OTHER_WAY),
    (4, 2, "The connection to the recipient's mail server broke.", OTHER_WAY),
    (4, 3, "It could not be found out where mail for this address goes.", OTHER_WAY),
    (4, 4, "No way to the recipient's mail server is known.", CHECK_ADDRESS),
    (4, 5, "There is too much mail on the way to the recipient.", OTHER_WAY),
    (4, 6, "The mail went in circles.", ASK_POSTMASTER),
    (4, 7, "The mail could not be delivered in the time that there was for it.", OTHER_WAY),
    (5, 0, "The mail servers do not understand each other.", ASK_POSTMASTER),
    (5, 3, "The mail has more recipients than the server takes at once.", "Send it to fewer people at once."),
    (6, 0, "The recipient's server does not take what is in the mail.", AS_IS),
    (6, 1, "The recipient's server does not take this kind of mail.", AS_IS),
    (6, 2, "The mail is written in a way that the recipient's server cannot take.", PLAINER),
    (6, 3, "The mail is written in a way that the recipient's server cannot take.", PLAINER),
    (6, 5, "The mail is written in a way that the recipient's server cannot take.", PLAINER),
    (
        6,
        7,
        "The recipient's server takes only addresses of plain letters.",
        "Use addresses without special characters, yours and the recipient's.",
    ),
    (
        6,
        9,
        "The recipient's server takes only plain letters in subject and names.",
        "Write subject and names without special characters.",
    ),
    (7, 0, "The recipient's server refuses the mail for reasons of security.", ASK_RECIPIENT),
    (7, 2, "You may not write to this list.", "Join the list, or ask who runs it."),
    (
        7,
        3,
        "The mail would have to be encrypted in another way for the recipient, and that cannot be done.",
        OTHER_WAY,
    ),
    (7, 4, "The recipient's server cannot do what this mail asks for to be secure.", ASK_POSTMASTER),
    (7, 5, "The way to the recipient's server could not be made secure.", ASK_POSTMASTER),
    (7, 6, "The way to the recipient's server could not be made secure.", ASK_POSTMASTER),
    (7, 7, "The mail was changed on its way.", "Send the mail again."),
    (7, 8, LOGIN, ASK_POSTMASTER),
    (7, 9, LOGIN, ASK_POSTMASTER),
    (
        7,
        10,
        "The mail may go encrypted only, as its sender can ask for, and the next server cannot do that.",
        "If you asked for that, send it without that wish, or in another way.",
    ),
    (7, 11, LOGIN, ASK_POSTMASTER),
    (7, 12, LOGIN, ASK_POSTMASTER),
    (
        7,
        13,
        "The account is switched off, the recipient's or one on the way.",
        "Reach the recipient in another way, or show this report to whoever runs your mail server.",
    ),
    (7, 14, "The recipient's server takes mail only from servers that it knows.", ASK_RECIPIENT),
    (7, 15, "The recipient's server takes only mail that is more urgent.", OTHER_WAY),
    (7, 16, "The mail is too large for how urgent it is.", SMALLER),
    (7, 17, "The mailbox belongs to somebody else now.", "Ask the recipient for the new address."),
    (
        7,
        18,
        "What stands behind the @ belongs to somebody else now.",
        "Ask the recipient for the new address.",
    ),
    (7, 19, "It could not be found out whether the mailbox still belongs to the same person.", OTHER_WAY),
    (7, 20, "The mail is not signed as the recipient's server wants it (DKIM).", ASK_POSTMASTER),
    (7, 21, "The mail is not signed as the recipient's server wants it (DKIM).", ASK_POSTMASTER),
    (7, 22, "The mail is not signed as the recipient's server wants it (DKIM).", ASK_POSTMASTER),
    (
        7,
        23,
        "The recipient's server takes the mail for forged: it came from a server that may not send for your address (SPF).",
        ASK_POSTMASTER,
    ),
    (
        7,
        24,
        "The recipient's server could not find out which servers may send for your address (SPF).",
        ASK_POSTMASTER,
    ),
    (
        7,
        25,
        "The recipient's server does not know the name of the server that sends your mail.",
        ASK_POSTMASTER,
    ),
    (
        7,
        26,
        "The recipient's server takes the mail for forged, as none of its checks succeeded.",
        ASK_POSTMASTER,
    ),
    (
        7,
        27,
        "What stands behind the @ of your address takes no mail at all, so the recipient's server takes none from it.",
        ASK_POSTMASTER,
    ),
    (
        7,
        28,
        "Too much mail came from you or from your mail server.",
        "Wait for some hours, then send the mail again.",
    ),
    (
        7,
        29,
        "The recipient's server takes the mail for changed by a server that forwarded it (ARC).",
        ASK_POSTMASTER,
    ),
    (
        7,
        30,
        "You asked for encryption all the way, and the next server cannot do that.",
        "Send it without that wish, or in another way.",
    ),
];

/// Where a code means something else when it is for good (5) and when it is not (4).
const APART: &[(u8, u16, u16, &str, &str)] = &[
    (
        4,
        7,
        1,
        "The recipient's server asks to try again later, as it does with senders it does not know yet.",
        OTHER_WAY,
    ),
    (5, 7, 1, "The recipient's server refuses mail from you, or takes this mail for spam.", ASK_RECIPIENT),
    (
        4,
        7,
        0,
        "The way to the recipient's server is not secure enough, or that server waits with mail it does not know yet.",
        OTHER_WAY,
    ),
];

/// What a code means; of an unknown one no more than its subject says.
pub(super) fn of(status: EnhancedStatus) -> Meaning {
    let EnhancedStatus(class, subject, detail) = status;
    let apart = APART.iter().find(|row| (row.0, row.1, row.2) == (class, subject, detail));
    if let Some((.., what, advice)) = apart {
        return Meaning { what, advice };
    }
    let both = |detail: u16| BOTH.iter().find(|row| (row.0, row.1) == (subject, detail));
    match both(detail).or_else(|| both(0)) {
        Some((.., what, advice)) => Meaning { what, advice },
        None if class == 4 => {
            Meaning { what: "The mail server did not take the mail yet.", advice: OTHER_WAY }
        }
        None => Meaning { what: "The mail server refused the mail.", advice: AS_IS },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(text: &str) -> &'static str {
        of(EnhancedStatus::parse(text).unwrap()).what
    }

    #[test]
    fn each_row_is_found_once_and_says_something_in_a_line() {
        let mut seen = std::collections::BTreeSet::new();
        for (subject, detail, what, advice) in BOTH {
            assert!(seen.insert((0, *subject, *detail)), "{subject}.{detail} twice");
            let apart =
                |class: u8| APART.iter().any(|row| (row.0, row.1, row.2) == (class, *subject, *detail));
            for class in [4, 5].into_iter().filter(|class| !apart(*class)) {
                let meaning = of(EnhancedStatus(class, *subject, *detail));
                assert_eq!(meaning, Meaning { what, advice }, "{class}.{subject}.{detail}");
            }
        }
        for (class, subject, detail, what, advice) in APART {
            assert!(seen.insert((*class, *subject, *detail)), "{class}.{subject}.{detail} twice");
            assert_eq!(of(EnhancedStatus(*class, *subject, *detail)), Meaning { what, advice });
        }
        let rows = BOTH.iter().map(|row| (row.2, row.3)).chain(APART.iter().map(|row| (row.3, row.4)));
        for text in rows.flat_map(|(what, advice)| [what, advice]) {
            assert!(text.ends_with('.') && text.is_ascii() && (20..=130).contains(&text.len()), "{text}");
        }
    }

    #[test]
    fn codes_say_what_they_mean() {
        for (status, expected) in [
            ("5.1.1", "There is no mailbox with this address."),
            ("5.2.2", "The recipient's mailbox is full."),
            ("4.2.2", "The recipient's mailbox is full."),
            ("5.3.4", "The mail is larger than the recipient's mail server takes."),
            ("5.4.7", "The mail could not be delivered in the time that there was for it."),
            ("5.7.1", "The recipient's server refuses mail from you, or takes this mail for spam."),
            ("5.7.30", "You asked for encryption all the way, and the next server cannot do that."),
            ("5.7.13", "The account is switched off, the recipient's or one on the way."),
            ("5.6.2", "The mail is written in a way that the recipient's server cannot take."),
            ("5.7.8", LOGIN),
            ("4.7.5", "The way to the recipient's server could not be made secure."),
            ("5.5.1", "The mail servers do not understand each other."),
            ("4.3.5", "The recipient's mail server is not set up well."),
            // by their subject
            ("5.1.99", "There is something wrong with the address."),
            ("4.4.99", "The way to the recipient's mail server is disturbed."),
            ("5.7.99", "The recipient's server refuses the mail for reasons of security."),
            // no more than their class
            ("5.0.0", "The mail server refused the mail."),
            ("4.0.0", "The mail server did not take the mail yet."),
            ("5.99.1", "The mail server refused the mail."),
        ] {
            assert_eq!(what(status), expected, "{status}");
        }
    }
}
