//! What people read in responses, in their language (RFC 5255 section 3). Texts are written in English and looked up here by
//! that. One that has no translation stays English; the rules of the house (`tests/tests/house.rs`) find those that were forgotten.

use std::borrow::Cow;

use waypost_mail::Language;

/// The language that a range asks for; `default` is what the server prefers.
pub fn asked_for(range: &str) -> Option<Language> {
    if range.eq_ignore_ascii_case("default") { Some(Language::Default) } else { Language::by_range(range) }
}

/// A text in a language. The place that a refusal names is kept, and a number in it.
pub fn spoken(language: Language, english: &str) -> Cow<'_, str> {
    if language != Language::German {
        return english.into();
    }
    if let Some(german) = german(english) {
        return german.into();
    }
    let place = english.strip_suffix(')').and_then(|text| text.rsplit_once(" (octet "));
    let placed = place.and_then(|(reason, octet)| Some(format!("{} (Oktett {octet})", german(reason)?)));
    placed.or_else(|| numbered(english)).map_or(english.into(), Cow::from)
}

fn german(english: &str) -> Option<&'static str> {
    Language::German.translated(english, &GERMAN)
}

/// A text whose one number stands as `{}` in the table.
fn numbered(english: &str) -> Option<String> {
    let start = english.find(|char: char| char.is_ascii_digit())?;
    let behind = english[start..].trim_start_matches(|char: char| char.is_ascii_digit());
    let number = &english[start..english.len() - behind.len()];
    let german = german(&format!("{}{{}}{behind}", &english[..start]))?;
    Some(german.replacen("{}", number, 1))
}

