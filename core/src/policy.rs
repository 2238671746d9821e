//! What the configuration means to the rules. A mode is a value of [`Policy`], never a branch inside a rule.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crate::{
    entry::EntryIdPrefix,
    rules::template::Template,
    spiffe::{SpiffeError, SpiffeId, TrustDomain, is_under},
};

/// The annotation that names the trust domains a pod federates with.
pub const FEDERATES_WITH: &str = "spiffe.io/federatesWith";

/// Everything the rules and the step machine need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Our server's.
    pub trust_domain: TrustDomain,
    /// The logical cluster, as in the server's k8s_psat configuration.
    pub cluster: Arc<str>,
    /// The path our node identities live at: the *root*.
    pub root: SpiffeId,
    /// What the IDs of entries that we make begin with.
    pub entry_ids: EntryIdPrefix,
    /// Pods.
    pub pods: PodPolicy,
    /// Nodes.
    pub nodes: NodePolicy,
    /// With SpiffeID resources between objects and entries, and how; `None` where objects get their entries directly.
    pub spiffe_ids: Option<SpiffeIdPolicy>,
    /// Namespaces whose pods get nothing.
    pub disabled_namespaces: NamespaceRules,
    /// SPIFFE IDs that no pod may have.
    pub reserved: ReservedPaths,
    /// The trust domains pods may name; `None` allows all.
    pub federation_allow: Option<BTreeSet<TrustDomain>>,
    /// The mass-delete breaker.
    pub max_deletes: MaxDeletes,
    /// How often each entry is compared with the server.
    pub drift_interval: Duration,
    /// RPCs in flight to SPIRE, at least 1.
    pub writes_in_flight: usize,
    /// Everything but writing.
    pub dry_run: bool,
}

/// How pods get their entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPolicy {
    /// Where the SPIFFE ID comes from.
    pub identity: IdentitySource,
    /// What the entry hangs under.
    pub parent: ParentForm,
    /// In the order in which they are sent. Mirror pods always get `ns` and `pod-name`.
    pub selectors: Arc<[PodSelector]>,
    /// Which DNS names.
    pub dns: DnsPolicy,
    /// Whether pods in phase Succeeded or Failed lose their entries.
    pub release_finished: bool,
    /// Whether pods are watched. Where they are not (webhook mode without the right to), admission reviews alone make and
    /// remove entries, and none is removed because its pod is absent.
    pub watched: bool,
    /// How long an entry stays after the last sign of its pod. Zero where pods are only known from the watch; an admitted
    /// pod appears a little later than its entry, or not at all.
    pub orphan_grace: Duration,
    /// Seconds; `None` is not managed.
    pub x509_svid_ttl: Option<i32>,
    /// Seconds; `None` is not managed.
    pub jwt_svid_ttl: Option<i32>,
    /// `None` is not managed.
    pub hint: Option<Arc<str>>,
}

/// Where a pod's SPIFFE ID comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentitySource {
    /// `/ns/<namespace>/sa/<service account>`
    ServiceAccount,
    /// `/<value of this label>`
    Label(Arc<str>),
    /// `/<value of this annotation>`, one or more segments
    Annotation(Arc<str>),
    /// `/<what the template makes of the pod>`
    Template {
        /// The template of the path, without its leading slash.
        template: Template,
        /// Only pods that have this label, with the value `true` in any case, get an entry.
        label: Option<Arc<str>>,
    },
}

/// What a pod's entry hangs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentForm {
    /// The root itself: every agent of the cluster serves every pod (webhook mode).
    Root,
    /// `<root>/<node name>`: only the pod's own node serves it.
    NodeAlias,
    /// The agent's own ID, `/spire/agent/k8s_psat/<cluster>/<node uid>`, without node entries.
    Agent,
}

impl ParentForm {
    /// Whether a pod must be bound to a node before it can have an entry.
    pub fn needs_node(self) -> bool {
        self != ParentForm::Root
    }
}

