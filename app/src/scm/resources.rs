//! ClusterSPIFFEIDs, ClusterStaticEntries and the ControllerManagerConfig, as far as identities go.

use std::collections::{BTreeMap, BTreeSet};

use registrar_core::{cluster::PodSnapshot, spiffe::SpiffeId};
use serde::Deserialize;
use serde_json::Value;

use super::template::{self, Cluster, Piece};

/// Their API group.
pub const GROUP: &str = "spire.spiffe.io";
/// What it ignores by default.
const IGNORED: [&str; 3] = ["kube-system", "kube-public", "spire-system"];

/// `spec` of a ClusterSPIFFEID.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterSpiffeId {
    #[serde(skip)]
    pub name: String,
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
}

impl Resources {
    /// From whole objects.
    pub fn of(objects: &[Value]) -> Self {
        let mut resources = Self::default();
        for object in objects {
            resources.take(object);
        }
        if let Some(configuration) = &resources.configuration {
            let manages = |r: &ClusterSpiffeId| configuration.manages(&r.class_name);
            resources.ids.retain(manages);
        }
        resources
    }

    fn take(&mut self, object: &Value) {
        let name = object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let kind = object["kind"].as_str().unwrap_or_default();
        let spec = object["spec"].clone();
        let result = match kind {
            "ClusterSPIFFEID" => serde_json::from_value(spec).map(|spec| {
                self.ids.push(ClusterSpiffeId {
                    name: name.clone(),
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
            for piece in template::pieces(&id.template).unwrap_or_default() {
                match piece {
                    Piece::Value(template::Value::Label(key)) => drop(labels.insert(key)),
                    Piece::Value(template::Value::Annotation(key)) => drop(annotations.insert(key)),
                    _ => {}
                }
            }
        }
        (labels, annotations)
    }

    fn cluster(&self) -> Cluster {
        let configuration = self.configuration.clone().unwrap_or_default();
        Cluster {
            trust_domain: configuration.trust_domain,
            name: configuration.cluster_name,
            domain: configuration.cluster_domain,
        }
    }

    /// The namespaces that it ignores: regular expressions that may match anywhere.
    pub fn ignored(&self) -> Vec<String> {
        let named = self
            .configuration
            .as_ref()
            .and_then(|c| c.ignore_namespaces.clone());
        named.unwrap_or_else(|| IGNORED.map(str::to_owned).into())
    }

    /// The SPIFFE IDs that it gives a pod.
    ///
    /// # Errors
    /// If a template, a pattern or a namespace is not known here.
    pub fn ids_of(&self, pod: &PodSnapshot) -> Result<BTreeSet<String>, String> {
        for pattern in self.ignored() {
            let regex =
                regex::Regex::new(&pattern).map_err(|e| format!("ignoreNamespaces: {e}"))?;
            if regex.is_match(&pod.namespace) {
                return Ok(BTreeSet::new());
            }
        }
        let cluster = self.cluster();
        let of_all = |fallback: bool| -> Result<BTreeSet<String>, String> {
            let mut ids = BTreeSet::new();
            for id in self.ids.iter().filter(|i| i.fallback == fallback) {
                if self.selects(id, pod)? {
                    let pieces = template::pieces(&id.template)
                        .map_err(|why| format!("ClusterSPIFFEID {}: {why}", id.name))?;
                    let text = template::render(&pieces, &cluster, pod)
                        .map_err(|why| format!("ClusterSPIFFEID {}: {why}", id.name))?;
                    // What is no SPIFFE ID it does not register either.
                    ids.extend(SpiffeId::parse(&text).ok().map(|i| i.to_string()));
                }
            }
            Ok(ids)
        };
        let ids = of_all(false)?;
        if ids.is_empty() {
            of_all(true)
        } else {
            Ok(ids)
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
