//! When a message is tried again, when its sender is told, and when it is given up. Pure.

use std::time::Duration;

use waypost_config::Schedule;
use waypost_mail::{EnhancedStatus, Issuer, Overdue, Reply, Severity, Timestamp};
use waypost_storage::{Deadline, Outcome, QueueEntry};

/// Wait where the configuration names none.
const WAIT_WITHOUT_SCHEDULE: Duration = Duration::from_secs(4 * 60 * 60);
/// A wait is made longer or shorter by up to this many thousandths, so that entries that failed together spread.
const JITTER_PERMILLE_MAX: u64 = 100;

/// Most octets of a reply's text that are kept, for the journal and for notifications: one line (RFC 5321 section 4.5.3.1.5).
const REPLY_TEXT_BYTES_MAX: usize = 500;

/// Status of what is given up because it waited too long (RFC 3463 section 3.5).
const EXPIRED: EnhancedStatus = EnhancedStatus(5, 4, 7);

/// The time that a message has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    begun: Timestamp,
    /// By when its sender wants it delivered (RFC 2852).
    deadline: Option<Deadline>,
}

impl Span {
    pub(super) fn of(entry: &QueueEntry) -> Self {
        Self { begun: entry.begun(), deadline: entry.wishes.deliver_by }
    }

    /// When it is given up.
    pub(super) fn end(self, schedule: Schedule<'_>) -> Timestamp {
        let end = self.begun.after(schedule.lifetime);
        let deadline = self.deadline.filter(|deadline| deadline.overdue == Overdue::Return);
        deadline.map_or(end, |deadline| end.min(deadline.at))
    }

    /// When the sender hears of it, if nothing happens before: that it is late, unless it was told so, or that it is given up.
    pub(super) fn next_word(self, schedule: Schedule<'_>, warned: bool) -> Timestamp {
        let late = self.begun.after(schedule.warn_after);
        let late = self.deadline.map_or(late, |deadline| late.min(deadline.at));
        if warned { self.end(schedule) } else { self.end(schedule).min(late) }
    }
}

/// When a message that was tried `tries` times before and now once more is tried next; at the end of its lifetime, and at
/// its deadline, at the latest, so that it is given up, or told of, then and not hours later. The last wait repeats.
pub(super) fn next_attempt(
    schedule: Schedule<'_>,
    span: Span,
    now: Timestamp,
    tries: u32,
    random: u64,
) -> Timestamp {
    let next = now.after(wait(schedule, tries, random));
    let bounds = [Some(span.end(schedule)), span.deadline.map(|deadline| deadline.at)];
    bounds.into_iter().flatten().filter(|bound| now < *bound).fold(next, Timestamp::min)
}

/// The wait after so many tries before this one; a little longer or shorter.
fn wait(schedule: Schedule<'_>, tries: u32, random: u64) -> Duration {
    let at = usize::try_from(tries).unwrap_or(usize::MAX);
    let wait = schedule.retry.get(at).or(schedule.retry.last()).copied().unwrap_or(WAIT_WITHOUT_SCHEDULE);
    let permille = 1000 - JITTER_PERMILLE_MAX + random % (2 * JITTER_PERMILLE_MAX + 1);
    let wait = wait.as_millis().saturating_mul(permille.into()) / 1000;
    Duration::from_millis(u64::try_from(wait).unwrap_or(u64::MAX))
}

/// When a destination that took nothing `failures` times before and now again is tried next.
pub(super) fn next_probe(schedule: Schedule<'_>, now: Timestamp, failures: u32, random: u64) -> Timestamp {
    now.after(wait(schedule, failures, random))
}

/// Whether a message is given up when it is not delivered by now.
pub(super) fn is_expired(schedule: Schedule<'_>, span: Span, now: Timestamp) -> bool {
    now >= span.end(schedule)
}

/// Whether the sender of a message should know by now that it waits.
pub(super) fn is_late(schedule: Schedule<'_>, span: Span, now: Timestamp) -> bool {
    now >= span.begun.after(schedule.warn_after) || span.deadline.is_some_and(|deadline| now >= deadline.at)
}

