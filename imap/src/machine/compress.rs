//! COMPRESS (RFC 4978) and UNAUTHENTICATE (RFC 8437): what begins and ends the layers of a session.
//!
//! Compression begins only after login: before it the octets of a stranger and a password would be compressed together, whose
//! length then tells of the password, and strangers would get memory. The driver compresses; TLS never does here.

use waypost_net::Step;

use super::{
    phase::{Asked, Phase, State},
    questions::{Question, Ran},
    session::{ImapMachine, Turn},
};
use crate::wire::{Spelling, encode, encode::Status, spoken};

const DEFLATE: &str = "DEFLATE";
const TEXT_COMPRESSION_UNKNOWN: &str = "DEFLATE is the only compression";
const TEXT_COMPRESSION_ACTIVE: &str = "DEFLATE is active already, by COMPRESS";
const TEXT_TOO_EARLY: &str = "nothing may follow COMPRESS before its answer";
const TEXT_STILL_COMPRESSED: &str = "what follows UNAUTHENTICATE is not compressed";
const TEXT_NOT_HERE: &str = "UNAUTHENTICATE is not to be had here";

impl ImapMachine {
    /// COMPRESS. A client that sends on before the answer cannot know how; what it sent stays uncompressed, as after any BAD.
    pub(super) fn compress(&mut self, tag: String, algorithm: &str) -> Turn {
        if algorithm != DEFLATE {
            return self.done(tag, Ran::bad(TEXT_COMPRESSION_UNKNOWN));
        }
        if self.compressing {
            return self.done(tag, Ran::bad(TEXT_COMPRESSION_ACTIVE).with_code("COMPRESSIONACTIVE"));
        }
        if !self.input.is_empty() {
            return self.done(tag, Ran::bad(TEXT_TOO_EARLY));
        }
        self.done(tag, Ran::ok("DEFLATE active"));
        self.compressing = true;
        Turn::Do(Step::StartCompression)
    }

    /// UNAUTHENTICATE. It may be followed at once by the next login, uncompressed.
    pub(super) fn unauthenticate(&mut self, tag: String) -> Turn {
        if !self.settings.rules.unauthenticate {
            return self.done(tag, Ran::bad(TEXT_NOT_HERE));
        }
        if self.compressing && !self.input.is_empty() {
            return self.bye(None, TEXT_STILL_COMPRESSED);
        }
        self.ask(Asked::Unauthenticate { tag }, Question::Unauthenticate)
    }

    /// The user is forgotten: all that was enabled, too.
    pub(super) fn unauthenticated(&mut self, tag: &str) {
        self.state = State::NotAuthenticated;
        self.spelling = Spelling::default();
        self.login_since = None;
        let code = self.settings.capability_data(self.state);
        // RFC 8437 section 4.1: the language is the default again from here on.
        let text = spoken(std::mem::take(&mut self.language), "logged out");
        self.say(|out| encode::tagged(out, tag, Status::Ok, Some(&code), &text));
        self.phase =
            if self.compressing { Phase::StopCompression } else { Phase::Command(Default::default()) };
    }

    pub(super) fn stop_compression(&mut self) -> Turn {
        self.compressing = false;
        self.phase = Phase::Command(Default::default());
        Turn::Do(Step::StopCompression)
    }
}
