//! What can be seen of one pod: in the cluster, on the server, and by the rules.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use registrar_adapters::{
    config::Common,
    kubernetes::{self, read},
    spire::{AttestedAgent, SpireClient, SpireServer},
};
use registrar_core::{
    cluster::{Kind, Object, PodSnapshot},
    entry::{EntryId, RegisteredEntry},
    policy::{NodePolicy, ParentForm, Policy},
    ports::{Failure, FailureClass},
    rules::{Subject, subject_of_pod},
    spiffe::SpiffeId,
    sync::{Event, Preview, Reconciler, ResourcePreview, Verdict},
};

use crate::{
    collect::{check_trust_domain, in_the_way, list_failed, server_failed},
    parts::kube_settings,
    server::server,
};

/// The pod that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Pod<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

/// What the server says of the agent on the pod's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Agent {
    /// It was attested.
    Attested(AttestedAgent),
    /// None was attested under this ID.
    None,
    /// It cannot be told, and why.
    Unknown(String),
}

/// Everything about one pod.
#[derive(Debug)]
pub struct Seen {
    pub policy: Policy,
    /// Its namespace and name, as they were asked for.
    pub name: String,
    /// `None` if it cannot be decoded.
    pub pod: Option<PodSnapshot>,
    /// What is wanted for it and what is there.
    pub own: Preview,
    /// In crd mode, its SpiffeID.
    pub resource: Option<ResourcePreview>,
    /// Whether its Node object exists.
    pub node_exists: bool,
    /// The same for its node, where nodes have entries.
    pub node: Option<Preview>,
    /// An entry that is not ours and has the same SPIFFE ID, parent and selectors.
    pub taken_by: Option<EntryId>,
    /// The ID of the agent on its node, and what the server says of it.
    pub agent: Option<(SpiffeId, Agent)>,
    /// What the running registrar last reported: notes of Events with the reason `EntryRefused`.
    pub refusals: Vec<String>,
}

/// Looks at everything.
///
/// # Errors
/// If the pod does not exist, or what must be known cannot be read.
pub async fn see(
    policy: Policy,
    common: &Common,
    kubeconfig: Option<&PathBuf>,
    asked: &Pod<'_>,
) -> anyhow::Result<Seen> {
    let server = server(common, Arc::new(|| false));
    check_trust_domain(&*server, &policy).await?;
    let (client, _) = kubernetes::connect(&kube_settings(common, kubeconfig)).await?;
    let wanted = policy.wanted_metadata();
    let read = |kind, namespace: &str, name: &str| {
        let (client, wanted) = (client.clone(), wanted.clone());
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        async move {
            read::object(&client, kind, &namespace, &name, &wanted)
                .await
                .map_err(|e| list_failed(kind, e.status, &e.why))
        }
    };
    let Some(pod_event) = read(Kind::Pod, asked.namespace, asked.name).await? else {
        bail!(
            "pod {}/{} does not exist; `plan -live` tells which entries are left of former pods",
            asked.namespace,
            asked.name
        );
    };
    let pod = match &pod_event {
        Event::Listed(Object::Pod(pod)) => Some(pod.clone()),
        _ => None,
    };
    let mut events = vec![pod_event];
    let node_name = pod.as_ref().and_then(|p| p.node_name.clone());
    let mut node_uid = None;
    if let Some(name) = node_name
        .as_deref()
        .filter(|n| !n.contains(['/', '?', '#']))
    {
        let node = read(Kind::Node, "", name).await?;
        if let Some(Event::Listed(Object::Node(node))) = &node {
            node_uid = Some(node.uid.clone());
        }
        events.extend(node);
    }
    if let Some(spiffe_ids) = &policy.spiffe_ids {
        // All of the namespace: another one may ask for the same.
        for namespace in BTreeSet::from([asked.namespace, &*spiffe_ids.namespace]) {
            let found = read::objects(&client, Kind::SpiffeId, namespace, &wanted).await;
            events.extend(found.map_err(|e| list_failed(Kind::SpiffeId, e.status, &e.why))?);
        }
    }
    if wanted.addresses {
        let slices = read::objects(&client, Kind::EndpointSlice, asked.namespace, &wanted).await;
        events.extend(slices.map_err(|e| list_failed(Kind::EndpointSlice, e.status, &e.why))?);
    }
    let node_exists = node_uid.is_some() || node_name.is_none();
    let agent = match node_uid {
        Some(uid) => agent(&server, &policy, uid.as_str()).await,
        None => None,
    };
    let (machine, others) = fed(&*server, policy.clone(), events).await?;
    let about = read::events_about(&client, asked.namespace, asked.name).await;
    // Without the right to read Events there is less to tell; that is all.
    let refusals = about
        .unwrap_or_default()
        .into_iter()
        .filter(|(reason, _)| reason == "EntryRefused")
        .map(|(_, note)| note)
        .collect();
    let name = format!("{}/{}", asked.namespace, asked.name);
    Ok(assemble(
        machine,
        &others,
        Found {
            name,
            pod,
            node_exists,
            agent,
            refusals,
        },
    ))
}