/// A selector that a pod's entry may have, type `k8s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PodSelector {
    /// `ns:<namespace>`
    Namespace,
    /// `pod-name:<name>`
    PodName,
    /// `pod-uid:<uid>`
    PodUid,
    /// `node-name:<node>`
    NodeName,
    /// `sa:<service account>`
    ServiceAccount,
}

impl PodSelector {
    /// All of them.
    pub const ALL: [PodSelector; 5] = [
        PodSelector::Namespace,
        PodSelector::PodName,
        PodSelector::PodUid,
        PodSelector::NodeName,
        PodSelector::ServiceAccount,
    ];

    /// The word before the colon in the selector's value, which is also the configuration's word for it.
    pub fn word(self) -> &'static str {
        match self {
            PodSelector::Namespace => "ns",
            PodSelector::PodName => "pod-name",
            PodSelector::PodUid => "pod-uid",
            PodSelector::NodeName => "node-name",
            PodSelector::ServiceAccount => "sa",
        }
    }
}

/// Which DNS names a pod's entry gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DnsPolicy {
    /// None.
    None,
    /// All names that reach the pod, directly or through Services.
    AllPodNames {
        /// `cluster.local`, usually.
        zone: Arc<str>,
    },
    /// What templates make of the pod, and then the names of its Services.
    Templates {
        /// In the order of their names.
        templates: Arc<[Template]>,
        /// Whether `<service>.<namespace>.svc` is added for each Service that the pod is a ready endpoint of.
        services: bool,
    },
}

impl DnsPolicy {
    /// Whether names depend on EndpointSlices.
    pub fn reads_slices(&self) -> bool {
        match self {
            DnsPolicy::None => false,
            DnsPolicy::AllPodNames { .. } => true,
            DnsPolicy::Templates { services, .. } => *services,
        }
    }
}

/// How nodes get their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodePolicy {
    /// None.
    None,
    /// One for all nodes: the root itself, selector `k8s_psat:cluster` (webhook mode).
    OneForAll,
    /// One a node: `<root>/<node name>`, selectors `k8s_psat:agent_node_name` and `k8s_psat:cluster`.
    ByName,
    /// One a node: `<root>/<node name>`, selectors `k8s_psat:cluster` and `k8s_psat:agent_node_uid` (crd mode).
    ByUid,
}

/// How SpiffeID resources stand between objects and entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiffeIdPolicy {
    /// Our own namespace: the nodes' SpiffeIDs live there, and only there may selectors of agents be used.
    pub namespace: Arc<str>,
    /// Whether we make the SpiffeIDs of pods and nodes.
    pub pod_controller: bool,
    /// Namespaces whose SpiffeIDs may say `downstream`.
    pub downstream_namespaces: BTreeSet<Arc<str>>,
}

/// Which namespaces are disabled.
#[derive(Debug, Clone, Default)]
pub struct NamespaceRules {
    exact: BTreeSet<Arc<str>>,
    patterns: Vec<regex::Regex>,
}

impl PartialEq for NamespaceRules {
    fn eq(&self, other: &Self) -> bool {
        self.exact == other.exact
            && self
                .patterns
                .iter()
                .map(regex::Regex::as_str)
                .eq(other.patterns.iter().map(regex::Regex::as_str))
    }
}

impl Eq for NamespaceRules {}

impl NamespaceRules {
    /// Reads the words of `disabled_namespaces`: exact names, or `re:<regular expression>` that must match the whole name.
    ///
    /// # Errors
    /// The word that is not a regular expression, and why.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, (String, String)> {
        let mut rules = Self::default();
        for word in words {
            match word.strip_prefix("re:") {
                Some(pattern) => rules.patterns.push(
                    regex::Regex::new(&format!("^(?:{pattern})$"))
                        .map_err(|e| (word.to_owned(), e.to_string()))?,
                ),
                None => {
                    rules.exact.insert(word.into());
                }
            }
        }
        Ok(rules)
    }

    /// Whether `namespace` is one of them.
    pub fn contains(&self, namespace: &str) -> bool {
        self.exact.contains(namespace) || self.patterns.iter().any(|p| p.is_match(namespace))
    }
}

