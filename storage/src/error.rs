//! What can go wrong in the store, told apart by who must act.

/// Why the store did not do something.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// The account is unknown or was removed.
    #[error("no such account")]
    NoSuchAccount,
    /// The address has an account already.
    #[error("the address has an account already")]
    AccountExists,
    /// The account's password is protected by codes already.
    #[error("the account has codes already: turn them off first")]
    TotpExists,
    /// The account has an app password of that name already.
    #[error("the account has an app password of that name already")]
    AppPasswordExists,
    /// The account has no app password of that name.
    #[error("the account has no app password of that name")]
    NoSuchAppPassword,
    /// The account has a certificate of that name already, or that certificate.
    #[error("the account has a certificate of that name already, or this one by another name")]
    CertificateExists,
    /// The account has no certificate of that name.
    #[error("the account has no certificate of that name")]
    NoSuchCertificate,
    /// The domain has a DKIM key of that selector already.
    #[error("the domain has a DKIM key of that selector already")]
    DkimKeyExists,
    /// The domain has no DKIM key of that selector.
    #[error("the domain has no DKIM key of that selector")]
    NoSuchDkimKey,
    /// The mailbox does not exist (any more).
    #[error("no such mailbox")]
    NoSuchMailbox,
    /// The mailbox that messages should go to does not exist (any more).
    #[error("no such mailbox")]
    NoSuchDestination,
    /// A message that was named is gone.
    #[error("some of the messages are gone")]
    NoSuchMessage,
    /// A mailbox of that name exists.
    #[error("a mailbox of that name exists already")]
    MailboxExists,
    /// The name cannot be a mailbox name, or the mailbox cannot be treated like that (INBOX, children); why.
    #[error("{0}")]
    MailboxName(&'static str),
    /// No such entry in the queue.
    #[error("no such queue entry")]
    NoSuchEntry,
    /// A mailbox would have more annotations than it may have.
    #[error("no more annotations can be kept here")]
    TooManyAnnotations,
    /// An annotation is too large; most octets that it may have.
    #[error("an annotation has at most {0} octets")]
    AnnotationTooLarge(u64),
    /// The account would hold more than its quota.
    #[error("the account is over its quota")]
    OverQuota,
    /// A bound of the store; which.
    #[error("{0}")]
    Limit(&'static str),
    /// The disk is full: only reading and expunging go on. Temporary.
    #[error("the disk is full")]
    Full,
    /// A write or sync failed earlier: nothing is written until the server is restarted. Temporary for the peer.
    #[error("the store takes no more writes since an I/O error; restart the server")]
    Poisoned,
    /// What was asked for is damaged on disk; the text names it.
    #[error("damaged: {0}")]
    Damaged(String),
    /// An I/O error while reading or writing.
    #[error("{0}")]
    Io(String),
    /// The store is held by another process, has a newer format, or cannot be opened; why.
    #[error("{0}")]
    Open(String),
    /// The store is closing.
    #[error("the store is closing")]
    Closed,
}

impl StoreError {
    /// Whether the same command may succeed later without the peer changing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Full | Self::Poisoned | Self::Io(_) | Self::Closed | Self::OverQuota)
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Io(error.to_string()),
        }
    }
}
