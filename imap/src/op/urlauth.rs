//! GENURLAUTH, URLFETCH (with RFC 5524) and RESETKEY (RFC 4467): URLs that let others have a message or a part of one, and nothing else.
//!
//! A URL is authorized with the key of its mailbox, which its owner may replace; it is good as long as the key is the same, the
//! mailbox has its name and the time in it has not come. What is wrong with a URL nobody is told: its data is NIL.

use waypost_auth::url_access;
use waypost_mail::{Flags, Uid};
use waypost_storage::{Account, KeptStructure, MailboxState, Previews, Row, StoreError};

use super::{Failure, NO_SUCH_MAILBOX, Operation, append::now};
use crate::{
    fetch::{Message, Read, Responder, section, structure::Global},
    machine::Ran,
    wire::{
        BodySection, UrlAccess, UrlAuth, UrlFetch,
        encode::{self, Recent},
    },
};

/// The one mechanism.
const INTERNAL: &str = "INTERNAL";
const NO_SUCH_MECHANISM: &str = "there is no such mechanism";
const NOT_A_RUMP: &str = "a URL names no message, no owner or no access identifier";
const NOT_YOURS: &str = "a URL names no mailbox of yours";
const UNREADABLE: &str = "some of it cannot be read, it was logged";

/// What a URL names.
struct Found {
    row: Row,
    structure: KeptStructure,
    section: BodySection,
}

impl Found {
    /// The message, to be shown.
    fn message(&self) -> Option<(Message<'_>, BodySection)> {
        let (structure, flags) = (Some(self.structure.read().ok()?), Flags::default());
        let (row, recent, global) = (self.row.clone(), Recent::No, Global::Leaf);
        let (number, owner, envelope, preview, urgent) = (0, None, None, None, true);
        let message =
            Message { number, row, owner, flags, recent, envelope, structure, preview, global, urgent };
        Some((message, self.section.clone()))
    }
}

impl Operation<'_, '_> {
    /// GENURLAUTH: all URLs or none.
    pub(super) async fn genurlauth(&mut self, urls: &[(String, String)]) -> Result<Ran, Failure> {
        if urls.iter().any(|(_, mechanism)| mechanism != INTERNAL) {
            return Err(Failure::no("CANNOT", NO_SUCH_MECHANISM));
        }
        let mut out = b"* GENURLAUTH".to_vec();
        for (url, _) in urls {
            let parsed = UrlAuth::parse(url).filter(|parsed| parsed.token.is_none());
            let parsed = parsed.ok_or(Failure::bad(NOT_A_RUMP))?;
            let owner = self.context.live().directory.identity(&parsed.owner);
            if owner.is_none_or(|owner| owner.account != self.user.identity.account) {
                return Err(Failure::bad(NOT_YOURS));
            }
            let state = self.user.account.state();
            let mailbox = state
                .by_name(&parsed.message.mailbox)
                .filter(|mailbox| parsed.message.is_of(mailbox.uid_validity));
            let mailbox = mailbox.ok_or(Failure::bad(NOT_YOURS))?.id;
            let key = self.user.account.access_key(mailbox, new_key()?).await?;
            out.push(b' ');
            let token = url_access::token(&key, parsed.rump);
            encode::astring(&mut out, format!("{}:{INTERNAL}:{token}", parsed.rump).as_bytes());
        }
        out.extend(b"\r\n");
        self.output.write(&out).await?;
        Ok(Ran::ok("done"))
    }

    /// URLFETCH: the octets of each URL, or NIL.
    pub(super) async fn urlfetch(&mut self, urls: &[UrlFetch]) -> Result<Ran, Failure> {
        let mut read = Read::All;
        self.output.write(b"* URLFETCH").await?;
        for UrlFetch { url, items } in urls {
            let found = self.authorized(url).await;
            let found = found.as_ref().and_then(Found::message);
            let mut responder = Responder::new(&self.context.store, self.output, self.user.enabled);
            responder.url(url, items, found.as_ref()).await?;
            read = read.max(responder.read());
        }
        self.output.write(b"\r\n").await?;
        Ok(match read {
            Read::All | Read::UnknownEncoding => Ran::ok("done"),
            Read::Damaged => Ran::no(UNREADABLE).with_code("CORRUPTION"),
        })
    }

