//! The control ConfigMap: how an operator pauses writing, or confirms deletes that the breaker holds back.

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::mpsc;

use super::access::needs;
use crate::causes::causes;

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
/// While it cannot be read nothing is told: what was said last holds. Rights on this one name are enough; that they
/// are missing is told to `denied` with the remedy, once until they were there again.
pub async fn watch_control(
    client: Client,
    namespace: String,
    out: mpsc::Sender<Control>,
    denied: impl Fn(&str) + Send,
) {
    let api: Api<ConfigMap> = Api::namespaced(client, &namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONTROL_CONFIG_MAP}"));
    let mut events = watcher(api, config).default_backoff().boxed();
    let mut found_in_list = false;
    let mut rights = Rights::default();
    while let Some(event) = events.next().await {
        if let Some(why) = rights.news(&event) {
            let remedy = needs(&format!(
                "list and watch on configmaps, name {CONTROL_CONFIG_MAP:?}, in namespace {namespace:?}"
            ));
            denied(&format!(
                "{why}; {remedy}; until then pause and confirm-deletes are not heard"
            ));
        }
        let control = match event {
            // An API server that is away is told of by the other watches.
            Err(_) => continue,
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
        };
        if out.send(control).await.is_err() {
            return;
        }
    }
}

/// Whether it was told that our rights are missing.
#[derive(Default)]
struct Rights {
    told: bool,
}

impl Rights {
    /// The API server's words, if this is the first that shows that a right is missing.
    fn news(&mut self, event: &watcher::Result<watcher::Event<ConfigMap>>) -> Option<String> {
        use watcher::Error::{
            InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
        };
        let error = match event {
            Err(error) => error,
            Ok(watcher::Event::InitDone) => {
                self.told = false;
                return None;
            }
            Ok(_) => return None,
        };
        let code = match error {
            InitialListFailed(kube::Error::Api(status))
            | WatchStartFailed(kube::Error::Api(status))
            | WatchFailed(kube::Error::Api(status))
            | WatchError(status) => status.code,
            InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => 0,
        };
        if self.told || !matches!(code, 401 | 403) {
            return None;
        }
        self.told = true;
        Some(causes(error))
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn failed(code: u16) -> kube::Error {
        kube::Error::Api(
            Status::failure("cannot list resource", "")
                .with_code(code)
                .boxed(),
        )
    }

    #[test]
    fn a_missing_right_is_told_once_until_a_list_was_read() {
        let mut rights = Rights::default();
        let mut list = |code| rights.news(&Err(watcher::Error::InitialListFailed(failed(code))));
        assert_eq!(list(503), None, "no matter of rights");
        assert!(list(403).expect("told").contains("cannot list resource"));
        assert_eq!(list(403), None, "told already");
        assert_eq!(rights.news(&Ok(watcher::Event::InitDone)), None);
        let mut watch = || rights.news(&Err(watcher::Error::WatchStartFailed(failed(403))));
        assert!(watch().is_some(), "the right to watch is another one");
        assert_eq!(watch(), None, "told already");
    }
}
