//! Our own X509-SVID from the Workload API of a SPIRE Agent, and the TLS that it makes possible.
//!
//! The agent may appear later, vanish and come back: what was received last is used until it expires, and every
//! connection made after a rotation uses the new SVID.

use std::{sync::Arc, time::Duration};

use registrar_core::spiffe::SpiffeId;
use rustls::ClientConfig;
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Source};
use spiffe_rustls::{TrustDomainPolicy, authorizer, mtls_client};
use tokio::{sync::watch, task::AbortHandle};

use crate::causes::causes;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The agent answers at once, or says that there is no identity.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Whom we are, by a SPIRE Agent, and whom we talk to.
#[derive(Debug)]
pub struct Identity {
    agent: String,
    server_id: SpiffeId,
    state: watch::Receiver<State>,
    fetching: AbortHandle,
}

#[derive(Debug)]
enum State {
    /// The agent was asked for the first time.
    Asked,
    /// Nothing was received yet, and this is why.
    Nothing(String),
    Ready(Box<Ready>),
}

#[derive(Debug)]
struct Ready {
    source: X509Source,
    tls: Arc<ClientConfig>,
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.fetching.abort();
    }
}

impl Identity {
    /// Begins to ask the agent at `agent_socket` (a path, or `unix:` and a path). Must be called within a runtime.
    pub fn begin(agent_socket: &str, server_id: SpiffeId) -> Self {
        let agent = match agent_socket.starts_with("unix:") {
            true => agent_socket.to_owned(),
            false => format!("unix:{agent_socket}"),
        };
        let (sender, state) = watch::channel(State::Asked);
        let fetching = tokio::spawn(fetch(agent.clone(), server_id.clone(), sender));
        Self {
            agent,
            server_id,
            state,
            fetching: fetching.abort_handle(),
        }
    }

    /// The one SPIFFE ID that the server may present.
    pub fn server_id(&self) -> &SpiffeId {
        &self.server_id
    }

    /// Our own SPIFFE ID, once the agent told it.
    pub fn own_id(&self) -> Option<SpiffeId> {
        match &*self.state.borrow() {
            State::Ready(ready) => {
                let svid = ready.source.try_svid()?;
                SpiffeId::parse(&svid.spiffe_id().to_string()).ok()
            }
            State::Asked | State::Nothing(_) => None,
        }
    }

    /// Counts rotations: a connection of an earlier number has an older SVID, or older authorities.
    pub fn number(&self) -> u64 {
        match &*self.state.borrow() {
            State::Ready(ready) => ready.source.updated().last(),
            State::Asked | State::Nothing(_) => 0,
        }
    }

    /// TLS with the newest SVID; waits for the first answer of the agent.
    ///
    /// # Errors
    /// Why there is none yet.
    pub async fn tls(&self) -> Result<Arc<ClientConfig>, String> {
        let mut state = self.state.clone();
        let told = state.wait_for(|s| !matches!(s, State::Asked)).await;
        let why = match told.as_deref() {
            Ok(State::Ready(ready)) => return Ok(ready.tls.clone()),
            Ok(State::Nothing(why)) => why,
            Ok(State::Asked) | Err(_) => "nobody asks it any more",
        };
        Err(format!(
            "no X509-SVID from the SPIRE Agent at {}: {why}",
            self.agent
        ))
    }
}

async fn fetch(agent: String, server_id: SpiffeId, state: watch::Sender<State>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match fetch_once(&agent, &server_id).await {
            Ok(ready) => {
                state.send_replace(State::Ready(Box::new(ready)));
                // The source keeps itself new.
                return state.closed().await;
            }
            Err(why) => drop(state.send_replace(State::Nothing(why))),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Asks once, so that a failure can be told; what keeps asking afterwards does so silently.
async fn fetch_once(agent: &str, server_id: &SpiffeId) -> Result<Ready, String> {
    let asked = tokio::time::timeout(ANSWERS_WITHIN, async {
        let client = WorkloadApiClient::connect_to(agent).await?;
        client.fetch_x509_svid().await
    });
    match asked.await {
        Ok(Ok(_)) => {}
        Ok(Err(WorkloadApiError::NoIdentityIssued)) => {
            return Err(
                "it has no identity for this process: make a registration entry whose selectors match the registrar, \
                 with -admin"
                    .into(),
            );
        }
        Ok(Err(error)) => {
            return Err(format!(
                "{}; is the agent running, and agent_socket_path mounted and readable here?",
                causes(&error)
            ));
        }
        Err(_) => return Err(format!("it did not answer within {ANSWERS_WITHIN:?}")),
    }
    let source = X509Source::builder()
        .endpoint(agent)
        .initial_sync_timeout(ANSWERS_WITHIN)
        .build()
        .await
        .map_err(|e| causes(&e))?;
    let wanted = server_id.to_string();
    let trust_domain = server_id.trust_domain().as_str();
    let local = TrustDomainPolicy::LocalOnly(trust_domain.try_into().map_err(|e| causes(&e))?);
    let authorizer = authorizer::exact([wanted.as_str()]).map_err(|e| causes(&e))?;
    let tls = mtls_client(source.clone())
        .authorize(authorizer)
        .trust_domain_policy(local)
        .with_alpn_protocols([b"h2"])
        .build()
        .map_err(|e| causes(&e))?;
    Ok(Ready {
        source,
        tls: Arc::new(tls),
    })
}
