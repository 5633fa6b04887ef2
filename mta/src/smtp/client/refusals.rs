//! What we say ourselves where no server could say it: replies that stand in the queue and in notifications.

use std::time::Duration;

use waypost_mail::{EnhancedStatus, Reply};

pub(super) fn too_large(size: u64, most: u64) -> Reply {
    let text = format!("the message has {size} octets, the next server takes at most {most}");
    Reply::new(552, EnhancedStatus(5, 3, 4), text)
}

pub(super) fn addresses_not_ascii() -> Reply {
    Reply::new(553, EnhancedStatus(5, 6, 7), "the next server takes only addresses in ASCII")
}

pub(super) fn header_not_ascii() -> Reply {
    Reply::new(550, EnhancedStatus(5, 6, 9), "the next server takes only header fields in ASCII")
}

/// RFC 6152 section 3: what is not converted is returned.
pub(super) fn body_not_seven_bit() -> Reply {
    Reply::new(
        554,
        EnhancedStatus(5, 6, 3),
        "the next server takes only 7-bit text, and the message is not converted",
    )
}

/// RFC 3030 section 3: binary octets go only where they are kept as they are.
pub(super) fn not_binary() -> Reply {
    Reply::new(
        554,
        EnhancedStatus(5, 6, 3),
        "the message is binary (BODY=BINARYMIME), which the next server does not take, and it is not converted",
    )
}

/// RFC 8689 section 4.2.1.
pub(super) fn tls_not_sure() -> Reply {
    let text =
        "the sender requires TLS all the way (REQUIRETLS), and the next server's certificate is not verified";
    Reply::new(550, EnhancedStatus(5, 7, 10), text)
}

/// RFC 2852 section 4.1.
pub(super) fn no_deliverby() -> Reply {
    let text = "the mail is to be delivered in time or to come back, and the next server does not see to that (DELIVERBY)";
    Reply::new(550, EnhancedStatus(5, 3, 3), text)
}

/// RFC 8689 section 4.2.1.
pub(super) fn no_requiretls() -> Reply {
    let text = "the sender requires TLS all the way, and the next server does not offer REQUIRETLS";
    Reply::new(550, EnhancedStatus(5, 7, 30), text)
}

/// RFC 5321 section 5.1 does without a server that is we ourselves. Another time a better one may be there.
pub(super) fn ourselves() -> Reply {
    let text = "the server greets with our own name: mail for this domain would come back to us (MX loop)";
    Reply::new(451, EnhancedStatus(4, 4, 6), text)
}

pub(super) fn tls_missing() -> Reply {
    Reply::new(454, EnhancedStatus(4, 7, 0), "the next server offers no TLS, which is required")
}

pub(super) fn tls_refused(reply: &Reply) -> Reply {
    let text = format!("the next server refused TLS, which is required: {} {}", reply.code, reply.text());
    Reply::new(454, EnhancedStatus(4, 7, 0), text)
}

pub(super) fn login_in_clear() -> Reply {
    Reply::new(454, EnhancedStatus(4, 7, 0), "no login at the next server without TLS")
}

pub(super) fn login_unknown() -> Reply {
    Reply::new(
        454,
        EnhancedStatus(4, 7, 0),
        "the next server offers no login by SCRAM-SHA-256, PLAIN or LOGIN",
    )
}

/// A wrong password is the operator's to mend: mail waits for that.
pub(super) fn login_refused(reply: &Reply) -> Reply {
    let text = format!("the next server refused our login: {} {}", reply.code, reply.text());
    Reply::new(454, EnhancedStatus(4, 7, 0), text)
}

pub(super) fn overdue(awaited: &str, patience: Duration) -> Reply {
    Reply::new(
        451,
        EnhancedStatus(4, 4, 2),
        format!("no answer to {awaited} within {} s", patience.as_secs()),
    )
}

pub(super) fn lost(awaited: &str) -> Reply {
    Reply::new(
        451,
        EnhancedStatus(4, 4, 2),
        format!("the connection was lost before the answer to {awaited}"),
    )
}

pub(super) fn broken(what: &str) -> Reply {
    Reply::new(451, EnhancedStatus(4, 5, 0), format!("the next server does not follow SMTP: {what}"))
}

pub(super) fn unreadable() -> Reply {
    Reply::new(451, EnhancedStatus(4, 3, 0), "the message cannot be read from our store")
}

/// Somebody else may answer in the server's place: mail waits until that is mended.
pub(super) fn login_distrusted(why: &str) -> Reply {
    Reply::new(454, EnhancedStatus(4, 7, 0), format!("the next server's part of our login is wrong: {why}"))
}

/// What stands for a reply where there was no question yet.
pub(super) fn unsent() -> Reply {
    Reply::new(451, EnhancedStatus(4, 5, 3), "waits for a further transaction")
}
