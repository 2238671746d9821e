//! Reviews of SpiffeIDs: what passes without a question, what is refused, and what counts as a duplicate.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use registrar_adapters::admission::{
    AdmissionRequest, LookUps, SpiffeIdValidator, Validator, Verdict,
};
use registrar_core::{
    cluster::Uid,
    entry::{Entry, EntryId, RegisteredEntry},
    policy::Policy,
};
use serde_json::{Value, json};

use crate::spiffe_id_request as request;

fn policy() -> Policy {
    Policy::crd("example.org", "demo", "spire").expect("legal names")
}

/// What a SPIRE Server and an API server say.
#[derive(Default)]
struct Known {
    /// Makes what the server has out of what is asked for.
    similar: Option<fn(&Entry) -> Vec<RegisteredEntry>>,
    /// Why that cannot be told.
    away: Option<&'static str>,
    /// Entries that a living SpiffeID names.
    named: Vec<EntryId>,
    /// Why that cannot be told.
    nobody_tells: Option<&'static str>,
    own_user: Option<&'static str>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl LookUps for Known {
    async fn similar(&self, entry: &Entry) -> Result<Vec<RegisteredEntry>, String> {
        let asked = format!("similar to {}", entry.spiffe_id);
        self.asked.lock().expect("whole").push(asked);
        match self.away {
            Some(why) => Err(why.into()),
            None => Ok(self.similar.map_or_else(Vec::new, |similar| similar(entry))),
        }
    }

    async fn is_named(&self, namespace: &str, entry: &EntryId) -> Result<bool, String> {
        let asked = format!("who names {} in {namespace}", entry.as_str());
        self.asked.lock().expect("whole").push(asked);
        match self.nobody_tells {
            Some(why) => Err(why.into()),
            None => Ok(self.named.contains(entry)),
        }
    }

    fn own_user(&self) -> Option<String> {
        self.own_user.map(str::to_owned)
    }
}

fn object() -> Value {
    json!({
        "metadata": {"namespace": "apps", "name": "blog", "uid": "u"},
        "spec": {
            "parentId": "spiffe://example.org/nodes", "spiffeId": "spiffe://example.org/blog",
            "selector": {"namespace": "apps"},
        },
    })
}

/// The verdict, what was looked up, and what was told.
async fn answered(known: Known, request: AdmissionRequest) -> (Verdict, Vec<String>, Vec<String>) {
    let known = Arc::new(known);
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let validator = SpiffeIdValidator::new(policy(), known.clone(), move |refused| {
        let line = format!(
            "{}/{} by {}: {}",
            refused.namespace, refused.name, refused.user, refused.why
        );
        log.lock().expect("whole").push(line);
    });
    let verdict = validator.validate(request).await;
    let asked = known.asked.lock().expect("whole").clone();
    let told = told.lock().expect("whole").clone();
    (verdict, asked, told)
}

fn why(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Denied { message, reason } => {
            assert_eq!(message, reason, "older clients look there");
            message
        }
        other => panic!("{other:?}"),
    }
}

fn refused(part: &str, (verdict, _, told): &(Verdict, Vec<String>, Vec<String>)) {
    let message = why(verdict);
    assert!(message.contains(part), "{part:?} is not in {message:?}");
    assert_eq!(told, &[format!("apps/blog by someone: {message}")]);
}

fn allowed(answer: &(Verdict, Vec<String>, Vec<String>)) {
    assert_eq!((&answer.0, &answer.2), (&Verdict::allowed(), &vec![]));
}

#[tokio::test]
async fn what_is_no_write_of_a_spiffe_id_passes_without_a_question() {
    type Change = fn(&mut AdmissionRequest);
    let changes: [(&str, Change); 6] = [
        ("another group", |r| r.kind.group = "apps".into()),
        ("another kind", |r| r.kind.kind = "Pod".into()),
        ("a delete", |r| r.operation = "DELETE".into()),
        ("a connect", |r| r.operation = "CONNECT".into()),
        ("the status", |r| r.sub_resource = "status".into()),
        ("our own", |r| r.user = "us".into()),
    ];
    for (what, change) in changes {
        // It is refused if it is looked at.
        let mut request = request("CREATE", Some(json!({"metadata": {}})));
        change(&mut request);
        let known = Known {
            own_user: Some("us"),
            ..Known::default()
        };
        let answer = answered(known, request).await;
        allowed(&answer);
        assert!(answer.1.is_empty(), "{what}: {:?}", answer.1);
    }
}

#[tokio::test]
async fn who_we_are_not_known_to_be_is_nobody() {
    let mut nobody = request("CREATE", None);
    nobody.user = String::new();
    let (verdict, ..) = answered(Known::default(), nobody).await;
    assert_eq!(why(&verdict), "there is no object");
}

