//! What a rehearsal says of a cluster with SpiffeIDs: changes of these, of entries, and who is held.

use registrar_core::{
    cluster::{
        AppliedFields, Condition, Controller, Kind, NODE_UID_LABEL, NodeSnapshot, Object,
        SpiffeIdSnapshot, Uid,
    },
    entry::{EntryId, RegisteredEntry},
    policy::{IdentitySource, MaxDeletes},
    ports::ResourceName,
    rules::Subject,
    sync::{DeleteReason, Event, Plan, ResourceChange},
};

use crate::{
    by_hand::{entry_of, spec},
    sleeper::{Sleeper, crd, pod, seconds},
};

fn by_hand(name: &str) -> ResourceName {
    ResourceName::new("apps", name)
}

/// A machine that does not lead is fed with everything.
fn feed(sleeper: &mut Sleeper, pods: usize) {
    let node = NodeSnapshot {
        name: "n1".into(),
        uid: Uid::new("node-uid"),
        annotations: Default::default(),
    };
    sleeper.tell(Vec::new());
    sleeper.list(Kind::Node, [Object::Node(node)]);
    sleeper.list(Kind::Pod, (0..pods).map(|n| Object::Pod(pod(n))));
    sleeper.show_all();
}

fn rehearsed(sleeper: Sleeper) -> Plan {
    let entries = sleeper.server.entries().cloned().collect();
    sleeper.machine.rehearse(entries)
}

fn changes(plan: &Plan) -> Vec<(String, ResourceChange)> {
    let name = |n: &ResourceName| format!("{}/{}", n.namespace, n.name);
    plan.resources.iter().map(|(n, c)| (name(n), *c)).collect()
}

fn held(plan: &Plan) -> Vec<(String, &'static str)> {
    let of = |(object, problem): &(_, registrar_core::rules::Problem)| {
        let object: &registrar_core::cluster::ObjectKey = object;
        (object.name.to_string(), problem.word())
    };
    plan.held.iter().map(of).collect()
}

/// A cluster at rest that another replica has kept right so far.
fn at_rest(pods: usize) -> Sleeper {
    let mut before = Sleeper::started(crd(), pods);
    before.api.put(&by_hand("one"), spec("one"));
    let events = before.api.list();
    before.tell(events);
    before.sleep(seconds(60));
    let mut sleeper = Sleeper::new(crd());
    sleeper.server = std::mem::take(&mut before.server);
    sleeper.api = std::mem::take(&mut before.api);
    sleeper
}

#[test]
fn a_cluster_at_rest_has_an_empty_plan() {
    let mut sleeper = at_rest(2);
    feed(&mut sleeper, 2);
    let plan = rehearsed(sleeper);
    assert_eq!(changes(&plan), []);
    assert_eq!(
        (plan.create.len(), plan.update.len(), plan.delete.len()),
        (0, 0, 0)
    );
    assert_eq!((plan.unchanged, plan.entries.len()), (4, 4));
    assert_eq!(
        (plan.held, plan.conflicts, plan.breaker),
        (vec![], vec![], None)
    );
    assert_eq!((plan.skipped, plan.left_out), (vec![], vec![]));
}

#[test]
fn pods_and_nodes_are_planned_with_what_is_made_for_them() {
    use ResourceChange::{Create, Delete, Update};
    let mut sleeper = Sleeper::new(crd());
    feed(&mut sleeper, 2);
    let plan = rehearsed(sleeper);
    let made = [
        ("apps/pod-0", Create),
        ("apps/pod-1", Create),
        ("spire/n1", Create),
    ];
    assert_eq!(changes(&plan), made.map(|(name, c)| (name.to_owned(), c)));
    let of: Vec<_> = plan
        .create
        .iter()
        .map(|p| (p.object.kind, &*p.object.name))
        .collect();
    assert_eq!(
        of,
        [
            (Kind::Node, "n1"),
            (Kind::Pod, "pod-0"),
            (Kind::Pod, "pod-1")
        ]
    );
    assert_eq!(
        (plan.registered(Kind::Pod), plan.registered(Kind::Node)),
        (2, 1)
    );
    // One pod is gone, and a SpiffeID lost what we applied to it.
    let mut sleeper = at_rest(2);
    let object = sleeper
        .api
        .objects
        .get_mut(&by_hand("pod-0"))
        .expect("there");
    object.labels.insert("podUid".into(), "another".into());
    feed(&mut sleeper, 1);
    let plan = rehearsed(sleeper);
    let changed = [("apps/pod-0", Update), ("apps/pod-1", Delete)];
    assert_eq!(
        changes(&plan),
        changed.map(|(name, c)| (name.to_owned(), c))
    );
    let reasons: Vec<DeleteReason> = plan.delete.iter().map(|(_, r)| r.reason).collect();
    assert_eq!(reasons.len(), 1, "{reasons:?}");
    assert_eq!(plan.unchanged, 3);
}

