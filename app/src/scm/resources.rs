//! ClusterSPIFFEIDs, ClusterStaticEntries and the ControllerManagerConfig, as far as identities go.

use std::collections::{BTreeMap, BTreeSet};

use registrar_adapters::config::duration;
use registrar_core::{cluster::PodSnapshot, policy::Policy, spiffe::SpiffeId};
use serde::Deserialize;
use serde_json::Value;

use super::{
    entries::Theirs,
    template::{self, Cluster, Piece},
};

/// Their API group.
pub const GROUP: &str = "spire.spiffe.io";
/// What it ignores by default.
const IGNORED: [&str; 3] = ["kube-system", "kube-public", "spire-system"];

/// Where entries hang by default.
const PARENT: &str =
    "spiffe://{{ .TrustDomain }}/spire/agent/k8s_psat/{{ .ClusterName }}/{{ .NodeMeta.UID }}";

/// `spec` of a ClusterSPIFFEID.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpiffeId {
    #[serde(skip)]
    pub name: String,
    /// When it was made, then its UID: of two that give the same entry the oldest counts.
    #[serde(skip)]
    pub age: (String, String),
    #[serde(rename = "spiffeIDTemplate")]
    pub template: String,
    pub ttl: Option<String>,
    pub jwt_ttl: Option<String>,
    pub dns_name_templates: Vec<String>,
    pub workload_selector_templates: Vec<String>,
    pub federates_with: Vec<String>,
    pub namespace_selector: Option<LabelSelector>,
    pub pod_selector: Option<LabelSelector>,
    pub admin: bool,
    pub downstream: bool,
    #[serde(rename = "autoPopulateDNSNames")]
    pub auto_populate_dns_names: bool,
    pub class_name: String,
    pub fallback: bool,
    pub hint: String,
}

/// A Kubernetes label selector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    pub match_labels: BTreeMap<String, String>,
    pub match_expressions: Vec<Expression>,
}

/// One of its expressions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Expression {
    pub key: String,
    pub operator: String,
    pub values: Vec<String>,
}

impl LabelSelector {
    fn matches(&self, get: impl Fn(&str) -> Option<String>) -> bool {
        let labels = self
            .match_labels
            .iter()
            .all(|(k, v)| get(k).as_ref() == Some(v));
        labels
            && self.match_expressions.iter().all(|e| {
                let value = get(&e.key);
                let among = value.as_ref().is_some_and(|v| e.values.contains(v));
                match &*e.operator {
                    "In" => among,
                    "NotIn" => !among,
                    "Exists" => value.is_some(),
                    "DoesNotExist" => value.is_none(),
                    _ => false,
                }
            })
    }

    fn keys(&self) -> impl Iterator<Item = &String> {
        let expressions = self.match_expressions.iter().map(|e| &e.key);
        self.match_labels.keys().chain(expressions)
    }
}

/// A ControllerManagerConfig.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    pub cluster_name: String,
    pub trust_domain: String,
    pub cluster_domain: Option<String>,
    pub ignore_namespaces: Option<Vec<String>>,
    #[serde(rename = "parentIDTemplate")]
    pub parent_id_template: Option<String>,
    #[serde(rename = "entryIDPrefix")]
    pub entry_id_prefix: Option<String>,
    pub class_name: String,
    pub watch_classless: bool,
}

