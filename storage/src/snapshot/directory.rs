//! The directory in parts: accounts and all else that stands in its stream.

use std::sync::Arc;

use waypost_mail::AccountId;

use super::{Snapshot, grouped};
use crate::{
    record::{Change, DirectoryChange, DirectoryPart, DirectorySnapshotPart, KeptAccount},
    state::DirectoryState,
};

impl Snapshot for DirectoryState {
    type Part = DirectoryPart;

    fn part(change: Change) -> Option<(u64, u32, DirectoryPart)> {
        match change {
            Change::Directory(DirectoryChange::DirectorySnapshotPart(DirectorySnapshotPart {
                of,
                number,
                part,
            })) => Some((of, number, part)),
            _ => None,
        }
    }

    fn assemble(of: u64, parts: Vec<DirectoryPart>) -> Option<Self> {
        let mut directory = Self::default();
        let (mut accounts, mut keys, mut lines) = (Vec::new(), Vec::new(), Vec::new());
        let mut grants = Vec::new();
        for part in parts {
            match part {
                DirectoryPart::Directory { next_account, restores } => {
                    (directory.seq, directory.next_account, directory.restores) =
                        (of, next_account, restores);
                }
                DirectoryPart::Accounts(some) => accounts.extend(some),
                DirectoryPart::UsedCodes(some) => {
                    let used = some.into_iter().map(|(account, step)| (AccountId(account), step));
                    directory.used_codes.extend(used);
                }
                DirectoryPart::Paused(some) => directory.paused.extend(some),
                DirectoryPart::Suppressions(some) => lines.extend(some),
                DirectoryPart::DkimKeys(some) => keys.extend(some),
                DirectoryPart::Grants(some) => grants.extend(some),
            }
        }
        let accounts = accounts.into_iter().map(KeptAccount::into_account);
        directory.accounts = Arc::new(accounts.map(|account| (account.id, account)).collect());
        directory.dkim_keys = Arc::new(keys.into_iter().map(|key| (key.name(), key)).collect());
        let grants = grants.into_iter().map(|(owner, grants)| (AccountId(owner), grants));
        directory.grants = Arc::new(grants.collect());
        directory.suppressions = lines.into_iter().collect();
        (directory.seq == of).then_some(directory)
    }
}

impl DirectoryState {
    /// Its parts.
    pub(crate) fn parts(&self) -> Vec<DirectoryPart> {
        let (next_account, restores) = (self.next_account, self.restores.clone());
        let mut parts = vec![DirectoryPart::Directory { next_account, restores }];
        let accounts = grouped(self.accounts.values().map(KeptAccount::new));
        parts.extend(accounts.into_iter().map(DirectoryPart::Accounts));
        let used = grouped(self.used_codes.iter().map(|(account, step)| (account.0, *step)));
        parts.extend(used.into_iter().map(DirectoryPart::UsedCodes));
        parts.extend(grouped(self.paused.iter().cloned()).into_iter().map(DirectoryPart::Paused));
        let lines = grouped(self.suppressions.lines().into_iter().cloned());
        parts.extend(lines.into_iter().map(DirectoryPart::Suppressions));
        let keys = grouped(self.dkim_keys.values().cloned());
        parts.extend(keys.into_iter().map(DirectoryPart::DkimKeys));
        let grants = grouped(self.grants.iter().map(|(owner, grants)| (owner.0, grants.clone())));
        parts.extend(grants.into_iter().map(DirectoryPart::Grants));
        parts
    }
}
