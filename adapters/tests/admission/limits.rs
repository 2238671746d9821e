//! What clients may use up, and how the server ends.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use registrar_adapters::admission::{AdmissionRequest, Limits, Validator, Verdict};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::Semaphore,
};

use crate::pki::{ADMITTED, REVIEW, Running, post};

fn impatient() -> Limits {
    Limits {
        header_within: Duration::from_millis(300),
        body_within: Duration::from_millis(300),
        handshake_within: Duration::from_millis(300),
        ..Limits::default()
    }
}

async fn answers(server: &Running) {
    let answer = server
        .talk(post(REVIEW).as_bytes())
        .await
        .expect("answered");
    assert!(answer.ends_with(ADMITTED), "{answer}");
}

#[tokio::test]
async fn a_body_of_8_mib_is_read_and_one_byte_more_is_refused() {
    // However slow the machine is that the test runs on.
    let patient = Limits {
        body_within: Duration::from_secs(60),
        ..Limits::default()
    };
    let server = Running::with(patient, false).await;
    let largest = Limits::default().body;
    let filled = |size: usize| format!("{REVIEW}{}", " ".repeat(size - REVIEW.len()));
    let answer = server
        .talk(post(&filled(largest)).as_bytes())
        .await
        .expect("answered");
    assert!(answer.ends_with(ADMITTED), "{answer}");
    let refused = server
        .talk(post(&filled(largest + 1)).as_bytes())
        .await
        .expect("answered");
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
    assert!(
        refused.ends_with("Body larger than 8388608 bytes\n"),
        "{refused}"
    );
    answers(&server).await;
}

#[tokio::test]
async fn a_header_that_comes_slowly_costs_its_own_connection_only() {
    let server = Running::with(impatient(), false).await;
    let mut slow = server
        .connect(Some(&server.client), &[])
        .await
        .expect("connected");
    slow.write_all(b"POST /validate HTTP/1.1\r\nHost")
        .await
        .expect("sent");
    answers(&server).await;
    let mut rest = Vec::new();
    // Closed by the server; nothing was answered, or 408.
    let _ = slow.read_to_end(&mut rest).await;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(
        rest.is_empty() || rest.starts_with("HTTP/1.1 408"),
        "{rest}"
    );
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_answered_with_408() {
    let server = Running::with(impatient(), false).await;
    let whole = post(REVIEW);
    let begun = &whole.as_bytes()[..whole.len() - 10];
    let answer = server.talk(begun).await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("Body not received within"), "{answer}");
    answers(&server).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Running::usual().await;
    let first = post(&REVIEW.replace("u-1", "u-2")).replace("Connection: close\r\n", "");
    let answer = server
        .talk(format!("{first}{}", post(REVIEW)).as_bytes())
        .await
        .expect("answered");
    let at = |uid: &str| {
        answer
            .find(uid)
            .unwrap_or_else(|| panic!("{uid} in {answer}"))
    };
    assert!(at("u-2") < at("u-1"), "{answer}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_the_others_served() {
    let limits = Limits {
        connections: 2,
        ..impatient()
    };
    let server = Running::with(limits, false).await;
    let mut kept = Vec::new();
    for _ in 0..2 {
        kept.push(
            server
                .connect(Some(&server.client), &[])
                .await
                .expect("connected"),
        );
    }
    assert!(
        server.connect(Some(&server.client), &[]).await.is_err(),
        "one too many"
    );
    // The server's own end of a connection tells that it counts no more.
    for mut stream in kept {
        stream.shutdown().await.expect("said good-bye");
        let _ = stream.read_to_end(&mut Vec::new()).await;
        answers(&server).await;
    }
}

/// Tells when a review has come, and answers it when it may.
struct Held {
    come: Semaphore,
    may: Semaphore,
}

#[async_trait]
impl Validator for Held {
    async fn validate(&self, _: AdmissionRequest) -> Verdict {
        self.come.add_permits(1);
        let _turn = self.may.acquire().await.expect("never closed");
        Verdict::allowed()
    }
}

#[tokio::test]
async fn requests_under_way_are_answered_before_the_end() {
    let held = Arc::new(Held {
        come: Semaphore::new(0),
        may: Semaphore::new(0),
    });
    let mut server = Running::serving(Limits::default(), held.clone(), false).await;
    let mut stream = server
        .connect(Some(&server.client), &[])
        .await
        .expect("connected");
    stream
        .write_all(post(REVIEW).as_bytes())
        .await
        .expect("sent");
    let _come = held.come.acquire().await.expect("never closed");
    let stop = server.stop.take().expect("not stopped yet");
    stop.send(()).expect("it listens");
    // It takes nothing new: the connection is refused, or closed without a word.
    while server.connect(Some(&server.client), &[]).await.is_ok() {
        tokio::task::yield_now().await;
    }
    held.may.add_permits(1);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.ends_with(ADMITTED), "{answer}");
    let ended = tokio::time::timeout(Duration::from_secs(20), server.ended).await;
    ended
        .expect("it ends")
        .expect("without a panic")
        .expect("and without an error");
}

#[tokio::test]
async fn bodies_are_bounded_all_together_and_wait_for_room() {
    let held = Arc::new(Held {
        come: Semaphore::new(0),
        may: Semaphore::new(0),
    });
    let size = 64 << 10;
    let limits = Limits {
        bodies: size + 4096,
        body_within: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = Running::serving(limits, held.clone(), false).await;
    let filled = format!("{REVIEW}{}", " ".repeat(size as usize - REVIEW.len()));
    let large = post(&filled);
    let mut first = server
        .connect(Some(&server.client), &[])
        .await
        .expect("connected");
    first.write_all(large.as_bytes()).await.expect("sent");
    let _come = held.come.acquire().await.expect("never closed");
    let refused = server.talk(large.as_bytes()).await.expect("answered");
    assert!(refused.starts_with("HTTP/1.1 408"), "{refused}");
    // There is room for a small one, and again for a large one once the first is answered.
    held.may.add_permits(1);
    let mut answer = Vec::new();
    let _ = first.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.ends_with(ADMITTED), "{answer}");
    for body in [REVIEW, &filled] {
        let answer = server.talk(post(body).as_bytes()).await.expect("answered");
        assert!(answer.ends_with(ADMITTED), "{answer}");
    }
}
