//! Folders: NAMESPACE, LIST, LSUB.

use super::{
    Client, Done, Fault, Folder, Heard, State,
    response::{Listed, Namespaces, Words},
};
use crate::wire::{Status, mutf7};

/// Most folders of an account.
const FOLDERS_MAX: usize = 100_000;

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct Listing {
    at: At,
    namespaces: Namespaces,
    folders: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum At {
    #[default]
    Namespace,
    Extended,
    /// LIST alone; LSUB follows.
    Basic,
    Lsub,
}

impl Client {
    pub(super) fn list(&mut self) {
        let server = self.server.clone().unwrap_or_default();
        match server.namespace {
            true => self.ask_for(Listing::default(), At::Namespace),
            false => self.ask_for_folders(Listing::default()),
        }
    }

    fn ask_for_folders(&mut self, listing: Listing) {
        let is_extended = self.server.as_ref().is_some_and(|server| server.list_extended);
        self.ask_for(listing, if is_extended { At::Extended } else { At::Basic });
    }

    fn ask_for(&mut self, listing: Listing, at: At) {
        let has_uses = self.server.as_ref().is_some_and(|server| server.special_use);
        self.state = State::Listing(Listing { at, ..listing });
        self.command(
            match at {
                At::Namespace => "NAMESPACE",
                At::Extended if has_uses => "LIST \"\" \"*\" RETURN (SUBSCRIBED SPECIAL-USE)",
                At::Extended => "LIST \"\" \"*\" RETURN (SUBSCRIBED)",
                At::Basic => "LIST \"\" \"*\"",
                At::Lsub => "LSUB \"\" \"*\"",
            },
            &[],
        );
    }

    pub(super) fn listing_answered(&mut self, listing: Listing, status: Status, words: Words) {
        match (listing.at, status) {
            // Who does not tell has one namespace, without a prefix.
            (At::Namespace, _) => self.ask_for_folders(listing),
            (At::Extended | At::Lsub, Status::Ok) => self.ready(Done::Listed(listing.namespaces)),
            (At::Basic, Status::Ok) => self.ask_for(listing, At::Lsub),
            (At::Extended, _) if listing.folders == 0 => self.ask_for(listing, At::Basic),
            (At::Extended | At::Basic, _) => self.ready(Done::Refused(words.text)),
            // Subscriptions are not worth more than all else.
            (At::Lsub, _) => self.ready(Done::Listed(listing.namespaces)),
        }
    }

    pub(super) fn namespaces(&mut self, found: Namespaces) {
        if let State::Listing(listing) = &mut self.state {
            listing.namespaces = found;
        }
    }

    pub(super) fn listed(&mut self, listed: Result<Listed, String>) {
        let Some(at) = self.count_folder() else { return };
        if at == At::Lsub {
            // LIST answers LSUB in IMAP4rev2
            return self.subscribed(listed);
        }
        let heard = match listed {
            Err(text) => Heard::Unreadable(text),
            Ok(listed) => match self.text_of(&listed.name) {
                None => Heard::Unreadable(listed.name.escape_ascii().to_string()),
                Some(text) => Heard::Folder(folder(listed, text)),
            },
        };
        self.heard.push_back(heard);
    }

    pub(super) fn subscribed(&mut self, listed: Result<Listed, String>) {
        if self.count_folder() == Some(At::Lsub)
            && let Ok(listed) = listed
            // RFC 3501 section 6.3.9: a name above one that is subscribed to
            && listed.is_selectable
        {
            self.heard.push_back(Heard::Subscribed(listed.name));
        }
    }

    fn count_folder(&mut self) -> Option<At> {
        let State::Listing(listing) = &mut self.state else { return None };
        self.unasked_bytes = 0;
        listing.folders += 1;
        let at = listing.at;
        if listing.folders > 2 * FOLDERS_MAX {
            self.fail(Fault::Broken(format!("more than {FOLDERS_MAX} folders")));
        }
        Some(at)
    }

    /// A name in Unicode. Some servers write UTF-8 where modified UTF-7 belongs.
    fn text_of(&self, name: &[u8]) -> Option<String> {
        let is_utf8 = self.server.as_ref().is_some_and(|server| server.imap4rev2 && !server.imap4rev1);
        let plain = || str::from_utf8(name).ok().map(str::to_owned);
        if is_utf8 { plain() } else { mutf7::decode(name).ok().or_else(plain) }
    }
}

fn folder(listed: Listed, text: String) -> Folder {
    let Listed { name, delimiter, is_selectable, is_subscribed, special_use } = listed;
    Folder { name, text, delimiter, is_selectable, is_subscribed, special_use }
}
