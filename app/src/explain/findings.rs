//! What is well, what is not, and what mends it.

use registrar_core::{
    policy::{IdentitySource, Policy},
    rules::{Note, Problem, SkipReason, WhyDropped, quoted},
    sync::Verdict,
};

use super::seen::{Agent, Seen};

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The pod has no identity, or not the right one.
    Fault,
    /// Something is less than it could be, or good to know.
    Notice,
    /// As it should be.
    Well,
}

/// One thing that was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub weight: Weight,
    /// What was found.
    pub text: String,
    /// What to do; nothing where nothing needs to be done.
    pub remedy: Option<String>,
}

fn fault(text: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Fault,
        text: text.into(),
        remedy: Some(remedy.into()),
    }
}

fn notice(text: impl Into<String>, remedy: Option<String>) -> Finding {
    Finding {
        weight: Weight::Notice,
        text: text.into(),
        remedy,
    }
}

fn well(text: impl Into<String>) -> Finding {
    Finding {
        weight: Weight::Well,
        text: text.into(),
        remedy: None,
    }
}

/// Everything that was found, what matters most first.
pub fn findings(seen: &Seen, now: i64) -> Vec<Finding> {
    let mut found = Vec::new();
    match &seen.own.verdict {
        Verdict::Registered(_, notes) => {
            resource(seen, &mut found);
            if found.is_empty() {
                entry(seen, &mut found);
            }
            if !found.iter().any(|f| f.weight == Weight::Fault) {
                node(seen, &mut found);
                agent(seen, now, &mut found);
            }
            found.extend(notes.iter().map(left_out));
        }
        Verdict::Skipped(reason) => found.push(skipped(seen, *reason)),
        Verdict::Held(problem) => found.push(held(seen, problem)),
        Verdict::Absent(_) | Verdict::Unknown => found.push(notice(
            "the rules of this mode say nothing of the pod itself",
            Some("see `plan -live`".into()),
        )),
    }
    if let Some(pod) = &seen.pod {
        if pod.terminating {
            found.push(notice(
                "the pod is being deleted; it keeps its identity until its object is gone",
                None,
            ));
        }
        if pod.mirror {
            found.push(notice(
                "the pod is the API's image of a static pod: its UID here is not the kubelet's, so it is selected \
                 by namespace and name",
                None,
            ));
        }
    }
    if !found.iter().any(|f| f.weight == Weight::Fault)
        && matches!(seen.own.verdict, Verdict::Registered(..))
    {
        found.push(well(
            "fine: processes of the pod get this identity from the agent on the pod's node",
        ));
    }
    found.sort_by_key(|f| f.weight);
    found
}

/// What to look at when the registrar has not done what it should.
const IS_IT_RUNNING: &str = "see that the registrar runs and leads: its /readyz says what is missing, its log names every \
                             write; `pause` in its control ConfigMap stops all writing, dry_run as well";

fn entry(seen: &Seen, found: &mut Vec<Finding>) {
    if let Some(id) = &seen.taken_by {
        found.push(fault(
            format!(
                "the server refuses the pod's entry: entry {id} has the same SPIFFE ID, parent and selectors and is \
                 not ours"
            ),
            format!(
                "delete it (spire-server entry delete -entryID {id}), or leave this pod to whoever made it"
            ),
        ));
        return;
    }
    if !seen.own.create.is_empty() {
        match seen.refusals.last() {
            Some(note) => found.push(fault(
                format!("the entry is not on the server, and the registrar reported: {}", quoted(note)),
                "mend what the server objects to; the registrar tries again by itself, at the latest after 5 minutes",
            )),
            None => found.push(fault("the entry is not on the server", IS_IT_RUNNING)),
        }
    }
    for update in &seen.own.update {
        found.push(fault(
            format!("entry {} differs in {}", update.stored.id, update.fields),
            format!("it is repaired in place; if it stays like this, {IS_IT_RUNNING}"),
        ));
    }
    for removal in &seen.own.delete {
        found.push(notice(
            format!(
                "entry {} is one too many: {}",
                removal.stored.id, removal.reason
            ),
            Some(format!(
                "the registrar removes it once the right one is there; if it stays, {IS_IT_RUNNING}"
            )),
        ));
    }
}

