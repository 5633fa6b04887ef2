//! What people read in responses, in their language (RFC 5255 section 3). Texts are written in English and looked up here by
//! that; one that has no translation stays English.

use std::borrow::Cow;

use waypost_mail::Language;

/// The language that a range asks for; `default` is what the server prefers.
pub fn asked_for(range: &str) -> Option<Language> {
    if range.eq_ignore_ascii_case("default") { Some(Language::Default) } else { Language::by_range(range) }
}

/// A text in a language. The place that a refusal names is kept.
pub fn spoken(language: Language, english: &str) -> Cow<'_, str> {
    if let Some(german) = language.translated(english, &GERMAN) {
        return german.into();
    }
    let place = english.strip_suffix(')').and_then(|text| text.rsplit_once(" (octet "));
    match place.and_then(|(reason, octet)| Some((language.translated(reason, &GERMAN)?, octet))) {
        Some((german, octet)) => format!("{german} (Oktett {octet})").into(),
        None => english.into(),
    }
}

const GERMAN: [(&str, &str); 137] = [
    ("AUTHENTICATE cancelled", "AUTHENTICATE abgebrochen"),
    ("BINARY takes a part only", "BINARY gilt nur einem Teil"),
    ("CAPABILITY completed", "CAPABILITY ausgeführt"),
    ("CHANGEDSINCE stands there twice", "CHANGEDSINCE steht zweimal da"),
    ("DEFLATE active", "DEFLATE ist an"),
    ("DEFLATE is active already, by COMPRESS", "DEFLATE ist schon an, durch COMPRESS"),
    ("DEFLATE is the only compression", "DEFLATE ist die einzige Kompression"),
    ("ID completed", "ID ausgeführt"),
    ("IDLE completed", "IDLE beendet"),
    ("LOGOUT completed", "LOGOUT ausgeführt"),
    ("NOOP completed", "NOOP ausgeführt"),
    ("PARTIAL stands there twice", "PARTIAL steht zweimal da"),
    ("PARTIAL stands with UID FETCH only", "PARTIAL steht nur bei UID FETCH"),
    ("QRESYNC stands there twice", "QRESYNC steht zweimal da"),
    ("RECURSIVEMATCH needs SUBSCRIBED or SPECIAL-USE", "RECURSIVEMATCH braucht SUBSCRIBED oder SPECIAL-USE"),
    ("TLS is not to be had here", "TLS gibt es hier nicht"),
    ("TLS is on already", "TLS ist schon an"),
    ("UIDs valid", "gültige UIDs"),
    ("UNAUTHENTICATE is not to be had here", "UNAUTHENTICATE gibt es hier nicht"),
    ("VANISHED is held back", "VANISHED wird noch zurückgehalten"),
    ("VANISHED stands with CHANGEDSINCE only", "VANISHED steht nur bei CHANGEDSINCE"),
    ("VANISHED stands with UID FETCH only", "VANISHED steht nur bei UID FETCH"),
    ("Waypost logging out", "Waypost meldet Sie ab"),
    ("a batch has at least 500 messages", "ein Stapel hat mindestens 500 Nachrichten"),
    ("a literal holds NUL", "ein Literal enthält NUL"),
    (
        "a mailbox has one special use, of those in LIST",
        "ein Ordner hat einen besonderen Zweck, von denen in LIST",
    ),
    ("a message is not empty", "eine Nachricht ist nicht leer"),
    ("a quoted string is not UTF-8", "ein Text in Anführungszeichen ist kein UTF-8"),
    (
        "a search has at most 1000 keys, 100 of them for a text",
        "eine Suche hat höchstens 1000 Bedingungen, davon 100 für Texte",
    ),
    ("acting as another user is not possible", "im Namen anderer zu handeln ist nicht möglich"),
    ("already logged in", "schon angemeldet"),
    ("appended", "angefügt"),
    ("autologout; idle for too long", "abgemeldet: zu lange nichts gehört"),
    ("autologout; no login in time", "abgemeldet: keine Anmeldung in der Zeit"),
    ("autologout; the message comes too slowly", "abgemeldet: die Nachricht kommt zu langsam"),
    ("batches told", "Stapel genannt"),
    ("closed", "geschlossen"),
    ("copied", "kopiert"),
    ("created", "angelegt"),
    ("deleted", "gelöscht"),
    ("done", "erledigt"),
    ("enable QRESYNC first", "erst QRESYNC einschalten"),
    ("expected <start.length>", "<Anfang.Länge> erwartet"),
    ("expected DONE", "DONE erwartet"),
    ("expected RETURN", "RETURN erwartet"),
    ("expected a FETCH item", "ein Wort von FETCH erwartet"),
    ("expected a colon", "einen Doppelpunkt erwartet"),
    ("expected a command", "einen Befehl erwartet"),
    ("expected a date", "ein Datum erwartet"),
    ("expected a mailbox name", "den Namen eines Ordners erwartet"),
    ("expected a number", "eine Zahl erwartet"),
    ("expected a pattern", "ein Muster erwartet"),
    ("expected a search key", "eine Suchbedingung erwartet"),
    ("expected a section", "einen Abschnitt erwartet"),
    ("expected a sequence number", "eine Nachrichtennummer erwartet"),
    ("expected a set of numbers", "Nummern erwartet"),
    ("expected a space", "ein Leerzeichen erwartet"),
    ("expected a space or a closing parenthesis", "ein Leerzeichen oder eine schließende Klammer erwartet"),
    ("expected a string", "einen Text erwartet"),
    ("expected a tag", "eine Marke erwartet"),
    ("expected an atom", "ein Wort erwartet"),
    ("expected priv, shared or all", "priv, shared oder all erwartet"),
    ("expected the message as a literal", "die Nachricht als Literal erwartet"),
    ("expunged", "entfernt"),
    ("fetched", "geholt"),
    ("first unseen message", "erste ungelesene Nachricht"),
    ("flags that can be stored", "Markierungen, die gespeichert werden können"),
    ("highest modification sequence", "höchste Änderungsnummer"),
    ("internal error", "interner Fehler"),
    ("internal error, it was logged", "interner Fehler, er wurde vermerkt"),
    ("language changed", "Sprache gewechselt"),
    ("lines end with CRLF", "Zeilen enden mit CRLF"),
    ("listed", "aufgezählt"),
    ("log in first", "erst anmelden"),
    ("logged in", "angemeldet"),
    ("logged out", "abgemeldet"),
    ("login needs TLS", "die Anmeldung braucht TLS"),
    ("malformed response", "fehlerhafte Antwort"),
    (
        "message sequence numbers are not used once UIDONLY is enabled",
        "Nachrichtennummern gibt es nicht mehr, wenn UIDONLY eingeschaltet ist",
    ),
    (
        "messages with NUL cannot be kept; send it encoded",
        "Nachrichten mit NUL können nicht bleiben; bitte kodiert senden",
    ),
    ("modification sequences are told from now on", "Änderungsnummern werden von jetzt an genannt"),
    ("moved", "verschoben"),
    ("next UID", "nächste UID"),
    ("no flag that can be stored", "keine Markierung, die gespeichert werden kann"),
    ("no such date", "kein solches Datum"),
    ("no such mailbox", "kein solcher Ordner"),
    ("no such message sequence number", "keine solche Nachrichtennummer"),
    ("not in this state", "nicht in diesem Zustand"),
    ("nothing may follow COMPRESS before its answer", "vor der Antwort darf nichts auf COMPRESS folgen"),
    ("nothing to copy", "nichts zu kopieren"),
    ("nothing to move", "nichts zu verschieben"),
    ("only the newest of the messages were looked at", "nur die neuesten der Nachrichten wurden angesehen"),
    ("renamed", "umbenannt"),
    ("searched", "gesucht"),
    ("select a mailbox first", "erst einen Ordner öffnen"),
    ("selected", "geöffnet"),
    ("server shutting down", "der Server hält an"),
    (
        "some messages cannot be read and were not searched",
        "einige Nachrichten sind nicht lesbar und wurden nicht durchsucht",
    ),
    ("some of it cannot be read, it was logged", "einiges ist nicht lesbar, es wurde vermerkt"),
    ("some of it has a transfer encoding that is not known", "einiges ist auf unbekannte Weise kodiert"),
    ("some of the messages are gone", "einige der Nachrichten sind nicht mehr da"),
    ("something stands after the command's end", "hinter dem Befehl steht noch etwas"),
    ("something stands after the message", "hinter der Nachricht steht noch etwas"),
    ("still at work", "noch bei der Arbeit"),
    ("stored", "gespeichert"),
    ("syntax error", "Fehler in der Schreibweise"),
    ("the account was removed", "das Konto wurde entfernt"),
    ("the charset is not known", "der Zeichensatz ist nicht bekannt"),
    ("the command ends too early", "der Befehl endet zu früh"),
    ("the command is too long", "der Befehl ist zu lang"),
    (
        "the header of the message is larger than the server takes",
        "der Kopf der Nachricht ist größer, als der Server nimmt",
    ),
    ("the literal is too long", "das Literal ist zu lang"),
    ("the mailbox is read-only", "der Ordner kann nur gelesen werden"),
    (
        "the mailbox name is not valid modified UTF-7",
        "der Name des Ordners ist kein gültiges abgewandeltes UTF-7",
    ),
    ("the mailbox's id", "Kennung des Ordners"),
    ("the message is larger than the server takes", "die Nachricht ist größer, als der Server nimmt"),
    ("the number begins with zero", "die Zahl beginnt mit Null"),
    ("the number is too large", "die Zahl ist zu groß"),
    (
        "the password cannot be checked now, try again later",
        "das Passwort kann jetzt nicht geprüft werden, bitte später noch einmal",
    ),
    ("the previous mailbox is closed", "der vorige Ordner ist geschlossen"),
    ("the selected mailbox was deleted", "der geöffnete Ordner wurde gelöscht"),
    ("the server stops", "der Server hält an"),
    ("there is no such comparator", "einen solchen Vergleich gibt es nicht"),
    ("there is no such language", "diese Sprache gibt es nicht"),
    (
        "this account needs an app password, or a code behind its password",
        "dieses Konto braucht ein App-Passwort oder einen Code hinter dem Passwort",
    ),
    ("too many errors", "zu viele Fehler"),
    ("too many failed logins", "zu viele gescheiterte Anmeldungen"),
    (
        "too many failed logins, try again later",
        "zu viele gescheiterte Anmeldungen, bitte später noch einmal",
    ),
    ("too many messages for one command", "zu viele Nachrichten für einen Befehl"),
    ("too many sessions of this account", "zu viele Sitzungen dieses Kontos"),
    ("unknown FETCH item", "unbekanntes Wort von FETCH"),
    ("unknown STATUS item", "unbekanntes Wort von STATUS"),
    ("unknown command", "unbekannter Befehl"),
    ("unknown mechanism", "unbekanntes Verfahren"),
    ("unknown search key", "unbekannte Suchbedingung"),
    ("unselected", "verlassen"),
    ("wrong user name or password", "falscher Name oder falsches Passwort"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_in_the_language() {
        for (language, english, text) in [
            (Language::German, "deleted", "gelöscht"),
            (Language::German, "unknown command (octet 3)", "unbekannter Befehl (Oktett 3)"),
            (Language::German, "something that was never translated", "something that was never translated"),
            (Language::English, "deleted", "deleted"),
            (Language::Default, "deleted", "deleted"),
        ] {
            assert_eq!(spoken(language, english), text);
        }
    }

    /// What stands in the table is sorted, known once, and can be sent: no brackets at the beginning, no controls.
    #[test]
    fn the_table_is_in_order() {
        assert!(GERMAN.is_sorted_by(|one, other| one.0 < other.0));
        for (english, german) in GERMAN {
            assert!(
                english.is_ascii() && !german.is_empty() && !german.contains(['[', '\r', '\n']),
                "{german}"
            );
        }
    }

    #[test]
    fn the_server_prefers_a_language() {
        assert_eq!(asked_for("DEFAULT"), Some(Language::Default));
        assert_eq!(asked_for("de-CH"), Some(Language::German));
        assert_eq!(asked_for("fr"), None);
    }
}
