//! Properties of the rules and of the comparison with the server, for any object and any policy.

use proptest::prelude::*;
use registrar_core::{
    cluster::{EndpointsSnapshot, PodSnapshot},
    entry::{DnsName, Entry, EntryId, RegisteredEntry},
    policy::{DnsPolicy, IdentitySource, ParentForm, PodSelector, Policy},
    rules::{
        Bundles, Decision, MAX_DNS_NAMES, Ownership, PodLookups, classify, decide_node, decide_pod,
        subject_of_pod,
    },
    spiffe::SpiffeId,
    testing::strategies::{self, IDENTITY_KEY},
};

fn policies() -> impl Strategy<Value = Policy> {
    let identity = prop_oneof![
        Just(IdentitySource::ServiceAccount),
        Just(IdentitySource::Label(IDENTITY_KEY.into())),
        Just(IdentitySource::Annotation(IDENTITY_KEY.into())),
    ];
    let parent = prop_oneof![Just(ParentForm::NodeAlias), Just(ParentForm::Root)];
    let selectors = prop_oneof![
        Just(vec![PodSelector::Namespace, PodSelector::PodName]),
        Just(vec![PodSelector::PodUid]),
        Just(PodSelector::ALL.to_vec()),
    ];
    (identity, parent, selectors, any::<bool>()).prop_map(|(identity, parent, selectors, dns)| {
        let mut policy =
            Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
        policy.pods.identity = identity;
        policy.pods.parent = parent;
        policy.pods.selectors = selectors.into();
        if dns {
            policy.pods.dns = DnsPolicy::AllPodNames {
                zone: "cluster.local".into(),
            };
        }
        policy
    })
}

fn pod_and_slices() -> impl Strategy<Value = (PodSnapshot, Vec<EndpointsSnapshot>)> {
    strategies::pods().prop_flat_map(|pod| {
        let slices = proptest::collection::vec(strategies::slices_of(&pod), 0..4);
        (Just(pod), slices)
    })
}

fn bundles() -> impl Strategy<Value = Bundles> {
    proptest::option::of(proptest::collection::btree_set(
        strategies::trust_domains(),
        0..3,
    ))
    .prop_map(|known| Bundles {
        known,
        ..Bundles::default()
    })
}

fn decide(
    policy: &Policy,
    pod: &PodSnapshot,
    slices: &[EndpointsSnapshot],
    bundles: &Bundles,
) -> Decision {
    let slices: Vec<&EndpointsSnapshot> = slices.iter().collect();
    let lookups = PodLookups {
        node: None,
        slices: &slices,
        bundles,
    };
    decide_pod(policy, pod, lookups)
}

/// What every SPIRE Server takes, checked without the code that made it.
fn server_would_take(policy: &Policy, entry: &Entry, bundles: &Bundles) -> Result<(), String> {
    let ids = [&entry.spiffe_id, &entry.parent_id];
    let parsed = ids.map(|id| SpiffeId::parse(&id.to_string()));
    if parsed.iter().any(Result::is_err) {
        return Err(format!("an ID that does not parse: {parsed:?}"));
    }
    let path = entry.spiffe_id.path();
    let roots = ["/spire", "/k8s-workload-registrar", "/registrar"];
    if roots
        .iter()
        .any(|r| path == *r || path.starts_with(&format!("{r}/")))
    {
        return Err(format!("a reserved path: {path}"));
    }
    if entry.selectors.is_empty() || entry.selectors.iter().any(|s| s.value.is_empty()) {
        return Err(format!("selectors {:?}", entry.selectors));
    }
    let mut names: Vec<&DnsName> = entry.dns_names.iter().collect();
    names.sort();
    names.dedup();
    if names.len() != entry.dns_names.len() || names.len() > MAX_DNS_NAMES {
        return Err(format!("DNS names {:?}", entry.dns_names));
    }
    if entry.federates_with.contains(&policy.trust_domain) {
        return Err("it federates with its own trust domain".into());
    }
    match entry.federates_with.iter().find(|td| !bundles.has(td)) {
        Some(td) => Err(format!("no bundle of {td}")),
        None => Ok(()),
    }
}

