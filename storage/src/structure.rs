//! Structures of messages as they are kept: in memory until a checkpoint, in the index after it, and else made anew from the octets.

use std::sync::PoisonError;

use bytes::Bytes;
use waypost_mail::{AccountId, EmailId, MailboxId};
use waypost_message::{MessageEnvelope, Splitter, Structure};

use crate::{error::StoreError, shared::Shared, state::Row, store::Store};

/// A structure in its encoded form. It is read where it is needed, without a copy of its fields.
#[derive(Clone, Debug)]
pub struct KeptStructure(Bytes);

impl KeptStructure {
    /// What it says, with the octets of the kept form or with its own. Errors: `Damaged`, though its check is right.
    pub fn read<'a, O: From<&'a [u8]>>(&'a self) -> Result<Structure<O>, StoreError> {
        Structure::decode(&self.0).map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// The envelope alone. Errors: as [`KeptStructure::read`].
    pub fn envelope<'a, O: From<&'a [u8]>>(&'a self) -> Result<MessageEnvelope<O>, StoreError> {
        MessageEnvelope::decode(&self.0).map_err(|error| StoreError::Damaged(error.to_string()))
    }

    /// Its encoded form.
    pub(crate) fn octets(&self) -> &[u8] {
        &self.0
    }
}

impl From<Structure> for KeptStructure {
    fn from(structure: Structure) -> Self {
        Self(structure.encode().into())
    }
}

impl Store {
    /// The MIME structure of a message; from the index, else from the journal. Errors: `Damaged`, `Io`.
    pub async fn structure(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        row: &Row,
    ) -> Result<Structure, StoreError> {
        self.kept_structure(account, mailbox, row).await?.read()
    }

    /// The same as it is kept. Errors: `Damaged`, `Io`.
    pub async fn kept_structure(
        &self,
        account: AccountId,
        mailbox: MailboxId,
        row: &Row,
    ) -> Result<KeptStructure, StoreError> {
        let mut found = self.structures(account, mailbox, std::slice::from_ref(row)).await?;
        found.pop().ok_or_else(|| StoreError::Io("the structure was not found".to_owned()))
    }

    /// The structures of several messages of one mailbox, in their order; cheaper than one by one.
    pub async fn structures(
        &self,
        account: AccountId,
        _mailbox: MailboxId,
        rows: &[Row],
    ) -> Result<Vec<KeptStructure>, StoreError> {
        let emails: Vec<EmailId> = rows.iter().map(|row| row.email).collect();
        let kept = match at_hand(self.shared(), account, &emails) {
            Ok(kept) => kept.into_iter().map(Some).collect(),
            Err(recent) => self.blocking(move |shared| Ok(indexed(shared, account, &emails, recent))).await?,
        };
        let mut structures = Vec::with_capacity(rows.len());
        for (row, kept) in rows.iter().zip(kept) {
            structures.push(match kept {
                Some(octets) => KeptStructure(octets),
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
) -> Result<Vec<Bytes>, Vec<Option<Bytes>>> {
    let recent: Vec<Option<Bytes>> = {
        let structures = shared.structures.read().unwrap_or_else(PoisonError::into_inner);
        let of_account = structures.get(&account);
        let recent = |email: &EmailId| of_account.and_then(|known| known.get(email).cloned());
        emails.iter().map(|email| recent(email).map(Bytes::from_owner)).collect()
    };
    let late = |(email, recent): (&EmailId, &Option<Bytes>)| {
        recent.clone().or_else(|| shared.index.structure_of_late(account, *email))
    };
    let all: Option<Vec<Bytes>> = emails.iter().zip(&recent).map(late).collect();
    all.filter(|all| all.iter().all(|octets| Structure::is_known(octets))).ok_or(recent)
}

/// Those that memory and index hold, of versions that are known.
fn indexed(
    shared: &Shared,
    account: AccountId,
    emails: &[EmailId],
    recent: Vec<Option<Bytes>>,
) -> Vec<Option<Bytes>> {
    let missing = emails.iter().zip(&recent).filter(|(_, recent)| recent.is_none());
    let missing: Vec<EmailId> = missing.map(|(email, _)| *email).collect();
    let mut indexed = shared.index.structures(account, &missing).into_iter();
    let structure = |recent: Option<Bytes>| recent.or_else(|| indexed.next().flatten());
    let kept = recent.into_iter().map(structure);
    kept.map(|octets| octets.filter(|octets| Structure::is_known(octets))).collect()
}
