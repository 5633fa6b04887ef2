//! How SEARCH answers: SEARCH, ESEARCH (RFC 4731), nothing; and what it saves (RFC 5182).

use waypost_mail::{ModSeq, Uid};

use crate::{
    op::{Enabled, enable::names_modseq},
    wire::{Numbers, PartialRange, Search, SearchReturn, encode},
};

/// A message that matches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) number: u32,
    pub(super) uid: Uid,
    pub(super) modseq: ModSeq,
}

/// Which answer a search wants.
#[derive(Debug)]
pub(super) struct Answer {
    /// Result options; `None`: a SEARCH response.
    returned: Option<Vec<SearchReturn>>,
    /// Whether the highest modification sequence is told (RFC 7162 section 3.1.5).
    modseq: bool,
}

impl Answer {
    /// With IMAP4rev2 it is always ESEARCH (RFC 9051 section 6.4.4).
    pub(super) fn new(search: &Search, enabled: Enabled) -> Self {
        let returned = match &search.returned {
            None if enabled.rev2 => Some(vec![SearchReturn::All]),
            Some(options) if options.is_empty() => Some(vec![SearchReturn::All]),
            returned => returned.clone(),
        };
        Self { returned, modseq: names_modseq(search) }
    }

    fn has(&self, option: SearchReturn) -> bool {
        self.returned.as_ref().is_some_and(|returned| returned.contains(&option))
    }

    /// Whether the result is saved.
    pub(super) fn saves(&self) -> bool {
        self.has(SearchReturn::Save)
    }

    fn partial(&self) -> Option<PartialRange> {
        self.returned.iter().flatten().find_map(|option| match option {
            SearchReturn::Partial(range) => Some(*range),
            _ => None,
        })
    }

    /// Those of the messages that the answer tells of, or the saved result holds: without ALL and COUNT those of PARTIAL (RFC 9394
    /// section 3.2) and the ends that MIN and MAX name (RFC 5182 section 2.4), where there is one of these options.
    fn told(&self, found: &[Found]) -> Vec<Found> {
        let (min, max, partial) = (self.has(SearchReturn::Min), self.has(SearchReturn::Max), self.partial());
        let some = min || max || partial.is_some();
        if !some || self.has(SearchReturn::All) || self.has(SearchReturn::Count) {
            return found.to_vec();
        }
        let page = partial.map(|partial| &found[partial.of(found.len())]).unwrap_or_default();
        let mut told = page.to_vec();
        told.extend([found.first().filter(|_| min), found.last().filter(|_| max)].into_iter().flatten());
        told.sort_unstable_by_key(|found| found.uid);
        told.dedup_by_key(|found| found.uid);
        told
    }

    /// What `$` is from now on.
    pub(super) fn saved(&self, found: &[Found]) -> Vec<Uid> {
        self.told(found).iter().map(|found| found.uid).collect()
    }

    /// The untagged response.
    pub(super) fn response(&self, tag: &str, numbers: Numbers, found: &[Found]) -> Vec<u8> {
        match self.returned.as_deref() {
            None => self.search(numbers, found),
            Some(options) if options.iter().all(|option| *option == SearchReturn::Save) => Vec::new(),
            Some(_) => self.esearch(tag, numbers, found),
        }
    }

    /// `"SEARCH" *(SP nz-number) [SP search-sort-mod-seq]` (RFC 7162 section 7)
    fn search(&self, numbers: Numbers, found: &[Found]) -> Vec<u8> {
        let mut out = b"* SEARCH".to_vec();
        for found in found {
            out.extend(format!(" {}", found.shown(numbers)).as_bytes());
        }
        if let Some(modseq) = self.highest(found) {
            out.extend(format!(" (MODSEQ {modseq})").as_bytes());
        }
        out.extend(b"\r\n");
        out
    }

