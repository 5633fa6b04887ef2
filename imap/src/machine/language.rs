//! LANGUAGE (RFC 5255 section 3): in which language people are spoken to.

use super::{
    phase::Asked,
    questions::{Question, Ran},
    session::{ImapMachine, Turn},
};
use crate::wire::{Language, asked_for, encode};

const TEXT_NO_SUCH_LANGUAGE: &str = "there is no such language";

impl ImapMachine {
    /// The first of the languages asked for that there is; with none asked for, all are told.
    pub(super) fn change_language(&mut self, tag: String, ranges: &[String]) -> Turn {
        if ranges.is_empty() {
            let tags = Language::ALL.map(|(_, tag)| tag).join(" ");
            self.say(|out| encode::data(out, &format!("LANGUAGE ({tags})")));
            return self.done(tag, Ran::ok("listed"));
        }
        match ranges.iter().find_map(|range| asked_for(range)) {
            Some(language) => self.ask(Asked::Speak { tag, language }, Question::Speak(language)),
            None => self.done(tag, Ran::no(TEXT_NO_SUCH_LANGUAGE)),
        }
    }

    /// The handler speaks it.
    pub(super) fn language_changed(&mut self, tag: String, language: Language) -> Turn {
        self.language = language;
        self.say(|out| encode::data(out, &format!("LANGUAGE ({})", language.tag())));
        self.done(tag, Ran::ok("language changed"))
    }
}
