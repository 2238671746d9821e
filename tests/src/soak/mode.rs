//! What differs between the modes: how a registrar is configured, and which entries are right.

use super::{ANNOTATION, CLUSTER, NAMESPACE};

/// A mode of the registrar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `reconcile`
    Reconcile,
    /// `webhook`
    Webhook,
    /// `crd`
    Crd,
}

/// What an entry of a pod depends on.
#[derive(Debug, Clone, Copy)]
pub struct PodFacts<'a> {
    /// Of the object.
    pub name: &'a str,
    /// Of the object.
    pub uid: &'a str,
    /// Where it is bound to.
    pub node: &'a str,
    /// The value of [`ANNOTATION`].
    pub path: &'a str,
}

impl Mode {
    /// Of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Mode::Reconcile, Mode::Webhook, Mode::Crd];
        all.into_iter().find(|mode| mode.name() == name)
    }

    /// As the configuration says it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Reconcile => "reconcile",
            Mode::Webhook => "webhook",
            Mode::Crd => "crd",
        }
    }

    /// The root of the nodes.
    pub fn root(self) -> &'static str {
        match self {
            Mode::Reconcile => "/spire-k8s-registrar/soak/node",
            Mode::Webhook | Mode::Crd => "/k8s-workload-registrar/soak/node",
        }
    }

    /// What the pods' entries hang under.
    pub fn parent(self, node: &str) -> String {
        match self {
            Mode::Reconcile | Mode::Crd => format!("{}/{node}", self.root()),
            Mode::Webhook => self.root().to_owned(),
        }
    }

    /// The root that a registrar of another mode would have.
    pub fn root_of_another(self) -> &'static str {
        match self {
            Mode::Reconcile => Mode::Crd.root(),
            Mode::Webhook | Mode::Crd => Mode::Reconcile.root(),
        }
    }

    /// A pod's entry in one line, its selectors sorted.
    pub fn of_pod(self, pod: PodFacts<'_>) -> String {
        let PodFacts {
            name,
            uid,
            node,
            path,
        } = pod;
        let selectors = match self {
            Mode::Reconcile | Mode::Webhook => format!("k8s:ns:{NAMESPACE} k8s:pod-name:{name}"),
            Mode::Crd => format!("k8s:node-name:{node} k8s:ns:{NAMESPACE} k8s:pod-uid:{uid}"),
        };
        format!("/{path} <- {} [{selectors}]", self.parent(node))
    }

    /// The entries of nodes, each a name and a UID, in one line each.
    pub fn of_nodes(self, nodes: &[(String, String)]) -> Vec<String> {
        let root = self.root();
        let line = |id: &str, selectors: &str| {
            format!("{id} <- /spire/server [{selectors}k8s_psat:cluster:{CLUSTER}]")
        };
        let of_node = |(name, uid): &(String, String)| {
            let selector = match self {
                Mode::Crd => format!("k8s_psat:agent_node_uid:{uid} "),
                _ => format!("k8s_psat:agent_node_name:{name} "),
            };
            line(&format!("{root}/{name}"), &selector)
        };
        match self {
            Mode::Webhook => vec![line(root, "")],
            _ => nodes.iter().map(of_node).collect(),
        }
    }

    /// Lines of the configuration, where every mode has the same.
    pub fn config(self) -> String {
        let common = format!(
            "mode = \"{}\"\nleader_election = true\nnamespace = \"{NAMESPACE}\"\n\
             pod_annotation = \"{ANNOTATION}\"\ndrift_interval = \"5s\"\nlog_level = \"info\"\n",
            self.name()
        );
        let own = match self {
            Mode::Crd => "dns_name_templates = []\nadd_svc_dns_name = false\n",
            _ => "",
        };
        common + own
    }
}
