//! STATUS and UID FETCH: how many messages there are, which, and their octets. Several commands are under way at once, so that the
//! server has the next one when it has answered the first.

use std::{collections::VecDeque, ops::RangeInclusive};

use super::{
    Client, Done, Fault, Heard, Message, State, Window,
    response::{Fetched, Words},
    talk::{Asked, COMMAND_RANGES_MAX},
};
use crate::wire::{Status, encode};

/// Most commands that are under way.
const COMMANDS_UNANSWERED_MAX: usize = 4;
/// Rows that a server may tell beyond the number of messages that it told: it may repeat some.
const ROWS_BEYOND_MAX: u64 = 1000;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Count,
    Survey,
    Bring,
}

/// Commands that are to be sent, and those under way.
#[derive(Debug)]
pub(super) struct Fetching {
    kind: Kind,
    queue: VecDeque<Asked>,
    unanswered: VecDeque<(String, Asked)>,
    rows: u64,
    refused: Option<String>,
}

impl Fetching {
    /// Whether messages are on their way.
    pub(super) fn brings(&self) -> bool {
        self.kind == Kind::Bring
    }

    pub(super) fn expected(&self) -> impl Iterator<Item = u32> {
        let asked = self.unanswered.iter().map(|(_, asked)| asked);
        asked.flat_map(|asked| asked.left.iter().copied())
    }

    /// Whether a message was asked for and did not come yet.
    fn take(&mut self, uid: u32) -> bool {
        self.unanswered.iter_mut().any(|(_, asked)| asked.left.remove(&uid))
    }
}

impl Client {
    pub(super) fn count(&mut self, names: &[Vec<u8>]) {
        let command = |name: &Vec<u8>| {
            let mut spelled = b"STATUS ".to_vec();
            encode::astring(&mut spelled, name);
            spelled.extend(b" (MESSAGES)");
            // A name that only a literal holds is left out: the number is for a sum that is shown.
            String::from_utf8(spelled).ok().filter(|command| !command.contains('\n'))
        };
        let commands = names.iter().filter_map(command);
        self.fetch(Kind::Count, commands.map(|command| Asked { command, ..Asked::default() }).collect());
    }

    pub(super) fn survey(&mut self, ranges: &[RangeInclusive<u32>]) {
        let text = |range: &RangeInclusive<u32>| match *range.end() {
            u32::MAX => format!("{}:*", range.start()),
            end => format!("{}:{end}", range.start()),
        };
        let command = |ranges: &[RangeInclusive<u32>]| {
            let set = ranges.iter().map(text).collect::<Vec<_>>().join(",");
            Asked { command: format!("UID FETCH {set} (UID RFC822.SIZE)"), ..Asked::default() }
        };
        self.fetch(Kind::Survey, ranges.chunks(COMMAND_RANGES_MAX).map(command).collect());
    }

    pub(super) fn bring(&mut self, windows: Vec<Vec<u32>>) {
        let command = |uids: Vec<u32>| {
            let set = encode::sequence_set(uids.iter().copied());
            let command = format!("UID FETCH {set} (UID FLAGS INTERNALDATE BODY.PEEK[])");
            Asked { command, left: uids.into_iter().collect() }
        };
        let windows = windows.into_iter().filter(|uids| !uids.is_empty());
        self.fetch(Kind::Bring, windows.map(command).collect());
    }

    fn fetch(&mut self, kind: Kind, queue: VecDeque<Asked>) {
        let fetching = Fetching { kind, queue, unanswered: VecDeque::new(), rows: 0, refused: None };
        self.go_on_fetching(fetching);
    }

    fn go_on_fetching(&mut self, mut fetching: Fetching) {
        while fetching.unanswered.len() < COMMANDS_UNANSWERED_MAX
            && let Some(asked) = fetching.queue.pop_front()
        {
            self.command(&asked.command, &[]);
            fetching.unanswered.push_back((self.last_tag(), asked));
        }
        if !fetching.unanswered.is_empty() {
            self.state = State::Fetching(fetching);
            return;
        }
        self.ready(match (fetching.kind, fetching.refused) {
            (Kind::Count, _) => Done::Counted,
            (Kind::Survey, Some(text)) => Done::Refused(text),
            (Kind::Survey, None) => Done::Surveyed,
            (Kind::Bring, _) => Done::Brought,
        });
    }

    pub(super) fn fetching_answered(
        &mut self,
        mut fetching: Fetching,
        tag: &str,
        status: Status,
        words: Words,
    ) {
        let Some(at) = fetching.unanswered.iter().position(|(sent, _)| sent == tag) else {
            self.state = State::Fetching(fetching);
            return self.fail(Fault::Broken("an answer to a command that was not sent".into()));
        };
        let asked = fetching.unanswered.remove(at).map(|(_, asked)| asked).unwrap_or_default();
        let refused = (status != Status::Ok).then_some(words.text);
        match fetching.kind {
            Kind::Count => {}
            Kind::Survey => fetching.refused = fetching.refused.or(refused),
            Kind::Bring => {
                let window = Window { missing: asked.left.into_iter().collect(), refused };
                self.heard.push_back(Heard::Window(window));
            }
        }
        self.go_on_fetching(fetching);
    }

    pub(super) fn counted(&mut self, messages: u32) {
        if let State::Fetching(Fetching { kind: Kind::Count, .. }) = &self.state {
            self.heard.push_back(Heard::Count(messages));
        }
    }

    pub(super) fn fetched(&mut self, fetched: Fetched, had_body: bool) {
        let State::Fetching(fetching) = &mut self.state else { return };
        let Fetched { uid, size, flags, lost_keywords, date, body } = fetched;
        match (fetching.kind, uid) {
            (Kind::Survey, Some(uid)) if size.is_some() => {
                self.unasked_bytes = 0;
                fetching.rows += 1;
                if fetching.rows > u64::from(self.exists) + ROWS_BEYOND_MAX {
                    return self.fail(Fault::Broken("more messages than it said there are".into()));
                }
                self.heard.push_back(Heard::Row(uid, size.unwrap_or_default()));
            }
            (Kind::Bring, uid) if had_body || body.is_some() => {
                let Some(uid) = uid.filter(|uid| fetching.take(*uid)) else {
                    return self.fail(Fault::Broken("a message that was not asked for".into()));
                };
                self.unasked_bytes = 0;
                self.heard.extend(body.map(|octets| Heard::Octets(octets.into())));
                self.heard.push_back(Heard::Message(Message { uid, flags, lost_keywords, date }));
            }
            // Flags that somebody else changed.
            _ => {}
        }
    }
}
