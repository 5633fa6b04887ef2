//! What people read in replies, in their language (RFC 6856 section 3). Texts are written in English and looked up here by that.

use waypost_mail::Language;

/// A text in a language; one that has no translation stays English.
pub(crate) fn spoken(language: Language, english: &str) -> &str {
    language.translated(english, &GERMAN).unwrap_or(english)
}

const GERMAN: [(&str, &str); 46] = [
    ("TLS is active already", "TLS ist schon an"),
    ("TLS is not available", "TLS gibt es hier nicht"),
    ("USER comes first", "erst USER"),
    ("UTF-8 it is", "es gilt UTF-8"),
    ("another session has taken the maildrop over", "eine andere Sitzung hat das Postfach übernommen"),
    ("another session has the maildrop open", "eine andere Sitzung hat das Postfach offen"),
    ("authentication cancelled", "Anmeldung abgebrochen"),
    ("begin TLS", "TLS kann beginnen"),
    ("bye", "auf Wiedersehen"),
    ("capabilities follow", "es folgt, was es gibt"),
    ("internal error", "interner Fehler"),
    ("language changed", "Sprache gewechselt"),
    ("languages follow", "es folgen die Sprachen"),
    ("lines end with CRLF", "Zeilen enden mit CRLF"),
    ("listing follows", "die Liste folgt"),
    ("marked as deleted", "zum Löschen vorgemerkt"),
    ("messages", "Nachrichten"),
    ("messages left", "Nachrichten übrig"),
    ("no login without TLS; use STLS first", "keine Anmeldung ohne TLS; erst STLS"),
    ("no such message", "keine solche Nachricht"),
    ("nobody may act for another user", "im Namen anderer zu handeln ist nicht möglich"),
    ("not in this state", "nicht in diesem Zustand"),
    ("nothing done", "nichts getan"),
    ("now the password", "jetzt das Passwort"),
    ("octets", "Oktette"),
    ("shutting down", "der Server hält an"),
    ("the deleted messages were not removed", "die gelöschten Nachrichten wurden nicht entfernt"),
    ("the line is too long", "die Zeile ist zu lang"),
    ("the maildrop is not available", "das Postfach ist nicht verfügbar"),
    ("the maildrop is not available now", "das Postfach ist jetzt nicht verfügbar"),
    ("the message was removed meanwhile", "die Nachricht wurde inzwischen entfernt"),
    (
        "the password cannot be checked now, try again later",
        "das Passwort kann jetzt nicht geprüft werden, bitte später noch einmal",
    ),
    ("there is no such language", "diese Sprache gibt es nicht"),
    (
        "this account needs an app password, or a code behind its password",
        "dieses Konto braucht ein App-Passwort oder einen Code hinter dem Passwort",
    ),
    ("this is no valid response", "das ist keine gültige Antwort"),
    ("this message is marked as deleted", "diese Nachricht ist zum Löschen vorgemerkt"),
    ("this message needs UTF8", "diese Nachricht braucht UTF8"),
    ("too many errors", "zu viele Fehler"),
    (
        "too many failed logins, try again later",
        "zu viele gescheiterte Anmeldungen, bitte später noch einmal",
    ),
    (
        "too many sessions of this account, try again later",
        "zu viele Sitzungen dieses Kontos, bitte später noch einmal",
    ),
    ("too soon after the last login", "zu bald nach der letzten Anmeldung"),
    ("top of message follows", "der Anfang der Nachricht folgt"),
    ("unknown authentication mechanism", "unbekanntes Verfahren der Anmeldung"),
    ("unknown command", "unbekannter Befehl"),
    ("wrong arguments", "falsche Angaben"),
    ("wrong user name or password", "falscher Name oder falsches Passwort"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What stands in the table is sorted, known once, and can be sent: no response code, no controls, and short enough.
    #[test]
    fn the_table_is_in_order() {
        assert!(GERMAN.is_sorted_by(|one, other| one.0 < other.0));
        for (english, german) in GERMAN {
            let sent = !german.is_empty() && german.len() < 400;
            assert!(english.is_ascii() && sent && !german.contains(['[', '\r', '\n']), "{german}");
        }
    }

    /// Every text that the code has is in the table.
    #[test]
    fn all_texts_are_translated() {
        let sources = [
            include_str!("../machine.rs"),
            include_str!("../machine/authorization.rs"),
            include_str!("../machine/capability.rs"),
            include_str!("../machine/language.rs"),
            include_str!("../machine/transaction.rs"),
            include_str!("../listing.rs"),
            include_str!("../wire.rs"),
            include_str!("../maildrop.rs"),
            include_str!("../session.rs"),
            include_str!("../session/retrieve.rs"),
        ];
        let mut texts = BTreeSet::new();
        for source in sources.map(|source| source.split("#[cfg(test)]").next().unwrap()) {
            let flat = source.split_whitespace().collect::<Vec<_>>().join(" ");
            for begin in ["Refusal::new(\"", ".ok(\"", "language, \""] {
                texts
                    .extend(flat.split(begin).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
            for rest in flat.split("Refusal::with(").skip(1) {
                texts.insert(rest.split('"').nth(1).unwrap().to_owned());
            }
        }
        let known: BTreeSet<String> = GERMAN.iter().map(|(english, _)| (*english).to_owned()).collect();
        assert_eq!(texts, known);
    }
}
