//! TLS: HTTP and gRPC over it, with real clients, and a certificate that changes while the service runs.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::grpc::{Grpc, LOGS, OK, runtime, tls};
use crate::otlp::{Event, encode};
use crate::sdk::Sdk;
use crate::witnesses::{Witness, begun, cosigned, failures, until};
use crate::world::{DEVICE, Service, Start, World};

/// A certificate of `localhost` and its key in files, and the authority that signed it.
pub(crate) struct Files {
    /// The authority's certificate, in PEM: what clients trust.
    pub(crate) certificate: String,
    /// Certificate, key, and the authority's certificate.
    paths: [PathBuf; 3],
}

/// Makes a new authority and a new certificate.
pub(crate) fn certificate(world: &World) -> Files {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    authority.distinguished_name.push(DnType::CommonName, "authority of a test");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let mut leaf = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let paths = ["cert.pem", "key.pem", "authority.pem"].map(|name| world.path(name));
    for (path, text) in paths.iter().zip([leaf.pem(), key.serialize_pem(), authority.pem()]) {
        std::fs::write(path, text).unwrap();
    }
    Files { certificate: authority.pem(), paths }
}

impl Files {
    /// The variables that name them.
    pub(crate) fn environment(&self) -> [(&str, &str); 2] {
        let text = |at: usize| self.paths[at].to_str().expect("UTF-8");
        [("CANDOR_TLS_CERTIFICATE", text(0)), ("CANDOR_TLS_KEY", text(1))]
    }
}

#[test]
fn http_and_grpc_speak_tls_and_nobody_speaks_plain_text() {
    let world = World::new();
    let files = certificate(&world);
    let service = world.start(&Start { environment: &files.environment(), ..Start::default() }).unwrap();
    assert!(service.log().contains("https://"), "{}", service.log());
    let health = get_health(&service, &files.certificate).unwrap();
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let body = encode(&[Event::numbered("tls-01", 1)]);
    Grpc::connect_tls(service.address(), Some(DEVICE), &files.certificate).export(LOGS, "", &body).expect(OK);
    assert_eq!(world.account()[0].0, 1);

    let other = certificate(&World::new());
    assert!(get_health(&service, &other.certificate).is_err(), "another certificate is not trusted");
    let mut plain = std::net::TcpStream::connect(service.address()).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: plain\r\n\r\n").unwrap();
    let mut answer = [0; 64];
    let read = plain.read(&mut answer).unwrap_or(0);
    assert!(!answer[..read].starts_with(b"HTTP"), "plain text was answered");
}

#[test]
fn the_sdks_deliver_over_tls() {
    let world = World::new();
    let files = certificate(&world);
    let service = world.start(&Start { environment: &files.environment(), ..Start::default() }).unwrap();
    let endpoint = format!("https://localhost:{}", service.address().port());
    for (at, mut sdk) in Sdk::all().into_iter().enumerate() {
        sdk.certificate = Some(files.paths[2].clone());
        sdk.batches(&endpoint, DEVICE, 20, 10).delivered();
        assert_eq!(world.account()[0].0, 20 * (at as u64 + 1), "{sdk}");
    }
}

/// Speaks TLS in front of somebody who does not.
fn in_front_of(to: SocketAddr, files: &Files) -> SocketAddr {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let certificates = CertificateDer::pem_file_iter(&files.paths[0]).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.paths[1]).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config.with_single_cert(certificates, key).unwrap()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let Ok(mut server) = tokio::net::TcpStream::connect(to).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
    });
    address
}

#[test]
fn a_witness_of_a_private_authority_is_trusted_by_its_ca_and_not_without() {
    let (world, log) = begun();
    let files = certificate(&world);
    let [one, two] = ["one", "two"].map(|name| Witness::start(&world, name, None, &log));
    let at = |witness: &Witness| format!("https://localhost:{}", in_front_of(witness.whereabouts().1, &files).port());
    let settings = |ca: &str| {
        let folder = world.path(".config/candor");
        std::fs::create_dir_all(&folder).unwrap();
        let of = |witness: &Witness| {
            format!("[[store.log.witness]]\nvkey = \"{}\"\nurl = \"{}\"\n", witness.whereabouts().0, at(witness))
        };
        std::fs::write(folder.join("candor.toml"), of(&one) + ca + "\n" + &of(&two)).unwrap();
    };
    // Beside the file that names it.
    settings("ca = \"../../authority.pem\"");
    let service = world.serve();
    cosigned(&service, &[&one]);
    until("a failure of the other one", || failures(&service, "two", "unreachable") > 0);
    assert_eq!(failures(&service, "one", "unreachable"), 0);
    assert!(service.log().contains("not who it should be"), "{}", service.log());
    assert!(service.stop().success());
    // Roots that are none are told before anything is taken.
    settings("ca = \"../../agents.pem\"");
    let told = world.start(&Start::default()).err().expect("it does not start");
    assert!(told.contains("witness 1, `ca`"), "{told}");
}

