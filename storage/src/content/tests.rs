//! Messages written and read by ranges, on a simulated disk.

use std::path::Path;

use waypost_mail::EntryId;

use super::*;
use crate::{
    disk::{Disk, Simulated},
    journal::{Journal, NewEntry},
};

fn journal(disk: &Simulated) -> Journal {
    Journal::open(Arc::new(disk.clone()), Path::new("/state"), 64 * 1024).unwrap()
}

fn octets(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 31 % 251) as u8).collect()
}

async fn body(files: &Arc<Files>, octets: &[u8], piece: usize) -> Body {
    let mut writer = files.body_writer();
    for (number, piece) in octets.chunks(piece).enumerate() {
        match number % 3 {
            0 => writer.write(piece).await.unwrap(),
            _ => writer.take(Bytes::copy_from_slice(piece)).await.unwrap(),
        }
    }
    assert_eq!(writer.size(), octets.len() as u64);
    writer.finish().await.unwrap()
}

/// Stores a message: two prefixes, of which the second is used, header block and body.
fn store(journal: &mut Journal, header: &[u8], body: Body) -> Content {
    let (prefix, unused, header) =
        (Bytes::from_static(b"prefix"), Bytes::from_static(b"unused"), Bytes::copy_from_slice(header));
    let mut area = vec![unused, prefix, header.clone()];
    area.extend(body.memory());
    let body_files: Vec<_> = body.file().into_iter().collect();
    let place = match body.file() {
        Some((segment, number)) => BodyPlace::File { segment, number },
        None => BodyPlace::Area(12 + header.len() as u32),
    };
    let body_bytes = body.size();
    let entry = NewEntry { id: EntryId(1), records: Vec::new(), area, body_files };
    let placement = journal.stage(entry).unwrap();
    body.claim();
    journal.commit().unwrap();
    Content {
        segment: placement.at.segment,
        area_at: placement.area_at,
        area_bytes: placement.area_bytes,
        prefix: (6, 6),
        header: (12, header.len() as u32),
        body: place,
        body_bytes,
    }
}

fn bodies(disk: &Simulated) -> usize {
    let directories = disk.list(Path::new("/state/bodies")).unwrap();
    directories.iter().map(|directory| disk.list(directory).unwrap().len()).sum()
}

#[tokio::test]
async fn messages_of_any_size_are_read_by_ranges_also_after_a_crash() {
    let disk = Simulated::new(1);
    let mut journal = journal(&disk);
    let mut stored = Vec::new();
    for (length, piece) in
        [(0, 1), (1, 1), (CHUNK_BYTES, 1000), (INLINE_BODY_BYTES_MAX, 4096), (600_000, 70_001)]
    {
        let text = octets(length);
        let body = body(&journal.files(), &text, piece).await;
        assert_eq!(body.file().is_some(), length > INLINE_BODY_BYTES_MAX);
        let content = store(&mut journal, b"Subject: text\r\n\r\n", body);
        stored.push((content, [b"prefixSubject: text\r\n\r\n".to_vec(), text].concat()));
    }
    drop(journal);
    disk.crash(3);
    let files = self::journal(&disk).files();
    for (content, message) in &stored {
        let size = message.len() as u64;
        assert_eq!((content.size(), content.prefix_size()), (size, 6));
        let mut ranges =
            vec![(0, u64::MAX), (size, 1), (size + 9, 9), (0, 0), (3, 20), (25, 70_000), (size / 2, size)];
        ranges.extend([65_536, 131_072, 262_144].map(|start| (start - 10, 20)));
        for (start, length) in ranges {
            let expected =
                &message[start.min(size) as usize..start.saturating_add(length).min(size) as usize];
            assert!(
                files.read(content, start, length).await.unwrap() == expected,
                "{start}+{length} of {size}"
            );
            let mut reader = files.reader(content, start, length);
            let mut found = Vec::new();
            loop {
                let next = reader.next().await.unwrap();
                assert!(next.len() <= CHUNK_BYTES);
                if next.is_empty() {
                    break;
                }
                found.extend_from_slice(&next);
            }
            assert!(found == expected, "{start}+{length} of {size}");
        }
        let relayed = files.read(&content.without_prefix(), 0, u64::MAX).await.unwrap();
        assert!(relayed == message[6..]);
    }
}

