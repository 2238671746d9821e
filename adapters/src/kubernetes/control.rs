//! The control ConfigMap: how an operator pauses writing, or confirms deletes that the breaker holds back.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

/// Its name, in our own namespace. That it does not exist is normal.
pub const CONTROL_CONFIG_MAP: &str = "k8s-workload-registrar-control";

/// What the ConfigMap says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Control {
    /// `pause: "true"`
    pub pause: bool,
    /// `confirm-deletes: <trip ID>`
    pub confirm_deletes: Option<String>,
}

impl Control {
    fn of(map: &ConfigMap) -> Self {
        let value = |key: &str| {
            map.data
                .as_ref()
                .and_then(|d| d.get(key))
                .map(|v| v.trim())
                .filter(|v| !v.is_empty())
        };
        Self {
            pause: value("pause").is_some_and(|v| v.eq_ignore_ascii_case("true")),
            confirm_deletes: value("confirm-deletes").map(str::to_owned),
        }
    }
}

/// Watches the ConfigMap by its name and tells every change, until the receiver is gone.
///
/// While it cannot be read nothing is told: what was said last holds. Rights on this one name are enough.
pub async fn watch_control(client: Client, namespace: String, out: mpsc::Sender<Control>) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONTROL_CONFIG_MAP}"));
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut found_in_list = false;
    while let Some(event) = events.next().await {
        let control = match event {
            Ok(watcher::Event::Init) => {
                found_in_list = false;
                continue;
            }
            Ok(watcher::Event::InitApply(map)) => {
                found_in_list = true;
                Control::of(&map)
            }
            Ok(watcher::Event::Apply(map)) => Control::of(&map),
            Ok(watcher::Event::InitDone) if found_in_list => continue,
            Ok(watcher::Event::InitDone | watcher::Event::Delete(_)) => Control::default(),
            // It may be that we have no right to read it: then it says nothing.
            Err(_) => continue,
        };
        if out.send(control).await.is_err() {
            return;
        }
    }
}