/// What was found beside the machine.
pub struct Found {
    pub name: String,
    pub pod: Option<PodSnapshot>,
    pub node_exists: bool,
    pub agent: Option<(SpiffeId, Agent)>,
    pub refusals: Vec<String>,
}

/// Asks the machine about the pod and its node.
pub fn assemble(mut machine: Reconciler, others: &[RegisteredEntry], found: Found) -> Seen {
    let policy = machine.policy().clone();
    let (namespace, name) = found.name.split_once('/').unwrap_or(("", &found.name));
    let subject = match &found.pod {
        Some(pod) => subject_of_pod(&policy, pod),
        None => Subject::Pod(namespace.into(), name.into()),
    };
    let (own, resource) = preview(&mut machine, &subject);
    let node_name = found.pod.as_ref().and_then(|p| p.node_name.clone());
    let node = match (policy.nodes, node_name) {
        (NodePolicy::None, _) | (_, None) => None,
        (NodePolicy::OneForAll, _) => Some(machine.preview(&Subject::Node("".into()))),
        (NodePolicy::ByName | NodePolicy::ByUid, Some(name)) => {
            Some(preview(&mut machine, &Subject::Node(name)).0)
        }
    };
    let taken_by = own
        .create
        .iter()
        .find_map(|entry| others.iter().find(|o| entry.is_similar(o)))
        .map(|o| o.id.clone());
    Seen {
        policy,
        name: found.name,
        pod: found.pod,
        own,
        resource,
        node_exists: found.node_exists,
        node,
        taken_by,
        agent: found.agent,
        refusals: found.refusals,
    }
}

/// What an object gets; where it does so through a SpiffeID, what that one has.
fn preview(machine: &mut Reconciler, subject: &Subject) -> (Preview, Option<ResourcePreview>) {
    let mut own = machine.preview(subject);
    let resource = machine.preview_resource(subject);
    if let Some(resource) = &resource {
        match (&resource.entry, &own.verdict) {
            (Some(entry), _) => {
                own.right = entry.right.clone();
                own.create = entry.create.clone();
                own.update = entry.update.clone();
                own.delete = entry.delete.clone();
            }
            (None, Verdict::Registered(entries, _)) => own.create = entries.clone(),
            _ => {}
        }
        if let Some(problem) = &resource.problem {
            own.verdict = Verdict::Held(problem.clone());
        }
    }
    (own, resource)
}

async fn agent(
    server: &Arc<SpireClient>,
    policy: &Policy,
    node_uid: &str,
) -> Option<(SpiffeId, Agent)> {
    let path = format!("/spire/agent/k8s_psat/{}/{node_uid}", policy.cluster);
    let id = SpiffeId::new(policy.trust_domain.clone(), path).ok()?;
    let agent = match server.agent(&id).await {
        Ok(Some(agent)) => Agent::Attested(agent),
        Ok(None) => Agent::None,
        Err(failure) => Agent::Unknown(failure.message.to_string()),
    };
    Some((id, agent))
}

/// A machine that knows these objects, all entries and the bundles.
async fn fed(
    server: &dyn SpireServer,
    policy: Policy,
    objects: Vec<Event>,
) -> anyhow::Result<(Reconciler, Vec<RegisteredEntry>)> {
    let kinds = Reconciler::kinds(&policy);
    let keep = in_the_way(&policy);
    let mut machine = Reconciler::new(policy.clone(), 0);
    let mut others = Vec::new();
    let mut events: Vec<Event> = kinds.iter().copied().map(Event::RelistBegan).collect();
    events.extend(objects);
    events.extend(kinds.into_iter().map(Event::RelistDone));
    loop {
        let calls = machine
            .step(Duration::ZERO, std::mem::take(&mut events))
            .calls;
        if calls.is_empty() {
            return Ok((machine, others));
        }
        for (id, call) in calls {
            let bundles = matches!(call, registrar_core::ports::SpireCall::ListBundles);
            let reply = server.perform(call).await;
            match &reply {
                Ok(answer) => crate::collect::keep_others(&keep, answer, &mut others),
                Err(failure) if bundles && is_denied(failure) => {}
                Err(failure) => return Err(server_failed(failure)).context("reading the entries"),
            }
            events.push(Event::Replied(id, reply));
        }
    }
}

fn is_denied(failure: &Failure) -> bool {
    failure.class == FailureClass::Denied
}

/// Whether pods hang directly under agents.
pub fn under_agents(policy: &Policy) -> bool {
    policy.pods.parent == ParentForm::Agent
}
