//! Records of what belongs to mailboxes beside messages: who may do what, what others have seen, annotations, special uses.

use minicbor::{Decode, Encode};
use waypost_mail::{AccountId, MailboxId};

use super::{UidRange, codec};
use crate::{
    acl::{Grants, KeptAclEntry},
    annotation::KeptAnnotation,
    state::SpecialUse,
};

/// A mailbox has this access control list.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AclChanged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[n(1)]
    pub(crate) entries: Vec<KeptAclEntry>,
}

/// One who does not own a mailbox has seen messages in it, or not any more. Their MODSEQs change.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct SeenChanged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[cbor(n(1), with = "codec::account")]
    pub(crate) reader: AccountId,
    #[n(2)]
    pub(crate) seen: bool,
    #[n(3)]
    pub(crate) uids: Vec<UidRange>,
}

/// Annotations have these values.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct AnnotationsChanged {
    #[n(0)]
    pub(crate) annotations: Vec<KeptAnnotation>,
}

/// A mailbox has another special use, or none.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct SpecialUseChanged {
    #[cbor(n(0), with = "codec::mailbox")]
    pub(crate) mailbox: MailboxId,
    #[cbor(n(1), with = "codec::special_use")]
    pub(crate) special_use: Option<SpecialUse>,
}

/// An account gives rights on its mailboxes to these, and to no others.
#[derive(Clone, Debug, Decode, Encode, PartialEq)]
pub(crate) struct GrantsChanged {
    #[cbor(n(0), with = "codec::account")]
    pub(crate) owner: AccountId,
    #[n(1)]
    pub(crate) grants: Grants,
}
