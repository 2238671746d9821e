//! The registrar killed between each pair of its writes: the next one begun, or done and its answer lost.

use registrar_tests::{ApiProxy, Options, PodSpec, Registrar, api_proxy::Fault, eventually};

use super::bench::{Bench, OWN, all, bench, by_hand};

/// A registrar behind a proxy.
struct Killed {
    /// Before the folder with its log, which a failed test shows.
    registrar: Registrar,
    b: Bench,
    proxy: ApiProxy,
}

impl Killed {
    async fn new() -> Self {
        let b = bench(Options::default()).await;
        let proxy = ApiProxy::start(b.private.cluster.client())
            .await
            .expect("starts");
        let kubeconfig = proxy.kubeconfig(b.private.plane.dir()).expect("written");
        let mut registrar = b.start_by(&kubeconfig, "");
        registrar.ready().await;
        Self {
            b,
            proxy,
            registrar,
        }
    }

    /// Kills it as soon as a request with this path has met the fault, and starts it again without any.
    async fn at(
        &mut self,
        path: &str,
        but_not: Option<&str>,
        fault: Fault,
        make: impl AsyncFn(&Bench),
    ) {
        let before = self.proxy.met();
        self.proxy.fault(path, but_not, fault);
        make(&self.b).await;
        eventually(&format!("{path} meets {fault:?}"), async || {
            self.registrar
                .process
                .must_run()
                .map_err(|e| e.to_string())?;
            match self.proxy.met() > before {
                true => Ok(()),
                false => Err("not yet".to_owned()),
            }
        })
        .await;
        self.registrar.process.kill();
        self.proxy.heal();
        self.registrar.process.start_again().expect("starts");
        self.registrar.ready().await;
    }
}

#[tokio::test]
async fn killed_at_each_write_of_a_pods_life_it_makes_one_entry_and_leaves_none() {
    let mut k = Killed::new().await;
    let points = [
        ("create-lost", "?", None, Fault::Lost),
        ("create-done", "?", None, Fault::Unanswered),
        ("status-lost", "/status", None, Fault::Lost),
        ("status-done", "/status", None, Fault::Unanswered),
    ];
    for (name, rest, but_not, fault) in points {
        let path = format!("/namespaces/apps/spiffeids/{name}{rest}");
        let account = format!("sa-{name}");
        let cluster = &k.b.private.cluster;
        cluster
            .service_account("apps", &account)
            .await
            .expect("an account");
        let pod = PodSpec::new("apps", name).service_account(&account);
        k.at(&path, but_not, fault, async |b| {
            b.private.cluster.pod(&pod).await.expect("a pod");
        })
        .await;
        let entry = k.b.one(&format!("/ns/apps/sa/{account}")).await;
        let resource = k.b.standing("apps", name, "True", "Registered").await;
        assert_eq!(resource["status"]["entryId"], entry.id, "{name}");
    }
    let before = all(&k.b).await.expect("entries");
    assert_eq!(before.len(), points.len() + 2, "of pods and nodes");
    assert!(
        before.iter().all(|(_, revision)| *revision == 0),
        "{before:?}"
    );

    // The end: the entry is deleted, and then the finalizer leaves.
    let ends = [
        ("create-lost", Fault::Lost),
        ("create-done", Fault::Unanswered),
    ];
    for (name, fault) in ends {
        let path = format!("/namespaces/apps/spiffeids/{name}?");
        k.at(&path, Some("force"), fault, async |b| {
            b.private
                .cluster
                .delete_pod("apps", name)
                .await
                .expect("deleted");
            // The garbage collector does so once it knows the kind; it is not its speed that is shown here.
            b.ids.delete("apps", name).await.expect("deleted");
        })
        .await;
        k.b.gone("apps", name).await;
        k.b.none(&format!("/ns/apps/sa/sa-{name}")).await;
    }
    let after = all(&k.b).await.expect("entries");
    assert!(
        after.is_subset(&before) && after.len() == before.len() - ends.len(),
        "{after:?}"
    );
}

#[tokio::test]
async fn killed_at_each_write_of_a_hand_written_one_it_makes_one_entry_and_leaves_none() {
    let mut k = Killed::new().await;
    let before = all(&k.b).await.expect("entries");
    let points = [
        // Its first write puts our finalizer on it.
        ("finalizer-lost", "?", Fault::Lost),
        ("finalizer-done", "?", Fault::Unanswered),
        ("status-lost", "/status", Fault::Lost),
        ("status-done", "/status", Fault::Unanswered),
    ];
    for (name, rest, fault) in points {
        let path = format!("/namespaces/{OWN}/spiffeids/{name}{rest}");
        let id = format!("/hand/{name}");
        k.at(&path, None, fault, async |b| {
            let made = b.ids.create(OWN, name, by_hand(&id, name)).await;
            made.expect("made");
        })
        .await;
        let entry = k.b.one(&id).await;
        let resource = k.b.standing(OWN, name, "True", "Registered").await;
        assert_eq!(resource["status"]["entryId"], entry.id, "{name}");
        assert_eq!(entry.revision_number, 0, "{name}");
    }
    for (name, _, fault) in points {
        let path = format!("/namespaces/{OWN}/spiffeids/{name}?");
        k.at(&path, None, fault, async |b| {
            b.ids.delete(OWN, name).await.expect("deleted");
        })
        .await;
        k.b.gone(OWN, name).await;
        k.b.none(&format!("/hand/{name}")).await;
    }
    assert_eq!(all(&k.b).await.expect("entries"), before);
}

#[tokio::test]
async fn killed_while_the_server_holds_a_create_it_makes_one_entry() {
    let mut k = Killed::new().await;
    for round in 0..3 {
        let name = format!("p-{round}");
        let log = k.registrar.process.log();
        let unanswered = log.matches("BatchCreateEntry").count();
        k.b.private.plane.spire_server.freeze();
        let cluster = &k.b.private.cluster;
        cluster
            .pod(&PodSpec::new("apps", &name))
            .await
            .expect("a pod");
        // What became of it is not known: the server holds it, and may still do it.
        eventually("its entry was asked for in vain", async || {
            let log = k.registrar.process.log();
            match log.matches("BatchCreateEntry").count() > unanswered {
                true => Ok(()),
                false => Err("not yet"),
            }
        })
        .await;
        k.registrar.process.kill();
        k.b.private.plane.spire_server.thaw();
        k.registrar.process.start_again().expect("starts");
        k.registrar.ready().await;
        k.b.standing("apps", &name, "True", "Registered").await;
    }
    let found = k.b.with_id("/ns/apps/sa/default").await.expect("entries");
    assert_eq!(found.len(), 3, "{found:#?}");
}
