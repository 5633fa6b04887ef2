//! Structures of messages as they are kept: in memory until a checkpoint, in the index after it, and else made anew from the octets.
//!
//! With the structure its preview is kept (RFC 8970): both are found while a message is received, and stand in its record.

use std::sync::PoisonError;

use bytes::Bytes;
use waypost_mail::{AccountId, EmailId};
use waypost_message::{MessageEnvelope, Splitter, Structure};

use crate::{error::StoreError, shared::Shared, state::Row, store::Store};

/// Whether the previews of structures are wanted, too: they lie apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Previews {
    /// They are.
    Wanted,
    /// They are not; they may be there all the same.
    Unwanted,
}

/// A structure in its encoded form. It is read where it is needed, without a copy of its fields.
#[derive(Clone, Debug)]
pub struct KeptStructure {
    octets: Bytes,
    /// Its preview, where that lay apart.
    preview: Option<Bytes>,
}

impl KeptStructure {
    pub(crate) fn new(octets: Bytes, preview: Option<Bytes>) -> Self {
        Self { octets, preview }
    }

    /// What it says, with the octets of the kept form or with its own. Errors: `Damaged`, though its check is right.
    pub fn read<'a, O: From<&'a [u8]>>(&'a self) -> Result<Structure<O>, StoreError> {
        Structure::decode(&self.octets).map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// The envelope alone. Errors: as [`KeptStructure::read`].
    pub fn envelope<'a, O: From<&'a [u8]>>(&'a self) -> Result<MessageEnvelope<O>, StoreError> {
        MessageEnvelope::decode(&self.octets).map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// What PREVIEW shows of the message, in UTF-8; `None`: it was not asked for, or delivery did not find it in what it looks at.
    pub fn preview(&self) -> Option<&[u8]> {
        self.preview.as_deref().or_else(|| Structure::encoded_preview(&self.octets))
    }

    /// Its encoded form, as a record has it.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        match &self.preview {
            Some(preview) => Structure::with_preview(&self.octets, preview),
            None => self.octets.to_vec(),
        }
    }

    /// Its encoded form without what lay apart.
    #[cfg(test)]
    pub(crate) fn octets(&self) -> &[u8] {
        &self.octets
    }

    fn is_known(&self) -> bool {
        Structure::is_known(&self.octets)
    }
}

impl From<Structure> for KeptStructure {
    fn from(structure: Structure) -> Self {
        Self::new(structure.encode().into(), None)
    }
}

impl Store {
    /// The MIME structure of a message; from the index, else from the journal. Errors: `Damaged`, `Io`.
    pub async fn structure(&self, account: AccountId, row: &Row) -> Result<Structure, StoreError> {
        self.kept_structure(account, row, Previews::Unwanted).await?.read()
    }

    /// The same as it is kept. Errors: `Damaged`, `Io`.
    pub async fn kept_structure(
        &self,
        account: AccountId,
        row: &Row,
        previews: Previews,
    ) -> Result<KeptStructure, StoreError> {
        let mut found = self.structures(account, std::slice::from_ref(row), previews).await?;
        found.pop().ok_or_else(|| StoreError::Io("the structure was not found".to_owned()))
    }

    /// The structures of several messages of one account, in their order; cheaper than one by one.
    pub async fn structures(
        &self,
        account: AccountId,
        rows: &[Row],
        previews: Previews,
    ) -> Result<Vec<KeptStructure>, StoreError> {
        let emails: Vec<EmailId> = rows.iter().map(|row| row.email).collect();
        let kept = match at_hand(self.shared(), account, &emails, previews) {
            Ok(kept) => kept.into_iter().map(Some).collect(),
            Err(recent) => {
                self.blocking(move |shared| Ok(indexed(shared, account, &emails, previews, recent))).await?
            }
        };
        let mut structures = Vec::with_capacity(rows.len());
        for (row, kept) in rows.iter().zip(kept) {
            structures.push(match kept {
                Some(kept) => kept,
                None => self.split(row).await?.into(),
            });
        }
        Ok(structures)
    }

    /// Finds the structure of a message in its octets.
    async fn split(&self, row: &Row) -> Result<Structure, StoreError> {
        let mut reader = self.reader(&row.content, row.content.prefix_size(), u64::MAX);
        let mut splitter = Splitter::new();
        loop {
            let octets = reader.next().await?;
            if octets.is_empty() {
                return Ok(splitter.finish());
            }
            splitter.feed(&octets);
        }
    }
}

/// The structures that memory holds: all, or some.
fn at_hand(
    shared: &Shared,
    account: AccountId,
    emails: &[EmailId],
    previews: Previews,
) -> Result<Vec<KeptStructure>, Vec<Option<KeptStructure>>> {
    let recent: Vec<Option<KeptStructure>> = {
        let structures = shared.structures.read().unwrap_or_else(PoisonError::into_inner);
        let of_account = structures.get(&account);
        let recent = |email: &EmailId| of_account.and_then(|known| known.get(email).cloned());
        let kept = |octets| KeptStructure::new(Bytes::from_owner(octets), None);
        emails.iter().map(|email| recent(email).map(kept)).collect()
    };
    let late = |(email, recent): (&EmailId, &Option<KeptStructure>)| {
        recent.clone().or_else(|| shared.index.structure_of_late(account, *email, previews))
    };
    let all: Option<Vec<KeptStructure>> = emails.iter().zip(&recent).map(late).collect();
    all.filter(|all| all.iter().all(KeptStructure::is_known)).ok_or(recent)
}

/// Those that memory and index hold, of versions that are known.
fn indexed(
    shared: &Shared,
    account: AccountId,
    emails: &[EmailId],
    previews: Previews,
    recent: Vec<Option<KeptStructure>>,
) -> Vec<Option<KeptStructure>> {
    let missing = emails.iter().zip(&recent).filter(|(_, recent)| recent.is_none());
    let missing: Vec<EmailId> = missing.map(|(email, _)| *email).collect();
    let mut indexed = shared.index.structures(account, &missing, previews).into_iter();
    let structure = |recent: Option<KeptStructure>| recent.or_else(|| indexed.next().flatten());
    let kept = recent.into_iter().map(structure);
    kept.map(|kept| kept.filter(KeptStructure::is_known)).collect()
}
