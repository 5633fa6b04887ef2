//! What records of the directory's stream do.

use std::sync::Arc;

use waypost_mail::{AccountId, AccountRecord};

use super::Inapplicable;
use crate::{
    record::{
        AccountCreated, CodeUsed, CodesForgotten, DestinationPaused, DirectoryChange, GrantsChanged,
        StateRestored,
    },
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
    let mut effect = Effect::None;
    match change {
        DirectoryChange::AccountCreated(created) => effect = create(state, created),
        DirectoryChange::AccountRemoved(removed) => effect = remove(state, removed.account)?,
        DirectoryChange::PasswordChanged(changed) => {
            let account = account(state, changed.account)?;
            account.password_hash.clone_from(&changed.password_hash);
            account.scram_verifiers.clone_from(&changed.scram_verifiers);
        }
        DirectoryChange::AppPasswordsChanged(changed) => {
            let kept = changed.app_passwords.iter().map(|kept| kept.0.clone());
            account(state, changed.account)?.app_passwords = kept.collect();
        }
        DirectoryChange::CertificatesChanged(changed) => {
            let kept = changed.certificates.iter().map(|kept| kept.0.clone());
            account(state, changed.account)?.certificates = kept.collect();
        }
        DirectoryChange::QuotaChanged(changed) => {
            account(state, changed.account)?.quota_bytes = changed.quota_bytes;
        }
        DirectoryChange::TotpChanged(changed) => {
            account(state, changed.account)?.totp.clone_from(&changed.secret);
            state.used_codes.remove(&changed.account);
        }
        DirectoryChange::ApopChanged(changed) => {
            account(state, changed.account)?.apop.clone_from(&changed.secret);
        }
        DirectoryChange::CodeUsed(CodeUsed { account, step }) => {
            let used = state.used_codes.entry(*account).or_default();
            *used = (*used).max(*step);
        }
        DirectoryChange::CodesForgotten(CodesForgotten { before }) => {
            state.used_codes.retain(|_, step| *step >= *before);
        }
        DirectoryChange::StateRestored(restored) => restore(state, restored),
        DirectoryChange::DirectorySnapshotPart(_) | DirectoryChange::DirectorySnapshotClosed(_) => {}
        DirectoryChange::DestinationPaused(paused) => pause(state, paused),
        DirectoryChange::SuppressionChanged(changed) => state.suppressions.put(changed.0.clone()),
        DirectoryChange::SuppressionRemoved(removed) => {
            state.suppressions.remove(&removed.recipient, removed.sender.as_ref().map(|kept| &kept.0));
        }
        DirectoryChange::DkimKeyChanged(changed) => {
            Arc::make_mut(&mut state.dkim_keys).insert(changed.0.name(), changed.0.clone());
        }
        DirectoryChange::GrantsChanged(GrantsChanged { owner, grants }) => {
            let all = Arc::make_mut(&mut state.grants);
            match grants.is_empty() {
                true => drop(all.remove(owner)),
                false => drop(all.insert(*owner, grants.clone())),
            }
        }
        DirectoryChange::DkimKeyRemoved(removed) => {
            let name = (removed.domain.clone(), removed.selector.clone());
            Arc::make_mut(&mut state.dkim_keys).remove(&name);
        }
    }
    state.seq = seq;
    Ok(effect)
}

fn remove(state: &mut DirectoryState, id: AccountId) -> Result<Effect, Inapplicable> {
    Arc::make_mut(&mut state.accounts).remove(&id).ok_or(Inapplicable::Account(id))?;
    state.used_codes.remove(&id);
    if !state.grants.is_empty() {
        let grants = Arc::make_mut(&mut state.grants);
        grants.remove(&id);
        grants.values_mut().for_each(|grants| grants.forget(id));
        grants.retain(|_, grants| !grants.is_empty());
    }
    Ok(Effect::Removed(id))
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
        apop: None,
        certificates: Vec::new(),
        quota_bytes: created.quota_bytes,
    };
    Arc::make_mut(&mut state.accounts).insert(created.account, record);
    state.next_account = state.next_account.max(created.account.0 + 1);
    Effect::Created(created.account)
}

fn restore(state: &mut DirectoryState, restored: &StateRestored) {
    let StateRestored { accounts_below, next_account, floor, .. } = *restored;
    state.next_account = state.next_account.max(next_account);
    state.restores.push(Restore { accounts_below, next_account, floor });
}

fn pause(state: &mut DirectoryState, changed: &DestinationPaused) {
    match changed.paused {
        true => drop(state.paused.insert(changed.destination.clone())),
        false => drop(state.paused.remove(&changed.destination)),
    }
}

fn account(state: &mut DirectoryState, id: AccountId) -> Result<&mut AccountRecord, Inapplicable> {
    Arc::make_mut(&mut state.accounts).get_mut(&id).ok_or(Inapplicable::Account(id))
}
