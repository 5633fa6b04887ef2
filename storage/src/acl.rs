//! Who may do what with a mailbox: access control lists (RFC 4314).
//!
//! The owner of an account has all rights on its mailboxes, always; nobody else has any until a list gives them. Accounts stand in
//! lists by their ids, which are never given twice: where an account was removed, nobody inherits its rights.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use minicbor::{Decode, Encode};
use waypost_mail::{AccountId, Address, SystemFlags};

use crate::{record::codec, state::DirectoryState};

/// Most entries in one list.
pub const ACL_ENTRIES_MAX: usize = 1000;

/// A set of rights (RFC 4314 section 2.1), one bit each.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Rights(u16);

impl Rights {
    /// No right.
    pub const NONE: Self = Self(0);
    /// `l`: the mailbox is seen in lists.
    pub const LOOKUP: Self = Self(1);
    /// `r`: it is opened.
    pub const READ: Self = Self(1 << 1);
    /// `s`: `\Seen` is kept.
    pub const SEEN: Self = Self(1 << 2);
    /// `w`: flags other than `\Seen` and `\Deleted` are changed.
    pub const WRITE: Self = Self(1 << 3);
    /// `i`: messages are added.
    pub const INSERT: Self = Self(1 << 4);
    /// `p`: mail is sent to it; nothing asks for it.
    pub const POST: Self = Self(1 << 5);
    /// `k`: mailboxes are created below it.
    pub const CREATE: Self = Self(1 << 6);
    /// `x`: it is deleted or renamed.
    pub const DELETE: Self = Self(1 << 7);
    /// `t`: `\Deleted` is changed.
    pub const DELETED: Self = Self(1 << 8);
    /// `e`: messages are removed.
    pub const EXPUNGE: Self = Self(1 << 9);
    /// `a`: its list is read and changed.
    pub const ADMINISTER: Self = Self(1 << 10);
    /// All of them.
    pub const ALL: Self = Self((1 << 11) - 1);
    /// The letters of the rights, in the order of their bits.
    pub const LETTERS: &'static str = "lrswipkxtea";
    /// `c`: what RFC 2086 called create (RFC 4314 section 2.1.1).
    const OLD_CREATE: Self = Self(Self::CREATE.0 | Self::DELETE.0);
    /// `d`: what RFC 2086 called delete.
    const OLD_DELETE: Self = Self(Self::EXPUNGE.0 | Self::DELETED.0);

    /// The rights that letters name, each in any order; `None`: one of them is no right.
    pub fn parse(letters: &str) -> Option<Self> {
        letters.chars().try_fold(Self::NONE, |rights, letter| {
            let more = match letter {
                'c' => Self::OLD_CREATE,
                'd' => Self::OLD_DELETE,
                letter => Self(1 << Self::LETTERS.find(letter)?),
            };
            Some(rights.with(more))
        })
    }

    /// One bit a right.
    pub fn bits(self) -> u16 {
        self.0
    }

    /// The set with these bits; unknown bits are dropped.
    pub fn from_bits(bits: u16) -> Self {
        Self(bits & Self::ALL.0)
    }

