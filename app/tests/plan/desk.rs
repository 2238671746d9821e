//! A folder with a configuration, the program, and what it is fed with.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_k8s-workload-registrar");

/// A folder to work in.
pub struct Desk {
    pub dir: tempfile::TempDir,
}

impl Desk {
    /// A folder with a configuration of reconcile mode and further lines.
    pub fn new(extra: &str) -> Self {
        let desk = Self {
            dir: tempfile::tempdir().expect("a folder"),
        };
        desk.file(
            "registrar.conf",
            &format!(
                "mode = \"reconcile\"\ntrust_domain = \"example.org\"\ncluster = \"demo\"\n\
                 server_socket_path = \"/run/spire/api.sock\"\n{extra}\n"
            ),
        );
        desk
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    pub fn plan(&self, args: &[&str], input: &str) -> Output {
        let mut child = Command::new(PROGRAM)
            .args(["plan", "-config", "registrar.conf"])
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A program that has seen enough closes it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().expect("ended")
    }

    pub fn json(&self, args: &[&str], input: &str) -> (Value, Option<i32>) {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let output = self.plan(&args, input);
        let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
            panic!("{e}: {output:?}");
        });
        (value, output.status.code())
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn examples() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo");
    path.canonicalize().expect("there").display().to_string()
}

pub fn pod(name: &str, extra: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: apps\n  uid: uid-{name}\n{extra}\n---\n"
    )
}

/// A SpiffeID that somebody wrote.
pub fn spiffe_id(name: &str, spiffe_id: &str, selects: &str) -> String {
    format!(
        "apiVersion: spiffeid.spiffe.io/v1beta1\nkind: SpiffeID\nmetadata: {{name: {name}, namespace: apps, uid: uid-{name}}}\n\
         spec:\n  parentId: spiffe://example.org/nodes\n  spiffeId: {spiffe_id}\n  selector: {{namespace: {selects}}}\n---\n"
    )
}

pub const NODE: &str =
    "apiVersion: v1\nkind: Node\nmetadata: {name: node-1, uid: uid-node-1}\n---\n";
pub const BOUND: &str = "spec: {nodeName: node-1, serviceAccountName: sa}";

pub fn entry(id: &str, path: &str, parent: &str, selectors: &[&str]) -> Value {
    let id_of = |path: &str| serde_json::json!({"trust_domain": "example.org", "path": path});
    let selectors: Vec<Value> = selectors
        .iter()
        .map(|s| {
            let (kind, value) = s.split_once(':').expect("a selector");
            serde_json::json!({"type": kind, "value": value})
        })
        .collect();
    serde_json::json!({
        "id": id, "spiffe_id": id_of(path), "parent_id": id_of(parent), "selectors": selectors,
        "x509_svid_ttl": 0, "federates_with": [], "hint": "", "admin": false, "created_at": "1",
        "downstream": false, "expires_at": "0", "dns_names": [], "revision_number": "0",
        "store_svid": false, "jwt_svid_ttl": 0,
    })
}

/// A server with the node's entry, an entry for pod `b` of another SPIFFE ID, one of a pod that is gone, one under another
/// root, and one in the way of pod `c`'s.
pub fn server() -> String {
    let root = "/spire-k8s-registrar/demo/node";
    let on_node = format!("{root}/node-1");
    let entries = [
        entry(
            "node",
            &on_node,
            "/spire/server",
            &["k8s_psat:cluster:demo", "k8s_psat:agent_node_name:node-1"],
        ),
        entry(
            "entry-b",
            "/old",
            &on_node,
            &["k8s:ns:apps", "k8s:pod-name:b"],
        ),
        entry(
            "gone",
            "/ns/apps/sa/sa",
            &on_node,
            &["k8s:ns:apps", "k8s:pod-name:gone"],
        ),
        entry(
            "other",
            "/ns/apps/sa/sa",
            "/other/demo/node",
            &["k8s:ns:apps", "k8s:pod-name:a"],
        ),
    ];
    serde_json::json!([{"entries": entries, "next_page_token": ""}]).to_string()
}