impl Configuration {
    /// Whether a resource of this class is its.
    fn manages(&self, class: &str) -> bool {
        class == self.class_name || (class.is_empty() && self.watch_classless)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Resources {
    pub ids: Vec<ClusterSpiffeId>,
    /// Names and SPIFFE IDs of ClusterStaticEntries.
    pub statics: Vec<(String, String)>,
    pub configuration: Option<Configuration>,
    /// Those that cannot be understood, and why.
    pub unreadable: Vec<String>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    /// What templates read of it.
    pub cluster: Cluster,
}

impl Resources {
    /// From whole objects. Without its configuration, trust domain and cluster are those of `policy`.
    pub fn of(objects: &[Value], policy: &Policy) -> Self {
        let mut resources = Self::default();
        for object in objects {
            resources.take(object);
        }
        resources.cluster = match &resources.configuration {
            Some(configuration) => {
                let manages = |r: &ClusterSpiffeId| configuration.manages(&r.class_name);
                resources.ids.retain(manages);
                Cluster {
                    trust_domain: configuration.trust_domain.clone(),
                    name: configuration.cluster_name.clone(),
                    domain: configuration.cluster_domain.clone(),
                    ..Cluster::default()
                }
            }
            None => Cluster {
                trust_domain: policy.trust_domain.to_string(),
                name: policy.cluster.to_string(),
                ..Cluster::default()
            },
        };
        resources.ids.sort_by(|a, b| a.age.cmp(&b.age));
        resources
    }

    fn take(&mut self, object: &Value) {
        let metadata = |key: &str| {
            let value = object["metadata"][key].as_str();
            value.unwrap_or_default().to_owned()
        };
        let name = metadata("name");
        let kind = object["kind"].as_str().unwrap_or_default();
        let spec = object["spec"].clone();
        let result = match kind {
            "ClusterSPIFFEID" => serde_json::from_value(spec).map(|spec| {
                self.ids.push(ClusterSpiffeId {
                    name: name.clone(),
                    age: (metadata("creationTimestamp"), metadata("uid")),
                    ..spec
                });
            }),
            "ClusterStaticEntry" => {
                let id = spec["spiffeID"].as_str().unwrap_or_default().to_owned();
                self.statics.push((name.clone(), id));
                Ok(())
            }
            "ControllerManagerConfig" => serde_json::from_value(object.clone()).map(|c| {
                self.configuration = Some(c);
            }),
            "Namespace" => serde_json::from_value(object["metadata"]["labels"].clone()).map(
                |labels: Option<BTreeMap<String, String>>| {
                    self.namespaces
                        .insert(name.clone(), labels.unwrap_or_default());
                },
            ),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.unreadable.push(format!("{kind} {name}: {error}"));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.statics.is_empty() && self.configuration.is_none()
    }

    /// The labels and annotations of pods that they read.
    pub fn keys(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut labels, mut annotations) = (BTreeSet::new(), BTreeSet::new());
        for id in &self.ids {
            labels.extend(
                id.pod_selector
                    .iter()
                    .flat_map(LabelSelector::keys)
                    .cloned(),
            );
            let templates = [&id.template].into_iter().chain(&id.dns_name_templates);
            for template in templates.chain(&id.workload_selector_templates) {
                for piece in template::pieces(template).unwrap_or_default() {
                    let read = match piece {
                        Piece::Value(template::Value::Label(key)) => (&mut labels, key),
                        Piece::Value(template::Value::Annotation(key)) => (&mut annotations, key),
                        _ => continue,
                    };
                    read.0.insert(read.1);
                }
            }
        }
        (labels, annotations)
    }

    /// The namespaces that it ignores: regular expressions that may match anywhere.
    pub fn ignored(&self) -> Vec<String> {
        let named = self
            .configuration
            .as_ref()
            .and_then(|c| c.ignore_namespaces.clone());
        named.unwrap_or_else(|| IGNORED.map(str::to_owned).into())
    }

    /// The entries that it gives a pod. Of two of one SPIFFE ID, parent and selectors the oldest resource's counts.
    ///
    /// # Errors
    /// If which resources select the pod, or a SPIFFE ID, cannot be told here.
    pub fn entries_of(&self, pod: &PodSnapshot) -> Result<Vec<Theirs>, String> {
        for pattern in self.ignored() {
            let regex =
                regex::Regex::new(&pattern).map_err(|e| format!("ignoreNamespaces: {e}"))?;
            if regex.is_match(&pod.namespace) {
                return Ok(Vec::new());
            }
        }
        let of_all = |fallback: bool| -> Result<Vec<Theirs>, String> {
            let mut entries: Vec<Theirs> = Vec::new();
            for id in self.ids.iter().filter(|i| i.fallback == fallback) {
                if !self.selects(id, pod)? {
                    continue;
                }
                let text = self
                    .rendered(&id.template, pod)
                    .map_err(|why| format!("ClusterSPIFFEID {}: {why}", id.name))?;
                // What is no SPIFFE ID it does not register either.
                let Ok(spiffe_id) = SpiffeId::parse(&text) else {
                    continue;
                };
                let entry = self.entry(id, spiffe_id.to_string(), pod);
                if !entries.iter().any(|e| e.same_tuple(&entry)) {
                    entries.push(entry);
                }
            }
            Ok(entries)
        };
        let entries = of_all(false)?;
        if entries.is_empty() {
            of_all(true)
        } else {
            Ok(entries)
        }
    }

    fn rendered(&self, template: &str, pod: &PodSnapshot) -> Result<String, String> {
        template::render(&template::pieces(template)?, &self.cluster, pod)
    }

    fn entry(&self, id: &ClusterSpiffeId, spiffe_id: String, pod: &PodSnapshot) -> Theirs {
        let all = |templates: &[String]| -> Result<Vec<String>, String> {
            templates.iter().map(|t| self.rendered(t, pod)).collect()
        };
        let parent = self.configuration.as_ref();
        let parent = parent.and_then(|c| c.parent_id_template.as_deref());
        let selectors = all(&id.workload_selector_templates).map(|further| {
            let own = format!("k8s:pod-uid:{}", pod.uid);
            further.into_iter().chain([own]).collect()
        });
        let dns_names = match id.auto_populate_dns_names {
            true => Err("autoPopulateDNSNames: the names of its Services".to_owned()),
            false => all(&id.dns_name_templates),
        };
        Theirs {
            spiffe_id,
            parent_id: self.rendered(parent.unwrap_or(PARENT), pod),
            selectors,
            dns_names,
            federates_with: id.federates_with.iter().cloned().collect(),
            x509_svid_ttl: seconds(id.ttl.as_deref()),
            jwt_svid_ttl: seconds(id.jwt_ttl.as_deref()),
            hint: id.hint.clone(),
            admin: id.admin,
            downstream: id.downstream,
        }
    }

    fn selects(&self, id: &ClusterSpiffeId, pod: &PodSnapshot) -> Result<bool, String> {
        // A pod without a node has no agent to be parented at.
        if pod.node_name.is_none() {
            return Ok(false);
        }
        if let Some(selector) = &id.namespace_selector {
            let Some(labels) = self.namespaces.get(&*pod.namespace) else {
                return Err(format!(
                    "ClusterSPIFFEID {} selects namespaces by labels, and namespace {:?} is not in the files",
                    id.name, pod.namespace
                ));
            };
            if !selector.matches(|key| labels.get(key).cloned()) {
                return Ok(false);
            }
        }
        let of_pod = |key: &str| pod.labels.get(key).map(ToString::to_string);
        Ok(id.pod_selector.as_ref().is_none_or(|s| s.matches(of_pod)))
    }
}

/// A lifetime in whole seconds, 0 for the server's default.
fn seconds(ttl: Option<&str>) -> Result<i32, String> {
    let Some(text) = ttl.filter(|t| !t.is_empty()) else {
        return Ok(0);
    };
    let whole = duration(text).and_then(|d| i32::try_from(d.as_secs()).ok());
    whole.ok_or_else(|| format!("{text:?} is no lifetime"))
}