/// The SpiffeID through which the pod gets its entry.
fn resource(seen: &Seen, found: &mut Vec<Finding>) {
    let Some(resource) = &seen.resource else {
        return;
    };
    let name = format!("{}/{}", resource.name.namespace, resource.name.name);
    let Some(there) = &resource.there else {
        let terminating = seen.pod.as_ref().is_some_and(|p| p.terminating);
        if terminating {
            found.push(notice(
                format!("SpiffeID {name} is gone, and a pod that is being deleted gets no new one"),
                None,
            ));
        } else {
            found.push(fault(
                format!("SpiffeID {name} does not exist, and the pod gets its entry through it"),
                IS_IT_RUNNING,
            ));
        }
        return;
    };
    if there.deleting {
        found.push(fault(
            format!("SpiffeID {name} is being deleted; it is made again when it is gone"),
            format!("if it stays like this, {IS_IT_RUNNING}"),
        ));
        return;
    }
    if let Some(Verdict::Held(problem)) = resource.entry.as_ref().map(|e| &e.verdict) {
        found.push(fault(
            format!("SpiffeID {name} asks for what it may not have: {problem}"),
            "undo what was written into its spec; the registrar's own fields it restores by itself",
        ));
        return;
    }
    if resource.next.is_some() {
        found.push(fault(
            format!("SpiffeID {name} is not what the pod should have"),
            format!("the registrar writes it; if it stays like this, {IS_IT_RUNNING}"),
        ));
        return;
    }
    let told = there.status.conditions.iter();
    let told = told.filter(|c| &*c.kind == "Registered" && &*c.status == "False");
    for condition in told {
        let remedy = match &*condition.reason {
            "Duplicate" => "delete the other SpiffeID, or let it ask for something else",
            "EntryNotOurs" => {
                "take the ID out of status.entryId, or delete that entry: spire-server entry delete -entryID ID"
            }
            _ => {
                "mend what the server objects to; the registrar tries again by itself, at the latest after 5 minutes"
            }
        };
        found.push(fault(
            format!(
                "SpiffeID {name} says: {}: {}",
                quoted(&condition.reason),
                condition.message
            ),
            remedy,
        ));
    }
}

fn node(seen: &Seen, found: &mut Vec<Finding>) {
    let Some(node) = &seen.node else { return };
    if let Verdict::Held(problem) = &node.verdict {
        found.push(fault(
            format!("the node is held: {problem}"),
            "mend it, or delete and make the Node again",
        ));
    } else if !seen.node_exists {
        found.push(fault(
            "the pod names a node that does not exist, so no agent can serve it",
            "see `kubectl get nodes`; the entry of a node is made when its object is there",
        ));
    } else if node.right.is_empty() && node.update.is_empty() {
        found.push(fault(
            "the node has no entry, and the pod's hangs under it: no agent serves it",
            IS_IT_RUNNING,
        ));
    } else if let Some(update) = node.update.first() {
        found.push(fault(
            format!(
                "the node's entry {} differs in {}",
                update.stored.id, update.fields
            ),
            format!("it is repaired in place; if it stays like this, {IS_IT_RUNNING}"),
        ));
    }
}

fn agent(seen: &Seen, now: i64, found: &mut Vec<Finding>) {
    let Some((id, agent)) = &seen.agent else {
        return;
    };
    match agent {
        Agent::Attested(agent) if agent.banned => found.push(fault(
            format!("the agent {id} is banned"),
            format!("if that is over: spire-server agent evict -spiffeID {id}, then the agent attests again"),
        )),
        Agent::Attested(agent) if agent.expires_at < now => found.push(fault(
            format!("the SVID of agent {id} has expired: the agent does not reach the server"),
            "see the log of spire-agent on that node",
        )),
        Agent::Attested(_) => {}
        Agent::None => found.push(fault(
            format!("no agent was attested as {id}"),
            "see that spire-agent runs on that node and attests by k8s_psat with this cluster name; with \
             use_pod_uid_for_agent_id agents have other IDs: see `spire-server agent list`",
        )),
        Agent::Unknown(why) => found.push(notice(
            format!("whether an agent is attested on the node cannot be told: {why}"),
            None,
        )),
    }
}

