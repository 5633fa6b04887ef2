//! A client that keeps what it knows of a mailbox while it is away, and comes back with QRESYNC (RFC 7162 section 6): what it
//! makes of the lines that it hears. It does no I/O: the sessions of `waypost-imap` are tested with it in memory, and here over kill -9.

use std::collections::BTreeMap;

/// What the client keeps.
#[derive(Debug, Default)]
pub struct Cache {
    /// UIDVALIDITY; 0: it has not been there.
    pub validity: u32,
    /// Up to where it knows all.
    pub modseq: u64,
    /// Up to which UID it has asked for all messages.
    pub complete: u32,
    /// Flags and modification sequence of each UID.
    pub messages: BTreeMap<u32, (String, u64)>,
}

/// What it knows while it is connected.
#[derive(Debug, Default)]
pub struct Online {
    /// The UID of each number, where it is known.
    pub numbers: Vec<Option<u32>>,
    /// What came since the last tagged response: the highest MODSEQ of a FETCH, the last HIGHESTMODSEQ.
    seen: u64,
    code: Option<u64>,
    validity: u32,
}

/// What stands between two texts.
pub fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(begin)?;
    rest.split_once(end).map(|(found, _)| found)
}

/// The numbers of a set.
pub fn uids(set: &str) -> impl Iterator<Item = u32> {
    set.trim().split(',').flat_map(|range| {
        let (first, last) = range.split_once(':').unwrap_or((range, range));
        first.parse::<u32>().unwrap()..=last.parse().unwrap()
    })
}

/// Flags in one order, without `\Recent`.
pub fn plain(flags: &str) -> String {
    let mut flags: Vec<&str> = flags.split_whitespace().filter(|flag| *flag != "\\Recent").collect();
    flags.sort_unstable();
    flags.join(" ")
}

impl Online {
    /// An untagged response. Panics where it contradicts what was said before.
    pub fn hear(&mut self, cache: &mut Cache, line: &str) {
        if let Some(code) = between(line, "[HIGHESTMODSEQ ", "]") {
            self.code = Some(code.parse().unwrap());
        }
        if let Some(validity) = between(line, "[UIDVALIDITY ", "]") {
            self.validity = validity.parse().unwrap();
        }
        if let Some(set) = line.strip_prefix("* VANISHED (EARLIER) ") {
            cache.messages.retain(|uid, _| !uids(set).any(|gone| gone == *uid));
        } else if let Some(set) = line.strip_prefix("* VANISHED ") {
            uids(set).for_each(|uid| self.vanished(cache, uid, line));
        } else if let Some(exists) = between(line, "* ", " EXISTS") {
            let exists: usize = exists.parse().unwrap();
            assert!(exists >= self.numbers.len(), "{line}: there were {}", self.numbers.len());
            self.numbers.resize(exists, None);
        } else if let Some(number) = between(line, "* ", " FETCH (") {
            self.fetched(cache, number.parse().unwrap(), line);
        }
    }

    fn vanished(&mut self, cache: &mut Cache, uid: u32, line: &str) {
        let known = self.numbers.iter().position(|number| *number == Some(uid));
        // One whose UID it was never told is behind the last smaller one that it knows.
        let smaller = |number: &Option<u32>| number.is_some_and(|known| known < uid);
        let behind = || self.numbers.iter().rposition(smaller).map_or(0, |before| before + 1);
        let gone = self.numbers.remove(known.unwrap_or_else(behind));
        assert!(gone.is_none_or(|known| known == uid), "{line}: the number is that of {gone:?}");
        cache.messages.remove(&uid);
    }

    fn fetched(&mut self, cache: &mut Cache, number: usize, line: &str) {
        let uid: u32 = between(line, "UID ", " ").unwrap().parse().unwrap();
        let modseq = between(line, "MODSEQ (", ")").unwrap().parse().unwrap();
        let known = self.numbers[number - 1].replace(uid);
        assert!(known.is_none_or(|known| known == uid), "{line}: the number is that of {known:?}");
        self.seen = self.seen.max(modseq);
        let message = cache.messages.entry(uid).or_default();
        message.1 = modseq;
        if let Some(flags) = between(line, "FLAGS (", ")") {
            message.0 = plain(flags);
        }
    }

    /// A tagged response came: what came before it is all up to its modification sequence.
    pub fn tagged(&mut self, cache: &mut Cache, line: &str) {
        if let Some(code) = between(line, "[HIGHESTMODSEQ ", "]") {
            self.code = Some(code.parse().unwrap());
        }
        cache.modseq = self.code.take().unwrap_or(cache.modseq.max(self.seen));
        self.seen = 0;
    }

    /// The mailbox is selected, before which the client knew all up to a modification sequence.
    pub fn selected(&self, cache: &mut Cache, before: u64) {
        assert!(cache.modseq >= before, "HIGHESTMODSEQ went back from {before} to {}", cache.modseq);
        assert!(cache.validity == 0 || cache.validity == self.validity, "another UIDVALIDITY");
        cache.validity = self.validity;
    }

    /// The command that asks for messages that are new.
    pub fn ask_for_new(cache: &Cache) -> String {
        format!("UID FETCH {}:* (FLAGS)", cache.complete + 1)
    }

    /// It was answered; whether nothing was announced meanwhile that it knows nothing of.
    pub fn complete(&mut self, cache: &mut Cache) -> bool {
        let uids: Vec<u32> = cache.messages.keys().copied().collect();
        cache.complete = cache.complete.max(uids.last().copied().unwrap_or(0));
        assert!(self.numbers.len() >= uids.len(), "{:?} {uids:?}", self.numbers);
        let same =
            self.numbers.iter().zip(&uids).all(|(number, uid)| number.is_none_or(|known| known == *uid));
        assert!(same, "{:?} {uids:?}", self.numbers);
        let known = uids.len();
        self.numbers.splice(..known, uids.into_iter().map(Some));
        self.numbers.len() == known
    }
}

impl Cache {
    /// SELECT INBOX as the client says it that knows this; by chance with the UIDs that it knows, and with some of its numbers.
    /// `below` gives a number below another.
    pub fn select(&self, mut below: impl FnMut(usize) -> usize) -> String {
        if self.modseq == 0 {
            return "SELECT INBOX".to_owned();
        }
        let known: Vec<u32> = self.messages.keys().copied().collect();
        let list = |numbers: Vec<String>| numbers.join(",");
        let mut parameters = format!("{} {}", self.validity, self.modseq);
        match below(3) {
            0 if !known.is_empty() => {
                let set = list(known.iter().map(u32::to_string).collect());
                parameters.push_str(&format!(" {set}"));
            }
            1 if !known.is_empty() => parameters.push_str(&format!(" 1:{}", known[known.len() - 1])),
            _ => {}
        }
        // What is not complete has no numbers that it knows.
        let whole = known.last().is_none_or(|last| *last <= self.complete);
        if whole && !known.is_empty() && below(2) == 0 {
            let picked: Vec<usize> = (0..known.len()).filter(|_| below(3) == 0).collect();
            let numbers = list(picked.iter().map(|at| (at + 1).to_string()).collect());
            let uids = list(picked.iter().map(|at| known[*at].to_string()).collect());
            if !picked.is_empty() {
                parameters.push_str(&format!(" ({numbers} {uids})"));
            }
        }
        format!("SELECT INBOX (QRESYNC ({parameters}))")
    }
}