    /// RESETKEY: of one mailbox, or of all.
    pub(super) async fn resetkey(&mut self, named: Option<(String, Vec<String>)>) -> Result<Ran, Failure> {
        let Some((name, mechanisms)) = named else {
            self.user.account.remove_access_keys().await?;
            return Ok(Ran::ok("no URL is authorized any more"));
        };
        if mechanisms.iter().any(|mechanism| mechanism != INTERNAL) {
            return Err(Failure::no("CANNOT", NO_SUCH_MECHANISM));
        }
        let state = self.user.account.state();
        let mailbox = state.by_name(&name).ok_or(Failure::no("NONEXISTENT", NO_SUCH_MAILBOX))?.id;
        self.user.account.replace_access_key(mailbox, new_key()?).await?;
        Ok(Ran::ok("done").with_code(format!("URLMECH {INTERNAL}")))
    }

    /// What a URL is good for; `None`: nothing.
    async fn authorized(&mut self, url: &str) -> Option<Found> {
        let parsed = UrlAuth::parse(url)?;
        let (mechanism, token) = parsed.token?;
        let owner = self.context.live().directory.identity(&parsed.owner);
        let account = match owner {
            Some(owner) => self.context.store.account(owner.account).await.ok(),
            None => None,
        };
        let mailbox = account.as_ref().and_then(|account| mailbox_of(account, &parsed));
        let key = mailbox.as_ref().and_then(|mailbox| mailbox.access_key.as_ref());
        // In any case first of all: how long it takes tells nothing.
        let is_token =
            url_access::is_token(key, parsed.rump, token) && mechanism.eq_ignore_ascii_case(INTERNAL);
        let is_expired = parsed.expires.is_some_and(|expires| expires < now());
        if !is_token || is_expired || !self.may_use(&parsed.access) {
            return None;
        }
        let (account, mailbox) = (account?, mailbox?);
        match self.message_of(&account, &mailbox, &parsed).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "a message that a URL names cannot be read");
                None
            }
        }
    }

    /// Whether who has logged in is among those that a URL is for. Nobody is a message submission server here.
    fn may_use(&self, access: &UrlAccess) -> bool {
        match access {
            UrlAccess::AuthUser | UrlAccess::Anonymous => true,
            UrlAccess::Submit(_) => false,
            UrlAccess::User(name) => {
                let user = self.context.live().directory.identity(name);
                user.is_some_and(|user| user.account == self.user.identity.account)
            }
        }
    }

    /// The message of a URL with its section, if both are there.
    async fn message_of(
        &mut self,
        account: &Account,
        mailbox: &MailboxState,
        url: &UrlAuth<'_>,
    ) -> Result<Option<Found>, StoreError> {
        let state = account.select(mailbox.id).await?.state();
        let row = Uid::new(url.message.uid).and_then(|uid| state.as_ref()?.row(uid).cloned());
        let Some(row) = row else { return Ok(None) };
        let structure = self.context.store.kept_structure(account.id(), &row, Previews::Unwanted).await?;
        let (part, text) = url.message.section.clone();
        let partial = url.message.partial.map(|(start, length)| (start, length.unwrap_or(u64::MAX)));
        let section = BodySection { peek: true, part, text, partial };
        let content = &row.content;
        if section::locate(&structure.read()?, content.prefix_size(), content.size(), &section).is_none() {
            return Ok(None);
        }
        Ok(Some(Found { row, structure, section }))
    }
}

fn mailbox_of(account: &Account, url: &UrlAuth<'_>) -> Option<std::sync::Arc<MailboxState>> {
    account
        .state()
        .by_name(&url.message.mailbox)
        .filter(|mailbox| url.message.is_of(mailbox.uid_validity))
        .cloned()
}

fn new_key() -> Result<waypost_mail::AccessKey, Failure> {
    url_access::generate().map_err(|error| {
        tracing::error!(%error, "no key can be made");
        Failure::no("SERVERBUG", super::INTERNAL)
    })
}
