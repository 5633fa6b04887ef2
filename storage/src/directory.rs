//! The directory as the records of its stream say: from its newest snapshot on, all of them where there is none.

use crate::{
    apply::apply_directory,
    error::StoreError,
    journal::{Files, Stream},
    queue::replay::Met,
    record::{self, Change},
    recovery, snapshot,
    state::DirectoryState,
};

/// The directory after its last record. Errors: the journal cannot be read; a record is of a later version.
pub(crate) fn replay(files: &Files, mut meet: impl FnMut(Met<'_>)) -> Result<DirectoryState, StoreError> {
    let records = recovery::records_of::<DirectoryState>(files, Stream::Directory)?;
    let mut directory = snapshot::newest::<DirectoryState>(&records).unwrap_or_default();
    for stored in &records {
        meet(Met::Record(stored));
        let seq = stored.record.seq;
        if seq <= directory.seq {
            continue;
        }
        let missing = seq - directory.seq - 1;
        if missing > 0 {
            meet(Met::Missing(missing));
            // Each may have created an account, whose id must not be given again.
            directory.next_account = directory.next_account.max(1) + missing;
        }
        match record::decode(&stored.record) {
            Ok(Some(Change::Directory(change))) => {
                if let Err(error) = apply_directory(&mut directory, seq, &change) {
                    meet(Met::Inapplicable(seq, error));
                }
            }
            Ok(_) => {}
            Err(StoreError::Damaged(sentence)) => meet(Met::Damaged(sentence)),
            Err(error) => return Err(error),
        }
        directory.seq = seq;
    }
    Ok(directory)
}
