//! Commands on the keys of domains.

use waypost_mail::Domain;

use super::{Command, Draft, Undecided};
use crate::{
    dkim::{DKIM_KEYS_MAX, DkimKey, DkimState},
    error::StoreError,
    record::{DkimKeyChanged, DkimKeyRemoved},
};

/// Keeps new keys.
pub(crate) struct AddDkimKeys(pub(crate) Vec<DkimKey>);

impl Command for AddDkimKeys {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        for (place, key) in self.0.iter().enumerate() {
            let directory = &draft.state().directory;
            let of_domain = |other: &&DkimKey| other.domain == key.domain;
            let new = self.0[..place].iter().filter(of_domain);
            let all: Vec<_> = directory.dkim_keys(&key.domain).chain(new).collect();
            if all.iter().any(|other| other.selector == key.selector) {
                return Err(StoreError::DkimKeyExists.into());
            }
            if all.len() >= DKIM_KEYS_MAX {
                return Err(StoreError::Limit("the domain has too many DKIM keys: remove old ones").into());
            }
        }
        self.0.iter().for_each(|key| draft.directory(DkimKeyChanged(key.clone())));
        Ok(())
    }
}

/// Signs with a key, and no more with the one before it.
pub(crate) struct ActivateDkimKey {
    pub(crate) domain: Domain,
    pub(crate) selector: String,
}

impl Command for ActivateDkimKey {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let now = draft.now();
        let keys: Vec<DkimKey> = draft.state().directory.dkim_keys(&self.domain).cloned().collect();
        let key = keys.iter().find(|key| key.selector == self.selector).ok_or(StoreError::NoSuchDkimKey)?;
        if key.state() == DkimState::Active {
            return Ok(());
        }
        let is_replaced =
            |other: &&DkimKey| other.algorithm == key.algorithm && other.state() == DkimState::Active;
        for other in keys.iter().filter(is_replaced) {
            draft.directory(DkimKeyChanged(DkimKey { retired: Some(now), ..other.clone() }));
        }
        draft.directory(DkimKeyChanged(DkimKey { activated: Some(now), retired: None, ..key.clone() }));
        Ok(())
    }
}

/// Forgets a key.
pub(crate) struct RemoveDkimKey {
    pub(crate) domain: Domain,
    pub(crate) selector: String,
}

impl Command for RemoveDkimKey {
    type Outcome = ();

    fn decide(&self, draft: &mut Draft<'_>) -> Result<(), Undecided> {
        let Self { domain, selector } = self;
        if !draft.state().directory.dkim_keys(domain).any(|key| key.selector == *selector) {
            return Err(StoreError::NoSuchDkimKey.into());
        }
        draft.directory(DkimKeyRemoved { domain: domain.clone(), selector: selector.clone() });
        Ok(())
    }
}
