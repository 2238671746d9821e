//! Reading objects from files: every form in which they come, and everything that can be wrong with them.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use flate2::{Compression, write::GzEncoder};
use registrar_adapters::manifests::{Reading, Source, read};
use registrar_core::{
    cluster::{Kind, Object},
    policy::WantedMetadata,
    sync::Event,
};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: NAME\n  namespace: ns\n  uid: uid-NAME\nspec:\n  \
                   nodeName: node-1\n  serviceAccountName: sa\n";

fn pod(name: &str) -> String {
    POD.replace("NAME", name)
}

fn json_pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"ns","uid":"u"}},
        "spec":{{"nodeName":"node-1","containers":[{{"image":"x"}}]}}}}"#
    )
}

/// What comes out of these files: one line an object, and what was told beside.
fn reads(files: &[(&str, &[u8])]) -> (Vec<String>, Reading) {
    let dir = tempfile::tempdir().expect("a folder");
    let sources: Vec<Source> = files
        .iter()
        .map(|(name, bytes)| {
            let path: PathBuf = dir.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            Source::File(path)
        })
        .collect();
    let wanted = WantedMetadata {
        annotations: ["a".into()].into(),
        ..WantedMetadata::default()
    };
    let mut lines = Vec::new();
    let folder = format!("{}/", dir.path().display());
    let mut reading = read(&sources, &wanted, &mut |event, _| {
        lines.push(match event {
            Event::Listed(Object::Pod(p)) => format!("pod {}/{} {}", p.namespace, p.name, p.uid),
            Event::Listed(object) => object.key().to_string(),
            Event::Undecodable { key, why, .. } => {
                format!("unreadable {key:?}: {}", why.replace(&folder, ""))
            }
            other => format!("{other:?}"),
        });
    });
    for trouble in &mut reading.troubles {
        trouble.place = trouble.place.replace(&folder, "");
    }
    (lines, reading)
}

fn reads_text(text: &str) -> (Vec<String>, Reading) {
    reads(&[("file", text.as_bytes())])
}

fn troubles(reading: &Reading) -> Vec<String> {
    reading.troubles.iter().map(ToString::to_string).collect()
}

