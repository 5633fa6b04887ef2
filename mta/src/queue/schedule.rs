//! When a message is tried again, when its sender is told, and when it is given up. Pure.

use std::time::Duration;

use waypost_config::QueueConfig;
use waypost_mail::{EnhancedStatus, Overdue, Reply, Severity, Timestamp};
use waypost_storage::{Deadline, Outcome, QueueEntry};

/// Wait where the configuration names none.
const WAIT_WITHOUT_SCHEDULE: Duration = Duration::from_secs(4 * 60 * 60);
/// A wait is made longer or shorter by up to this many thousandths, so that entries that failed together spread.
const JITTER_PERMILLE_MAX: u64 = 100;

/// Most octets of a reply's text that are kept, for the journal and for notifications: one line (RFC 5321 section 4.5.3.1.5).
const REPLY_TEXT_BYTES_MAX: usize = 500;

/// Status of what is given up because it waited too long (RFC 3463 section 3.5).
pub(super) const EXPIRED: EnhancedStatus = EnhancedStatus(5, 4, 7);

/// The time that a message has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    accepted: Timestamp,
    /// By when its sender wants it delivered (RFC 2852).
    deadline: Option<Deadline>,
}

impl Span {
    pub(super) fn of(entry: &QueueEntry) -> Self {
        Self { accepted: entry.accepted, deadline: entry.wishes.deliver_by }
    }

    /// When it is given up.
    fn end(self, queue: &QueueConfig) -> Timestamp {
        let end = self.accepted.after(queue.lifetime);
        let deadline = self.deadline.filter(|deadline| deadline.overdue == Overdue::Return);
        deadline.map_or(end, |deadline| end.min(deadline.at))
    }
}

/// When a message that was tried `tries` times before and now once more is tried next; at the end of its lifetime, and at
/// its deadline, at the latest, so that it is given up, or told of, then and not hours later. The last wait repeats.
pub(super) fn next_attempt(
    queue: &QueueConfig,
    span: Span,
    now: Timestamp,
    tries: u32,
    random: u64,
) -> Timestamp {
    let at = usize::try_from(tries).unwrap_or(usize::MAX);
    let wait = queue.retry.get(at).or(queue.retry.last()).copied().unwrap_or(WAIT_WITHOUT_SCHEDULE);
    let permille = 1000 - JITTER_PERMILLE_MAX + random % (2 * JITTER_PERMILLE_MAX + 1);
    let wait = wait.as_millis().saturating_mul(permille.into()) / 1000;
    let next = now.after(Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX)));
    let bounds = [Some(span.end(queue)), span.deadline.map(|deadline| deadline.at)];
    bounds.into_iter().flatten().filter(|bound| now < *bound).fold(next, Timestamp::min)
}

/// How often a message that is due then was tried before, by the schedule: the waits that fit in between.
pub(super) fn tries_until(queue: &QueueConfig, accepted: Timestamp, due: Timestamp) -> u32 {
    let passed = u128::try_from(due.0.saturating_sub(accepted.0)).unwrap_or(0);
    let mut waited = 0;
    let fits = |wait: &&Duration| {
        waited += wait.as_millis().saturating_mul((1000 - JITTER_PERMILLE_MAX).into()) / 1000;
        waited <= passed
    };
    u32::try_from(queue.retry.iter().take_while(fits).count()).unwrap_or(u32::MAX)
}

/// Whether a message is given up when it is not delivered by now.
pub(super) fn is_expired(queue: &QueueConfig, span: Span, now: Timestamp) -> bool {
    now >= span.end(queue)
}

/// Whether the sender of a message should know by now that it waits.
pub(super) fn is_late(queue: &QueueConfig, span: Span, now: Timestamp) -> bool {
    now >= span.accepted.after(queue.warn_after) || span.deadline.is_some_and(|deadline| now >= deadline.at)
}

/// What a reply means for a recipient.
pub(super) fn outcome(peer: String, mut reply: Reply, expired: bool) -> Outcome {
    shorten(&mut reply.lines);
    match reply.severity() {
        Severity::Success => Outcome::Delivered { peer, reply },
        Severity::Permanent => Outcome::Failed { peer, reply },
        Severity::Transient if expired => {
            let text = format!("given up; the last answer was: {} {}", code(&reply), reply.text());
            Outcome::Failed { peer, reply: Reply::new(554, EXPIRED, text) }
        }
        Severity::Transient => Outcome::Deferred { peer, reply },
    }
}

/// Cuts what is over [`REPLY_TEXT_BYTES_MAX`]; the first line stays, if only in part.
fn shorten(lines: &mut Vec<String>) {
    let mut left = REPLY_TEXT_BYTES_MAX;
    for line in lines.iter_mut() {
        line.truncate(line.floor_char_boundary(left));
        left -= line.len();
    }
    let used = lines.iter().rposition(|line| !line.is_empty()).map_or(1, |last| last + 1);
    lines.truncate(used);
}

