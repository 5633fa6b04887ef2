//! A node is killed, or loses its power, before each of its steps while it takes messages and relays them: each octet run that it reads
//! or sends, each change of its disk. Never a loss; one duplicate of each message at most, and only where its window was open.

use std::{sync::Arc, time::Duration};

use crate::{
    network::Death,
    peer::Submission,
    simulate,
    world::{Control, Doom, NODES, Outcome, Way, World, text},
};

const HOUR: Duration = Duration::from_secs(3600);
/// One death is waited for so long where nothing happens any more.
const IDLE: Duration = Duration::from_secs(6 * 3600);

/// One run with so many messages, in which `victim` dies before a step: what came of it, and whether there was such a step.
async fn die_before(victim: usize, step: u64, death: Death, messages: u64) -> (Outcome, bool) {
    let mut world = World::new(1, true, Control::None);
    // several messages go over one connection
    Arc::make_mut(&mut world.nodes[0].config).queue.connections_per_destination = 1;
    let absence = Duration::from_secs(10);
    let doom = Doom { at: Duration::ZERO, way: Way::BeforeStep(step), death, absence, again: None };
    for place in 0..NODES {
        world.operate(place, if place == victim { vec![doom.clone()] } else { Vec::new() });
    }
    let from = "a@n0.test".to_owned();
    let to = ["a@n1.test", "b@n1.test", "no-1@good.test"].map(str::to_owned).to_vec();
    for token in 1..=messages {
        let text = text(token, &from, 300, &world.chance);
        let submission = Submission { from: from.clone(), to: to.clone(), text };
        world.hand_in(Duration::from_secs(1), token, submission, 0);
    }
    let outcome = world.run(messages as usize, IDLE + HOUR).await;
    let died = *world.deaths.lock().unwrap().first().unwrap();
    (outcome, died < world.begun + IDLE)
}

/// Dies before every step in turn; steps, windows and duplicates.
fn die_everywhere(victim: usize, death: Death, messages: u64) -> (u64, u64, u64) {
    let (mut step, mut windows, mut duplicates) = (1, 0, 0);
    loop {
        let (outcome, was_there) = simulate(die_before(victim, step, death, messages));
        let what = format!("node {victim}, {death:?} before step {step}");
        assert!(outcome.problems.is_empty(), "{what}: {:#?}", outcome.problems);
        assert!(outcome.windows <= messages, "{what}: {} windows", outcome.windows);
        if !was_there {
            return (step - 1, windows, duplicates);
        }
        windows += outcome.windows;
        duplicates += u64::from(outcome.duplicates > 0);
        step += 1;
    }
}

#[test]
fn a_node_that_dies_before_any_step_loses_nothing() {
    for (victim, who) in [(0, "the relay"), (1, "the next server")] {
        for death in [Death::Resets, Death::Silent] {
            let (steps, windows, duplicates) = die_everywhere(victim, death, 1);
            eprintln!("{who}, {death:?}: {steps} steps, {windows} windows, {duplicates} duplicates");
            assert!(steps > 10, "{who}, {death:?}: only {steps} steps");
            // Between the reply of the next server and the record of it there are steps: so it must happen, too.
            assert!(duplicates > 0 && duplicates <= windows, "{who}, {death:?}");
        }
    }
}

#[test]
fn a_node_that_dies_while_outcomes_wait_loses_nothing() {
    for death in [Death::Resets, Death::Silent] {
        let (steps, windows, duplicates) = die_everywhere(0, death, 4);
        eprintln!(
            "4 messages, {death:?}: {steps} steps, {windows} windows, {duplicates} deaths with duplicates"
        );
        assert!(steps > 100, "{death:?}: only {steps} steps");
        assert!(duplicates > 0 && duplicates <= windows, "{death:?}");
    }
}
