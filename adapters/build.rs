//! Compiles our protobuf text of SPIRE's server API into client and server code, without protoc.

use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("proto");
    let files = [
        "spire/api/server/agent/v1/agent.proto",
        "spire/api/server/entry/v1/entry.proto",
        "spire/api/server/bundle/v1/bundle.proto",
        "spire/api/server/debug/v1/debug.proto",
        "spire/api/server/svid/v1/svid.proto",
    ];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .include_file("spire.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