#[test]
fn an_entry_that_somebody_changed_is_changed_back() {
    let mut sleeper = at_rest(0);
    let find = |e: &&RegisteredEntry| e.spiffe_id.path() == "/one";
    let mut entry = sleeper.server.entries().find(find).expect("there").clone();
    entry.x509_svid_ttl = 77;
    entry.dns_names =
        registrar_core::entry::shared_names([registrar_core::entry::DnsName::stored("x.test")]);
    sleeper.server.put(entry.clone());
    feed(&mut sleeper, 0);
    let plan = rehearsed(sleeper);
    let [(object, update)] = &plan.update[..] else {
        panic!("{:#?}", plan.update);
    };
    assert_eq!((object.kind, &*object.name), (Kind::SpiffeId, "one"));
    assert_eq!(
        (&update.stored, update.fields.to_string()),
        (&entry, "dns_names".to_owned())
    );
    assert_eq!(
        (plan.create.len(), plan.delete.len(), plan.unchanged),
        (0, 0, 1)
    );
}

#[test]
fn who_cannot_have_what_is_asked_for_is_held_or_in_conflict() {
    let mut sleeper = at_rest(0);
    sleeper.api.put(&by_hand("younger"), spec("one"));
    sleeper.api.put(&by_hand("claims"), spec("two"));
    sleeper.api.put(&by_hand("taken"), spec("three"));
    sleeper.api.put(&by_hand("wrong"), spec("no path//"));
    // What others made: just what is asked for, and what a status names although it is something else.
    let same = entry_of(&sleeper, &by_hand("taken"), "of-others");
    let mut other = same.clone();
    other.id = EntryId::stored("named");
    other.parent_id = same.spiffe_id.clone();
    sleeper.server.put(same);
    sleeper.server.put(other);
    let claims = sleeper
        .api
        .objects
        .get_mut(&by_hand("claims"))
        .expect("there");
    claims.status.entry_id = Some("named".into());
    feed(&mut sleeper, 0);
    let plan = rehearsed(sleeper);
    let held = held(&plan);
    assert_eq!(held.len(), 3, "{held:?}");
    assert!(held.contains(&("younger".into(), "Duplicate")), "{held:?}");
    assert!(
        held.contains(&("claims".into(), "EntryNotOurs")),
        "{held:?}"
    );
    assert!(held.iter().any(|(name, _)| name == "wrong"), "{held:?}");
    let conflicts: Vec<_> = plan
        .conflicts
        .iter()
        .map(|c| (&*c.wanted.object.name, c.taken_by.as_str()))
        .collect();
    assert_eq!(conflicts, [("taken", "of-others")]);
}

#[test]
fn a_rehearsal_says_when_the_breaker_would_hold_its_deletes() {
    for (orphans, trips) in [(2, false), (3, false), (4, true)] {
        let mut policy = crd();
        policy.max_deletes = MaxDeletes::Count(3);
        let mut sleeper = Sleeper::new(policy.clone());
        for n in 0..orphans {
            let name = by_hand(&format!("gone-{n}"));
            sleeper.api.put(&name, spec(&format!("gone-{n}")));
            let uid = sleeper.api.objects[&name].uid.clone();
            let id = policy.entry_ids.issue_for(&uid, 3, 1);
            let entry = entry_of(&sleeper, &name, id.as_str());
            sleeper.api.objects.remove(&name);
            sleeper.server.put(entry);
        }
        feed(&mut sleeper, 0);
        let plan = rehearsed(sleeper);
        assert_eq!(plan.delete.len(), orphans);
        assert_eq!(
            plan.breaker,
            trips.then_some((orphans, 3)),
            "{orphans} orphans"
        );
    }
}

