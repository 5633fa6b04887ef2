//! Rows as the index keeps them: numbers of seven bits an octet, most of them as differences to the row before, so that a
//! mailbox of a hundred thousand messages is a few megabytes that are read in milliseconds. The form may change: what has
//! another version is made anew from the journal.

use waypost_mail::{DateTime, EmailId, MailboxId, ModSeq, SystemFlags, ThreadId, Timestamp, Uid, UidlId};

use crate::{
    content::{BodyPlace, Content},
    leb128,
    state::{Origin, Row},
};

/// What stands in the octet behind the flags.
const BODY_IN_FILE: u8 = 1;
const HAS_ORIGIN: u8 = 2;

/// The rows of a chunk.
pub(super) fn encode(rows: &[Row]) -> Vec<u8> {
    let mut output = Output { octets: Vec::with_capacity(rows.len() * 48), before: [0; DIFFERENCES] };
    output.number(rows.len() as u64);
    rows.iter().for_each(|row| output.row(row));
    output.octets
}

/// The rows that [`encode`] wrote; `None` for anything else.
pub(super) fn decode(octets: &[u8]) -> Option<Vec<Row>> {
    let mut input = Input { octets, before: [0; DIFFERENCES] };
    let count = input.count()?;
    let rows = (0..count).map(|_| input.row()).collect::<Option<Vec<_>>>()?;
    input.octets.is_empty().then_some(rows)
}

/// Shows each of the rows that [`encode`] wrote to `look`; `None` for anything else, of which some may have been shown.
pub(super) fn each(octets: &[u8], mut look: impl FnMut(&Row)) -> Option<()> {
    let mut input = Input { octets, before: [0; DIFFERENCES] };
    for _ in 0..input.count()? {
        look(&input.row()?);
    }
    input.octets.is_empty().then_some(())
}

/// Numbers that are kept as differences.
const DIFFERENCES: usize = 11;

struct Output {
    octets: Vec<u8>,
    before: [u64; DIFFERENCES],
}

impl Output {
    fn row(&mut self, row: &Row) {
        let content = &row.content;
        let (kind, body) = match content.body {
            BodyPlace::Area(at) => (0, [u64::from(at), 0]),
            BodyPlace::File { segment, number } => (BODY_IN_FILE, [segment, number]),
        };
        let origin = if row.origin.is_some() { HAS_ORIGIN } else { 0 };
        self.octets.extend_from_slice(&[row.flags.bits(), kind | origin]);
        let differing = [
            u64::from(row.uid.value()),
            row.modseq.value(),
            row.internal_date.seconds as u64,
            row.save_date.0 as u64,
            row.email.0,
            row.thread.0,
            row.uidl.0,
            content.segment,
            content.area_at,
            body[0],
            body[1],
        ];
        for (number, before) in differing.into_iter().zip(self.before) {
            self.number(zigzag(number.wrapping_sub(before) as i64));
        }
        self.before = differing;
        self.number(zigzag(i64::from(row.internal_date.offset_minutes)));
        let plain =
            [content.area_bytes, content.prefix.0, content.prefix.1, content.header.0, content.header.1];
        plain.into_iter().for_each(|number| self.number(number.into()));
        self.number(row.keywords);
        self.number(content.body_bytes);
        if let Some(Origin { mailbox, uid, save_date }) = row.origin.as_deref() {
            self.number(mailbox.0);
            self.number(uid.value().into());
            self.number(save_date.0 as u64);
        }
    }

    fn number(&mut self, number: u64) {
        leb128::write(&mut self.octets, number);
    }
}

struct Input<'a> {
    octets: &'a [u8],
    before: [u64; DIFFERENCES],
}

