//! Every state that two devices can reach in so many steps, over a network that loses, repeats and reorders, with restarts
//! and pauses: deep with one kind of trouble, less deep with all. The devices are the engine itself: a state is the way to it, and is rebuilt by going that way again.
//!
//!     STATES_DEPTH=2 cargo test --release -p kerntun-models --test states

#![allow(unreachable_pub, reason = "a test has no callers")]

mod world;

use stateright::{Checker, Model, Property};
use std::hash::{Hash, Hasher};
use world::{Action, Budget, World};

/// Where the devices are: how they came there, and what that came to.
#[derive(Clone, Debug)]
struct State {
    way: Vec<Action>,
    next: Vec<Action>,
    identity: u64,
    broken: Option<&'static str>,
    recovers: bool,
    achieved: [usize; 2],
}

/// By what determines the future, not by the way.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.identity.hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.identity == other.identity
    }
}

struct Devices(Budget);

impl Devices {
    fn state(&self, way: Vec<Action>) -> State {
        let mut world = World::new(self.0);
        for action in &way {
            world.act(*action);
        }
        let (identity, broken, achieved) = (world.identity(), world.broken, world.achieved);
        let next = if broken.is_none() { world.actions() } else { Vec::new() };
        State { way, next, identity, broken, recovers: broken.is_some() || world.recovers(), achieved }
    }
}

/// One property per sentence of the paper, all named in `world.rs`.
macro_rules! holds {
    ($sentence:literal) => {
        Property::always($sentence, |_: &Devices, state: &State| state.broken != Some($sentence))
    };
}

impl Model for Devices {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![self.state(Vec::new())]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(&state.next);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        Some(self.state(state.way.iter().copied().chain([action]).collect()))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            holds!("5.1: an initiation is answered once"),
            holds!("5.4.5: a responder sends no data before the initiator has"),
            holds!("5.4.6: only what was sent is delivered"),
            holds!("5.4.6: a packet is delivered once"),
            holds!("5.4.6: a counter is used once under a key"),
            holds!("5.4.6: data is sent under a session only"),
            holds!("6.1: initiations are Rekey-Timeout apart"),
            holds!("6.1: no data is sent under keys of Reject-After-Time"),
            holds!("6.3: everything is forgotten after Reject-After-Time × 3"),
            holds!("6.5: received data is answered within ten seconds"),
            Property::always("6.4: whatever happened, packets come through again", |_: &Self, state: &State| {
                state.recovers
            }),
            Property::sometimes("a packet comes through", |_: &Self, state: &State| state.achieved[0] > 0),
        ]
    }
}

/// Explores all that `budget` allows, so many steps deep, or as many as `STATES_DEPTH` adds to them.
fn explore(budget: Budget, depth: usize) {
    let more = std::env::var("STATES_DEPTH").map_or(0, |more| more.parse().expect("a number of steps"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // The first state is at depth one, and those at the greatest depth are not looked at.
    let checker = Devices(budget).checker().target_max_depth(depth + more + 2).threads(threads).spawn_bfs().join();
    println!("{} states in {} steps, {} different", checker.state_count(), depth + more, checker.unique_state_count());
    checker.assert_properties();
}

const NOTHING: Budget = Budget { sends: [1, 1], duplicates: 0, losses: 0, waits: 0, pauses: 0, restarts: 0 };

#[test]
fn loss_and_reordering() {
    explore(Budget { losses: 1, waits: 1, ..NOTHING }, 9);
}

#[test]
fn repetition() {
    explore(Budget { duplicates: 2, waits: 1, ..NOTHING }, 7);
}

#[test]
fn restarts() {
    explore(Budget { restarts: 1, waits: 1, ..NOTHING }, 7);
}

#[test]
fn pauses() {
    explore(Budget { duplicates: 1, pauses: 1, ..NOTHING }, 6);
}

#[test]
fn everything_at_once() {
    explore(Budget { sends: [2, 1], duplicates: 1, losses: 1, waits: 2, pauses: 1, restarts: 1 }, 4);
}
