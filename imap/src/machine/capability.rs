//! What is announced, and when: the one place to edit.

use super::{
    phase::State,
    session::{PlaintextLogin, Settings},
};

/// What protects the octets of the session, now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Privacy {
    /// TLS is on.
    Tls,
    /// Nothing yet; STARTTLS is offered.
    StartTls,
    /// Nothing, and nothing is to be had.
    None,
}

/// When a capability is announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Announced {
    /// In every state.
    Always,
    /// Before login.
    BeforeLogin,
    /// Before login, where STARTTLS is offered and TLS is not on.
    StartTls,
    /// Before login, where a password would go unprotected.
    LoginDisabled,
    /// After login.
    AfterLogin,
    /// After login, where the listener lets users log out again.
    Unauthenticate,
}

/// Every capability, but for the mechanisms of AUTHENTICATE, and those with a number: APPENDLIMIT (RFC 7889 section 2) and MESSAGELIMIT. Only
/// what the session does completely stands here.
pub const CAPABILITIES: &[(&str, Announced)] = &[
    ("IMAP4rev1", Announced::Always),
    ("IMAP4rev2", Announced::Always),
    ("LITERAL+", Announced::Always),
    ("ID", Announced::Always),
    ("ENABLE", Announced::Always),
    ("IDLE", Announced::Always),
    ("SASL-IR", Announced::BeforeLogin),
    ("STARTTLS", Announced::StartTls),
    ("LOGINDISABLED", Announced::LoginDisabled),
    ("NAMESPACE", Announced::AfterLogin),
    ("UIDPLUS", Announced::AfterLogin),
    ("MULTIAPPEND", Announced::AfterLogin),
    ("CATENATE", Announced::AfterLogin),
    ("REPLACE", Announced::AfterLogin),
    ("UTF8=ACCEPT", Announced::AfterLogin),
    ("MOVE", Announced::AfterLogin),
    ("UNSELECT", Announced::AfterLogin),
    ("CHILDREN", Announced::AfterLogin),
    ("SPECIAL-USE", Announced::AfterLogin),
    ("CREATE-SPECIAL-USE", Announced::AfterLogin),
    ("ESEARCH", Announced::AfterLogin),
    ("SEARCHRES", Announced::AfterLogin),
    ("LIST-EXTENDED", Announced::AfterLogin),
    ("LIST-STATUS", Announced::AfterLogin),
    ("STATUS=SIZE", Announced::AfterLogin),
    ("CONDSTORE", Announced::AfterLogin),
    ("QRESYNC", Announced::AfterLogin),
    ("BINARY", Announced::AfterLogin),
    ("OBJECTID", Announced::AfterLogin),
    ("SAVEDATE", Announced::AfterLogin),
    ("QUOTA", Announced::AfterLogin),
    ("QUOTA=RES-STORAGE", Announced::AfterLogin),
    ("QUOTASET", Announced::AfterLogin),
    ("ACL", Announced::AfterLogin),
    ("RIGHTS=kxte", Announced::AfterLogin),
    ("LIST-MYRIGHTS", Announced::AfterLogin),
    ("METADATA", Announced::AfterLogin),
    ("LIST-METADATA", Announced::AfterLogin),
    ("WITHIN", Announced::AfterLogin),
    ("I18NLEVEL=2", Announced::AfterLogin),
    ("PREVIEW", Announced::AfterLogin),
    ("PARTIAL", Announced::AfterLogin),
    ("UIDONLY", Announced::AfterLogin),
    ("UIDBATCHES", Announced::AfterLogin),
    ("INPROGRESS", Announced::AfterLogin),
    ("COMPRESS=DEFLATE", Announced::AfterLogin),
    ("UNAUTHENTICATE", Announced::Unauthenticate),
];

impl Settings {
    /// Whether a password may be sent now.
    pub(crate) fn login_allowed(&self) -> bool {
        self.privacy == Privacy::Tls || self.plaintext_login == PlaintextLogin::Allowed
    }

    /// `capability-data`, without `* ` and CRLF.
    pub(crate) fn capability_data(&self, state: State) -> String {
        let before_login = state == State::NotAuthenticated;
        let announced = |announced: &Announced| match announced {
            Announced::Always => true,
            Announced::BeforeLogin => before_login,
            Announced::StartTls => before_login && self.privacy == Privacy::StartTls,
            Announced::LoginDisabled => before_login && !self.login_allowed(),
            Announced::AfterLogin => !before_login,
            Announced::Unauthenticate => !before_login && self.rules.unauthenticate,
        };
        let mut data = "CAPABILITY".to_owned();
        for (name, _) in CAPABILITIES.iter().filter(|(_, when)| announced(when)) {
            data.push(' ');
            data.push_str(name);
        }
        if let Some(limit) = self.rules.message_limit.filter(|_| !before_login) {
            data.push_str(&format!(" MESSAGELIMIT={limit}"));
        }
        if !before_login {
            data.push_str(&format!(" APPENDLIMIT={}", self.append_limit));
        }
        if before_login && self.login_allowed() {
            self.offer.mechanisms().for_each(|mechanism| {
                data.push_str(" AUTH=");
                data.push_str(mechanism.name());
            });
        }
        data
    }
}
