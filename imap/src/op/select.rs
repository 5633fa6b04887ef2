//! SELECT and EXAMINE (RFC 3501 sections 6.3.1 and 6.3.2, RFC 9051 sections 6.3.2 and 6.3.3), UNSELECT (RFC 3691).

use waypost_mail::{Flags, SystemFlags};
use waypost_storage::{MailboxState, state::KEYWORDS_MAX};

use super::{Enabled, Failure, NO_SUCH_MAILBOX, Operation, status::mailbox_id};
use crate::{
    machine::{NewState, Ran},
    session::Selected,
    view::View,
    wire::{
        Access, Resync, Status,
        encode::{self, Recent},
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
            encode::untagged(&mut out, Status::Ok, Some("CLOSED"), "the previous mailbox is closed");
            self.output.write(&out).await?;
        }
        let selected = match self.open(name, access).await {
            Err(Failure::Refused(ran)) => {
                return Err(Failure::Refused(ran.with_state(NewState::Authenticated)));
            }
            selected => selected?,
        };
        let mut out = opened(&selected.view, access, self.user.enabled);
        if self.user.enabled.rev2 {
            self.list_selected(&mut out, selected.view.state());
        }
        self.output.write(&out).await?;
        if let Some(resync) = resync {
            self.resync(&selected.view, resync).await?;
        }
        self.user.selected = Some(selected);
        let code = if access == Access::ReadWrite { "READ-WRITE" } else { "READ-ONLY" };
        Ok(Ran::ok("selected").with_code(code).with_state(NewState::Selected))
    }

    /// Closes the selected mailbox and removes nothing.
    pub(super) fn unselect(&mut self) -> Result<Ran, Failure> {
        self.selected()?;
        self.user.selected = None;
        Ok(Ran::ok("unselected").with_state(NewState::Authenticated))
    }

    async fn open(&mut self, name: &str, access: Access) -> Result<Selected, Failure> {
        let missing = || Failure::no("NONEXISTENT", NO_SUCH_MAILBOX);
        let mailbox =
            self.user.account.state().by_name(name).map(|mailbox| mailbox.id).ok_or_else(missing)?;
        let selection = self.user.account.select(mailbox).await?;
        Selected::new(selection, access, &self.user.identity, &self.context.recent).ok_or_else(missing)
    }
}

/// What SELECT says of a mailbox. With IMAP4rev2 neither RECENT nor UNSEEN (RFC 9051 appendix E).
fn opened(view: &View, access: Access, enabled: Enabled) -> Vec<u8> {
    let state = view.state();
    let mut out = Vec::new();
    flags(&mut out, state);
    permanent_flags(&mut out, state, access);
    encode::data(&mut out, &format!("{} EXISTS", view.exists()));
    if !enabled.rev2 {
        encode::data(&mut out, &format!("{} RECENT", view.recent()));
        let seen = |flags: SystemFlags| flags.contains(SystemFlags::SEEN);
        if let Some(unseen) = state.rows().position(|row| !seen(row.flags)).filter(|_| !enabled.uidonly) {
            let unseen = format!("UNSEEN {}", unseen + 1);
            encode::untagged(&mut out, Status::Ok, Some(&unseen), "first unseen message");
        }
    }
    let mut code = |code: &str, text: &str| encode::untagged(&mut out, Status::Ok, Some(code), text);
    code(&format!("UIDVALIDITY {}", state.uid_validity), "UIDs valid");
    code(&format!("UIDNEXT {}", state.uid_next), "next UID");
    code(&view.highest_modseq_code(), "highest modification sequence");
    code(&format!("MAILBOXID ({})", mailbox_id(state)), "the mailbox's id");
    out
}

/// What is said when keywords were defined. Once there is room for no more, PERMANENTFLAGS loses its `\*` (RFC 9051 section 7.1).
pub(super) fn new_keywords(out: &mut Vec<u8>, state: &MailboxState, access: Access) {
    flags(out, state);
    if access == Access::ReadWrite && state.keywords.len() >= KEYWORDS_MAX {
        permanent_flags(out, state, access);
    }
}

/// `* OK [PERMANENTFLAGS (…)]`: what can be stored; `\*`: new keywords, too.
fn permanent_flags(out: &mut Vec<u8>, state: &MailboxState, access: Access) {
    let permanent = match access {
        Access::ReadOnly => "PERMANENTFLAGS ()".to_owned(),
        Access::ReadWrite if state.keywords.len() < KEYWORDS_MAX => {
            format!("PERMANENTFLAGS ({} \\*)", all_flags(state))
        }
        Access::ReadWrite => format!("PERMANENTFLAGS ({})", all_flags(state)),
    };
    encode::untagged(out, Status::Ok, Some(&permanent), "flags that can be stored");
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
