//! SELECT and EXAMINE (RFC 3501 sections 6.3.1 and 6.3.2, RFC 9051 sections 6.3.2 and 6.3.3), UNSELECT (RFC 3691).

use waypost_mail::{Flags, SystemFlags};
use waypost_storage::{FlagRights, MailboxState, Rights, state::KEYWORDS_MAX};

use super::{Enabled, Failure, NO_SUCH_MAILBOX, Operation, status::mailbox_id};
use crate::{
    machine::{NewState, Ran},
    session::Selected,
    wire::{
        Access, Resync, Status,
        encode::{self, Recent},
        spoken,
    },
};

impl Operation<'_, '_> {
    /// Opens a mailbox. The one that was open is closed also where this fails.
    pub(super) async fn select(
        &mut self,
        name: &str,
        access: Access,
        resync: Option<&Resync>,
    ) -> Result<Ran, Failure> {
        if self.user.selected.take().is_some() {
            let mut out = Vec::new();
            let text = spoken(self.user.enabled.language, "the previous mailbox is closed");
            encode::untagged(&mut out, Status::Ok, Some("CLOSED"), &text);
            self.output.write(&out).await?;
        }
        let selected = match self.open(name, access).await {
            Err(Failure::Refused(ran)) => {
                return Err(Failure::Refused(ran.with_state(NewState::Authenticated)));
            }
            selected => selected?,
        };
        let mut out = opened(&selected, self.user.enabled);
        if self.user.enabled.rev2 {
            self.list_selected(&mut out, &selected.space, selected.view.state());
        }
        self.output.write(&out).await?;
        if let Some(resync) = resync {
            self.resync(&selected.view, resync).await?;
        }
        // RFC 4314 section 5.2: \Seen is everybody's own.
        let writes = access == Access::ReadWrite && selected.rights.intersects(WRITING);
        self.user.selected = Some(selected);
        let code = if writes { "READ-WRITE" } else { "READ-ONLY" };
        Ok(Ran::ok("selected").with_code(code).with_state(NewState::Selected))
    }

    /// Closes the selected mailbox and removes nothing.
    pub(super) fn unselect(&mut self) -> Result<Ran, Failure> {
        self.selected()?;
        self.user.selected = None;
        Ok(Ran::ok("unselected").with_state(NewState::Authenticated))
    }

    async fn open(&mut self, name: &str, access: Access) -> Result<Selected, Failure> {
        let found = self.mailbox(name, Rights::READ).await?;
        let selection = found.space.account.select(found.mailbox.id).await?;
        let missing = || Failure::no("NONEXISTENT", NO_SUCH_MAILBOX);
        Selected::new(selection, access, found.space, &self.context.recent).ok_or_else(missing)
    }
}

/// Rights that make a mailbox more than read-only.
const WRITING: Rights = Rights::INSERT.with(Rights::EXPUNGE).with(Rights::WRITE).with(Rights::DELETED);

/// What SELECT says of a mailbox. With IMAP4rev2 neither RECENT nor UNSEEN (RFC 9051 appendix E).
fn opened(selected: &Selected, enabled: Enabled) -> Vec<u8> {
    let view = &selected.view;
    let state = view.state();
    let mut out = Vec::new();
    flags(&mut out, state);
    permanent_flags(&mut out, state, selected.may(), enabled);
    encode::data(&mut out, &format!("{} EXISTS", view.exists()));
    if !enabled.rev2 {
        encode::data(&mut out, &format!("{} RECENT", view.recent()));
        let seen = |flags: SystemFlags| flags.contains(SystemFlags::SEEN);
        if let Some(unseen) = state.rows().position(|row| !seen(row.flags)).filter(|_| !enabled.uidonly) {
            let unseen = format!("UNSEEN {}", unseen + 1);
            let text = spoken(enabled.language, "first unseen message");
            encode::untagged(&mut out, Status::Ok, Some(&unseen), &text);
        }
    }
    let mut code = |code: &str, text: &str| {
        encode::untagged(&mut out, Status::Ok, Some(code), &spoken(enabled.language, text));
    };
    code(&format!("UIDVALIDITY {}", state.uid_validity), "UIDs valid");
    code(&format!("UIDNEXT {}", state.uid_next), "next UID");
    code(&view.highest_modseq_code(), "highest modification sequence");
    code(&format!("MAILBOXID ({})", mailbox_id(&selected.space.account, state)), "the mailbox's id");
    out
}

/// What is said when keywords were defined. Once there is room for no more, PERMANENTFLAGS loses its `\*` (RFC 9051 section 7.1).
pub(super) fn new_keywords(out: &mut Vec<u8>, state: &MailboxState, may: FlagRights, enabled: Enabled) {
    flags(out, state);
    if may.keywords() && state.keywords.len() >= KEYWORDS_MAX {
        permanent_flags(out, state, may, enabled);
    }
}

/// What is said when rights on the selected mailbox changed (RFC 4314 section 5.1.1).
pub(super) fn new_rights(out: &mut Vec<u8>, state: &MailboxState, may: FlagRights, enabled: Enabled) {
    flags(out, state);
    permanent_flags(out, state, may, enabled);
}

/// `* OK [PERMANENTFLAGS (…)]`: what can be stored; `\*`: new keywords, too.
fn permanent_flags(out: &mut Vec<u8>, state: &MailboxState, may: FlagRights, enabled: Enabled) {
    let flags = super::store::within(all_flags(state), may);
    let separator = if flags.is_empty() { "" } else { " " };
    let new = if may.keywords() && state.keywords.len() < KEYWORDS_MAX { "\\*" } else { "" };
    let separator = if new.is_empty() { "" } else { separator };
    let permanent = format!("PERMANENTFLAGS ({flags}{separator}{new})");
    let text = spoken(enabled.language, "flags that can be stored");
    encode::untagged(out, Status::Ok, Some(&permanent), &text);
}

/// `* FLAGS (…)`: what is defined in the mailbox.
fn flags(out: &mut Vec<u8>, state: &MailboxState) {
    out.extend(b"* FLAGS ");
    encode::flag_list(out, &all_flags(state), Recent::No);
    out.extend(b"\r\n");
}

fn all_flags(state: &MailboxState) -> Flags {
    Flags { system: SystemFlags::from_bits(u8::MAX), keywords: state.keywords.iter().cloned().collect() }
}