fn code(reply: &Reply) -> String {
    reply.status.map_or_else(|| reply.code.to_string(), |status| format!("{} {status}", reply.code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const SPAN: Span = Span { accepted: Timestamp(0), deadline: None };
    const NO_JITTER: u64 = JITTER_PERMILLE_MAX;

    fn queue() -> QueueConfig {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let retry = [5, 15, 60, 240].map(minutes).to_vec();
        QueueConfig {
            retry,
            lifetime: minutes(5 * 24 * 60),
            warn_after: minutes(240),
            mx_port: 25,
            sources: Default::default(),
        }
    }

    #[test]
    fn waits_follow_the_schedule_and_the_last_one_repeats() {
        for (tries, minutes) in [(0, 5), (1, 15), (2, 60), (3, 240), (4, 240), (u32::MAX, 240)] {
            let next = next_attempt(&queue(), SPAN, Timestamp(MINUTE), tries, NO_JITTER);
            assert_eq!(next, Timestamp(MINUTE + minutes * MINUTE), "{tries}");
        }
        let none = QueueConfig { retry: Vec::new(), ..queue() };
        assert_eq!(next_attempt(&none, SPAN, Timestamp(0), 0, NO_JITTER), Timestamp(240 * MINUTE));
    }

    #[test]
    fn the_place_in_the_schedule_is_found_by_time() {
        for (minutes, tries) in [(0, 0), (4, 0), (5, 1), (19, 2), (20, 2), (80, 3), (320, 4), (9999, 4)] {
            let found = tries_until(&queue(), Timestamp(MINUTE), Timestamp(MINUTE + minutes * MINUTE));
            assert_eq!(found, tries, "{minutes}");
        }
        assert_eq!(tries_until(&queue(), Timestamp(MINUTE), Timestamp(0)), 0);
        let none = QueueConfig { retry: Vec::new(), ..queue() };
        assert_eq!(tries_until(&none, Timestamp(0), Timestamp(MINUTE)), 0);
    }

    #[test]
    fn a_deadline_ends_the_time_or_is_told_of() {
        let at = Timestamp(7 * MINUTE);
        let span = |overdue| Span { deadline: Some(Deadline { at, overdue, trace: false }), ..SPAN };
        for overdue in [Overdue::Return, Overdue::Notify] {
            let next = |now| next_attempt(&queue(), span(overdue), Timestamp(now * MINUTE), 1, NO_JITTER);
            assert_eq!((next(0), next(8)), (at, Timestamp(23 * MINUTE)));
            for (minute, is_over) in [(6, false), (7, true)] {
                let now = Timestamp(minute * MINUTE);
                assert_eq!(is_late(&queue(), span(overdue), now), is_over);
                assert_eq!(is_expired(&queue(), span(overdue), now), is_over && overdue == Overdue::Return);
            }
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let next = |random| next_attempt(&queue(), SPAN, Timestamp(0), 2, random).0;
        assert_eq!((next(0), next(200), next(201)), (54 * MINUTE, 66 * MINUTE, 54 * MINUTE));
        assert!((0..500).map(|n| next(u64::MAX - n)).all(|at| (54 * MINUTE..=66 * MINUTE).contains(&at)));
    }

    #[test]
    fn the_last_try_is_at_the_end_of_the_lifetime() {
        let end = 5 * 24 * 60 * MINUTE;
        let next = |now| next_attempt(&queue(), SPAN, Timestamp(now), 9, NO_JITTER).0;
        assert_eq!(next(end - 241 * MINUTE), end - MINUTE);
        assert_eq!(next(end - 239 * MINUTE), end);
        assert_eq!(next(end - 1), end);
        assert_eq!(next(end), end + 240 * MINUTE);
        for (now, expired) in [(end - 1, false), (end, true), (end + 1, true)] {
            assert_eq!(is_expired(&queue(), SPAN, Timestamp(now)), expired);
        }
        for (now, late) in [(240 * MINUTE - 1, false), (240 * MINUTE, true)] {
            assert_eq!(is_late(&queue(), SPAN, Timestamp(now)), late);
        }
    }

    #[test]
    fn long_replies_are_cut() {
        let cut = |lines: &[&str]| {
            let mut lines = lines.iter().map(|line| (*line).to_owned()).collect();
            shorten(&mut lines);
            lines.iter().map(String::len).collect::<Vec<_>>()
        };
        let (full, long) = ("x".repeat(REPLY_TEXT_BYTES_MAX), "x".repeat(REPLY_TEXT_BYTES_MAX + 1));
        assert_eq!(cut(&[&full]), [500]);
        assert_eq!(cut(&[&long]), [500]);
        assert_eq!(cut(&[&full, "more"]), [500]);
        assert_eq!(cut(&["a", "", &long, "b"]), [1, 0, 499]);
        assert_eq!(cut(&[&format!("x{}", "ü".repeat(250))]), [499]);
        assert_eq!(cut(&[""]), [0]);
    }

    #[test]
    fn replies_become_outcomes() {
        let peer = || "mx [::1]".to_owned();
        let ok = Reply::plain(250, "ok");
        let later = Reply::new(451, EnhancedStatus(4, 7, 1), "later");
        let no = Reply::plain(550, "no");
        for expired in [false, true] {
            let delivered = Outcome::Delivered { peer: peer(), reply: ok.clone() };
            assert_eq!(outcome(peer(), ok.clone(), expired), delivered);
            assert_eq!(
                outcome(peer(), no.clone(), expired),
                Outcome::Failed { peer: peer(), reply: no.clone() }
            );
        }
        let deferred = Outcome::Deferred { peer: peer(), reply: later.clone() };
        assert_eq!(outcome(peer(), later.clone(), false), deferred);
        let text = "given up; the last answer was: 451 4.7.1 later";
        let reply = Reply::new(554, EnhancedStatus(5, 4, 7), text);
        assert_eq!(outcome(peer(), later, true), Outcome::Failed { peer: peer(), reply });
    }
}
