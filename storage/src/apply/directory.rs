//! What records of the directory's stream do.

use waypost_mail::{AccountId, AccountRecord};

use super::Inapplicable;
use crate::{
    record::{AccountCreated, DirectoryChange},
    state::DirectoryState,
};

/// What a change of the directory means for the accounts' own states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effect {
    None,
    Created(AccountId),
    Removed(AccountId),
}

/// Applies one record.
pub(crate) fn apply(
    state: &mut DirectoryState,
    seq: u64,
    change: &DirectoryChange,
) -> Result<Effect, Inapplicable> {
    let effect = match change {
        DirectoryChange::AccountCreated(created) => create(state, created),
        DirectoryChange::AccountRemoved(removed) => {
            state.accounts.remove(&removed.account).ok_or(Inapplicable::Account(removed.account))?;
            Effect::Removed(removed.account)
        }
        DirectoryChange::PasswordChanged(changed) => {
            account(state, changed.account)?.password_hash.clone_from(&changed.password_hash);
            Effect::None
        }
        DirectoryChange::QuotaChanged(changed) => {
            account(state, changed.account)?.quota_bytes = changed.quota_bytes;
            Effect::None
        }
    };
    state.seq = seq;
    Ok(effect)
}

fn create(state: &mut DirectoryState, created: &AccountCreated) -> Effect {
    let record = AccountRecord {
        id: created.account,
        address: created.address.clone(),
        source: created.source,
        password_hash: created.password_hash.clone(),
        quota_bytes: created.quota_bytes,
    };
    state.accounts.insert(created.account, record);
    state.next_account = state.next_account.max(created.account.0 + 1);
    Effect::Created(created.account)
}

fn account(state: &mut DirectoryState, id: AccountId) -> Result<&mut AccountRecord, Inapplicable> {
    state.accounts.get_mut(&id).ok_or(Inapplicable::Account(id))
}
