//! The view against a client that keeps a plain list and believes what it is told.

use proptest::{collection::vec, prelude::*};
use waypost_storage::{Account, FlagChange, FlagMode, FlagRights, Selection, Store};

use super::*;
use crate::{
    op::{Enabled, Expunges, view_updates},
    testing,
    wire::Numbers,
};

#[derive(Clone, Debug)]
enum Action {
    Deliver(usize),
    Flags(usize, usize, &'static str),
    Expunge(usize, usize),
    /// The session sees the newest snapshot and says nothing yet, as in the middle of a command.
    Look,
    Hold,
    Report,
}

fn action() -> impl Strategy<Value = Action> {
    let place = 0..700usize;
    let flags = prop_oneof![Just("\\Seen"), Just("work"), Just("\\Deleted home"), Just("")];
    prop_oneof![
        (1..4usize).prop_map(Action::Deliver),
        (place.clone(), 1..9usize, flags).prop_map(|(at, step, flags)| Action::Flags(at, step, flags)),
        (place, 1..9usize).prop_map(|(at, step)| Action::Expunge(at, step)),
        Just(Action::Look),
        Just(Action::Hold),
        Just(Action::Report),
    ]
}

/// What a client knows: UID and flags of each number.
#[derive(Debug, Default)]
struct Client {
    messages: Vec<(u32, String)>,
    recent: u32,
}

impl Client {
    /// Believes untagged responses. A new message is asked for its UID and flags.
    fn hear(&mut self, responses: &[u8], view: &View) {
        for line in std::str::from_utf8(responses).unwrap().lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            let number = words[1].parse::<u32>().unwrap_or(0);
            if words[1] == "VANISHED" {
                self.vanished(words[2]);
                continue;
            }
            match words[2] {
                "EXPUNGE" => {
                    self.messages.remove(number as usize - 1);
                }
                "EXISTS" => {
                    assert!(number as usize > self.messages.len(), "EXISTS is no news");
                    let new = self.messages.len() as u32 + 1..=number;
                    self.messages.extend(new.map(|number| shown(view, number)));
                }
                "RECENT" => self.recent = number,
                "FETCH" => {
                    let (uid, rest) = words[3].strip_prefix("(UID ").unwrap().split_once(' ').unwrap();
                    let message = &mut self.messages[number as usize - 1];
                    assert_eq!(message.0.to_string(), uid);
                    message.1 = rest.strip_prefix("FLAGS ").unwrap().strip_suffix(')').unwrap().to_owned();
                }
                other => assert!(line.starts_with("* FLAGS "), "{other}"),
            }
        }
    }

    /// Each UID is one that it has, and takes its number along.
    fn vanished(&mut self, set: &str) {
        for range in set.split(',') {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            for uid in first.parse::<u32>().unwrap()..=last.parse().unwrap() {
                let at = self.messages.iter().position(|message| message.0 == uid).unwrap();
                self.messages.remove(at);
            }
        }
    }

    /// In the middle of a command numbers mean what the client was told before.
    fn check_told(&self, view: &View) {
        assert_eq!(view.told() as usize, self.messages.len());
        assert_eq!(view.largest_uid(), self.messages.last().map_or(0, |message| message.0));
        assert_eq!(view.numbers_of_uids(1..=u32::MAX), 1..view.told() + 1);
        for (index, message) in self.messages.iter().enumerate() {
            assert_eq!(view.by_number(index as u32 + 1).unwrap().row.uid.value(), message.0);
        }
    }

    fn check(&self, view: &View, expunges: Expunges) {
        assert_eq!(view.exists() as usize, self.messages.len());
        assert_eq!(view.recent(), self.recent);
        for (index, message) in self.messages.iter().enumerate() {
            let number = index as u32 + 1;
            let known = view.by_number(number).unwrap();
            assert_eq!(known.row.uid.value(), message.0);
            assert_eq!(view.by_uid(known.row.uid).unwrap().number, number);
            assert_eq!(known.gone, view.state().row(known.row.uid).is_none());
            if !known.gone {
                assert_eq!(shown(view, number), *message);
            }
            let range = view.numbers_of_uids(message.0..=message.0);
            assert_eq!((range.start, range.end), (number, number + 1));
        }
        assert!(view.by_number(0).is_none() && view.by_number(view.exists() + 1).is_none());
        assert_eq!(view.largest_uid(), self.messages.last().map_or(0, |message| message.0));
        assert_eq!(view.numbers_of_uids(1..=u32::MAX), 1..view.exists() + 1);
        if expunges == Expunges::Report {
            assert_eq!(view.state().rows().count(), self.messages.len());
        }
    }
}

fn shown(view: &View, number: u32) -> (u32, String) {
    let known = view.by_number(number).unwrap();
    let mut out = Vec::new();
    let recent = if view.is_recent(known.row.uid) { "\\Recent" } else { "" };
    crate::wire::encode::flag_list(
        &mut out,
        &view.state().flags(known.row),
        if recent.is_empty() { crate::wire::encode::Recent::No } else { crate::wire::encode::Recent::Yes },
    );
    (known.row.uid.value(), String::from_utf8(out).unwrap())
}

struct World {
    store: Store,
    account: Account,
    selection: Selection,
    recent: Recent,
    view: View,
    client: Client,
    enabled: Enabled,
}

