//! What a review of a pod leads to, by table: an answer at once, or something for the machine to do first.

use registrar_core::{
    admission::{Next, Operation, PodReview, Response, review_pod},
    cluster::{PodSnapshot, Uid},
    policy::{IdentitySource, Policy},
    rules::SkipReason,
    sync::Review,
};

fn policy(watched: bool) -> Policy {
    let mut policy = Policy::webhook("example.org", "demo").expect("legal names");
    policy.pods.watched = watched;
    policy
}

fn pod() -> PodSnapshot {
    PodSnapshot {
        namespace: "apps".into(),
        name: "db".into(),
        uid: Uid::new("u"),
        node_name: Some("n1".into()),
        service_account: Some("blog".into()),
        hostname: None,
        labels: Default::default(),
        annotations: Default::default(),
        pod_ips: Box::new([]),
        mirror: false,
        terminating: false,
        finished: false,
    }
}

fn review(operation: Operation) -> PodReview {
    PodReview {
        operation,
        dry_run: false,
        namespace: "apps".into(),
        is_pod: true,
    }
}

fn delete(pod: PodSnapshot, grace: i64) -> PodReview {
    review(Operation::Delete {
        pod: Ok(pod),
        grace,
    })
}

fn dry(review: PodReview) -> PodReview {
    PodReview {
        dry_run: true,
        ..review
    }
}

#[test]
fn a_new_pod_needs_its_entry_first_and_a_dry_run_writes_nothing() {
    for watched in [true, false] {
        let create = || review(Operation::Create(Ok(pod())));
        let next = review_pod(&policy(watched), create());
        assert_eq!(next, Next::Do(Review::Created(pod())));
        let next = review_pod(&policy(watched), dry(create()));
        assert_eq!(next, Next::Respond(Response::DryRun));
    }
}

#[test]
fn a_pod_that_gets_no_entry_is_admitted_with_the_reason() {
    let mut labelled = policy(true);
    labelled.pods.identity = IdentitySource::Label("id".into());
    let create = |pod| review(Operation::Create(Ok(pod)));
    let next = review_pod(&labelled, create(pod()));
    assert_eq!(next, Next::Respond(Response::Skipped(SkipReason::NoLabel)));
    let mut illegal = pod();
    illegal.labels.insert("id".into(), "a//b".into());
    let next = review_pod(&labelled, create(illegal));
    let Next::Respond(Response::Held(problem)) = next else {
        panic!("{next:?}");
    };
    assert_eq!(problem.word(), "IllegalPath");
    let elsewhere = PodReview {
        namespace: "kube-system".into(),
        is_pod: false,
        ..create(pod())
    };
    let next = review_pod(&labelled, elsewhere);
    assert_eq!(
        next,
        Next::Respond(Response::Skipped(SkipReason::NamespaceDisabled))
    );
}

#[test]
fn where_pods_are_watched_a_delete_is_for_the_watch() {
    for grace in [0, 30] {
        let next = review_pod(&policy(true), delete(pod(), grace));
        assert_eq!(next, Next::Respond(Response::Nothing));
    }
    let unreadable = Operation::Delete {
        pod: Err("no name".into()),
        grace: 0,
    };
    let next = review_pod(&policy(true), review(unreadable));
    assert_eq!(next, Next::Respond(Response::Nothing));
}

#[test]
fn where_pods_are_not_watched_only_a_delete_for_good_removes_the_entries() {
    let unbound = PodSnapshot {
        node_name: None,
        ..pod()
    };
    let finished = PodSnapshot {
        finished: true,
        ..pod()
    };
    for (pod, grace, for_good) in [
        (pod(), 30, false),
        (pod(), 1, false),
        (pod(), 0, true),
        (pod(), -1, true),
        (unbound, 30, true),
        (finished, 30, true),
    ] {
        let policy = policy(false);
        let (done, dry_run) = match for_good {
            true => (Next::Do(Review::Deleted(pod.clone())), Response::DryRun),
            false => (Next::Respond(Response::Nothing), Response::Nothing),
        };
        assert_eq!(
            review_pod(&policy, delete(pod.clone(), grace)),
            done,
            "{grace}"
        );
        let next = review_pod(&policy, dry(delete(pod, grace)));
        assert_eq!(next, Next::Respond(dry_run), "{grace}");
    }
}

#[test]
fn what_cannot_be_read_fails_the_review_with_the_reason() {
    let delete = Operation::Delete {
        pod: Err("no name".into()),
        grace: 0,
    };
    for operation in [Operation::Create(Err("no name".into())), delete] {
        let expected = Response::Failed("unable to unmarshal v1/Pod object: no name".into());
        let next = review_pod(&policy(false), review(operation));
        assert_eq!(next, Next::Respond(expected));
    }
}

#[test]
fn what_we_should_not_have_been_asked_is_admitted_and_said() {
    let not_a_pod = PodReview {
        is_pod: false,
        ..review(Operation::Create(Ok(pod())))
    };
    for (review, word) in [
        (not_a_pod, "object"),
        (review(Operation::Other), "pod operation"),
    ] {
        let next = review_pod(&policy(false), review);
        let Next::Respond(Response::Unhandled(why)) = next else {
            panic!("{next:?}");
        };
        assert!(why.contains(word), "{why}");
    }
}
