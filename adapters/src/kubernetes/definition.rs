//! The CustomResourceDefinition of SpiffeIDs as the API server has it.

use registrar_core::{
    cluster::Uid,
    ports::{Definition, Schema},
};
use serde_json::Value;

/// Its name.
pub const NAME: &str = "spiffeids.spiffeid.spiffe.io";

/// What the core must know of it.
pub(super) fn read(object: &Value) -> Definition {
    let metadata = &object["metadata"];
    let text = |key: &str| metadata[key].as_str().unwrap_or_default();
    Definition {
        uid: Uid::new(text("uid")),
        created: text("creationTimestamp").into(),
        terminating: metadata["deletionTimestamp"].is_string(),
        schema: schema(object),
    }
}

/// What the definition's schema has of what we build on.
fn schema(definition: &Value) -> Schema {
    let versions = definition["spec"]["versions"].as_array();
    let version = versions
        .into_iter()
        .flatten()
        .find(|v| v["name"] == "v1beta1");
    let root = version.map_or(&Value::Null, |v| &v["schema"]["openAPIV3Schema"]);
    let properties = |of: &'static str| &root["properties"][of]["properties"];
    let is_set = |field: &str| properties("spec")[field]["x-kubernetes-list-type"] == "set";
    Schema {
        conditions: !properties("status")["conditions"].is_null()
            && !properties("status")["observedGeneration"].is_null(),
        sets: is_set("dnsNames") && is_set("federatesWith"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::CUSTOM_RESOURCE_DEFINITION;

    #[test]
    fn ours_has_all_that_we_build_on_and_one_of_types_alone_has_nothing_of_it() {
        let ours: Value = serde_yaml::from_str(CUSTOM_RESOURCE_DEFINITION).expect("YAML");
        assert_eq!(read(&ours).schema, Schema::WHOLE);
        let mut types = ours;
        let root = &mut types["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let status = root["properties"]["status"]["properties"].as_object_mut();
        status.expect("properties").remove("conditions");
        let names = root["properties"]["spec"]["properties"]["dnsNames"].as_object_mut();
        names.expect("a schema").remove("x-kubernetes-list-type");
        let none = Schema {
            conditions: false,
            sets: false,
        };
        assert_eq!(read(&types).schema, none);
    }
}