proptest! {
    #[test]
    fn every_entry_is_one_that_the_server_takes(
        policy in policies(), (pod, slices) in pod_and_slices(), bundles in bundles(),
    ) {
        if let Decision::Register { entries, .. } = decide(&policy, &pod, &slices, &bundles) {
            prop_assert!(!entries.is_empty());
            for entry in entries {
                if let Err(why) = server_would_take(&policy, &entry, &bundles) {
                    return Err(TestCaseError::fail(why));
                }
            }
        }
    }

    #[test]
    fn an_entry_that_was_stored_is_ours_about_that_pod_and_needs_no_change(
        policy in policies(), (pod, slices) in pod_and_slices(), bundles in bundles(),
    ) {
        if let Decision::Register { entries, .. } = decide(&policy, &pod, &slices, &bundles) {
            for entry in entries {
                let stored = RegisteredEntry::created(EntryId::stored("any"), &entry);
                prop_assert!(entry.changed_fields(&stored).is_empty());
                let subject = subject_of_pod(&policy, &pod);
                prop_assert_eq!(classify(&policy, &stored), Ownership::Ours(subject));
            }
        }
    }

    #[test]
    fn what_differs_is_equal_after_the_update(
        policy in policies(),
        (before, after) in (pod_and_slices(), pod_and_slices()),
        bundles in bundles(),
    ) {
        let first = decide(&policy, &before.0, &before.1, &bundles);
        let second = decide(&policy, &after.0, &after.1, &bundles);
        if let (Decision::Register { entries: old, .. }, Decision::Register { entries: new, .. }) = (first, second) {
            let mut stored = RegisteredEntry::created(EntryId::stored("any"), &old[0]);
            let mask = new[0].changed_fields(&stored);
            stored.update(&new[0], mask);
            prop_assert!(new[0].changed_fields(&stored).is_empty());
        }
    }

    #[test]
    fn the_same_pod_gets_the_same_decision_whatever_its_uid_and_phase(
        policy in policies(), (pod, slices) in pod_and_slices(), bundles in bundles(),
    ) {
        let mut other = pod.clone();
        other.terminating = !pod.terminating;
        other.finished = !pod.finished;
        let (a, b) = (decide(&policy, &pod, &slices, &bundles), decide(&policy, &other, &slices, &bundles));
        prop_assert_eq!(a, b);
    }

    #[test]
    fn the_order_of_slices_does_not_matter(
        policy in policies(), (pod, slices) in pod_and_slices(), bundles in bundles(),
    ) {
        let mut reversed = slices.clone();
        reversed.reverse();
        prop_assert_eq!(decide(&policy, &pod, &slices, &bundles), decide(&policy, &pod, &reversed, &bundles));
    }

    #[test]
    fn an_arriving_bundle_only_adds_federation(
        policy in policies(), (pod, slices) in pod_and_slices(), td in strategies::trust_domains(),
    ) {
        let none = Bundles { known: Some(Default::default()), ..Bundles::default() };
        let one = Bundles { known: Some([td.clone()].into()), ..Bundles::default() };
        let (a, b) = (decide(&policy, &pod, &slices, &none), decide(&policy, &pod, &slices, &one));
        match (a, b) {
            (Decision::Register { entries: without, .. }, Decision::Register { entries: with, .. }) => {
                let mut expected = (*without[0]).clone();
                expected.federates_with = with[0].federates_with.clone();
                prop_assert_eq!(&expected, &*with[0]);
                prop_assert!(with[0].federates_with.iter().all(|t| *t == td));
            }
            (a, b) => prop_assert_eq!(a, b),
        }
    }

    #[test]
    fn a_node_gets_an_entry_under_the_root_that_is_ours(node in strategies::nodes(), bundles in bundles()) {
        let policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
        if let Decision::Register { entries, .. } = decide_node(&policy, &node, &bundles) {
            let stored = RegisteredEntry::created(EntryId::stored("any"), &entries[0]);
            prop_assert!(stored.spiffe_id.is_under(&policy.root));
            prop_assert!(matches!(classify(&policy, &stored), Ownership::Ours(_)));
        }
    }
}
