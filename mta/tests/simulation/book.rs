//! What is owed: where each message leads, and how it may end there.

use crate::{
    peer::{Handed, Submission},
    world::{DOMAINS, NODES},
};

/// All that was handed in.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) entries: Vec<Entry>,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) token: u64,
    pub(crate) submission: Submission,
    pub(crate) handed: Handed,
}

/// How mail ends at a leaf.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Duty {
    /// It is there.
    Arrives,
    /// Its sender is told that it is not.
    Fails,
    /// One of both.
    Either,
}

/// One place to which a recipient leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Leaf {
    /// The recipient, the addresses in between, and the last one.
    pub(crate) path: Vec<String>,
    pub(crate) duty: Duty,
}

impl Leaf {
    /// The last address.
    pub(crate) fn address(&self) -> &str {
        self.path.last().unwrap()
    }

    /// What its sender is told, where only one thing can be the reason (RFC 3463 section 3).
    pub(crate) fn status(&self) -> Option<&'static str> {
        let (local, domain) = self.address().split_once('@').unwrap();
        match domain {
            "null.test" => Some("5.1.10"),
            "nx.test" => Some("5.1.2"),
            "servfail.test" | "dead.test" | "hole.test" => Some("5.4.7"),
            "good.test" if local.starts_with("later-") => Some("5.4.7"),
            "good.test" if local.starts_with("no-") => Some("5.1.1"),
            _ if local == "loop" => Some("5.4.6"),
            _ => None,
        }
    }

    /// All places to which a recipient leads.
    pub(crate) fn all(recipient: &str) -> Vec<Self> {
        let mut leaves = Vec::new();
        follow(vec![recipient.to_owned()], &mut leaves);
        leaves
    }
}

fn follow(path: Vec<String>, leaves: &mut Vec<Leaf>) {
    let last = path.last().unwrap();
    let (local, domain) = last.split_once('@').unwrap();
    let Some(node) = DOMAINS.iter().position(|name| *name == domain) else {
        let duty = abroad(local, domain);
        return leaves.push(Leaf { path, duty });
    };
    let (next, after) = (DOMAINS[(node + 1) % NODES], DOMAINS[(node + 2) % NODES]);
    let targets = match local {
        "fwd" => vec![format!("a@{next}")],
        "team" => vec![format!("a@{domain}"), format!("b@{next}"), "ok-team@good.test".to_owned()],
        "chain" => vec![format!("fwd@{next}")],
        "gone" => vec![format!("nobody@{after}")],
        "loop" if path.len() < NODES => vec![format!("loop@{next}")],
        _ => {
            let duty = if matches!(local, "a" | "b") { Duty::Arrives } else { Duty::Fails };
            return leaves.push(Leaf { path, duty });
        }
    };
    for target in targets {
        let mut longer = path.clone();
        longer.push(target);
        follow(longer, leaves);
    }
}

fn abroad(local: &str, domain: &str) -> Duty {
    match domain {
        "good.test" | "two.test" | "plain.test" if local.starts_with("ok-") => Duty::Arrives,
        "vague.test" => Duty::Arrives,
        "moody.test" => Duty::Either,
        _ => Duty::Fails,
    }
}

#[test]
fn recipients_lead_to_leaves() {
    let shown = |recipient: &str| {
        let leaves = Leaf::all(recipient);
        leaves.iter().map(|leaf| format!("{} {:?}", leaf.path.join(">"), leaf.duty)).collect::<Vec<_>>()
    };
    assert_eq!(shown("a@n0.test"), ["a@n0.test Arrives"]);
    assert_eq!(shown("chain@n1.test"), ["chain@n1.test>fwd@n2.test>a@n0.test Arrives"]);
    assert_eq!(shown("loop@n2.test"), ["loop@n2.test>loop@n0.test>loop@n1.test Fails"]);
    assert_eq!(shown("gone@n0.test"), ["gone@n0.test>nobody@n2.test Fails"]);
    assert_eq!(shown("team@n0.test").len(), 3);
    assert_eq!(shown("x@null.test"), ["x@null.test Fails"]);
}
