//! Certificates in files: what can be wrong with them, and their exchange.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use registrar_adapters::admission::{
    CertificateFiles, Clients, Endpoints, Limits, News, ServingCertificate, Tls, serve,
};
use tokio::{net::TcpListener, sync::mpsc};

use crate::pki::{ADMITTED, Admits, Ca, Made, Pair, REVIEW, Running, named, post};

fn files(dir: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: dir.join("cert.pem"),
        key: dir.join("key.pem"),
        ca: Some(dir.join("cacert.pem")),
    }
}

fn write(dir: &Path, pair: &Pair, ca: &str) {
    // As Kubernetes does: a whole new file takes the old one's place.
    for (name, text) in [
        ("cert.pem", &*pair.certificate),
        ("key.pem", &pair.key),
        ("cacert.pem", ca),
    ] {
        fs::write(dir.join("new"), text).expect("written");
        fs::rename(dir.join("new"), dir.join(name)).expect("renamed");
    }
}

#[tokio::test]
async fn every_problem_is_one_line_that_names_key_and_file() {
    let ca = Ca::new("test CA");
    let right = ca.issue(Made::Server);
    let other = ca.issue(Made::Server);
    let expired = ca.issue(Made::ExpiredServer);
    let client = ca.issue(Made::Client);
    let half = Pair {
        certificate: right.certificate[..right.certificate.len() / 2].to_owned(),
        key: right.key.clone(),
    };
    let swapped = Pair {
        certificate: right.certificate.clone(),
        key: other.key.clone(),
    };
    let keyless = Pair {
        certificate: right.certificate.clone(),
        key: "no key".to_owned(),
    };
    type Case<'a> = (&'a str, &'a Pair, &'a str, Option<&'a str>, &'a [&'a str]);
    let cases: [Case<'_>; 10] = [
        (
            "no certificate",
            &right,
            &ca.certificate,
            Some("cert.pem"),
            &[
                "unable to load server keypair: cert_path",
                "cert.pem",
                "No such file",
            ],
        ),
        (
            "no key",
            &right,
            &ca.certificate,
            Some("key.pem"),
            &[
                "unable to load server keypair: key_path",
                "key.pem",
                "No such file",
            ],
        ),
        (
            "no CA",
            &right,
            &ca.certificate,
            Some("cacert.pem"),
            &[
                "unable to read cacert file: cacert_path",
                "cacert.pem",
                "No such file",
            ],
        ),
        (
            "half a certificate",
            &half,
            &ca.certificate,
            None,
            &["unable to load server keypair: cert_path", "cert.pem"],
        ),
        (
            "another key",
            &swapped,
            &ca.certificate,
            None,
            &["key_path", "key.pem", "does not belong to the certificate"],
        ),
        (
            "a key that is none",
            &keyless,
            &ca.certificate,
            None,
            &["key_path", "key.pem", "no private key"],
        ),
        (
            "expired",
            &expired,
            &ca.certificate,
            None,
            &["cert_path", "cert.pem", "valid from", "not now"],
        ),
        (
            "a client's",
            &client,
            &ca.certificate,
            None,
            &["cert_path", "cert.pem", "not one for a server"],
        ),
        (
            "an empty CA file",
            &right,
            "",
            None,
            &[
                "unable to parse cacert file: cacert_path",
                "cacert.pem",
                "no certificate",
            ],
        ),
        (
            "a CA file without a certificate",
            &right,
            "nothing",
            None,
            &["unable to parse cacert file: cacert_path", "cacert.pem"],
        ),
    ];
    for (what, pair, ca, removed, expected) in cases {
        let dir = tempfile::tempdir().expect("a folder");
        write(dir.path(), pair, ca);
        if let Some(name) = removed {
            fs::remove_file(dir.path().join(name)).expect("removed");
        }
        let error = match files(dir.path()).load(|_| {}).await {
            Ok(_) => panic!("{what} is taken"),
            Err(error) => error.to_string(),
        };
        for part in expected {
            assert!(error.contains(part), "{what}: {part:?} in {error:?}");
        }
        assert_eq!(error.lines().count(), 1, "{what}: {error}");
    }
}

#[tokio::test]
async fn a_folder_in_the_place_of_a_file_is_told_as_such() {
    let ca = Ca::new("test CA");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &ca.issue(Made::Server), &ca.certificate);
    fs::remove_file(dir.path().join("key.pem")).expect("removed");
    fs::create_dir(dir.path().join("key.pem")).expect("made");
    let error = files(dir.path())
        .load(|_| {})
        .await
        .map(|_| ())
        .expect_err("refused");
    assert!(error.to_string().contains("key_path"), "{error}");
}