/// What a reply means for a recipient.
pub(super) fn outcome(peer: String, mut reply: Reply, expired: bool) -> Outcome {
    shorten(&mut reply.lines);
    match reply.severity() {
        Severity::Success => Outcome::Delivered { peer, reply },
        Severity::Permanent => Outcome::Failed { peer, reply },
        Severity::Transient if expired => {
            let last = if reply.issuer == Issuer::Peer { "the last answer was" } else { "at last" };
            let text = format!("given up; {last}: {} {}", code(&reply), reply.text());
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
    use waypost_config::QueueConfig;

    use super::*;

    const MINUTE: i64 = 60_000;
    const SPAN: Span = Span { begun: Timestamp(0), deadline: None };
    const NO_JITTER: u64 = JITTER_PERMILLE_MAX;

    fn queue() -> QueueConfig {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let retry = [5, 15, 60, 240].map(minutes).to_vec();
        QueueConfig {
            retry,
            lifetime: minutes(5 * 24 * 60),
            warn_after: minutes(240),
            ..QueueConfig::default()
        }
    }

    fn schedule(queue: &QueueConfig) -> Schedule<'_> {
        queue.schedule(&waypost_mail::Domain::new("b.test").unwrap())
    }

    #[test]
    fn waits_follow_the_schedule_and_the_last_one_repeats() {
        for (tries, minutes) in [(0, 5), (1, 15), (2, 60), (3, 240), (4, 240), (u32::MAX, 240)] {
            let next = next_attempt(schedule(&queue()), SPAN, Timestamp(MINUTE), tries, NO_JITTER);
            assert_eq!(next, Timestamp(MINUTE + minutes * MINUTE), "{tries}");
        }
        let none = QueueConfig { retry: Vec::new(), ..queue() };
        assert_eq!(next_attempt(schedule(&none), SPAN, Timestamp(0), 0, NO_JITTER), Timestamp(240 * MINUTE));
    }

    #[test]
    fn a_sender_hears_of_what_waits_when_it_is_late_and_when_it_is_given_up() {
        let (late, end) = (Timestamp(240 * MINUTE), Timestamp(5 * 24 * 60 * MINUTE));
        let soon = Timestamp(7 * MINUTE);
        let by = |overdue| Span { deadline: Some(Deadline { at: soon, overdue, trace: false }), ..SPAN };
        for (span, warned, expected) in [
            (SPAN, false, late),
            (SPAN, true, end),
            (by(Overdue::Notify), false, soon),
            (by(Overdue::Notify), true, end),
            (by(Overdue::Return), true, soon),
        ] {
            assert_eq!(span.next_word(schedule(&queue()), warned), expected, "{span:?} {warned}");
        }
    }

    #[test]
    fn a_domain_can_have_a_schedule_of_its_own() {
        let domain = waypost_mail::Domain::new("slow.test").unwrap();
        let own = waypost_config::DestinationConfig {
            domain: domain.clone(),
            retry: Some(vec![Duration::from_secs(60)]),
            lifetime: Some(Duration::from_secs(3600)),
            warn_after: None,
            connections: None,
            messages_per_connection: None,
            messages_per_minute: 0,
        };
        let queue = QueueConfig { destinations: vec![own], ..queue() };
        let schedule = queue.schedule(&domain);
        assert_eq!(next_attempt(schedule, SPAN, Timestamp(0), 7, NO_JITTER), Timestamp(MINUTE));
        assert_eq!(next_probe(schedule, Timestamp(0), 7, NO_JITTER), Timestamp(MINUTE));
        assert_eq!(
            (SPAN.end(schedule), is_late(schedule, SPAN, Timestamp(59 * MINUTE))),
            (Timestamp(60 * MINUTE), false)
        );
    }

    #[test]
    fn a_deadline_ends_the_time_or_is_told_of() {
        let at = Timestamp(7 * MINUTE);
        let span = |overdue| Span { deadline: Some(Deadline { at, overdue, trace: false }), ..SPAN };
        for overdue in [Overdue::Return, Overdue::Notify] {
            let next =
                |now| next_attempt(schedule(&queue()), span(overdue), Timestamp(now * MINUTE), 1, NO_JITTER);
            assert_eq!((next(0), next(8)), (at, Timestamp(23 * MINUTE)));
            for (minute, is_over) in [(6, false), (7, true)] {
                let now = Timestamp(minute * MINUTE);
                assert_eq!(is_late(schedule(&queue()), span(overdue), now), is_over);
                assert_eq!(
                    is_expired(schedule(&queue()), span(overdue), now),
                    is_over && overdue == Overdue::Return
                );
            }
        }
    }

    #[test]
    fn jitter_stays_within_a_tenth() {
        let next = |random| next_attempt(schedule(&queue()), SPAN, Timestamp(0), 2, random).0;
        assert_eq!((next(0), next(200), next(201)), (54 * MINUTE, 66 * MINUTE, 54 * MINUTE));
        assert!((0..500).map(|n| next(u64::MAX - n)).all(|at| (54 * MINUTE..=66 * MINUTE).contains(&at)));
    }

    #[test]
    fn the_last_try_is_at_the_end_of_the_lifetime() {
        let end = 5 * 24 * 60 * MINUTE;
        let next = |now| next_attempt(schedule(&queue()), SPAN, Timestamp(now), 9, NO_JITTER).0;
        assert_eq!(next(end - 241 * MINUTE), end - MINUTE);
        assert_eq!(next(end - 239 * MINUTE), end);
        assert_eq!(next(end - 1), end);
        assert_eq!(next(end), end + 240 * MINUTE);
        for (now, expired) in [(end - 1, false), (end, true), (end + 1, true)] {
            assert_eq!(is_expired(schedule(&queue()), SPAN, Timestamp(now)), expired);
        }
        for (now, late) in [(240 * MINUTE - 1, false), (240 * MINUTE, true)] {
            assert_eq!(is_late(schedule(&queue()), SPAN, Timestamp(now)), late);
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
        let ok = Reply::plain(250, "ok").of_peer();
        let later = Reply::new(451, EnhancedStatus(4, 7, 1), "later").of_peer();
        let no = Reply::plain(550, "no").of_peer();
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
        let lost = Reply::new(451, EnhancedStatus(4, 4, 1), "no connection");
        for (reply, text) in [
            (later, "given up; the last answer was: 451 4.7.1 later"),
            (lost, "given up; at last: 451 4.4.1 no connection"),
        ] {
            let given_up = Reply::new(554, EnhancedStatus(5, 4, 7), text);
            assert_eq!(outcome(peer(), reply, true), Outcome::Failed { peer: peer(), reply: given_up });
        }
    }
}
