//! What we may do, and single objects.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use registrar_core::{
    cluster::{Kind, Object, ObjectKey},
    policy::WantedMetadata,
    sync::{Event, LookUp},
};

use crate::{causes::causes, objects::decode};

/// How long the API server may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What to say of a call that the API server forbids: which rights it needs, and the manifest that grants them.
pub(super) fn needs(needed: &str) -> String {
    format!("the registrar's role needs {needed}, as deploy/base/<mode>/rbac.yaml grants")
}

/// What keeps us from reading the pods of all namespaces, with the remedy; `None` if nothing does.
///
/// # Errors
/// If the API server does not say.
pub async fn bars_from_pods(client: &Client) -> Result<Option<String>, String> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    for verb in ["list", "watch", "get"] {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    resource: Some("pods".into()),
                    verb: Some(verb.into()),
                    version: Some("v1".into()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let params = PostParams::default();
        let answer = tokio::time::timeout(WITHIN, api.create(&params, &review));
        match answer.await {
            Ok(Ok(answer)) if answer.status.as_ref().is_some_and(|s| s.allowed) => {}
            Ok(Ok(_)) => {
                let needed = needs("get, list and watch on pods");
                return Ok(Some(format!("cannot {verb} pods; {needed}")));
            }
            Ok(Err(error)) => return Err(causes(&error)),
            Err(_) => return Err(format!("no answer within {} s", WITHIN.as_secs())),
        }
    }
    Ok(None)
}

/// Reads one pod: is it there, and how is it?
pub async fn look_up(client: &Client, key: &ObjectKey, wanted: &WantedMetadata) -> LookUp {
    let failed = |why: String| LookUp::Failed(why.into());
    if key.kind != Kind::Pod {
        return failed(format!("{key} is never looked up"));
    }
    let path = format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name);
    // Names come from objects and entries, and may be anything.
    let request = match http::Request::get(path).body(Vec::new()) {
        Ok(request) => request,
        Err(error) => return failed(error.to_string()),
    };
    match tokio::time::timeout(WITHIN, client.request_text(request)).await {
        Ok(Ok(text)) => match decode::object(key.kind, &text, wanted).map_err(|e| *e) {
            Ok(Object::Pod(pod)) => LookUp::There(pod.uid.clone(), Some(Box::new(pod))),
            Err(Event::Undecodable { uid: Some(uid), .. }) => LookUp::There(uid, None),
            Err(Event::Undecodable { why, .. }) => LookUp::Failed(why),
            Ok(_) | Err(_) => failed("the answer is no pod".to_owned()),
        },
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => LookUp::Absent,
        Ok(Err(error)) => failed(causes(&error)),
        Err(_) => failed(format!("no answer within {} s", WITHIN.as_secs())),
    }
}
