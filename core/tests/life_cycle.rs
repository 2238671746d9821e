//! The life cycle of an entry, checked by exploring every order of events of a small world, up to a length: a pod is made,
//! changed, deleted and made again; each call is answered, lost, late, or done with its reply lost; the process restarts; a
//! second writer deletes, changes, copies or replaces entries.
//!
//! The step machine cannot be cloned, so that a state is its history, played again. Two histories are one state if they
//! leave the same world, down to what the machine remembers. In every state the faults end, all is answered, and what comes
//! to rest is compared with the rules.

// A test may read its length from the environment and print what it saw; the core may not.
#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

use std::{
    env,
    hash::{DefaultHasher, Hash, Hasher},
};

use registrar_core::{
    entry::{EntryId, RegisteredEntry},
    policy::Policy,
    rules::{Ownership, classify},
    testing::{Action, Defect, Fault, Identity, World, lively},
};
use stateright::{Checker, Model, Property};

fn policy() -> Policy {
    lively(Policy::reconcile("example.org", "demo", "registrar").expect("legal names"))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Of(Action),
    /// A second writer replaces one of our entries by one that is similar to it, under an ID of its own.
    Replaced(u8),
}

#[derive(Debug, Clone)]
struct State {
    /// Whether a pod had its entry already when it began.
    registered: bool,
    history: Vec<Event>,
    faults: u8,
    /// What the world is like, in short.
    world: u64,
    wrong: Vec<String>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        (self.world, self.faults) == (other.world, other.faults)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.world, self.faults).hash(state);
    }
}

struct LifeCycles {
    pods: u8,
    depth: usize,
    faults: u8,
    defect: Option<Defect>,
}

fn pod(name: u8, identity: u8, again: bool) -> Event {
    Event::Of(Action::Pod {
        name,
        node: Some(0),
        identity: Identity::Legal(identity),
        federates: None,
        again,
    })
}

fn is_fault(event: Event) -> bool {
    match event {
        Event::Replaced(_) => true,
        Event::Of(Action::Answer(_, fault)) => fault != Fault::None,
        Event::Of(action) => matches!(
            action,
            Action::Restart | Action::Vandal(_) | Action::Forger(_) | Action::Copyist(_)
        ),
    }
}

fn play(world: &mut World, event: Event) {
    match event {
        Event::Of(action) => world.act(action),
        Event::Replaced(n) => replace(world, n),
    }
}

fn replace(world: &mut World, n: u8) {
    let is_ours = |e: &&RegisteredEntry| matches!(classify(&world.policy, e), Ownership::Ours(_));
    let entry = world
        .server
        .entries()
        .filter(is_ours)
        .nth(usize::from(n))
        .cloned();
    let Some(entry) = entry else {
        return;
    };
    let id = EntryId::stored(&format!("instead-of-{}", entry.id));
    world.server.remove(&entry.id);
    world.server.put(RegisteredEntry { id, ..entry });
}

impl LifeCycles {
    fn state(&self, registered: bool, history: Vec<Event>, faults: u8) -> State {
        let mut world = World::new(policy(), self.defect);
        // It has read what is there.
        for _ in 0..8 {
            world.act(Action::Answer(0, Fault::None));
        }
        if registered {
            let made = [pod(0, 0, false), Event::Of(Action::See(1))];
            let answered = [Event::Of(Action::Answer(0, Fault::None)); 4];
            for event in made.into_iter().chain(answered) {
                play(&mut world, event);
            }
            let mut entries = world.server.entries();
            let there = entries.any(|e| e.spiffe_id.path() == "/team/0");
            assert!(there || self.defect.is_some(), "not registered");
        }
        for event in &history {
            play(&mut world, *event);
        }
        let mut hasher = DefaultHasher::new();
        format!("{world:?}").hash(&mut hasher);
        let settled = world.settle();
        let mut wrong = world.differences();
        wrong.extend(settled.err());
        State {
            registered,
            history,
            faults,
            world: hasher.finish(),
            wrong: wrong.iter().map(ToString::to_string).collect(),
        }
    }
}

impl Model for LifeCycles {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        [false, true]
            .map(|registered| self.state(registered, Vec::new(), self.faults))
            .into()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        if state.history.len() >= self.depth {
            return;
        }
        for n in 0..self.pods {
            actions.extend([pod(n, 0, false), pod(n, 1, false), pod(n, 0, true)]);
            actions.push(Event::Of(Action::DeletePod(n)));
        }
        let of_world = [Action::See(1), Action::Wait(20), Action::Restart];
        actions.extend(of_world.map(Event::Of));
        for which in 0..2 {
            for fault in [
                Fault::None,
                Fault::Refused,
                Fault::RequestLost,
                Fault::ReplyLost,
                Fault::Late,
            ] {
                actions.push(Event::Of(Action::Answer(which, fault)));
            }
            let meddling = [
                Action::Vandal(which),
                Action::Forger(which),
                Action::Copyist(which),
            ];
            actions.extend(meddling.map(Event::Of));
            actions.push(Event::Replaced(which));
        }
        actions.retain(|event| state.faults > 0 || !is_fault(*event));
    }

    fn next_state(&self, before: &State, event: Event) -> Option<State> {
        let mut history = before.history.clone();
        history.push(event);
        let faults = before.faults - u8::from(is_fault(event));
        let after = self.state(before.registered, history, faults);
        // What changes nothing leads nowhere.
        (after.world != before.world).then_some(after)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(RIGHT, |_, state: &State| {
            state.wrong.is_empty()
        })]
    }
}

/// Which includes that nothing foreign was touched on the way.
const RIGHT: &str = "when the faults end, the entries are those of the living pods, one for each";

/// The first state that is wrong, if there is any.
fn explore(model: LifeCycles) -> Option<String> {
    let (pods, depth) = (model.pods, model.depth);
    // One thread: states are met by the shortest way, so that none within the depth is left out.
    let checker = model.checker().threads(1).spawn_bfs().join();
    println!(
        "{pods} pods, {depth} events deep: {} states",
        checker.unique_state_count()
    );
    let wrong = checker.discovery(RIGHT)?;
    let last = wrong.last_state();
    let began = last.registered;
    Some(format!(
        "{:?}\nregistered before: {began}; then {:?}",
        last.wrong, last.history
    ))
}

/// `DEPTH=6 cargo test -p registrar-core --test life_cycle` explores further, for minutes.
fn depth(default: usize) -> usize {
    let asked = env::var("DEPTH").ok().and_then(|n| n.parse().ok());
    asked.unwrap_or(default)
}

#[test]
fn in_every_order_of_events_a_living_pod_has_its_entry_in_the_end_and_a_gone_one_none() {
    for (pods, shallow, faults) in [(1, 4, 2), (2, 3, 1)] {
        let wrong = explore(LifeCycles {
            pods,
            depth: depth(shallow),
            faults,
            defect: None,
        });
        assert_eq!(wrong, None);
    }
}

#[test]
fn the_exploration_finds_a_lost_wake_up_and_a_touched_foreign_entry() {
    for defect in [Defect::LosesWakeUp, Defect::TouchesForeign] {
        let wrong = explore(LifeCycles {
            pods: 1,
            depth: 5,
            faults: 0,
            defect: Some(defect),
        });
        assert!(wrong.is_some(), "{defect:?} is not noticed");
    }
}
