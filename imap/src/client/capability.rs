//! What a server says it can do, as far as we have a use for it.

/// `capability-data`
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// IMAP4rev1 (RFC 3501). A server that has IMAP4rev2 alone writes names in UTF-8.
    pub imap4rev1: bool,
    /// IMAP4rev2 (RFC 9051).
    pub imap4rev2: bool,
    /// STARTTLS.
    pub starttls: bool,
    /// LOGIN is refused.
    pub login_disabled: bool,
    /// An initial response may stand in AUTHENTICATE (RFC 4959).
    pub sasl_ir: bool,
    /// AUTH=PLAIN.
    pub auth_plain: bool,
    /// AUTH=SCRAM-SHA-256 (RFC 7677).
    pub auth_scram: bool,
    /// RETURN in LIST (RFC 5258).
    pub list_extended: bool,
    /// Special uses in LIST (RFC 6154).
    pub special_use: bool,
    /// NAMESPACE (RFC 2342).
    pub namespace: bool,
}

impl Capabilities {
    /// Of the names that are listed; unknown ones count for nothing.
    pub(super) fn of(names: &str) -> Self {
        let mut found = Self::default();
        for name in names.split(' ') {
            let known = match name.to_ascii_uppercase().as_str() {
                "IMAP4REV1" => &mut found.imap4rev1,
                "IMAP4REV2" => &mut found.imap4rev2,
                "STARTTLS" => &mut found.starttls,
                "LOGINDISABLED" => &mut found.login_disabled,
                "SASL-IR" => &mut found.sasl_ir,
                "AUTH=PLAIN" => &mut found.auth_plain,
                "AUTH=SCRAM-SHA-256" => &mut found.auth_scram,
                "LIST-EXTENDED" => &mut found.list_extended,
                "SPECIAL-USE" => &mut found.special_use,
                "NAMESPACE" => &mut found.namespace,
                _ => continue,
            };
            *known = true;
        }
        if found.imap4rev2 {
            // RFC 9051 appendix E: these are part of it
            (found.sasl_ir, found.list_extended, found.special_use, found.namespace) =
                (true, true, true, true);
        }
        found
    }
}
