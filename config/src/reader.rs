//! Reads one TOML table key by key, gathers what is wrong with it, and knows at its end which keys nobody asked for.

use std::{cell::RefCell, ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::texts::duration;

/// What is wrong, each with its place in the text.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: RefCell<Vec<(Option<Range<usize>>, String)>>,
}

impl Problems {
    /// Notes a problem; `None`: it has no place of its own.
    pub(crate) fn add(&self, place: Option<Range<usize>>, text: impl Into<String>) {
        self.found.borrow_mut().push((place, text.into()));
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.borrow().is_empty()
    }

    /// All problems in the order of their places.
    pub(crate) fn into_sorted(self) -> Vec<(Option<Range<usize>>, String)> {
        let mut found = self.found.into_inner();
        found.sort_by_key(|(place, _)| place.as_ref().map_or(usize::MAX, |place| place.start));
        found
    }
}

/// A value with its place.
pub(crate) struct Found<T> {
    /// The value.
    pub(crate) value: T,
    /// Where it stands.
    pub(crate) place: Range<usize>,
}

/// The values without their places.
pub(crate) fn values<T>(found: Vec<Found<T>>) -> Vec<T> {
    found.into_iter().map(|found| found.value).collect()
}

/// One table while it is read.
pub(crate) struct Section<'a, 'i> {
    table: Option<&'a DeTable<'i>>,
    /// Where the table stands, for keys that are missing.
    pub(crate) place: Option<Range<usize>>,
    /// Path of the table, with a dot behind it, or empty.
    path: String,
    asked: RefCell<Vec<String>>,
    problems: &'a Problems,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The whole file.
    pub(crate) fn root(table: &'a DeTable<'i>, problems: &'a Problems) -> Self {
        Self { table: Some(table), place: None, path: String::new(), asked: RefCell::default(), problems }
    }

