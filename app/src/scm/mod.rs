//! `plan -from-scm`: what the resources of spire-controller-manager give, what this configuration gives, and which
//! settings of ours come nearest.

mod advice;
mod entries;
mod resources;
mod show;
mod template;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, Write},
    path::Path,
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use registrar_adapters::manifests::{self, Source};
use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot, Uid},
    entry::Entry,
    policy::Policy,
    sync::{Event, Plan},
};

use crate::{
    cli::Output,
    collect,
    command::{exit_code, finish},
    render::{self, Paint},
};
use entries::{Difference, Theirs};
use resources::Resources;

/// How one pod's identity fares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The same SPIFFE IDs.
    Same(Vec<String>),
    /// Others.
    Changed {
        /// From spire-controller-manager.
        theirs: Vec<String>,
        /// From us.
        ours: Vec<String>,
    },
    /// It had none.
    Added(Vec<String>),
    /// It gets none from us, and why.
    Lost(Vec<String>, String),
    /// Its template cannot be followed here.
    Untold(String),
}

/// What becomes of the entry that spire-controller-manager made for a pod. None is ever adopted: as long as the controller
/// manager runs, its entries are its own, and it would take them back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryFate {
    /// Ours is made beside it; `retire` removes it afterwards.
    Beside,
    /// Ours has exactly its form, and SPIRE refuses a second one: it must go first.
    InTheWay,
    /// There was none.
    New,
    /// There is none of ours, so `retire` keeps it.
    None,
}

impl EntryFate {
    fn word(self) -> &'static str {
        match self {
            EntryFate::Beside => "beside",
            EntryFate::InTheWay => "in_the_way",
            EntryFate::New => "new",
            EntryFate::None => "none",
        }
    }
}

/// One pod, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Its SPIFFE IDs.
    pub fate: Fate,
    /// Its entry; `None` if it cannot be told.
    pub entry: Option<EntryFate>,
    /// Where entries of the SPIFFE IDs that both give differ.
    pub differences: Vec<Difference>,
}

/// Reads resources and pods, and prints the comparison. With the server's entries, theirs are taken as they are there and
/// not as their resources would have them.
///
/// # Errors
/// If something cannot be read, or there is no resource of spire-controller-manager in the files.
pub fn compare(
    policy: Policy,
    sources: &[Source],
    entries: Option<&Path>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    if sources.contains(&Source::StandardInput) {
        bail!(
            "-from-scm reads its files twice, so standard input (-) will not do: write it to a file"
        );
    }
    let reading = manifests::read_whole(sources, resources::GROUP);
    let mut resources = Resources::of(&reading.whole, &policy);
    if resources.is_empty() {
        bail!(
            "there is no ClusterSPIFFEID, ClusterStaticEntry or ControllerManagerConfig in the files: \
             kubectl get clusterspiffeids,clusterstaticentries,namespaces,nodes,pods -A -o json"
        );
    }
    let stored = entries.map(collect::entries_of).transpose()?;
    let stored = stored.map(|shown| entries::by_uid(&policy, &shown.entries));
    let pods = pods_of(&policy, &mut resources, sources);
    let collected = collect::offline(policy.clone(), sources, None)?;
    let mut troubles: Vec<String> = reading.troubles.iter().map(ToString::to_string).collect();
    troubles.extend(collected.troubles.iter().cloned());
    troubles.sort();
    troubles.dedup();
    let plan = collected.machine.plan(&[]);
    let theirs = |pod: &PodSnapshot| match &stored {
        Some(stored) => Ok(stored.get(&pod.uid).cloned().unwrap_or_default()),
        None => resources.entries_of(pod),
    };
    let pods = compared(&policy, theirs, &pods, &plan);
    let advice = advice::advice(&resources, &policy);
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = match output {
        Output::Table => show::show(&mut out, Paint::of_standard_output(), &advice, &pods),
        Output::Json | Output::Yaml => {
            let view = view::ComparisonView::new(&advice, &pods);
            render::data(&mut out, &view, output == Output::Yaml)
        }
    };
    finish(printed.and_then(|()| out.flush()))?;
    for trouble in &troubles {
        eprintln!("{}", render::clean(trouble));
    }
    if !troubles.is_empty() {
        bail!("the input could not be read to its end; the comparison is of what could be read");
    }
    Ok(exit_code(!plan.held.is_empty()))
}

