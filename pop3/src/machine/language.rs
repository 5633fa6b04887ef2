//! LANG (RFC 6856 section 3): in which language people are spoken to.

use waypost_mail::Language;

use super::Session;
use crate::wire::{Encode, Refusal, spoken};

const NO_SUCH_LANGUAGE: Refusal = Refusal::new("there is no such language");
/// Each language by its own name.
const NAMES: [(Language, &str); 3] = [
    (Language::English, "English"),
    (Language::German, "Deutsch"),
    (Language::Default, "English in US-ASCII"),
];

impl Session {
    /// Speaks the language that a range asks for, `*`: the one that the server prefers; without a range tells which there are.
    pub(super) fn speak(&mut self, range: Option<&str>) -> Result<(), Refusal> {
        let Some(range) = range else {
            self.ok("languages follow");
            for (language, name) in NAMES {
                self.output.line(format_args!("{} {name}", tag(language)));
            }
            self.output.line(format_args!("."));
            return Ok(());
        };
        let wanted = if range == "*" { Some(Language::Default) } else { Language::by_range(range) };
        let language = wanted.ok_or(NO_SUCH_LANGUAGE)?;
        self.language = language;
        let text = spoken(language, "language changed");
        self.output.line(format_args!("+OK {} {text}", tag(language)));
        Ok(())
    }
}

/// As it is most often written.
fn tag(language: Language) -> String {
    language.tag().to_ascii_lowercase()
}