    /// `esearch-response = "ESEARCH" [search-correlator] [SP "UID"] *(SP search-return-data)` (RFC 4466 section 2.6.2)
    fn esearch(&self, tag: &str, numbers: Numbers, found: &[Found]) -> Vec<u8> {
        let mut out = b"* ESEARCH (TAG ".to_vec();
        encode::string(&mut out, tag.as_bytes());
        out.push(b')');
        if numbers == Numbers::Uid {
            out.extend(b" UID");
        }
        let mut item = |option, value: Option<String>| {
            if let Some((name, value)) = name_of(option).filter(|_| self.has(option)).zip(value) {
                out.extend(format!(" {name} {value}").as_bytes());
            }
        };
        let end = |found: Option<&Found>| found.map(|found| found.shown(numbers).to_string());
        let all = encode::sequence_set(found.iter().map(|found| found.shown(numbers)));
        item(SearchReturn::Min, end(found.first()));
        item(SearchReturn::Max, end(found.last()));
        item(SearchReturn::Count, Some(found.len().to_string()));
        item(SearchReturn::All, Some(all).filter(|all| !all.is_empty()));
        if let Some(partial) = self.partial() {
            let page = found[partial.of(found.len())].iter().map(|found| found.shown(numbers));
            let page = Some(encode::sequence_set(page)).filter(|page| !page.is_empty());
            out.extend(format!(" PARTIAL ({partial} {})", page.as_deref().unwrap_or("NIL")).as_bytes());
        }
        if let Some(modseq) = self.highest(&self.told(found)) {
            out.extend(format!(" MODSEQ {modseq}").as_bytes());
        }
        out.extend(b"\r\n");
        out
    }

    fn highest(&self, found: &[Found]) -> Option<ModSeq> {
        found.iter().map(|found| found.modseq).max().filter(|_| self.modseq)
    }
}

impl Found {
    fn shown(self, numbers: Numbers) -> u32 {
        match numbers {
            Numbers::Sequence => self.number,
            Numbers::Uid => self.uid.value(),
        }
    }
}