#[test]
fn commands_speak_tls_and_trust_whom_they_are_told_to() {
    let world = World::new();
    let (files, other) = (certificate(&world), World::new());
    let service = world.start(&Start { environment: &files.environment(), ..Start::default() }).unwrap();
    certificate(&other);
    let text = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
    let (ca, other) = (text(world.path("authority.pem")), text(other.path("authority.pem")));
    let (fleet, data) = (text(world.fleet()), text(world.data()));
    let token = text(world.fleet().join("tokens/backend.token"));
    let url = format!("https://localhost:{}", service.address().port());
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = world.candor_with(&[arguments, &["--url", &url, "--json"]].concat(), environment);
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let consent = ["consent", "set", "tls-01", "analytics=given", "--notice", "1", "--token-file", &token];
    let top = ["top", "--once", "--interval", "1"];
    for arguments in [&consent[..], &["flush", "--token-file", &token], &top] {
        let (code, said) = run(&[arguments, &["--ca", &ca]].concat(), &[]);
        assert_eq!(code, 0, "{arguments:?}: {said}");
    }
    let (_, said) = run(&["doctor", "--fleet", &fleet, "--data", &data, "--ca", &ca], &[]);
    assert!(said.contains(&format!("{url} is ready")), "{said}");

    // Named by a variable, by a settings file, by the platform.
    std::fs::write(world.path("candor.toml"), "ca = \"authority.pem\"\n").unwrap();
    let settings = text(world.path("candor.toml"));
    assert_eq!(run(&top, &[("CANDOR_CA", &ca)]).0, 0);
    assert_eq!(run(&[&top[..], &["--settings", &settings]].concat(), &[]).0, 0);
    assert_eq!(run(&top, &[("SSL_CERT_FILE", &ca)]).0, 0);

    // Whoever else signed it, nothing is sent to it.
    for (arguments, environment) in [
        (&["flush", "--token-file", &token, "--ca", &other][..], [("SSL_CERT_FILE", ca.as_str())]),
        (&["flush", "--token-file", &token], [("SSL_CERT_FILE", other.as_str())]),
    ] {
        let (code, said) = run(arguments, &environment);
        assert!(code == 1 && said.contains("not who it should be") && said.contains("--ca FILE"), "{code}: {said}");
    }
    let (code, said) = run(&["flush", "--token-file", &token, "--ca", &token], &[]);
    assert!(code == 78 && said.contains("there are none"), "{code}: {said}");
    let metrics = get(&service, &files.certificate, "/metrics").unwrap();
    assert!(metrics.contains("route=\"/v1/flush\",status=\"200\"} 1\n"), "{metrics}");
}

#[test]
fn a_new_certificate_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let world = World::new();
    let first = certificate(&world);
    let mut service = world.start(&Start { environment: &first.environment(), ..Start::default() }).unwrap();
    let mut open = Grpc::connect_tls(service.address(), Some(DEVICE), &first.certificate);

    // By the change of the files alone.
    let second = certificate(&world);
    wait_for(&service, &second.certificate);
    assert!(get_health(&service, &first.certificate).is_err(), "the old one is gone");
    open.export(LOGS, "", &encode(&[Event::numbered("tls-01", 1)])).expect(OK);

    // A key that is none: the service goes on with what it had, and says so.
    std::fs::write(&second.paths[1], "no key").unwrap();
    hang_up(&service);
    let started = Instant::now();
    while !service.log().contains("the TLS files cannot be used") {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", service.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    get_health(&service, &second.certificate).unwrap();

    // On SIGHUP.
    let third = certificate(&world);
    hang_up(&service);
    wait_for(&service, &third.certificate);
    assert!(service.is_alive());
}

#[test]
fn files_that_cannot_be_used_stop_the_start() {
    let world = World::new();
    let files = certificate(&world);
    std::fs::write(&files.paths[1], "no key").unwrap();
    let error = world.start(&Start { environment: &files.environment(), ..Start::default() }).err().unwrap();
    assert!(error.contains("key.pem holds no private key") && error.contains("mend:"), "{error}");
    assert!(!world.data().exists(), "before anything was made");
}

#[test]
fn a_hangup_without_tls_ends_nothing() {
    let world = World::new();
    let mut service = world.serve();
    hang_up(&service);
    std::thread::sleep(Duration::from_millis(200));
    assert!(service.is_alive());
    service.client(None).get("/healthz").unwrap().expect_status(200);
}

fn wait_for(service: &Service, certificate: &str) {
    let started = Instant::now();
    while get_health(service, certificate).is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "the certificate is not in force: {}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hang_up(service: &Service) {
    let pid = rustix::process::Pid::from_raw(service.pid().cast_signed()).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("the service can be signalled");
}

fn get_health(service: &Service, certificate: &str) -> std::io::Result<String> {
    get(service, certificate, "/healthz")
}

/// `GET` by HTTP/1.1 over TLS: the answer with its head.
fn get(service: &Service, certificate: &str, path: &str) -> std::io::Result<String> {
    runtime().block_on(async {
        let mut stream = tls(service.address(), certificate, b"http/1.1").await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while stream.read_buf(&mut answer).await? > 0 {}
        Ok(String::from_utf8_lossy(&answer).into_owned())
    })
}