fn left_out(note: &Note) -> Finding {
    let remedy = match note {
        Note::TrustDomain(dropped) => match &dropped.why {
            WhyDropped::NoBundle(td) => Some(format!(
                "spire-server bundle set -id spiffe://{td} -path FILE"
            )),
            WhyDropped::NotAllowed => Some("add it to federation_allow, or drop it".into()),
            WhyDropped::Illegal(_) | WhyDropped::Own | WhyDropped::TooMany => {
                Some("correct the annotation spiffe.io/federatesWith".into())
            }
        },
        Note::Name(_) => None,
    };
    notice(note.to_string(), remedy)
}

fn skipped(seen: &Seen, reason: SkipReason) -> Finding {
    let namespace = seen.name.split('/').next().unwrap_or_default();
    let name = seen.name.rsplit('/').next().unwrap_or_default();
    let remedy = match (reason, &seen.policy.pods.identity) {
        (SkipReason::NamespaceDisabled, _) => format!(
            "take {namespace:?} out of disabled_namespaces, if its pods are to have identities"
        ),
        (SkipReason::NoLabel, IdentitySource::Label(key)) => format!(
            "kubectl label pod -n {namespace} {name} {key}=VALUE, and the same in the template that makes it"
        ),
        (SkipReason::NoAnnotation, IdentitySource::Annotation(key)) => format!(
            "kubectl annotate pod -n {namespace} {name} {key}=VALUE, and the same in the template that makes it"
        ),
        (SkipReason::NotLabelled, IdentitySource::Template { label: Some(label), .. }) => format!(
            "kubectl label pod -n {namespace} {name} {label}=true, and the same in the template that makes it"
        ),
        (SkipReason::NotScheduled, _) => format!(
            "it gets its entry when it is bound; kubectl describe pod -n {namespace} {name} tells why it is not"
        ),
        (SkipReason::Finished, _) => {
            "nothing: its containers have ended; terminal_pods = \"keep\" would keep the entry".into()
        }
        (SkipReason::MirrorWithoutServiceAccount, _) => {
            "a static pod has no service account: name its identity by a label or annotation (pod_label, \
             pod_annotation), or make it with a DaemonSet"
                .into()
        }
        (
            SkipReason::NoLabel
            | SkipReason::NoAnnotation
            | SkipReason::NotLabelled
            | SkipReason::NodesHaveNone,
            _,
        ) => "see the configuration".into(),
    };
    let weight = match reason {
        SkipReason::Finished => Weight::Notice,
        _ => Weight::Fault,
    };
    Finding {
        weight,
        text: format!("the pod gets no entry: {reason}"),
        remedy: Some(remedy),
    }
}

fn held(seen: &Seen, problem: &Problem) -> Finding {
    let remedy = match problem {
        Problem::IllegalPath { .. } => {
            "write a path of letters, digits, dots, hyphens and underscores, its segments parted by single slashes"
                .to_owned()
        }
        Problem::ReservedPath { .. } => {
            "choose another path; reserved are /spire, the registrar's own roots and reserved_paths".to_owned()
        }
        Problem::NameTaken { namespace, name } => format!(
            "kubectl delete spiffeid -n {namespace} {name}, if nobody needs it; or rename it or the pod"
        ),
        Problem::Template(_) => {
            "give the pod what identity_template reads, or correct the template; `validate` checks it".to_owned()
        }
        Problem::UnknownNode(_) => "it gets its entry when the Node object is there: kubectl get nodes".to_owned(),
        _ => "mend what the message names; the entry follows by itself".to_owned(),
    };
    let stays = match seen.own.right.is_empty() {
        true => "there is none, and none is made",
        false => "the one it has stays as it is",
    };
    fault(format!("held: {problem}; {stays}"), remedy)
}

/// Which rule gives pods their SPIFFE IDs, in words.
pub fn rule(policy: &Policy) -> String {
    match &policy.pods.identity {
        IdentitySource::ServiceAccount => {
            "/ns/<namespace>/sa/<service account>, since neither pod_label nor pod_annotation is set".into()
        }
        IdentitySource::Label(key) => format!("pod_label: /<value of label {key}>"),
        IdentitySource::Annotation(key) => format!("pod_annotation: /<value of annotation {key}>"),
        IdentitySource::Template { label, .. } => match label {
            Some(label) => format!("identity_template, for pods with label {label}=true"),
            None => "identity_template".into(),
        },
    }
}