#[tokio::test]
async fn a_spiffe_id_within_the_rules_and_without_a_like_passes() {
    let answer = answered(Known::default(), request("CREATE", Some(object()))).await;
    allowed(&answer);
    assert_eq!(answer.1, ["similar to spiffe://example.org/blog"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_the_reason() {
    refused(
        "there is no object",
        &answered(Known::default(), request("CREATE", None)).await,
    );
    let headless = json!({"spec": {}});
    refused(
        "it cannot be read",
        &answered(Known::default(), request("CREATE", Some(headless))).await,
    );
    let mut odd = object();
    odd["spec"]["parentId"] = 5.into();
    for operation in ["CREATE", "UPDATE"] {
        let answer = answered(Known::default(), request(operation, Some(odd.clone()))).await;
        refused("spec cannot be read", &answer);
    }
}

#[tokio::test]
async fn the_namespace_of_the_request_counts_and_not_that_of_the_object() {
    let mut elsewhere = object();
    elsewhere["metadata"]["namespace"] = "spire".into();
    elsewhere["spec"]["selector"] = json!({"cluster": "demo"});
    let answer = answered(Known::default(), request("CREATE", Some(elsewhere))).await;
    refused("spec.Selector.Cluster", &answer);
}

#[tokio::test]
async fn a_bad_name_is_refused_here_and_left_out_by_the_controller() {
    let mut named = object();
    named["spec"]["dnsNames"] = json!(["not a name"]);
    refused(
        "invalid DNS name",
        &answered(Known::default(), request("CREATE", Some(named))).await,
    );
}

#[tokio::test]
async fn an_update_is_held_to_the_rules_only_where_it_asks_for_something_new() {
    let mut illegal = object();
    illegal["spec"]["selector"] = json!({"namespace": "others"});
    let update = |old: Option<&Value>, new: &Value| AdmissionRequest {
        old_object: old.map(ToString::to_string),
        ..request("UPDATE", Some(new.clone()))
    };
    // A finalizer comes off, and a status is written, whatever the spec is.
    let mut without = illegal.clone();
    without["metadata"]["finalizers"] = json!([]);
    allowed(&answered(Known::default(), update(Some(&illegal), &without)).await);
    // It was legal before.
    refused(
        "spec.Selector.Namespace",
        &answered(Known::default(), update(Some(&object()), &illegal)).await,
    );
    refused(
        "spec.Selector.Namespace",
        &answered(Known::default(), update(None, &illegal)).await,
    );
    let unreadable = json!({});
    refused(
        "spec.Selector.Namespace",
        &answered(Known::default(), update(Some(&unreadable), &illegal)).await,
    );
    // No duplicate is looked for where an entry may be its own already.
    let answer = answered(Known::default(), update(Some(&illegal), &object())).await;
    allowed(&answer);
    assert!(answer.1.is_empty(), "{:?}", answer.1);
    // The same text asked for anew is no update.
    let again = AdmissionRequest {
        old_object: Some(illegal.to_string()),
        ..request("CREATE", Some(illegal.clone()))
    };
    refused(
        "spec.Selector.Namespace",
        &answered(Known::default(), again).await,
    );
}

#[tokio::test]
async fn what_is_on_its_way_out_may_be_changed_in_any_way() {
    let mut leaving = object();
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
    leaving["spec"] = json!({"parentId": "x"});
    allowed(&answered(Known::default(), request("UPDATE", Some(leaving))).await);
}

fn stored(id: &str, entry: &Entry) -> RegisteredEntry {
    RegisteredEntry::created(EntryId::stored(id), entry)
}

fn ours() -> EntryId {
    policy().entry_ids.issue_for(&Uid::new("u"), 1, 1)
}

#[tokio::test]
async fn an_entry_of_somebody_else_is_a_duplicate() {
    let known = Known {
        similar: Some(|entry| vec![stored("theirs", entry)]),
        ..Known::default()
    };
    let answer = answered(known, request("CREATE", Some(object()))).await;
    refused("Duplicate detected", &answer);
    assert_eq!(
        answer.1.len(),
        1,
        "whose it is need not be asked: {:?}",
        answer.1
    );
}

#[tokio::test]
async fn an_entry_for_something_else_is_none() {
    let known = Known {
        similar: Some(|entry| {
            let mut other = stored("theirs", entry);
            other.spiffe_id = "spiffe://example.org/other".parse().expect("legal");
            vec![other]
        }),
        ..Known::default()
    };
    allowed(&answered(known, request("CREATE", Some(object()))).await);
}

#[tokio::test]
async fn the_entry_that_the_object_already_names_as_its_own_is_none() {
    let mut backed_up = object();
    backed_up["status"] = json!({"entryId": "theirs"});
    let known = Known {
        similar: Some(|entry| vec![stored("theirs", entry)]),
        ..Known::default()
    };
    allowed(&answered(known, request("CREATE", Some(backed_up))).await);
}

#[tokio::test]
async fn an_entry_of_ours_is_a_duplicate_only_while_a_spiffe_id_names_it() {
    let known = || Known {
        similar: Some(|entry| vec![RegisteredEntry::created(ours(), entry)]),
        ..Known::default()
    };
    let create = || request("CREATE", Some(object()));
    let answer = answered(known(), create()).await;
    allowed(&answer);
    assert_eq!(
        answer.1[1],
        format!("who names {} in apps", ours().as_str())
    );
    let named = Known {
        named: vec![ours()],
        ..known()
    };
    refused("Duplicate detected", &answered(named, create()).await);
    let silent = Known {
        nobody_tells: Some("the API server is away"),
        ..known()
    };
    let unable = answered(silent, create()).await;
    refused(
        "unable to look for duplicates: the API server is away",
        &unable,
    );
}

#[tokio::test]
async fn where_nobody_can_be_asked_it_is_refused_with_the_reason() {
    let known = Known {
        away: Some("the server is away"),
        ..Known::default()
    };
    let answer = answered(known, request("CREATE", Some(object()))).await;
    refused("unable to look for duplicates: the server is away", &answer);
}

#[test]
fn it_shows_itself_without_its_insides() {
    let validator = SpiffeIdValidator::new(policy(), Arc::new(Known::default()), |_| {});
    assert_eq!(format!("{validator:?}"), "SpiffeIdValidator");
}
