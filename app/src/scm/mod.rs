//! `plan -from-scm`: what the resources of spire-controller-manager give, what this configuration gives, and which
//! settings of ours come nearest.

mod advice;
mod resources;
mod show;
mod template;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufWriter, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::bail;
use registrar_adapters::manifests::{self, Source};
use registrar_core::{
    cluster::{Kind, Object, ObjectKey, PodSnapshot},
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
}

/// Reads resources and pods, and prints the comparison.
///
/// # Errors
/// If something cannot be read, or there is no resource of spire-controller-manager in the files.
pub fn compare(policy: Policy, sources: &[Source], output: Output) -> anyhow::Result<ExitCode> {
    if sources.contains(&Source::StandardInput) {
        bail!(
            "-from-scm reads its files twice, so standard input (-) will not do: write it to a file"
        );
    }
    let reading = manifests::read_whole(sources, resources::GROUP);
    let resources = Resources::of(&reading.whole);
    if resources.is_empty() {
        bail!(
            "there is no ClusterSPIFFEID, ClusterStaticEntry or ControllerManagerConfig in the files: \
             kubectl get clusterspiffeids,clusterstaticentries,namespaces,nodes,pods -A -o json"
        );
    }
    let pods = pods_of(&policy, &resources, sources);
    let collected = collect::offline(policy.clone(), sources, None)?;
    let mut troubles: Vec<String> = reading.troubles.iter().map(ToString::to_string).collect();
    troubles.extend(collected.troubles.iter().cloned());
    troubles.sort();
    troubles.dedup();
    let plan = collected.machine.plan(&[]);
    let pods = compared(&policy, &resources, &pods, &plan);
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

/// The pods, with the labels and annotations that the resources read.
fn pods_of(policy: &Policy, resources: &Resources, sources: &[Source]) -> Vec<PodSnapshot> {
    let mut wanted = policy.wanted_metadata();
    let (labels, annotations) = resources.keys();
    wanted.labels.extend(labels.into_iter().map(Arc::from));
    wanted
        .annotations
        .extend(annotations.into_iter().map(Arc::from));
    let mut pods = Vec::new();
    manifests::read(sources, &wanted, &mut |event, _| {
        if let Event::Listed(Object::Pod(pod)) = event {
            pods.push(pod);
        }
    });
    pods
}

fn compared(
    policy: &Policy,
    resources: &Resources,
    pods: &[PodSnapshot],
    plan: &Plan,
) -> BTreeMap<ObjectKey, Compared> {
    let mut in_the_way: BTreeSet<&ObjectKey> = BTreeSet::new();
    let mut ours: BTreeMap<ObjectKey, BTreeSet<String>> = BTreeMap::new();
    for planned in plan.entries.iter().filter(|p| p.object.kind == Kind::Pod) {
        let ids = ours.entry(planned.object.clone()).or_default();
        ids.insert(planned.entry.spiffe_id.to_string());
        if has_their_form(policy, &planned.entry) {
            in_the_way.insert(&planned.object);
        }
    }
    let skipped = plan.skipped.iter().map(|(o, r)| (o, r.to_string()));
    let held = plan.held.iter().map(|(o, p)| (o, format!("held: {p}")));
    let why_not: BTreeMap<&ObjectKey, String> = skipped.chain(held).collect();
    let mut fates = BTreeMap::new();
    for pod in pods {
        let key = ObjectKey::new(Kind::Pod, pod.namespace.clone(), pod.name.clone());
        let mine = ours.remove(&key).unwrap_or_default();
        let fate = match resources.ids_of(pod) {
            Err(why) => Fate::Untold(why),
            Ok(theirs) if theirs.is_empty() && mine.is_empty() => continue,
            Ok(theirs) if theirs == mine => Fate::Same(mine.into_iter().collect()),
            Ok(theirs) if theirs.is_empty() => Fate::Added(mine.into_iter().collect()),
            Ok(theirs) if mine.is_empty() => {
                let why = why_not.get(&key).cloned();
                let why = why.unwrap_or_else(|| "it gets no entry".to_owned());
                Fate::Lost(theirs.into_iter().collect(), why)
            }
            Ok(theirs) => Fate::Changed {
                theirs: theirs.into_iter().collect(),
                ours: mine.into_iter().collect(),
            },
        };
        let entry = match &fate {
            Fate::Same(_) if in_the_way.contains(&key) => Some(EntryFate::InTheWay),
            Fate::Same(_) | Fate::Changed { .. } => Some(EntryFate::Beside),
            Fate::Added(_) => Some(EntryFate::New),
            Fate::Lost(..) => Some(EntryFate::None),
            Fate::Untold(_) => None,
        };
        fates.insert(key, Compared { fate, entry });
    }
    fates
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