#[tokio::test]
async fn without_verification_the_ca_is_not_even_read() {
    let ca = Ca::new("test CA");
    let dir = tempfile::tempdir().expect("a folder");
    write(dir.path(), &ca.issue(Made::Server), "");
    let files = CertificateFiles {
        ca: None,
        ..files(dir.path())
    };
    assert!(files.load(|_| {}).await.is_ok());
}

/// Reviews go on while files are exchanged, half written and mended; none fails, and the new certificate is served.
#[tokio::test]
async fn certificates_are_exchanged_under_load_and_half_written_ones_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Running::usual().await;
    let first = server.ca.issue(Made::Server);
    write(dir.path(), &first, &server.ca.certificate);
    let (told, mut news) = mpsc::unbounded_channel();
    let (tls, watching) = files(dir.path())
        .load(move |n| drop(told.send(n)))
        .await
        .expect("right at first");
    tokio::spawn(watching);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    server.address = listener.local_addr().expect("an address");
    let endpoints = Endpoints::new().at("/validate", Arc::new(Admits));
    tokio::spawn(serve(
        listener,
        tls,
        endpoints,
        Limits::default(),
        |_, _| {},
        std::future::pending(),
    ));
    let server = Arc::new(server);
    let exchanged = Arc::new(AtomicBool::new(false));
    let load = tokio::spawn({
        let (server, exchanged) = (server.clone(), exchanged.clone());
        async move {
            // 50 reviews a second, each on a connection of its own, until the new certificate has been served for a while.
            let mut turn = tokio::time::interval(Duration::from_millis(20));
            let (mut before, mut after) = (0, 0);
            while after < 50 {
                turn.tick().await;
                let answer = server.talk(post(REVIEW).as_bytes()).await;
                let answer = answer.unwrap_or_else(|e| panic!("review {before} + {after}: {e}"));
                assert!(answer.ends_with(ADMITTED), "review {before}: {answer}");
                match exchanged.load(Ordering::SeqCst) {
                    true => after += 1,
                    false => before += 1,
                }
            }
            before
        }
    });
    let shown = async || {
        let stream = server
            .connect(Some(&server.client), &[])
            .await
            .expect("connected");
        let shown = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
        shown.expect("a certificate")
    };
    let der = |pair: &Pair| {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")
    };
    assert_eq!(shown().await, vec![der(&first)]);
    // Half a certificate: said once, and the old one stays.
    let second = server.ca.issue(Made::Server);
    let half = &second.certificate[..second.certificate.len() / 2];
    fs::write(dir.path().join("cert.pem"), half).expect("written");
    match news.recv().await.expect("told") {
        News::Kept(why) => assert!(why.to_string().contains("cert_path"), "{why}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(shown().await, vec![der(&first)]);
    // Then the whole of it: the certificate first, its key a moment later.
    write(dir.path(), &second, &server.ca.certificate);
    let written = Instant::now();
    loop {
        match news.recv().await.expect("told") {
            News::Exchanged => break,
            News::Kept(_) => {}
        }
    }
    assert_eq!(shown().await, vec![der(&second)]);
    exchanged.store(true, Ordering::SeqCst);
    let took = written.elapsed();
    let before = load.await.expect("no review fails");
    assert!(before > 0, "there was a load");
    eprintln!("served {took:?} after it was written; {before} reviews before, 50 after");
}

#[test]
fn certificates_from_memory_are_checked_as_those_from_files() {
    let ca = Ca::new("test CA");
    let (a, b) = (ca.issue(Made::Server), ca.issue(Made::Server));
    let error = ServingCertificate::from_pem(named("a", &a.certificate), named("b", &b.key));
    assert!(error.is_err());
}

/// What `generate-config` does not make, and the original's did.
#[test]
fn an_rsa_key_of_another_tool_is_served() {
    let whole = include_str!("rsa.pem");
    let serving = ServingCertificate::from_pem(named("a", whole), named("b", whole));
    let serving = serving.unwrap_or_else(|e| panic!("{e}"));
    Tls::new(&serving, &Clients::Any).expect("served");
}