    /// Where problems are noted.
    pub(crate) fn problems(&self) -> &'a Problems {
        self.problems
    }

    /// Notes a problem with the table as a whole.
    pub(crate) fn wrong(&self, text: impl Into<String>) {
        self.problems.add(self.place.clone(), text);
    }

    /// The value of a key, where it is there.
    fn raw(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.asked.borrow_mut().push(key.to_owned());
        self.table?.get(key)
    }

    fn convert<T>(
        &self,
        key: &str,
        what: &str,
        read: impl Fn(&'a DeValue<'i>) -> Option<T>,
    ) -> Option<Found<T>> {
        let value = self.raw(key)?;
        match read(value.get_ref()) {
            Some(read) => Some(Found { value: read, place: value.span() }),
            None => {
                let is = value.get_ref().type_str();
                self.problems.add(
                    Some(value.span()),
                    format!("{}{key} is {what}, not a value of type {is}", self.path),
                );
                None
            }
        }
    }

    /// A text.
    pub(crate) fn string(&self, key: &str) -> Option<Found<&'a str>> {
        self.convert(key, "a text in quotes", |value| value.as_str())
    }

    /// A text of a form of its own.
    pub(crate) fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<Found<T>> {
        let text = self.string(key)?;
        match parse(text.value) {
            Ok(value) => Some(Found { value, place: text.place }),
            Err(problem) => {
                self.problems.add(Some(text.place), format!("{}{key}: {problem}", self.path));
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let find = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        self.parsed(key, |text| find(text).ok_or_else(|| format!("{text:?} is none of {}", known())))
            .map(|f| f.value)
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, key: &str, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        // What is too large for 64 bits, or negative, is a whole number out of bounds like any other.
        let read = |value: &'a DeValue<'i>| {
            let integer = value.as_integer()?;
            let text = integer.as_str().replace('_', "");
            Some(u64::from_str_radix(text.trim_start_matches('+'), integer.radix()).ok())
        };
        let found = self.convert(key, "a whole number", read)?;
        let value = found.value.filter(|value| bounds.contains(value));
        if value.is_none() {
            let text = format!("{}{key} lies between {} and {}", self.path, bounds.start(), bounds.end());
            self.problems.add(Some(found.place), text);
        }
        value
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &str) -> Option<Found<bool>> {
        self.convert(key, "true or false", DeValue::as_bool)
    }

    /// A duration: `90s`, `5m`, `4h`, `14d`, `2w`, or `0`.
    pub(crate) fn duration(&self, key: &str) -> Option<Duration> {
        self.parsed(key, duration).map(|found| found.value)
    }

    /// Several texts, each of a form of its own.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Found<T>>> {
        let found = self.convert(key, "a list of texts", DeValue::as_array)?;
        let mut values = Vec::new();
        for item in found.value.iter() {
            match item
                .get_ref()
                .as_str()
                .ok_or_else(|| "the list holds texts in quotes".to_owned())
                .and_then(&parse)
            {
                Ok(value) => values.push(Found { value, place: item.span() }),
                Err(problem) => {
                    self.problems.add(Some(item.span()), format!("{}{key}: {problem}", self.path));
                }
            }
        }
        Some(values)
    }

    /// One text or several, each of a form of its own.
    pub(crate) fn one_or_more<T>(
        &self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<Found<T>>> {
        let is_text =
            self.table.and_then(|table| table.get(key)).is_some_and(|value| value.get_ref().is_str());
        if is_text { self.parsed(key, parse).map(|found| vec![found]) } else { self.list(key, parse) }
    }

    /// A table `[key]`; an empty one where it is missing.
    pub(crate) fn table(&self, key: &str) -> Section<'a, 'i> {
        let found = self.convert(key, "a table", DeValue::as_table);
        self.section(key, found)
    }

    /// Notes a key that is there with a list of nothing.
    pub(crate) fn refuse_empty_list(&self, key: &str) {
        let value = self.table.and_then(|table| table.get(key));
        if value.and_then(|value| value.get_ref().as_array()).is_some_and(|list| list.iter().next().is_none())
        {
            self.wrong(format!("{}{key} is empty", self.path));
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Tables `[[key]]`.
    pub(crate) fn tables(&self, key: &str) -> Vec<Section<'a, 'i>> {
        let what = format!("tables, each beginning with [[{}{key}]]", self.path);
        let Some(found) = self.convert(key, &what, DeValue::as_array) else { return Vec::new() };
        let mut sections = Vec::new();
        for item in found.value.iter() {
            match item.get_ref().as_table() {
                Some(table) => {
                    sections.push(self.section(key, Some(Found { value: table, place: item.span() })));
                }
                None => self.problems.add(Some(item.span()), format!("{}{key} is {what}", self.path)),
            }
        }
        sections
    }

    fn section(&self, key: &str, found: Option<Found<&'a DeTable<'i>>>) -> Section<'a, 'i> {
        Section {
            table: found.as_ref().map(|found| found.value),
            place: found.map(|found| found.place),
            path: format!("{}{key}.", self.path),
            asked: RefCell::default(),
            problems: self.problems,
        }
    }

    /// Notes that a key must be there, and `None` for it.
    pub(crate) fn need<T>(&self, key: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.has(key) {
            self.wrong(format!("{}{key} is missing", self.path));
        }
        value
    }

    /// Says of keys that are known but not available in this version that they are not.
    pub(crate) fn not_available(&self, keys: &[&str]) {
        for key in keys {
            if let Some(value) = self.raw(key) {
                self.problems
                    .add(Some(value.span()), format!("{}{key} is not available in this version", self.path));
            }
        }
    }

    /// Ends the table: keys that nobody asked for are unknown.
    pub(crate) fn end(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for (key, _) in table.iter().filter(|(key, _)| !asked.iter().any(|asked| asked == key.get_ref())) {
            let nearest = nearest(key.get_ref(), asked.iter().map(String::as_str));
            let hint =
                nearest.map_or_else(String::new, |nearest| format!("; did you mean {}{nearest}?", self.path));
            self.problems
                .add(Some(key.span()), format!("{}{} is not a known key{hint}", self.path, key.get_ref()));
        }
    }
}

/// The known word that is most like a given one, if any is.
pub(crate) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let score = |candidate: &str| strsim::jaro_winkler(word, candidate);
    known
        .map(|candidate| (score(candidate), candidate))
        .filter(|(score, _)| *score > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