/// The SPIFFE ID paths that no pod and no tenant may have: an identity there could act as a parent of other pods,
/// as the server's administrator, or as us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReservedPaths {
    first_segments: BTreeSet<Arc<str>>,
    exact: BTreeSet<Arc<str>>,
    below: Vec<Arc<str>>,
}

impl ReservedPaths {
    /// `/spire` and everything whose first segment is `k8s-workload-registrar` or `controller_name`.
    pub fn new(controller_name: &str) -> Self {
        Self {
            first_segments: ["spire", "k8s-workload-registrar", controller_name]
                .into_iter()
                .map(Arc::from)
                .collect(),
            ..Self::default()
        }
    }

    /// Adds a word of `reserved_paths`: an exact path, or `/prefix/*` for everything below it.
    ///
    /// # Errors
    /// If it is not a path.
    pub fn reserve(&mut self, word: &str) -> Result<(), SpiffeError> {
        let path = word.strip_suffix("/*").unwrap_or(word);
        if path.is_empty() {
            return Err(SpiffeError::NoLeadingSlash);
        }
        crate::spiffe::validate_path(path)?;
        if path.len() < word.len() {
            self.below.push(path.into());
        } else {
            self.exact.insert(path.into());
        }
        Ok(())
    }

    /// The first segments of paths that nobody may have.
    pub fn first_segments(&self) -> impl Iterator<Item = &str> {
        self.first_segments.iter().map(|s| &**s)
    }

    /// The paths that nobody may have.
    pub fn exact(&self) -> impl Iterator<Item = &str> {
        self.exact.iter().map(|s| &**s)
    }

    /// The paths below which nobody may have one.
    pub fn below(&self) -> impl Iterator<Item = &str> {
        self.below.iter().map(|s| &**s)
    }

    /// Whether no pod may have `path`; the answer is the rule it falls under, for the report.
    pub fn find(&self, path: &str) -> Option<String> {
        let first = path
            .trim_start_matches('/')
            .split('/')
            .next()
            .unwrap_or_default();
        if self.first_segments.contains(first) {
            return Some(format!("/{first}"));
        }
        if self.exact.contains(path) {
            return Some(path.to_owned());
        }
        let below = self
            .below
            .iter()
            .find(|p| is_under(path, p) && path.len() > p.len())?;
        Some(format!("{below}/*"))
    }
}

/// When the mass-delete breaker trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxDeletes {
    /// This share of the owned entries, in percent, but at least ten. 100 and more: never.
    Percent(u32),
    /// This many.
    Count(usize),
}

impl MaxDeletes {
    /// How many entries may be deleted within a minute for reasons that were not watched object by object.
    pub fn limit(self, owned: usize) -> usize {
        match self {
            MaxDeletes::Percent(p) if p >= 100 => usize::MAX,
            MaxDeletes::Percent(p) => (owned.saturating_mul(p as usize) / 100).max(10),
            MaxDeletes::Count(n) => n,
        }
    }
}

/// The labels and annotations that the rules read; an adapter drops all others while decoding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WantedMetadata {
    /// Keys of labels of pods.
    pub labels: BTreeSet<Arc<str>>,
    /// Keys of annotations of pods and nodes.
    pub annotations: BTreeSet<Arc<str>>,
    /// Whether pod IPs and EndpointSlices are read.
    pub addresses: bool,
    /// Whether the UIDs of the pods in EndpointSlices are kept.
    pub endpoint_uids: bool,
}