#[test]
fn documents_lists_and_arrays_in_both_languages_give_the_same() {
    let (a, b) = (pod("a"), pod("b"));
    let kubectl = |list: &str, edge: &str| {
        let item = |pod: &str| {
            let rest = pod.replace('\n', &format!("\n{edge}  "));
            format!("{edge}- {}\n", rest.trim_end())
        };
        let items = item(&a) + &item(&b);
        format!("apiVersion: v1\nitems:\n{items}kind: {list}\nmetadata:\n  resourceVersion: \"\"\n")
    };
    let (ja, jb) = (json_pod("a"), json_pod("b"));
    let without = |json: &str| json.replace(r#""apiVersion":"v1","kind":"Pod","#, "");
    for text in [
        format!("{a}---\n{b}"),
        format!("# a comment\n--- # another\n{a}...\n---\n\n---\n{b}---\n"),
        format!("%YAML 1.1\n---\n{a}\n---\n{b}"),
        format!("\u{feff}{a}---\n{b}").replace('\n', "\r\n"),
        kubectl("List", ""),
        kubectl("PodList", ""),
        kubectl("List", "    "),
        format!("kind: List\nitems: [{ja}, {jb}]"),
        format!(
            "kind: List\nitems:\n# first\n- {}\n\n# second\n- {}\n",
            ja.replace('\n', " "),
            jb.replace('\n', " ")
        ),
        format!("{ja}\n{jb}"),
        format!("\u{feff} {ja}{jb} \n"),
        format!(r#"[{ja},{jb}]"#),
        format!(r#"{{"apiVersion":"v1","items":[{ja},{jb}],"kind":"List","metadata":{{}}}}"#),
        format!(
            r#"{{"kind":"PodList","apiVersion":"v1","items":[{},{}]}}"#,
            without(&ja),
            without(&jb)
        ),
        format!(
            r#"{{"items":[{},{}],"apiVersion":"v1","kind":"PodList"}}"#,
            without(&ja),
            without(&jb)
        ),
    ] {
        let (lines, reading) = reads_text(&text);
        let names: Vec<&str> = lines
            .iter()
            .map(|l| l.split(' ').nth(1).unwrap_or(l))
            .collect();
        assert_eq!(names, ["ns/a", "ns/b"], "{text}\n{reading:?}");
        assert_eq!(reading.objects, BTreeMap::from([(Kind::Pod, 2)]), "{text}");
        assert!(reading.troubles.is_empty(), "{text}\n{reading:?}");
    }
}

#[test]
fn a_list_without_items_says_that_there_are_none() {
    for text in [
        "apiVersion: v1\nkind: PodList\nitems: []\n",
        "apiVersion: v1\nitems:\nkind: PodList\n",
        r#"{"kind":"PodList","apiVersion":"v1","items":null}"#,
        r#"{"items":[],"kind":"PodList","apiVersion":"v1"}"#,
    ] {
        let (lines, reading) = reads_text(text);
        assert!(lines.is_empty(), "{text}");
        assert_eq!(reading.objects, BTreeMap::from([(Kind::Pod, 0)]), "{text}");
    }
    let (_, reading) = reads_text("apiVersion: v1\nkind: List\nitems: []\n");
    assert!(reading.objects.is_empty(), "of which kind, nobody said");
}

#[test]
fn block_scalars_and_comments_do_not_end_an_item() {
    let text = "items:\n- apiVersion: v1\n  kind: Pod\n  metadata:\n    name: a\n    annotations:\n      a: |\n        \
                items:\n        - x\n\n        ---\n# a comment at the edge\n      b: \"x\n        y\"\n- apiVersion: v1\n  \
                kind: Node\n  metadata: {name: n}\nkind: List\n";
    let (lines, reading) = reads_text(text);
    assert_eq!(
        lines,
        ["pod default/a uid-of-default.a", "Node n"],
        "{reading:?}"
    );
}

#[test]
fn gzipped_files_are_read_whatever_their_name() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(json_pod("a").as_bytes())
        .expect("written");
    let packed = encoder.finish().expect("finished");
    let (lines, _) = reads(&[("dump.json.gz", &packed), ("dump.json", &packed)]);
    assert_eq!(lines.len(), 2);
    let (lines, reading) = reads(&[("cut.gz", &packed[..packed.len() / 2])]);
    assert!(
        lines.is_empty() && reading.troubles.len() == 1,
        "{reading:?}"
    );
}

#[test]
fn what_a_manifest_leaves_out_is_filled_in_as_the_api_server_would_and_said() {
    let (lines, reading) = reads_text("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {}\n");
    assert_eq!(lines, ["pod default/a uid-of-default.a"]);
    let without: Vec<String> = reading
        .without_uid
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(without, ["Pod default/a"]);
}

#[test]
fn unknown_kinds_are_counted_by_name_and_pods_are_not_invented() {
    let object = |version: &str, kind: &str| {
        format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: x}}\nspec: {{items: 1}}\n---\n"
        )
    };
    let text = [
        object("apps/v1", "Deployment"),
        object("apps/v1", "Deployment"),
        object("batch/v1", "CronJob"),
        object("v1", "ConfigMap"),
        object("example.org/v1", "Widget"),
        object("discovery.k8s.io/v1beta1", "EndpointSlice"),
        object("v1", "Namespace"),
        object("v1", "Service"),
    ];
    let (lines, reading) = reads_text(&text.concat());
    assert!(lines.is_empty());
    let counted = |map: &BTreeMap<String, usize>| format!("{map:?}");
    assert_eq!(
        counted(&reading.pod_makers),
        r#"{"CronJob": 1, "Deployment": 2}"#
    );
    assert_eq!(
        counted(&reading.ignored),
        r#"{"ConfigMap": 1, "EndpointSlice of \"discovery.k8s.io/v1beta1\"": 1, "Widget": 1}"#
    );
    assert!(
        reading.troubles.is_empty(),
        "an unknown kind is never an error"
    );
}

