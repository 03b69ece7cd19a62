//! The log over HTTP: what it serves, and what it does not.

use candor_wire::log::checkpoint::SignedCheckpoint;
use candor_wire::log::follow::{Followed, Need};
use candor_wire::log::note::VerifierKey;
use http::StatusCode;

use super::world::{Answer, World};

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers[name].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn anybody_can_follow_it_from_its_first_entry() {
    let world = World::open().await;
    let keys = world.get("/v1/keys").await.json();
    let key: VerifierKey = keys["log"][0]["vkey"].as_str().unwrap().parse().unwrap();
    let answer = world.get("/log/checkpoint").await;
    assert_eq!(
        (answer.status, header(&answer, "content-type"), header(&answer, "cache-control")),
        (StatusCode::OK, "text/plain; charset=utf-8", "no-store")
    );
    let checkpoint = SignedCheckpoint::open(&answer.body, std::slice::from_ref(&key), &[]).unwrap().checkpoint;
    assert_eq!(checkpoint.origin, key.name());
    let mut log = Followed::new(checkpoint);
    let (bundle, _) = log.bundle_of(0).unwrap();
    let answer = world.get(&format!("/log/{bundle}")).await;
    assert_eq!(
        (header(&answer, "content-type"), header(&answer, "cache-control")),
        ("application/octet-stream", "public, max-age=31536000, immutable")
    );
    let entries = loop {
        match log.entries(&bundle, &answer.body) {
            Ok(entries) => break entries.unwrap(),
            Err(Need::Nothing) => panic!("it has entries"),
            Err(Need::Tile(tile)) => assert!(log.put(tile, &world.get(&format!("/log/{tile}")).await.body)),
        }
    };
    let kinds: Vec<_> = entries.iter().map(candor_wire::log::entry::Entry::kind).collect();
    assert_eq!((kinds[0], &kinds[kinds.len() - 2..]), ("key", &["catalogue", "policy"][..]));
    // The same folder has the same log, and no entry twice.
    let size = log.checkpoint().size;
    let world = world.restart().await;
    let again = SignedCheckpoint::open(&world.get("/log/checkpoint").await.body, &[key], &[]).unwrap();
    assert_eq!((again.checkpoint.size, &again.checkpoint), (size, log.checkpoint()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_its_own_names_leads_to_a_file() {
    let world = World::open().await;
    for path in [
        "/log/tile/0/000",
        "/log/tile/0/001.p/1",
        "/log/tile/0/000.p/0",
        "/log/tile/0/000.p/255",
        "/log/tile/0/000.p/01",
        "/log/tile/0/x000/000.p/1",
        "/log/tile/00/000.p/1",
        "/log/tile/entries/../checkpoint",
        "/log/tile/0/..%2f..%2fkeys%2fring.toml",
        "/log/tile/0/%30%30%30.p/1",
        "/log/tile/../../keys/ring.toml",
        "/log/tile/0/000.p/1/2/3",
        "/log/tile/entries/000.p/1.tmp",
        "/log/tile//000.p/1",
        "/log/keys",
        "/log/",
    ] {
        assert_eq!(world.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
}