/// The pods, with the labels and annotations that the resources read; and the nodes, into what templates read.
fn pods_of(policy: &Policy, resources: &mut Resources, sources: &[Source]) -> Vec<PodSnapshot> {
    let mut wanted = policy.wanted_metadata();
    let (labels, annotations) = resources.keys();
    wanted.labels.extend(labels.into_iter().map(Arc::from));
    wanted
        .annotations
        .extend(annotations.into_iter().map(Arc::from));
    let mut pods = Vec::new();
    let mut nodes: BTreeMap<Arc<str>, Uid> = BTreeMap::new();
    manifests::read(sources, &wanted, &mut |event, _| match event {
        Event::Listed(Object::Pod(pod)) => pods.push(pod),
        Event::Listed(Object::Node(node)) => {
            nodes.insert(node.name, node.uid);
        }
        _ => {}
    });
    resources.cluster.nodes = nodes;
    pods
}

fn compared(
    policy: &Policy,
    theirs_of: impl Fn(&PodSnapshot) -> Result<Vec<Theirs>, String>,
    pods: &[PodSnapshot],
    plan: &Plan,
) -> BTreeMap<ObjectKey, Compared> {
    let mut wanted: BTreeMap<ObjectKey, Vec<&Entry>> = BTreeMap::new();
    for planned in plan.entries.iter().filter(|p| p.object.kind == Kind::Pod) {
        let entries = wanted.entry(planned.object.clone()).or_default();
        entries.push(&planned.entry);
    }
    let skipped = plan.skipped.iter().map(|(o, r)| (o, r.to_string()));
    let held = plan.held.iter().map(|(o, p)| (o, format!("held: {p}")));
    let why_not: BTreeMap<&ObjectKey, String> = skipped.chain(held).collect();
    let mut fates = BTreeMap::new();
    for pod in pods {
        let key = ObjectKey::new(Kind::Pod, pod.namespace.clone(), pod.name.clone());
        let entries = wanted.remove(&key).unwrap_or_default();
        let ours: BTreeSet<String> = entries.iter().map(|e| e.spiffe_id.to_string()).collect();
        let list = |ids: BTreeSet<String>| ids.into_iter().collect::<Vec<_>>();
        let mut differences = Vec::new();
        let fate = match theirs_of(pod) {
            Err(why) => Fate::Untold(why),
            Ok(all) => {
                for (theirs, ours) in pairs(&all, &entries) {
                    differences.extend(entries::differences(theirs, ours));
                }
                let theirs: BTreeSet<String> = all.into_iter().map(|e| e.spiffe_id).collect();
                match (theirs.is_empty(), ours.is_empty()) {
                    (true, true) => continue,
                    (true, false) => Fate::Added(list(ours)),
                    (false, true) => {
                        let why = why_not.get(&key).cloned();
                        let why = why.unwrap_or_else(|| "it gets no entry".to_owned());
                        Fate::Lost(list(theirs), why)
                    }
                    (false, false) if theirs == ours => Fate::Same(list(ours)),
                    (false, false) => Fate::Changed {
                        theirs: list(theirs),
                        ours: list(ours),
                    },
                }
            }
        };
        let in_the_way = || entries.iter().any(|e| has_their_form(policy, e));
        let entry = match &fate {
            Fate::Same(_) if in_the_way() => Some(EntryFate::InTheWay),
            Fate::Same(_) | Fate::Changed { .. } => Some(EntryFate::Beside),
            Fate::Added(_) => Some(EntryFate::New),
            Fate::Lost(..) => Some(EntryFate::None),
            Fate::Untold(_) => None,
        };
        let compared = Compared {
            fate,
            entry,
            differences,
        };
        fates.insert(key, compared);
    }
    fates
}

/// Their entries and ours of one SPIFFE ID.
fn pairs<'e>(
    theirs: &'e [Theirs],
    ours: &'e [&Entry],
) -> impl Iterator<Item = (&'e Theirs, &'e Entry)> {
    theirs.iter().filter_map(move |theirs| {
        let same = |e: &&&Entry| e.spiffe_id.to_string() == theirs.spiffe_id;
        Some((theirs, *ours.iter().find(same)?))
    })
}

/// Directly under an agent, and selected by the pod's UID alone.
fn has_their_form(policy: &Policy, entry: &Entry) -> bool {
    let agents = format!("/spire/agent/k8s_psat/{}/", policy.cluster);
    let mut selectors = entry.selectors.iter();
    let by_uid = selectors
        .next()
        .is_some_and(|s| s.value.starts_with("pod-uid:"));
    entry.parent_id.path().starts_with(&agents) && by_uid && selectors.next().is_none()
}
