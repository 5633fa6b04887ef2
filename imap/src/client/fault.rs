//! Why a session ends before its work is done.

/// What went wrong between us and a server. The server's own words are printable, and cut off.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// STARTTLS is wanted, and not offered: nothing was sent.
    #[error("the server does not offer STARTTLS, so the password was not sent")]
    NoStartTls,
    /// STARTTLS was answered by NO or BAD.
    #[error("the server refuses STARTTLS ({0}), so the password was not sent")]
    StartTlsRefused(String),
    /// PREAUTH where TLS is wanted: STARTTLS is no longer allowed (RFC 9051 section 7.1.4).
    #[error("the server says that we are logged in before TLS is on: it is not believed")]
    PreAuth,
    /// There is no way to log in.
    #[error("the server offers no way to log in that is known here (SCRAM-SHA-256, PLAIN, LOGIN)")]
    NoLogin,
    /// The password is wrong, or the like.
    #[error("the server refuses the login: {0}")]
    LoginRefused(String),
    /// The login may work later (RFC 5530: UNAVAILABLE, INUSE, LIMIT).
    #[error("the server cannot log us in now: {0}")]
    LoginLater(String),
    /// The server did not prove that it knows the password.
    #[error("the server is not believed: {0}")]
    Distrusted(String),
    /// It does not serve us, or what was needed was answered by NO or BAD.
    #[error("the server refuses {0}: {1}")]
    Refused(&'static str, String),
    /// BYE.
    #[error("the server ended the session: {0}")]
    Bye(String),
    /// Silence.
    #[error("the server said nothing for {0} s")]
    Overdue(u64),
    /// The end of input.
    #[error("the server closed the connection")]
    Lost,
    /// What it says is no IMAP.
    #[error("what the server says is not IMAP: {0}")]
    Broken(String),
    /// We stop.
    #[error("it was stopped")]
    Stopped,
}

impl Fault {
    /// Whether another connection would end alike.
    pub fn lasts(&self) -> bool {
        matches!(
            self,
            Self::NoStartTls
                | Self::StartTlsRefused(_)
                | Self::PreAuth
                | Self::NoLogin
                | Self::LoginRefused(_)
                | Self::Distrusted(_)
                | Self::Stopped
        )
    }
}
