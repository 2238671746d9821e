//! Anybody on the network may connect to the port of metrics and probes.

use std::{net::SocketAddr, time::Duration};

use registrar_adapters::telemetry::{Health, Metrics, serve};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

async fn started() -> SocketAddr {
    let health = Health::default();
    health.turned(Vec::new());
    let served = serve("127.0.0.1:0", Metrics::new(), health).await;
    let (address, serving) = served.expect("listens");
    tokio::spawn(serving);
    address
}

/// The answer of a connection that sends this.
async fn answer(address: SocketAddr, sent: &[u8]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(sent).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn is_live(address: SocketAddr) -> bool {
    let request = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    answer(address, request)
        .await
        .is_ok_and(|a| a.starts_with("HTTP/1.1 200"))
}

async fn comes_true(what: &str, is_so: impl AsyncFn() -> bool) {
    let patience = tokio::time::timeout(Duration::from_secs(60), async {
        while !is_so().await {
            tokio::task::yield_now().await;
        }
    });
    patience.await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn clients_that_say_nothing_take_up_no_place_for_long() {
    let address = started().await;
    let mut silent = Vec::new();
    for n in 0..400 {
        let mut stream = TcpStream::connect(address)
            .await
            .expect("the system accepts");
        if n % 2 == 0 {
            // Half a header.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHo").await;
        }
        silent.push(stream);
    }
    comes_true("it answers beside hundreds that are silent", async || {
        is_live(address).await
    })
    .await;
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest));
        assert!(ended.await.is_ok(), "it is closed, with or without a word");
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_others_are_answered() {
    let address = started().await;
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(10_000));
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let said = answer(address, sent).await.unwrap_or_default();
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
        assert!(is_live(address).await);
    }
}
