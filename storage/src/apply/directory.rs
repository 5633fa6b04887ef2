//! What records of the directory's stream do.

use std::sync::Arc;

use waypost_mail::{AccountId, AccountRecord};

use super::Inapplicable;
use crate::{
    record::{AccountCreated, CodeUsed, DestinationPaused, DirectoryChange, StateRestored},
    state::{DirectoryState, Restore},
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
            let accounts = Arc::make_mut(&mut state.accounts);
            accounts.remove(&removed.account).ok_or(Inapplicable::Account(removed.account))?;
            state.used_codes.remove(&removed.account);
            Effect::Removed(removed.account)
        }
        DirectoryChange::PasswordChanged(changed) => {
            let account = account(state, changed.account)?;
            account.password_hash.clone_from(&changed.password_hash);
            account.scram_verifiers.clone_from(&changed.scram_verifiers);
            Effect::None
        }
        DirectoryChange::AppPasswordsChanged(changed) => {
            let kept = changed.app_passwords.iter().map(|kept| kept.0.clone());
            account(state, changed.account)?.app_passwords = kept.collect();
            Effect::None
        }
        DirectoryChange::TotpChanged(changed) => {
            account(state, changed.account)?.totp.clone_from(&changed.secret);
            state.used_codes.remove(&changed.account);
            Effect::None
        }
        DirectoryChange::CertificatesChanged(changed) => {
            let kept = changed.certificates.iter().map(|kept| kept.0.clone());
            account(state, changed.account)?.certificates = kept.collect();
            Effect::None
        }
        DirectoryChange::CodeUsed(CodeUsed { account, step }) => {
            let used = state.used_codes.entry(*account).or_default();
            *used = (*used).max(*step);
            Effect::None
        }
        DirectoryChange::DestinationPaused(DestinationPaused { destination, paused }) => {
            match paused {
                true => drop(state.paused.insert(destination.clone())),
                false => drop(state.paused.remove(destination)),
            }
            Effect::None
        }
        DirectoryChange::SuppressionChanged(changed) => {
            state.suppressions.put(changed.0.clone());
            Effect::None
        }
        DirectoryChange::SuppressionRemoved(removed) => {
            state.suppressions.remove(&removed.recipient, removed.sender.as_ref().map(|kept| &kept.0));
            Effect::None
        }
        DirectoryChange::DkimKeyChanged(changed) => {
            Arc::make_mut(&mut state.dkim_keys).insert(changed.0.name(), changed.0.clone());
            Effect::None
        }
        DirectoryChange::DkimKeyRemoved(removed) => {
            let name = (removed.domain.clone(), removed.selector.clone());
            Arc::make_mut(&mut state.dkim_keys).remove(&name);
            Effect::None
        }
        DirectoryChange::StateRestored(restored) => restore(state, restored),
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
        scram_verifiers: created.scram_verifiers.clone(),
        app_passwords: Vec::new(),
        totp: None,
        certificates: Vec::new(),
        quota_bytes: created.quota_bytes,
    };
    Arc::make_mut(&mut state.accounts).insert(created.account, record);
    state.next_account = state.next_account.max(created.account.0 + 1);
    Effect::Created(created.account)
}

fn restore(state: &mut DirectoryState, restored: &StateRestored) -> Effect {
    let StateRestored { accounts_below, next_account, floor, .. } = *restored;
    state.next_account = state.next_account.max(next_account);
    state.restores.push(Restore { accounts_below, next_account, floor });
    Effect::None
}

fn account(state: &mut DirectoryState, id: AccountId) -> Result<&mut AccountRecord, Inapplicable> {
    Arc::make_mut(&mut state.accounts).get_mut(&id).ok_or(Inapplicable::Account(id))
}