const GERMAN: [(&str, &str); 240] = [
    ("AUTHENTICATE cancelled", "AUTHENTICATE abgebrochen"),
    ("BINARY takes a part only", "BINARY gilt nur einem Teil"),
    (
        "BODY, BINARY and BODYPARTSTRUCTURE stand once, BODY and BINARY not together",
        "BODY, BINARY und BODYPARTSTRUCTURE stehen einmal, BODY und BINARY nicht zusammen",
    ),
    ("CAPABILITY completed", "CAPABILITY ausgeführt"),
    ("CHANGEDSINCE stands there twice", "CHANGEDSINCE steht zweimal da"),
    ("DEFLATE active", "DEFLATE ist an"),
    ("DEFLATE is active already, by COMPRESS", "DEFLATE ist schon an, durch COMPRESS"),
    ("DEFLATE is the only compression", "DEFLATE ist die einzige Kompression"),
    ("ID completed", "ID ausgeführt"),
    ("IDLE completed", "IDLE beendet"),
    ("INBOX cannot be deleted", "INBOX kann nicht gelöscht werden"),
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
    (
        "UTF8=ACCEPT is enabled before a mailbox is selected",
        "UTF8=ACCEPT wird eingeschaltet, bevor ein Ordner geöffnet ist",
    ),
    ("VANISHED is held back", "VANISHED wird noch zurückgehalten"),
    ("VANISHED stands with CHANGEDSINCE only", "VANISHED steht nur bei CHANGEDSINCE"),
    ("VANISHED stands with UID FETCH only", "VANISHED steht nur bei UID FETCH"),
    ("Waypost logging out", "Waypost meldet Sie ab"),
    ("a URL names no mailbox of yours", "eine URL nennt keinen Ihrer Ordner"),
    (
        "a URL names no message, no owner or no access identifier",
        "eine URL nennt keine Nachricht, keinen Besitzer oder nicht, wem sie gilt",
    ),
    ("a batch has at least 500 messages", "ein Stapel hat mindestens 500 Nachrichten"),
    (
        "a level of a mailbox name has at most 255 octets",
        "eine Ebene im Namen eines Ordners hat höchstens 255 Oktette",
    ),
    ("a literal holds NUL", "ein Literal enthält NUL"),
    ("a mailbox cannot be moved below itself", "ein Ordner kann nicht unter sich selbst verschoben werden"),
    ("a mailbox has at most 64 keywords", "ein Ordner hat höchstens 64 Schlüsselwörter"),
    (
        "a mailbox has one special use, of those in LIST",
        "ein Ordner hat einen besonderen Zweck, von denen in LIST",
    ),
    ("a mailbox name cannot be empty", "der Name eines Ordners kann nicht leer sein"),
    ("a mailbox name has at most 1000 octets", "der Name eines Ordners hat höchstens 1000 Oktette"),
    ("a mailbox name holds no control characters", "der Name eines Ordners enthält keine Steuerzeichen"),
    ("a mailbox of that name exists already", "einen Ordner dieses Namens gibt es schon"),
    (
        "a mailbox stays with its owner; its messages can be moved",
        "ein Ordner bleibt, bei wem er ist; seine Nachrichten lassen sich verschieben",
    ),
    ("a message is not empty", "eine Nachricht ist nicht leer"),
    (
        "a quoted string does not end or holds what it may not",
        "ein Text in Anführungszeichen endet nicht oder enthält, was er nicht darf",
    ),
    ("a quoted string is not UTF-8", "ein Text in Anführungszeichen ist kein UTF-8"),
    ("a resource stands there twice", "eine Ressource steht zweimal da"),
    (
        "a search has at most 1000 keys, 100 of them for a text",
        "eine Suche hat höchstens 1000 Bedingungen, davon 100 für Texte",
    ),
    ("acting as another user is not possible", "im Namen anderer zu handeln ist nicht möglich"),
    ("already logged in", "schon angemeldet"),
    ("an access control list has at most 1000 entries", "eine Liste von Rechten hat höchstens 1000 Einträge"),
    ("an account has at most 10000 mailboxes", "ein Konto hat höchstens 10000 Ordner"),
    ("an account has at most 20000 subscriptions", "ein Konto hat höchstens 20000 Abonnements"),
    ("an annotation has at most {} octets", "eine Anmerkung hat höchstens {} Oktette"),
    (
        "an entry has a name behind /shared or /private",
        "ein Eintrag hat hinter /shared oder /private einen Namen",
    ),
    ("an identifier is an address or anyone", "ein Bezeichner ist eine Adresse oder anyone"),
    ("appended", "angefügt"),
    (
        "at most 10000 messages go to another account at once",
        "auf einmal gehen höchstens 10000 Nachrichten an ein anderes Konto",
    ),
    ("autologout; idle for too long", "abgemeldet: zu lange nichts gehört"),
    ("autologout; no login in time", "abgemeldet: keine Anmeldung in der Zeit"),
    ("autologout; the message comes too slowly", "abgemeldet: die Nachricht kommt zu langsam"),
    ("batches told", "Stapel genannt"),
    ("begin TLS negotiation now", "jetzt TLS aushandeln"),
    ("both ends are counted from the same side", "beide Enden werden von derselben Seite gezählt"),
    ("closed", "geschlossen"),
    ("copied", "kopiert"),
    ("created", "angelegt"),
    ("deleted", "gelöscht"),
    ("done", "erledigt"),
    ("enable QRESYNC first", "erst QRESYNC einschalten"),
    ("expected 0, 1 or infinity", "0, 1 oder infinity erwartet"),
    ("expected <start.length>", "<Anfang.Länge> erwartet"),
    ("expected DONE", "DONE erwartet"),
    ("expected RETURN", "RETURN erwartet"),
    ("expected TEXT, URL or UTF8", "TEXT, URL oder UTF8 erwartet"),
    ("expected a FETCH item", "ein Wort von FETCH erwartet"),
    ("expected a binary literal", "ein binäres Literal erwartet"),
    ("expected a closing parenthesis", "eine schließende Klammer erwartet"),
    ("expected a colon", "einen Doppelpunkt erwartet"),
    ("expected a command", "einen Befehl erwartet"),
    ("expected a date", "ein Datum erwartet"),
    ("expected a literal", "ein Literal erwartet"),
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
    ("expected an opening parenthesis", "eine öffnende Klammer erwartet"),
    (
        "expected as many UIDs as sequence numbers, both ascending",
        "so viele UIDs wie Nachrichtennummern erwartet, beide aufsteigend",
    ),
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
    ("mailboxes of others have no special use", "Ordner anderer haben keinen besonderen Zweck"),
    ("malformed response", "fehlerhafte Antwort"),
    (
        "message sequence numbers are not used once UIDONLY is enabled",
        "Nachrichtennummern gibt es nicht mehr, wenn UIDONLY eingeschaltet ist",
    ),
    ("modification sequences are told from now on", "Änderungsnummern werden von jetzt an genannt"),
    ("moved", "verschoben"),
    ("next UID", "nächste UID"),
    ("no UID is left in the mailbox", "der Ordner hat keine UID mehr"),
    ("no UIDVALIDITY is left", "es gibt keine UIDVALIDITY mehr"),
    ("no URL is authorized any more", "keine URL gilt mehr"),
    ("no flag that can be stored", "keine Markierung, die gespeichert werden kann"),
    ("no level of a mailbox name can be empty", "keine Ebene im Namen eines Ordners kann leer sein"),
    ("no message has that UID", "keine Nachricht hat diese UID"),
    ("no more annotations can be kept here", "hier haben keine weiteren Anmerkungen Platz"),
    ("no name of a header field", "kein Name eines Kopffeldes"),
    ("no name of an entry", "kein Name eines Eintrags"),
    ("no object identifier", "keine Objektkennung"),
    ("no sequence number is left", "es gibt keine Änderungsnummer mehr"),
    ("no such account", "kein solches Konto"),
    ("no such date", "kein solches Datum"),
    ("no such date and time", "kein solcher Zeitpunkt"),
    ("no such mailbox", "kein solcher Ordner"),
    ("no such message sequence number", "keine solche Nachrichtennummer"),
    ("no such month", "kein solcher Monat"),
    ("no such quota root", "keine solche Quota"),
    ("not UTF-8", "kein UTF-8"),
    ("not in this state", "nicht in diesem Zustand"),
    ("nothing may follow COMPRESS before its answer", "vor der Antwort darf nichts auf COMPRESS folgen"),
    ("nothing to copy", "nichts zu kopieren"),
    ("nothing to move", "nichts zu verschieben"),
    ("of resources only STORAGE has a limit here", "nur STORAGE hat hier eine Grenze"),
    ("only its owner renames INBOX", "nur wem INBOX gehört, kann sie umbenennen"),
    ("only the newest of the messages were looked at", "nur die neuesten der Nachrichten wurden angesehen"),
    ("renamed", "umbenannt"),
    ("replaced", "ersetzt"),
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
    ("still at work", "noch bei der Arbeit"),
    ("stored", "gespeichert"),
    ("syntax error", "Fehler in der Schreibweise"),
    (
        "the URL names no message or part that is there",
        "die URL nennt keine Nachricht und keinen Teil, die es gibt",
    ),
    ("the account is over its quota", "das Konto ist über seiner Quota"),
    ("the account was removed", "das Konto wurde entfernt"),
    ("the address has an account already", "die Adresse hat schon ein Konto"),
    ("the annotations are set", "die Anmerkungen sind gesetzt"),
    ("the batches are named in the wrong order", "die Stapel stehen in falscher Reihenfolge"),
    (
        "the change is too large to be made at once",
        "die Änderung ist zu groß, um auf einmal gemacht zu werden",
    ),
    ("the charset is not known", "der Zeichensatz ist nicht bekannt"),
    ("the command ends too early", "der Befehl endet zu früh"),
    ("the command is too long", "der Befehl ist zu lang"),
    ("the disk is full", "die Platte ist voll"),
    ("the entry is deleted", "der Eintrag ist gelöscht"),
    (
        "the header of the message is larger than the server takes",
        "der Kopf der Nachricht ist größer, als der Server nimmt",
    ),
    ("the keyword is too long", "das Schlüsselwort ist zu lang"),
    ("the limit is too large", "die Grenze ist zu groß"),
    ("the literal is not there", "das Literal ist nicht da"),
    ("the literal is too long", "das Literal ist zu lang"),
    ("the mailbox is read-only", "der Ordner kann nur gelesen werden"),
    ("the mailbox name is not UTF-8", "der Name des Ordners ist kein UTF-8"),
    (
        "the mailbox name is not valid modified UTF-7",
        "der Name des Ordners ist kein gültiges abgewandeltes UTF-7",
    ),
    ("the mailbox's id", "Kennung des Ordners"),
    ("the message is larger than the server takes", "die Nachricht ist größer, als der Server nimmt"),
    (
        "the message is too large to be taken at once",
        "die Nachricht ist zu groß, um auf einmal genommen zu werden",
    ),
    (
        "the messages together are larger than the server takes at once",
        "die Nachrichten zusammen sind größer, als der Server auf einmal nimmt",
    ),
    ("the name is not in Unicode's normal form C", "der Name steht nicht in der Normalform C von Unicode"),
    ("the new message is there", "die neue Nachricht ist da"),
    ("the number begins with zero", "die Zahl beginnt mit Null"),
    ("the number is too large", "die Zahl ist zu groß"),
    ("the owner has all rights, always", "wem der Ordner gehört, der hat immer alle Rechte"),
    (
        "the password cannot be checked now, try again later",
        "das Passwort kann jetzt nicht geprüft werden, bitte später noch einmal",
    ),
    ("the pattern is too long", "das Muster ist zu lang"),
    (
        "the patterns are too many, or have too many wildcards",
        "es sind zu viele Muster, oder sie haben zu viele Platzhalter",
    ),
    ("the previous mailbox is closed", "der vorige Ordner ist geschlossen"),
    ("the quota is set", "die Quota ist gesetzt"),
    (
        "the quota of this account stands in the configuration file",
        "die Quota dieses Kontos steht in der Konfigurationsdatei",
    ),
    ("the response is too long", "die Antwort ist zu lang"),
    ("the rights are changed", "die Rechte sind geändert"),
    ("the search keys are nested too deeply", "die Suchbedingungen sind zu tief verschachtelt"),
    ("the section does not end", "der Abschnitt endet nicht"),
    ("the section is too deep", "der Abschnitt liegt zu tief"),
    ("the selected mailbox may not be read any more", "der geöffnete Ordner darf nicht mehr gelesen werden"),
    ("the selected mailbox was deleted", "der geöffnete Ordner wurde gelöscht"),
    ("the server stops", "der Server hält an"),
    ("the special use is set", "der besondere Zweck ist gesetzt"),
    (
        "the special use of a mailbox is set by itself",
        "der besondere Zweck eines Ordners wird allein gesetzt",
    ),
    ("the store is closing", "der Speicher wird geschlossen"),
    (
        "the store takes no more writes since an I/O error; restart the server",
        "nach einem Fehler der Platte wird nichts mehr geschrieben; der Server muss neu gestartet werden",
    ),
    ("the tag is too long", "die Marke ist zu lang"),
    ("there is no mailbox here, only others below it", "hier ist kein Ordner, nur andere darunter"),
    ("there is no such comparator", "einen solchen Vergleich gibt es nicht"),
    ("there is no such language", "diese Sprache gibt es nicht"),
    ("there is no such mechanism", "ein solches Verfahren gibt es nicht"),
    ("there is no such right", "ein solches Recht gibt es nicht"),
    ("there is no such user", "einen solchen Benutzer gibt es nicht"),
    ("there is one ALL or one PARTIAL", "es gibt ein ALL oder ein PARTIAL"),
    (
        "these are more messages than the server takes at once",
        "das sind mehr Nachrichten, als der Server auf einmal nimmt",
    ),
    (
        "this account needs an app password, or a code behind its password",
        "dieses Konto braucht ein App-Passwort oder einen Code hinter dem Passwort",
    ),
    ("this entry is read-only", "dieser Eintrag kann nur gelesen werden"),
    ("too many batches, ask for a range of them", "zu viele Stapel, bitte nach einem Bereich fragen"),
    ("too many changes at once", "zu viele Änderungen auf einmal"),
    ("too many errors", "zu viele Fehler"),
    ("too many failed logins", "zu viele gescheiterte Anmeldungen"),
    (
        "too many failed logins, try again later",
        "zu viele gescheiterte Anmeldungen, bitte später noch einmal",
    ),
    ("too many items", "zu viele Dinge auf einmal"),
    ("too many messages for one command", "zu viele Nachrichten für einen Befehl"),
    ("too many octets at once", "zu viele Oktette auf einmal"),
    ("too many ranges", "zu viele Bereiche"),
    ("too many sessions of this account", "zu viele Sitzungen dieses Kontos"),
    ("unknown FETCH item", "unbekanntes Wort von FETCH"),
    ("unknown FETCH modifier", "unbekannter Zusatz von FETCH"),
    ("unknown STATUS item", "unbekanntes Wort von STATUS"),
    ("unknown STORE modifier", "unbekannter Zusatz von STORE"),
    ("unknown command", "unbekannter Befehl"),
    ("unknown mechanism", "unbekanntes Verfahren"),
    ("unknown option", "unbekannte Angabe"),
    ("unknown parameter", "unbekannter Parameter"),
    ("unknown result option", "unbekannte Angabe zum Ergebnis"),
    ("unknown return option", "unbekannte Angabe hinter RETURN"),
    ("unknown search key", "unbekannte Suchbedingung"),
    ("unknown section", "unbekannter Abschnitt"),
    ("unknown selection option", "unbekannte Auswahl"),
    ("unselected", "verlassen"),
    ("what follows UNAUTHENTICATE is not compressed", "was auf UNAUTHENTICATE folgt, ist nicht komprimiert"),
    ("with UTF8=ACCEPT a search has no charset", "mit UTF8=ACCEPT nennt eine Suche keinen Zeichensatz"),
    ("wrong user name or password", "falscher Name oder falsches Passwort"),
    ("you have no right to do that here", "dazu haben Sie hier kein Recht"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_in_the_language() {
        for (language, english, text) in [
            (Language::German, "deleted", "gelöscht"),
            (Language::German, "unknown command (octet 3)", "unbekannter Befehl (Oktett 3)"),
            (
                Language::German,
                "an annotation has at most 1024 octets",
                "eine Anmerkung hat höchstens 1024 Oktette",
            ),
            (
                Language::German,
                "a batch has at least 500 messages",
                "ein Stapel hat mindestens 500 Nachrichten",
            ),
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