#[tokio::test]
async fn a_small_message_is_one_piece() {
    let disk = Simulated::new(1);
    let mut journal = journal(&disk);
    let body = body(&journal.files(), b"text", 4).await;
    let content = store(&mut journal, b"A: b\r\n\r\n", body);
    let mut reader = journal.files().reader(&content, 0, u64::MAX);
    assert_eq!(reader.next().await.unwrap(), "prefixA: b\r\n\r\ntext");
    assert_eq!(reader.next().await.unwrap(), "");
}

#[tokio::test]
async fn bodies_that_nothing_names_are_removed() {
    let disk = Simulated::new(1);
    let journal = journal(&disk);
    let files = journal.files();
    let mut writer = files.body_writer();
    writer.write(&octets(INLINE_BODY_BYTES_MAX)).await.unwrap();
    assert_eq!(bodies(&disk), 0);
    writer.write(b"1").await.unwrap();
    assert_eq!(bodies(&disk), 1);
    drop(writer);
    assert_eq!(bodies(&disk), 0);
    let complete = body(&files, &octets(300_000), 5000).await;
    assert_eq!((bodies(&disk), complete.size()), (1, 300_000));
    drop(complete);
    assert_eq!(bodies(&disk), 0);
    body(&files, &octets(300_000), 5000).await.claim();
    assert_eq!(bodies(&disk), 1);
}

#[tokio::test]
async fn a_body_that_cannot_be_written_is_refused_and_removed() {
    let disk = Simulated::new(1);
    let journal = journal(&disk);
    // The keeper has made the next segment when it took its answer.
    let files = journal.files();
    let mut writer = files.body_writer();
    writer.write(&octets(300_000)).await.unwrap();
    disk.set_capacity(Some(300_000));
    let refused = writer.write(&octets(300_000)).await;
    assert_eq!(refused, Err(StoreError::Full));
    assert_eq!(writer.write(b"more").await, Err(StoreError::Full));
    assert!(matches!(writer.finish().await, Err(StoreError::Full)));
    assert_eq!(bodies(&disk), 0);
    assert!(!files.is_poisoned(), "only this body is lost");
}

#[tokio::test]
async fn damage_is_found_where_it_is_read() {
    let disk = Simulated::new(1);
    let mut journal = journal(&disk);
    let large = body(&journal.files(), &octets(300_000), 5000).await;
    let (segment, number) = large.file().unwrap();
    let content = store(&mut journal, b"A: b\r\n\r\n", large);
    let path = Path::new("/state/bodies").join(format!("{segment:016x}/{number}"));
    assert!(disk.flip(&path, 200_000, 1));
    let files = journal.files();
    assert!(files.read(&content, 0, 190_000).await.is_ok());
    let damaged = files.read(&content, 0, u64::MAX).await;
    assert_eq!(damaged, Err(StoreError::Damaged("body 1 of segment 1, octets 196608 on".into())));
    let area = format!("/state/journal/{:016x}.segment", content.segment);
    assert!(disk.flip(Path::new(&area), content.area_at as usize, 1));
    let damaged = files.read(&content, 0, 5).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(_))));
    // A file that is open already would be read on.
    disk.remove(&path).unwrap();
    let again = self::journal(&disk.duplicate()).files();
    let missing = again.read(&content, 1000, 5).await.unwrap_err().to_string();
    assert_eq!(missing, "damaged: body 1 of segment 1, octets 0 on: the file is missing");
}

#[test]
fn contents_are_encoded_with_integer_keys() {
    for body in [BodyPlace::Area(9), BodyPlace::File { segment: 3, number: 4 }] {
        let content = Content {
            segment: 1,
            area_at: 2,
            area_bytes: 3,
            prefix: (4, 5),
            header: (6, 7),
            body,
            body_bytes: 8,
        };
        let octets = minicbor::to_vec(&content).unwrap();
        assert_eq!(minicbor::decode::<Content>(&octets).unwrap(), content);
    }
}