impl Input<'_> {
    /// How many rows there are: none takes less than an octet.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.number()?).ok()?;
        (count <= self.octets.len()).then_some(count)
    }

    fn row(&mut self) -> Option<Row> {
        let (&[flags, kind], rest) = self.octets.split_first_chunk()?;
        self.octets = rest;
        for place in 0..DIFFERENCES {
            let difference = unzigzag(self.number()?);
            self.before[place] = self.before[place].wrapping_add(difference as u64);
        }
        let [uid, modseq, seconds, save_date, email, thread, uidl, segment, area_at, body_a, body_b] =
            self.before;
        let offset_minutes = i16::try_from(unzigzag(self.number()?)).ok()?;
        let mut small = || u32::try_from(self.number()?).ok();
        let (area_bytes, prefix, header) = (small()?, (small()?, small()?), (small()?, small()?));
        let (keywords, body_bytes) = (self.number()?, self.number()?);
        let body = match kind & BODY_IN_FILE {
            0 => BodyPlace::Area(u32::try_from(body_a).ok()?),
            _ => BodyPlace::File { segment: body_a, number: body_b },
        };
        let origin = if kind & HAS_ORIGIN == 0 { None } else { Some(Box::new(self.origin()?)) };
        Some(Row {
            uid: Uid::new(u32::try_from(uid).ok()?)?,
            modseq: ModSeq::new(modseq)?,
            flags: SystemFlags::from_bits(flags),
            keywords,
            internal_date: DateTime { seconds: seconds as i64, offset_minutes },
            save_date: Timestamp(save_date as i64),
            email: EmailId(email),
            thread: ThreadId(thread),
            uidl: UidlId(uidl),
            content: Content { segment, area_at, area_bytes, prefix, header, body, body_bytes },
            origin,
        })
    }

    fn origin(&mut self) -> Option<Origin> {
        Some(Origin {
            mailbox: MailboxId(self.number()?),
            uid: Uid::new(u32::try_from(self.number()?).ok()?)?,
            save_date: Timestamp(self.number()? as i64),
        })
    }

    fn number(&mut self) -> Option<u64> {
        leb128::read(&mut self.octets)
    }
}

/// Small differences in either direction are small numbers.
fn zigzag(difference: i64) -> u64 {
    (difference << 1 ^ difference >> 63) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn row()(
            (uid, modseq, flags, keywords) in (1..=u32::MAX, 1..=u64::MAX, any::<u8>(), any::<u64>()),
            (seconds, offset_minutes, save_date) in any::<(i64, i16, i64)>(),
            (email, thread, uidl) in any::<(u64, u64, u64)>(),
            (segment, area_at, area_bytes, prefix, header) in any::<(u64, u64, u32, (u32, u32), (u32, u32))>(),
            (body_bytes, in_file, body_a, body_b) in any::<(u64, bool, u64, u64)>(),
            moved in proptest::option::of((any::<u64>(), 1..=u32::MAX, any::<i64>())),
        ) -> Row {
            let body = match in_file {
                true => BodyPlace::File { segment: body_a, number: body_b },
                false => BodyPlace::Area(body_a as u32),
            };
            let origin = |(mailbox, uid, save_date)| {
                let uid = Uid::new(uid).unwrap();
                Box::new(Origin { mailbox: MailboxId(mailbox), uid, save_date: Timestamp(save_date) })
            };
            Row {
                uid: Uid::new(uid).unwrap(),
                modseq: ModSeq::new(modseq).unwrap(),
                flags: SystemFlags::from_bits(flags),
                keywords,
                internal_date: DateTime { seconds, offset_minutes },
                save_date: Timestamp(save_date),
                email: EmailId(email),
                thread: ThreadId(thread),
                uidl: UidlId(uidl),
                content: Content { segment, area_at, area_bytes, prefix, header, body, body_bytes },
                origin: moved.map(origin),
            }
        }
    }

    proptest! {
        #[test]
        fn rows_come_back(rows in proptest::collection::vec(row(), 0..20), cut in any::<proptest::sample::Index>()) {
            let octets = encode(&rows);
            let mut shown = Vec::new();
            prop_assert_eq!(each(&octets, |row| shown.push(row.clone())), Some(()));
            prop_assert_eq!(&shown, &rows);
            prop_assert_eq!(decode(&octets), Some(rows));
            prop_assert_eq!(decode(&octets[..cut.index(octets.len())]), None);
            prop_assert_eq!(decode(&[&octets[..], &[0]].concat()), None);
        }

        #[test]
        fn what_is_not_rows_is_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(rows) = decode(&octets) {
                prop_assert!(rows.len() <= octets.len());
            }
        }
    }
}
