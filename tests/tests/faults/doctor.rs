//! Negative controls on what is read at a start: a journal in which one record does nothing.
//!
//! The record gets a kind that nobody knows and the bit that lets a reader pass over it, and all checks are made right
//! again. That is what a replay looks like that skips one `apply`, or forgets one `Settled`: no damage, no gap, and the
//! index agrees with it. Only the ledger can know. `docs/decisions/0001-record-format.md` describes the octets.

use std::{path::Path, sync::Arc, time::Duration};

use waypost_tests::{Process, program};

use crate::{
    block::say,
    found, give_up,
    kill::{begin, verify},
    ledger::SINK,
    load::Load,
    seed, until,
};

const LOAD: Duration = Duration::from_millis(300);
const HEADER_BYTES: usize = 64;
const CHUNK_BYTES: usize = 64 * 1024;
/// Of a record: stream kind, stream, seq, kind, version, flags, length.
const RECORD_BYTES: usize = 1 + 8 + 8 + 2 + 1 + 1 + 4;
pub(crate) const MESSAGE_ADDED: u16 = 21;
const SETTLED: u16 = 34;
const UNKNOWN: u16 = 999;
const MARK: u8 = 2;
const MOVED: u8 = 3;
/// Where a moved frame stood, before its records.
const HOME_BYTES: usize = 20;

fn u32_at(octets: &[u8], at: usize) -> usize {
    u32::from_le_bytes(octets[at..at + 4].try_into().unwrap()) as usize
}

/// The frames of a segment, and for each the places of its records.
pub(crate) fn frames(segment: &[u8]) -> Vec<(usize, Vec<usize>)> {
    let marker = &segment[24..40];
    let (mut at, mut frames) = (HEADER_BYTES, Vec::new());
    while segment.get(at..at + 16) == Some(marker) {
        let (block, area) = (u32_at(segment, at + 32), u32_at(segment, at + 36));
        let mut records = Vec::new();
        if segment[at + 16] != MARK {
            let home = if segment[at + 16] == MOVED { HOME_BYTES } else { 0 };
            let mut place = at + HEADER_BYTES + home;
            place += 4 + 16 * u32_at(segment, place);
            let count = u32_at(segment, place);
            place += 4;
            for _ in 0..count {
                records.push(place);
                place += RECORD_BYTES + u32_at(segment, place + 21);
            }
        }
        frames.push((at, records));
        at += HEADER_BYTES + block + area + 4 * area.div_ceil(CHUNK_BYTES);
    }
    frames
}

fn kind(segment: &[u8], record: usize) -> u16 {
    u16::from_le_bytes([segment[record + 17], segment[record + 18]])
}

/// Makes the last record of a kind do nothing; where its frame is.
pub(crate) fn pass_over_last(segment: &mut [u8], wanted: u16) -> Option<usize> {
    let of = |(at, records): &(usize, Vec<usize>)| {
        let record = records.iter().rev().find(|record| kind(segment, **record) == wanted)?;
        Some((*at, *record))
    };
    let (at, record) = frames(segment).iter().rev().find_map(of)?;
    segment[record + 17..record + 19].copy_from_slice(&UNKNOWN.to_le_bytes());
    segment[record + 20] = 1;
    seal(segment, at);
    Some(at)
}

/// Makes the checks of a frame right.
fn seal(segment: &mut [u8], at: usize) {
    let block = u32_at(segment, at + 32);
    let check = crc32c::crc32c(&segment[at + HEADER_BYTES..at + HEADER_BYTES + block]);
    segment[at + 56..at + 60].copy_from_slice(&check.to_le_bytes());
    let place = crc32c::crc32c_append(crc32c::crc32c(&segment[16..24]), &(at as u64).to_le_bytes());
    let check = crc32c::crc32c_append(place, &segment[at..at + 60]);
    segment[at + 60..at + 64].copy_from_slice(&check.to_le_bytes());
}

/// Load, one more message whose records are the last of their kinds, a kill; the last record of a kind is made void: what
/// the verification says.
async fn doctored(wanted: Option<u16>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let load = Load::new(seed()).await;
    begin(&folder, &load, "plain").await;
    let (config, state) = (folder.path().join("waypost.toml"), folder.path().join("state"));
    let server = Arc::new(Process::try_serve(&program(), &config, "plain").await.unwrap());
    load.ledger.lock().unwrap().start();
    let tasks = load.begin(&server, state.clone());
    tokio::time::sleep(LOAD).await;
    give_up(tasks).await;
    settled(&state).await;
    let name = load.one_more(&server).await;
    settled(&state).await;
    load.ledger.lock().unwrap().settled(&name, 1);
    Arc::into_inner(server).unwrap().kill().await;
    if let Some(wanted) = wanted {
        let path = state.join("journal").join(format!("{:016x}.segment", 1));
        let mut segment = std::fs::read(&path).unwrap();
        pass_over_last(&mut segment, wanted).unwrap_or_else(|| panic!("no record of kind {wanted}"));
        std::fs::write(&path, segment).unwrap();
    }
    let problems = verify(&config, &load, false).await;
    assert!(problems.iter().all(|problem| problem.contains(&name)), "{problems:#?}");
    problems
}

/// Waits until nothing is left for the sink.
async fn settled(state: &Path) {
    let is_settled = async || {
        let queue = found::queue(state).await.unwrap();
        !queue.iter().any(|entry| entry.to.iter().any(|to| to.ends_with(SINK)))
    };
    until("the sink has all", is_settled).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_control_what_is_not_doctored_is_whole() {
    assert_eq!(doctored(None).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_control_one_apply_skipped_is_noticed() {
    let problems = doctored(Some(MESSAGE_ADDED)).await;
    assert!(problems.iter().any(|problem| problem.contains("is lost")), "{problems:#?}");
    say(&format!("control: one apply skipped in replay, caught: {}", problems[0]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replay_control_one_settled_dropped_is_noticed() {
    let problems = doctored(Some(SETTLED)).await;
    assert!(problems.iter().any(|problem| problem.contains("settled and is back")), "{problems:#?}");
    say(&format!("control: one Settled dropped, caught: {}", problems[0]));
}