impl Policy {
    /// What adapters must keep of an object.
    pub fn wanted_metadata(&self) -> WantedMetadata {
        let mut wanted = WantedMetadata::default();
        wanted.annotations.insert(FEDERATES_WITH.into());
        match &self.pods.identity {
            IdentitySource::ServiceAccount => {}
            IdentitySource::Label(key) => {
                wanted.labels.insert(key.clone());
            }
            IdentitySource::Annotation(key) => {
                wanted.annotations.insert(key.clone());
            }
            IdentitySource::Template { label, .. } => wanted.labels.extend(label.clone()),
        }
        wanted.addresses = self.pods.dns.reads_slices();
        wanted.endpoint_uids = self.spiffe_ids.is_some() && wanted.addresses;
        wanted
    }

    /// A policy of reconcile mode with every default: for tests, examples and as a base to change.
    ///
    /// # Errors
    /// If the trust domain, the cluster or the controller's name cannot be part of a SPIFFE ID.
    pub fn reconcile(
        trust_domain: &str,
        cluster: &str,
        controller_name: &str,
    ) -> Result<Self, SpiffeError> {
        let trust_domain = TrustDomain::from_name_or_id(trust_domain)?;
        let root = SpiffeId::new(
            trust_domain.clone(),
            format!("/{controller_name}/{cluster}/node"),
        )?;
        Ok(Self {
            entry_ids: EntryIdPrefix::of(&root, cluster),
            trust_domain,
            cluster: cluster.into(),
            root,
            pods: PodPolicy {
                identity: IdentitySource::ServiceAccount,
                parent: ParentForm::NodeAlias,
                selectors: Arc::new([PodSelector::Namespace, PodSelector::PodName]),
                dns: DnsPolicy::None,
                release_finished: false,
                watched: true,
                orphan_grace: Duration::ZERO,
                x509_svid_ttl: None,
                jwt_svid_ttl: None,
                hint: None,
            },
            nodes: NodePolicy::ByName,
            spiffe_ids: None,
            disabled_namespaces: NamespaceRules::parse(["kube-system", "kube-public"])
                .unwrap_or_default(),
            reserved: ReservedPaths::new(controller_name),
            federation_allow: None,
            max_deletes: MaxDeletes::Percent(30),
            drift_interval: Duration::from_secs(300),
            writes_in_flight: 4,
            dry_run: false,
        })
    }

    /// A policy of crd mode with every default, for a registrar whose own namespace is `namespace`.
    ///
    /// # Errors
    /// If the trust domain or the cluster cannot be part of a SPIFFE ID.
    pub fn crd(trust_domain: &str, cluster: &str, namespace: &str) -> Result<Self, SpiffeError> {
        let mut policy = Self::reconcile(trust_domain, cluster, "k8s-workload-registrar")?;
        policy.pods.selectors = Arc::new([
            PodSelector::PodUid,
            PodSelector::Namespace,
            PodSelector::NodeName,
        ]);
        policy.nodes = NodePolicy::ByUid;
        policy.spiffe_ids = Some(SpiffeIdPolicy {
            namespace: namespace.into(),
            pod_controller: true,
            downstream_namespaces: BTreeSet::from([namespace.into()]),
        });
        Ok(policy)
    }

    /// A policy of webhook mode with every default: one entry for all nodes, under which all pods hang.
    ///
    /// # Errors
    /// If the trust domain or the cluster cannot be part of a SPIFFE ID.
    pub fn webhook(trust_domain: &str, cluster: &str) -> Result<Self, SpiffeError> {
        let mut policy = Self::reconcile(trust_domain, cluster, "k8s-workload-registrar")?;
        policy.nodes = NodePolicy::OneForAll;
        policy.pods.parent = ParentForm::Root;
        policy.pods.orphan_grace = Duration::from_secs(60);
        Ok(policy)
    }

    /// The parent of node entries: `/spire/server`.
    pub fn server_id(&self) -> SpiffeId {
        SpiffeId::stored(self.trust_domain.clone(), "/spire/server")
            .expect("a constant path is legal")
    }
}
