//! The way to the SPIRE Server that the configuration names.

use std::sync::Arc;

use registrar_adapters::{
    config::Common,
    spire::{Deadlines, Identity, MayBegin, SpireClient, Wire},
};
use registrar_core::server_address::ServerAddress;
use tracing::info;

/// The server. `may_begin` is asked before each call that writes.
pub fn server(common: &Common, may_begin: MayBegin) -> Arc<SpireClient> {
    let client = SpireClient::new(wire(common), Deadlines::default(), may_begin);
    Arc::new(client)
}

/// The way to it.
pub fn wire(common: &Common) -> Wire {
    match &common.server_address {
        ServerAddress::Unix(path) => {
            info!(address = %common.server_address, "Connecting to local registration server socket");
            Wire::unix(path)
        }
        ServerAddress::Tcp(targets) => {
            // The configuration is refused without it.
            let agent = common.agent_socket_path.as_deref().unwrap_or_default();
            info!(
                address = %common.server_address, agent, server_id = %common.server_id,
                "Connecting to remote registration server with credentials from agent socket"
            );
            let identity = Identity::begin(agent, common.server_id.clone());
            Wire::tcp(targets.clone(), identity)
        }
    }
}
