//! Who is let in.

use registrar_adapters::admission::Limits;

use crate::pki::{ADMITTED, Ca, Made, REVIEW, Running, post};

#[tokio::test]
async fn a_client_with_a_certificate_of_the_ca_is_answered() {
    let server = Running::usual().await;
    let answer = server
        .talk(post(REVIEW).as_bytes())
        .await
        .expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.ends_with(ADMITTED), "{answer}");
}

#[tokio::test]
async fn a_client_without_a_certificate_or_with_a_wrong_one_is_refused_in_the_handshake() {
    let server = Running::usual().await;
    let stranger = Ca::new("another CA").issue(Made::Client);
    let expired = server.ca.issue(Made::ExpiredClient);
    let a_server = server.ca.issue(Made::Server);
    for (what, client) in [
        ("none", None),
        ("of another CA", Some(&stranger)),
        ("expired", Some(&expired)),
        ("not a client's", Some(&a_server)),
    ] {
        let answer = server.talk_as(client, post(REVIEW).as_bytes()).await;
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    assert!(
        server.talk(post(REVIEW).as_bytes()).await.is_ok(),
        "others are answered"
    );
}

#[tokio::test]
async fn without_verification_anyone_is_answered() {
    let server = Running::with(Limits::default(), true).await;
    let answer = server
        .talk_as(None, post(REVIEW).as_bytes())
        .await
        .expect("answered");
    assert!(answer.ends_with(ADMITTED), "{answer}");
}

#[tokio::test]
async fn http_2_is_spoken_too() {
    let server = Running::usual().await;
    let stream = server
        .connect(Some(&server.client), &["h2"])
        .await
        .expect("connected");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let request = http::Request::post("https://localhost/validate")
            .header("content-type", "application/json")
            .body(())
            .expect("a request");
        let (answer, mut body) = sender.send_request(request, false).expect("sent");
        body.send_data(REVIEW.into(), true).expect("sent");
        answers.push(answer);
    }
    for answer in answers {
        let mut answer = answer.await.expect("answered");
        assert_eq!(answer.status(), 200);
        let mut text = Vec::new();
        while let Some(bytes) = answer.body_mut().data().await {
            text.extend(bytes.expect("data"));
        }
        assert_eq!(String::from_utf8(text).expect("text"), ADMITTED);
    }
}
