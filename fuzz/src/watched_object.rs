//! Objects as the API server sends them, or does not.

use registrar_adapters::objects::decode;
use registrar_core::{
    cluster::{Kind, Object},
    policy::{DnsPolicy, IdentitySource, Policy},
    sync::Event,
};

/// Any text, as an object of each kind: it is decoded, or becomes the event that it cannot be.
pub fn watched_object(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut policy = Policy::reconcile("example.org", "demo", "registrar").expect("legal names");
    policy.pods.identity = IdentitySource::Label("a".into());
    policy.pods.dns = DnsPolicy::AllPodNames {
        zone: "cluster.local".into(),
    };
    let wanted = policy.wanted_metadata();
    for kind in [Kind::Pod, Kind::Node, Kind::EndpointSlice] {
        match decode::object(kind, text, &wanted) {
            Ok(object) => {
                assert_eq!(object.key().kind, kind);
                if let Object::Pod(pod) = object {
                    assert!(pod.labels.keys().all(|k| wanted.labels.contains(k)));
                    assert!(
                        pod.annotations
                            .keys()
                            .all(|k| wanted.annotations.contains(k))
                    );
                }
            }
            Err(event) => assert!(
                matches!(&*event, Event::Undecodable { kind: of, why, .. } if *of == kind && !why.is_empty() && why.len() < 4096),
                "{event:?}"
            ),
        }
    }
}