impl World {
    async fn act(&mut self, action: &Action) {
        let state = self.account.state();
        let inbox = state.inbox().unwrap();
        let picked = |at: usize, step: usize| -> Vec<Uid> {
            let rows = self.selection.state().unwrap();
            rows.rows()
                .skip(at % (rows.count as usize + 1))
                .step_by(step)
                .take(5)
                .map(|row| row.uid)
                .collect()
        };
        match action {
            Action::Deliver(count) => {
                testing::deliver(&self.store, self.account.id(), "", &vec!["A: b\r\n\r\nc\r\n"; *count])
                    .await;
            }
            Action::Flags(at, step, flags) => {
                let change = FlagChange {
                    mode: FlagMode::Replace,
                    flags: testing::flags(flags),
                    unchanged_since: None,
                };
                self.account.change_flags(inbox.id, picked(*at, *step), change).await.unwrap();
            }
            Action::Expunge(at, step) => {
                self.account.expunge(inbox.id, picked(*at, *step)).await.unwrap();
            }
            Action::Look => {
                self.look();
                self.client.check_told(&self.view);
            }
            Action::Hold => self.sync(Expunges::Hold),
            Action::Report => self.sync(Expunges::Report),
        }
    }

    fn look(&mut self) {
        let state = self.selection.state().unwrap();
        let claimed = self.recent.claim(self.account.id(), &state);
        self.view.advance(state, claimed);
    }

    fn sync(&mut self, expunges: Expunges) {
        self.look();
        let responses = self.said(expunges);
        self.client.hear(&responses, &self.view);
        self.client.check(&self.view, expunges);
        assert!(self.said(Expunges::Hold).is_empty(), "all was said");
        let highest = self.view.state().highest_modseq.value();
        assert_eq!(self.view.known_modseq() < highest, self.view.has_gone());
    }

    fn said(&mut self, expunges: Expunges) -> Vec<u8> {
        view_updates(&mut self.view, FlagRights::ALL, expunges, Numbers::Uid, self.enabled)
    }
}

async fn world(messages: usize) -> (tempfile::TempDir, World) {
    let (directory, store, account) = testing::store().await;
    if messages > 0 {
        testing::deliver(&store, account, "", &vec!["A: b\r\n\r\nc\r\n"; messages]).await;
    }
    let account = store.account(account).await.unwrap();
    let inbox = account.state().inbox().unwrap().id;
    let selection = account.select(inbox).await.unwrap();
    let (recent, state) = (Recent::default(), selection.state().unwrap());
    let view = View::new(state.clone(), recent.claim(account.id(), &state));
    let client = Client {
        messages: (1..=view.exists()).map(|number| shown(&view, number)).collect(),
        recent: view.recent(),
    };
    (directory, World { store, account, selection, recent, view, client, enabled: Enabled::default() })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_believes_us_knows_the_mailbox(
        messages in prop_oneof![0..5usize, 250..260usize, 500..600usize],
        actions in vec(action(), 1..25),
        qresync in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_directory, mut world) = world(messages).await;
            world.enabled.qresync = qresync;
            for action in &actions {
                world.act(action).await;
            }
            world.sync(Expunges::Hold);
            world.sync(Expunges::Report);
            world.store.close().await;
        });
    }
}

#[test]
fn a_message_that_came_and_went_in_one_command_is_never_mentioned() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, mut world) = world(3).await;
        world.act(&Action::Deliver(2)).await;
        world.look();
        // The second message, which has a number, and the fifth, which has none yet.
        world.act(&Action::Expunge(1, 3)).await;
        world.look();
        assert_eq!(world.view.exists(), 4);
        assert_eq!((world.view.told(), world.view.largest_uid()), (3, 3));
        let said = String::from_utf8(world.said(Expunges::Report)).unwrap();
        assert_eq!(said, "* 2 EXPUNGE\r\n* 3 EXISTS\r\n");
        world.store.close().await;
    });
}

#[test]
fn each_message_is_recent_in_one_session() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (_directory, world) = world(3).await;
        let state = world.selection.state().unwrap();
        let account = world.account.id();
        assert_eq!(world.view.recent(), 3);
        assert!(world.recent.claim(account, &state).is_empty());
        testing::deliver(&world.store, account, "", &["A: b\r\n\r\n"]).await;
        let state = world.selection.state().unwrap();
        assert_eq!(world.recent.unclaimed(account, &state), 4..5);
        let second = View::new(state.clone(), world.recent.claim(account, &state));
        assert_eq!((second.recent(), second.exists()), (1, 4));
        assert!(world.recent.claim(account, &state).is_empty());
        world.store.close().await;
    });
}

#[test]
fn what_was_seen_is_forgotten_beyond_a_bound() {
    let recent = Recent::default();
    let mailbox = |id: usize| {
        let state = MailboxState::new(MailboxId(id as u64 + 1), String::new(), UidValidity::FIRST);
        MailboxState { uid_next: Uid::new(9).unwrap(), ..state }
    };
    let account = AccountId(1);
    for id in 0..RECENT_MAILBOXES_MAX {
        recent.claim(account, &mailbox(id));
    }
    // The first is in use still.
    assert!(recent.claim(account, &mailbox(0)).is_empty());
    assert_eq!(recent.claim(account, &mailbox(RECENT_MAILBOXES_MAX)), 1..9);
    assert!(recent.0.lock().unwrap().first_unseen.len() <= RECENT_MAILBOXES_MAX / 2 + 2);
    assert!(recent.claim(account, &mailbox(0)).is_empty());
    assert_eq!(recent.claim(account, &mailbox(1)), 1..9);
}