#[test]
fn a_pod_is_explained_by_its_spiffe_id_and_the_next_write_to_it() {
    let of_pod = |n: usize| Subject::Pod("apps".into(), format!("pod-{n}").into());
    let mut sleeper = at_rest(1);
    let object = sleeper.api.objects.get_mut(&by_hand("one")).expect("there");
    object.labels.insert("x".into(), "y".into());
    feed(&mut sleeper, 2);
    let right = sleeper
        .machine
        .preview_resource(&of_pod(0))
        .expect("crd mode");
    assert_eq!(
        (right.name, right.next, right.problem),
        (by_hand("pod-0"), None, None)
    );
    assert!(right.there.is_some());
    assert_eq!(
        right.entry.map(|e| (e.right.len(), e.create.len())),
        Some((1, 0))
    );
    let missing = sleeper
        .machine
        .preview_resource(&of_pod(1))
        .expect("crd mode");
    assert_eq!(
        (missing.name, missing.next),
        (by_hand("pod-1"), Some("apply"))
    );
    assert_eq!((missing.there, missing.entry), (None, None));
    let mut elsewhere = Sleeper::started(crate::sleeper::reconcile(), 1);
    assert_eq!(elsewhere.machine.preview_resource(&of_pod(0)), None);
}

#[test]
fn a_change_has_a_word() {
    use ResourceChange::{Create, Delete, Update};
    let words = [Create, Update, Delete].map(ResourceChange::word);
    assert_eq!(words, ["create", "update", "delete"]);
}

/// Whom the entries of the plan are about.
fn objects(plan: &Plan) -> Vec<(Kind, String)> {
    let of = |p: &registrar_core::sync::Planned| (p.object.kind, p.object.name.to_string());
    plan.entries.iter().map(of).collect()
}

#[test]
fn pods_that_get_no_spiffe_id_are_planned_as_skipped_or_held() {
    let mut policy = crd();
    policy.pods.identity = IdentitySource::Annotation("id".into());
    let mut sleeper = Sleeper::new(policy);
    sleeper.api.put(&by_hand("pod-1"), spec("theirs"));
    let mut asking = pod(1);
    asking.annotations.insert("id".into(), "team/a".into());
    feed(&mut sleeper, 1);
    sleeper.tell(vec![Event::Applied(Object::Pod(asking))]);
    let plan = rehearsed(sleeper);
    let skipped: Vec<&str> = plan.skipped.iter().map(|(o, _)| &*o.name).collect();
    assert_eq!(skipped, ["pod-0"]);
    assert_eq!(held(&plan), [("pod-1".to_owned(), "NameTaken")]);
    let of = [
        (Kind::Node, "n1".to_owned()),
        (Kind::SpiffeId, "pod-1".to_owned()),
    ];
    assert_eq!(objects(&plan), of);
}

#[test]
fn a_node_that_is_gone_is_planned_as_a_node_while_pods_are_on_it() {
    let mut sleeper = at_rest(1);
    let name = ResourceName::new("spire", "n1");
    sleeper
        .api
        .objects
        .get_mut(&name)
        .expect("there")
        .controller = None;
    sleeper.tell(Vec::new());
    sleeper.list(Kind::Node, []);
    sleeper.list(Kind::Pod, [Object::Pod(pod(0))]);
    sleeper.show_all();
    let plan = rehearsed(sleeper);
    let nodes = objects(&plan);
    assert!(nodes.contains(&(Kind::Node, "n1".into())), "{nodes:?}");
    assert_eq!((changes(&plan), plan.delete.len()), (vec![], 0));
}

/// What it is about is what its owner reference says, or what we applied; labels and conditions anybody may write.
#[test]
fn a_spiffe_id_of_others_is_planned_as_itself_whatever_they_write_into_it() {
    type Change = fn(&mut SpiffeIdSnapshot);
    let writings: [Change; 4] = [
        |o| {
            let uid = Uid::new("d");
            let (kind, name) = ("Deployment".into(), "d".into());
            o.controller = Some(Controller { kind, name, uid });
        },
        |o| {
            o.labels.insert(NODE_UID_LABEL.into(), "u".into());
        },
        |o| o.applied = Some(AppliedFields::default()),
        |o| {
            let theirs = Condition {
                kind: "Approved".into(),
                status: "False".into(),
                observed_generation: None,
                last_transition: None,
                reason: "Duplicate".into(),
                message: "by somebody".into(),
            };
            o.status.conditions.insert(0, theirs);
        },
    ];
    for (n, write) in writings.into_iter().enumerate() {
        let mut sleeper = at_rest(0);
        write(sleeper.api.objects.get_mut(&by_hand("one")).expect("there"));
        feed(&mut sleeper, 0);
        let plan = rehearsed(sleeper);
        let of = [
            (Kind::Node, "n1".to_owned()),
            (Kind::SpiffeId, "one".to_owned()),
        ];
        assert_eq!((objects(&plan), held(&plan)), (of.to_vec(), vec![]), "{n}");
        assert_eq!((changes(&plan), plan.delete.len()), (vec![], 0), "{n}");
    }
}