/// How a result is named in the answer.
fn name_of(option: SearchReturn) -> Option<&'static str> {
    match option {
        SearchReturn::Min => Some("MIN"),
        SearchReturn::Max => Some("MAX"),
        SearchReturn::All => Some("ALL"),
        SearchReturn::Count => Some("COUNT"),
        SearchReturn::Save | SearchReturn::Partial(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{PartialEnd, SearchKey};

    fn found(numbers: &[u32]) -> Vec<Found> {
        let found = |number: &u32| Found {
            number: *number,
            uid: Uid::new(number * 10).unwrap(),
            modseq: ModSeq::new(1000 - u64::from(*number)).unwrap(),
        };
        numbers.iter().map(found).collect()
    }

    fn answer(returned: Option<&[SearchReturn]>, key: SearchKey, rev2: bool) -> Answer {
        let search = Search { returned: returned.map(<[_]>::to_vec), charset: None, keys: vec![key] };
        Answer::new(&search, Enabled { condstore: false, rev2, ..Enabled::default() })
    }

    const PAGE: SearchReturn =
        SearchReturn::Partial(PartialRange { end: PartialEnd::Last, one: 1, other: 2 });

    #[test]
    fn answers_have_what_was_asked_for() {
        use SearchReturn::{All, Count, Max, Min, Save};
        for (returned, numbers, messages, said) in [
            (None, Numbers::Sequence, &[2, 3][..], "* SEARCH 2 3"),
            (None, Numbers::Uid, &[], "* SEARCH"),
            (Some(&[][..]), Numbers::Sequence, &[1, 2, 3, 7], "* ESEARCH (TAG \"a]\") ALL 1:3,7"),
            (Some(&[All]), Numbers::Uid, &[1, 2], "* ESEARCH (TAG \"a]\") UID ALL 10,20"),
            (Some(&[Min, Max, All]), Numbers::Sequence, &[], "* ESEARCH (TAG \"a]\")"),
            (Some(&[Count]), Numbers::Uid, &[], "* ESEARCH (TAG \"a]\") UID COUNT 0"),
            (
                Some(&[Count, Save, Max, Min]),
                Numbers::Sequence,
                &[2, 5, 9],
                "* ESEARCH (TAG \"a]\") MIN 2 MAX 9 COUNT 3",
            ),
            (Some(&[Save]), Numbers::Sequence, &[2], ""),
            (
                Some(&[PAGE, Save, Count]),
                Numbers::Uid,
                &[2, 3, 7],
                "* ESEARCH (TAG \"a]\") UID COUNT 3 PARTIAL (-1:-2 30,70)",
            ),
            (Some(&[PAGE]), Numbers::Uid, &[], "* ESEARCH (TAG \"a]\") UID PARTIAL (-1:-2 NIL)"),
        ] {
            let answer = answer(returned, SearchKey::All, false);
            let response = answer.response("a]", numbers, &found(messages));
            assert_eq!(String::from_utf8(response).unwrap().trim_end(), said);
        }
        let rev2 = answer(None, SearchKey::All, true).response("a", Numbers::Sequence, &found(&[4]));
        assert_eq!(rev2, b"* ESEARCH (TAG \"a\") ALL 4\r\n");
    }

    #[test]
    fn the_highest_modification_sequence_is_of_what_is_told() {
        use SearchReturn::{All, Count, Max, Min};
        for (returned, modseq) in [
            (None, "(MODSEQ 998)"),
            (Some(&[Min][..]), "MODSEQ 998"),
            (Some(&[Max]), "MODSEQ 991"),
            (Some(&[Min, Max]), "MODSEQ 998"),
            (Some(&[Max, Count]), "MODSEQ 998"),
            (Some(&[All]), "MODSEQ 998"),
        ] {
            let answer = answer(returned, SearchKey::Not(Box::new(SearchKey::ModSeq(1))), false);
            let response = answer.response("a", Numbers::Sequence, &found(&[2, 9]));
            assert!(String::from_utf8(response).unwrap().trim_end().ends_with(modseq), "{returned:?}");
            assert!(!answer.response("a", Numbers::Sequence, &[]).windows(6).any(|at| at == b"MODSEQ"));
        }
    }

    #[test]
    fn what_is_saved_depends_on_the_options() {
        use SearchReturn::{All, Count, Max, Min, Partial, Save};
        for (returned, saved) in [
            (&[Save][..], &[20, 50, 90][..]),
            (&[Save, Min], &[20]),
            (&[Max, Save], &[90]),
            (&[Min, Max, Save], &[20, 90]),
            (&[Min, Save, Count], &[20, 50, 90]),
            (&[Max, Save, All], &[20, 50, 90]),
        ] {
            let answer = answer(Some(returned), SearchKey::All, false);
            let uids: Vec<u32> = answer.saved(&found(&[2, 5, 9])).iter().map(|uid| uid.value()).collect();
            assert_eq!(uids, saved, "{returned:?}");
        }
        let page = |end, one, other| Partial(PartialRange { end, one, other });
        let (first, last) = (page(PartialEnd::First, 2, 3), page(PartialEnd::Last, 1, 1));
        for (returned, saved) in [
            (&[Save, first][..], &[50, 70][..]),
            (&[last, Save], &[90]),
            (&[Save, first, Min], &[20, 50, 70]),
            (&[Save, first, Max], &[50, 70, 90]),
            (&[Save, last, Max, Min], &[20, 90]),
            (&[Save, last, Count, Min], &[20, 50, 70, 90]),
        ] {
            let answer = answer(Some(returned), SearchKey::All, false);
            let uids: Vec<u32> = answer.saved(&found(&[2, 5, 7, 9])).iter().map(|uid| uid.value()).collect();
            assert_eq!(uids, saved, "{returned:?}");
        }
        let answer = answer(Some(&[Save, Min, Max]), SearchKey::All, false);
        assert_eq!(answer.saved(&found(&[3])).len(), 1);
        assert_eq!(answer.saved(&[]).len(), 0);
    }
}