#[test]
fn a_broken_document_or_item_spoils_no_other_and_says_where_it_stands() {
    let text = format!(
        "{}---\nkind: [\n---\n- not\n- objects\n---\n{}",
        pod("a"),
        pod("b")
    );
    let (lines, reading) = reads_text(&text);
    assert_eq!(lines, ["pod ns/a uid-a", "pod ns/b uid-b"]);
    let told = troubles(&reading);
    assert!(told[0].starts_with("file, line 11: "), "{told:?}");
    assert!(told[1].contains("it has no kind"), "{told:?}");

    let text = "kind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: a}}\n- [\n\
                - {apiVersion: v1, kind: Node, metadata: {name: b}}\n";
    let (lines, reading) = reads_text(text);
    assert_eq!(lines, ["Node a", "Node b"]);
    assert!(
        troubles(&reading)[0].starts_with("file, line 4: "),
        "{reading:?}"
    );
}

#[test]
fn a_half_written_file_gives_what_stands_before_the_end_and_says_so() {
    let whole = format!(
        r#"{{"kind":"List","items":[{},{}]}}"#,
        json_pod("a"),
        json_pod("b")
    );
    let (lines, reading) = reads_text(&whole[..whole.len() - 40]);
    assert_eq!(lines, ["pod ns/a u"]);
    assert!(
        troubles(&reading)[0].contains("ends in the middle"),
        "{reading:?}"
    );
}

#[test]
fn keys_given_twice_are_refused_as_the_api_server_refuses_them() {
    let text = pod("a").replace("kind: Pod\n", "kind: Pod\nkind: Pod\n");
    let (lines, reading) = reads_text(&text);
    assert!(
        lines.is_empty() && troubles(&reading)[0].contains("duplicate"),
        "{reading:?}"
    );
    let json = json_pod("a").replace(r#""name":"a""#, r#""name":"a","name":"b""#);
    let (lines, reading) = reads_text(&json);
    assert!(
        lines[0].contains("duplicate field `name`"),
        "{lines:?} {reading:?}"
    );
}

#[test]
fn an_object_that_cannot_be_read_is_held_by_its_name() {
    let text = pod("a").replace("nodeName: node-1", "nodeName: [1]");
    let (lines, _) = reads_text(&text);
    assert!(
        lines[0].starts_with("unreadable Some(Pod ns/a): file, line 1: "),
        "{lines:?}"
    );
    let (lines, reading) = reads_text("apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n");
    assert!(
        lines.is_empty() && troubles(&reading)[0].contains("without a name"),
        "{reading:?}"
    );
}

#[test]
fn what_is_no_text_or_nothing_or_hostile_is_said_or_ignored_and_never_a_panic() {
    for (bytes, said) in [
        (&b"\x7fELF\x00\x01\x02"[..], "not text"),
        (&b"apiVersion: v1\nkind: \xff\n"[..], "not UTF-8"),
        (&b"{\"kind\""[..], "ends in the middle"),
        (&b"plain words"[..], "no kind"),
        (&b"{} {"[..], ""),
        (&b"[1, \"two\", null]"[..], "no kind"),
        (&b"\x1f\x8bnot really"[..], ""),
    ] {
        let (lines, reading) = reads(&[("file", bytes)]);
        let told = troubles(&reading).join("\n");
        assert!(
            lines.is_empty() && !told.is_empty() && told.contains(said),
            "{told}"
        );
    }
    for nothing in ["", "\n\n", "# only a comment\n", "---\n---\n", "\u{feff}"] {
        let (lines, reading) = reads_text(nothing);
        assert!(
            lines.is_empty() && reading == Reading::default(),
            "{nothing:?} {reading:?}"
        );
    }
    let deep = "[".repeat(100_000);
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned()
        + &(b'b'..=b'k')
            .map(|c| {
                let (c, p) = (char::from(c), char::from(c - 1));
                format!("{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n")
            })
            .collect::<String>();
    let deep_yaml = format!("kind: {deep}");
    for hostile in [&deep, &bomb, &deep_yaml] {
        let (lines, _) = reads_text(hostile);
        assert!(lines.is_empty());
    }
}