    /// Whether all rights of `other` are there.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether some right of `other` is there.
    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without the rights of `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The letters of the rights in the set, without the two of RFC 2086.
    pub fn letters(self) -> String {
        let set = |(bit, _): &(usize, char)| self.0 >> bit & 1 == 1;
        Self::LETTERS.chars().enumerate().filter(set).map(|(_, letter)| letter).collect()
    }
}

impl fmt::Display for Rights {
    /// The letters with `c` and `d`, which stand wherever a right stands that they mean (RFC 4314 section 2.1.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.letters();
        let (before, administer) = match letters.strip_suffix('a') {
            Some(before) => (before, "a"),
            None => (letters.as_str(), ""),
        };
        let create = if self.intersects(Self::OLD_CREATE) { "c" } else { "" };
        let delete = if self.intersects(Self::OLD_DELETE) { "d" } else { "" };
        write!(f, "{before}{create}{delete}{administer}")
    }
}

/// `anyone` as an identifier.
const ANYONE: &str = "anyone";

impl DirectoryState {
    /// The account of an address, whether it can log in or not.
    pub fn account_of(&self, address: &Address) -> Option<AccountId> {
        self.accounts.values().find(|record| record.address.same_mailbox(address)).map(|record| record.id)
    }

    /// Whose entry an identifier names: an address or `anyone`, with `-` before it one that takes rights. `None`: nobody's.
    pub fn acl_key(&self, identifier: &str) -> Option<AclKey> {
        let (sign, who) = match identifier.strip_prefix('-') {
            Some(who) => (Sign::Taken, who),
            None => (Sign::Given, identifier),
        };
        if who.eq_ignore_ascii_case(ANYONE) {
            return Some((Identifier::Anyone, sign));
        }
        let account = self.account_of(&Address::parse(who).ok()?)?;
        Some((Identifier::Account(account), sign))
    }

    /// The identifier of an entry; `None` where the account is gone: it means nothing any more.
    pub fn acl_identifier(&self, (identifier, sign): AclKey) -> Option<String> {
        let sign = if sign == Sign::Taken { "-" } else { "" };
        match identifier {
            Identifier::Anyone => Some(format!("{sign}{ANYONE}")),
            Identifier::Account(account) => {
                self.accounts.get(&account).map(|record| format!("{sign}{}", record.address))
            }
        }
    }
}

/// Which flags somebody may change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FlagRights {
    system: SystemFlags,
    keywords: bool,
}

impl FlagRights {
    /// All flags.
    pub const ALL: Self = Self { system: SystemFlags::ALL, keywords: true };

    /// The system flags.
    pub fn system(self) -> SystemFlags {
        self.system
    }

    /// Whether keywords are among them.
    pub fn keywords(self) -> bool {
        self.keywords
    }
}

impl From<Rights> for FlagRights {
    /// RFC 4314 section 4: `s` for `\Seen`, `t` for `\Deleted`, `w` for all others.
    fn from(rights: Rights) -> Self {
        let mut system = SystemFlags::EMPTY;
        if rights.contains(Rights::SEEN) {
            system = system.with(SystemFlags::SEEN);
        }
        if rights.contains(Rights::DELETED) {
            system = system.with(SystemFlags::DELETED);
        }
        let keywords = rights.contains(Rights::WRITE);
        if keywords {
            system = system.with(SystemFlags::ALL.without(SystemFlags::SEEN).without(SystemFlags::DELETED));
        }
        Self { system, keywords }
    }
}

/// Whom an entry is about.
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
pub enum Identifier {
    /// `anyone`: all who log in.
    #[n(0)]
    Anyone,
    /// One account.
    #[n(1)]
    Account(#[cbor(n(0), with = "codec::account")] AccountId),
}

/// Whether an entry gives rights or takes them (RFC 4314 section 2).
#[derive(Clone, Copy, Debug, Decode, Encode, Eq, Ord, PartialEq, PartialOrd)]
#[cbor(index_only)]
pub enum Sign {
    /// It gives them.
    #[n(0)]
    Given,
    /// It takes them: the identifier begins with `-`.
    #[n(1)]
    Taken,
}

/// Whose entry of a list.
pub type AclKey = (Identifier, Sign);

/// The access control list of a mailbox, without its owner.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Acl(BTreeMap<AclKey, Rights>);

impl Acl {
    /// The rights of an account that does not own the mailbox: all that entries about it or about anyone give, without what
    /// such entries take.
    pub fn rights_of(&self, account: AccountId) -> Rights {
        let sum = |sign| {
            let of = |identifier| self.0.get(&(identifier, sign)).copied().unwrap_or_default();
            of(Identifier::Anyone).with(of(Identifier::Account(account)))
        };
        sum(Sign::Given).without(sum(Sign::Taken))
    }

    /// Its entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = (AclKey, Rights)> {
        self.0.iter().map(|(key, rights)| (*key, *rights))
    }

    /// The rights in an entry.
    pub fn entry(&self, key: AclKey) -> Option<Rights> {
        self.0.get(&key).copied()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Another entry in the place of the one that is there; without rights it is none.
    pub(crate) fn set(&mut self, key: AclKey, rights: Rights) {
        match rights.is_empty() {
            true => drop(self.0.remove(&key)),
            false => drop(self.0.insert(key, rights)),
        }
    }

    /// Without the entries of accounts that are gone.
    pub(crate) fn keep_accounts(&mut self, exists: impl Fn(AccountId) -> bool) {
        self.0.retain(|(identifier, _), _| match identifier {
            Identifier::Anyone => true,
            Identifier::Account(account) => exists(*account),
        });
    }
}

impl FromIterator<(AclKey, Rights)> for Acl {
    fn from_iter<I: IntoIterator<Item = (AclKey, Rights)>>(entries: I) -> Self {
        Self(entries.into_iter().filter(|(_, rights)| !rights.is_empty()).collect())
    }
}

/// An entry of a list on disk.
#[derive(Clone, Copy, Debug, Decode, Encode, PartialEq)]
#[cbor(array)]
pub(crate) struct KeptAclEntry {
    #[n(0)]
    identifier: Identifier,
    #[n(1)]
    sign: Sign,
    #[cbor(n(2), with = "codec::rights")]
    rights: Rights,
}

impl KeptAclEntry {
    /// All entries of a list.
    pub(crate) fn all(acl: &Acl) -> Vec<Self> {
        acl.entries().map(|((identifier, sign), rights)| Self { identifier, sign, rights }).collect()
    }

    /// The list of some entries.
    pub(crate) fn into_acl(entries: Vec<Self>) -> Acl {
        entries.into_iter().map(|entry| ((entry.identifier, entry.sign), entry.rights)).collect()
    }
}

/// To whom an account gives rights on some of its mailboxes: where to look for what is shared with somebody. The lists of the
/// mailboxes say which rights.
#[derive(Clone, Debug, Decode, Default, Encode, Eq, PartialEq)]
pub struct Grants {
    /// To all.
    #[n(0)]
    pub anyone: bool,
    /// To these accounts, by their ids.
    #[cbor(n(1), default)]
    accounts: BTreeSet<u64>,
}

impl Grants {
    /// What some lists give.
    pub(crate) fn of<'a>(acls: impl IntoIterator<Item = &'a Acl>) -> Self {
        let mut grants = Self::default();
        for ((identifier, sign), _) in acls.into_iter().flat_map(Acl::entries) {
            match identifier {
                _ if sign == Sign::Taken => {}
                Identifier::Anyone => grants.anyone = true,
                Identifier::Account(account) => drop(grants.accounts.insert(account.0)),
            }
        }
        grants
    }

    /// Whether an account may have got something.
    pub fn reach(&self, account: AccountId) -> bool {
        self.anyone || self.accounts.contains(&account.0)
    }

    /// Whether nobody got anything.
    pub fn is_empty(&self) -> bool {
        !self.anyone && self.accounts.is_empty()
    }

    /// An account is gone.
    pub(crate) fn forget(&mut self, account: AccountId) {
        self.accounts.remove(&account.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_have_letters() {
        for (letters, shown) in [
            ("", ""),
            ("lr", "lr"),
            ("rl", "lr"),
            ("lrswipkxtea", "lrswipkxtecda"),
            ("c", "kxc"),
            ("d", "ted"),
            ("k", "kc"),
            ("ea", "eda"),
            ("lrswida", "lrswiteda"),
        ] {
            assert_eq!(Rights::parse(letters).map(|rights| rights.to_string()).as_deref(), Some(shown));
        }
        for letters in ["q", "L", "lR", "l r", "1", "é"] {
            assert_eq!(Rights::parse(letters), None, "{letters}");
        }
        assert_eq!(Rights::parse(Rights::LETTERS), Some(Rights::ALL));
        for bits in 0..=Rights::ALL.bits() {
            let rights = Rights::from_bits(bits);
            assert_eq!(Rights::parse(&rights.letters()), Some(rights));
            assert_eq!(Rights::from_bits(rights.bits()), rights);
        }
    }

    #[test]
    fn entries_add_up_and_take_away() {
        let [one, two] = [1, 2].map(AccountId);
        let rights = |letters| Rights::parse(letters).unwrap();
        let acl: Acl = [
            ((Identifier::Anyone, Sign::Given), rights("lr")),
            ((Identifier::Account(one), Sign::Given), rights("swi")),
            ((Identifier::Account(one), Sign::Taken), rights("rw")),
            ((Identifier::Anyone, Sign::Taken), rights("i")),
            ((Identifier::Account(two), Sign::Given), Rights::NONE),
        ]
        .into_iter()
        .collect();
        assert_eq!(acl.len(), 4);
        assert_eq!(acl.rights_of(one), rights("ls"));
        assert_eq!(acl.rights_of(two), rights("lr"));
        assert_eq!(KeptAclEntry::into_acl(KeptAclEntry::all(&acl)), acl);
        let grants = Grants::of([&acl]);
        assert!(grants.anyone && grants.reach(two) && grants.reach(AccountId(9)));
    }

    #[test]
    fn flags_need_their_rights() {
        let may = |letters| FlagRights::from(Rights::parse(letters).unwrap());
        assert_eq!(may("lr").system(), SystemFlags::EMPTY);
        assert_eq!(may("s").system(), SystemFlags::SEEN);
        assert_eq!(may("t").system(), SystemFlags::DELETED);
        assert!(may("w").keywords() && !may("st").keywords());
        assert_eq!(may("stw"), FlagRights::ALL);
    }
}
