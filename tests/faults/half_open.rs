//! A link that is half open: only the kernel finds out.

use std::time::{Duration, Instant};

use futures::{StreamExt, future::Either};
use serde_json::json;
use tidings::{Client, State};

use crate::{
    real::{PocketBase, create, soon},
    scene::title,
};

/// A host that vanishes without a word, with the default settings: nothing comes, nothing is refused, and only the
/// kernel's probes of the connection find out.
#[test]
fn a_half_open_link_is_found_within_about_thirty_seconds() {
    smol::block_on(async {
        let island = Island::new();
        let server = PocketBase::start_in(&island.name, island.address(1));
        server.collection("notes", &["title"], &[], "").await;
        let writer = server.client();
        let client = Client::new(&format!("http://{}", island.address(0))).unwrap();
        let mut notes = client.collection("notes").subscribe("*").await.unwrap();
        create(&writer, "notes", json!({"title": "before"})).await;
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "before");

        let states = client.states();
        island.link("down");
        let dark = Instant::now();
        create(&writer, "notes", json!({"title": "in the dark"})).await;
        let mut lost =
            states.filter(|state| std::future::ready(matches!(state, State::Waiting { .. }))).boxed();
        let alarm = smol::Timer::after(Duration::from_secs(60));
        let state = match futures::future::select(lost.next(), alarm).await {
            Either::Left((state, _)) => state.unwrap(),
            Either::Right(_) => panic!("dead for a minute, and nobody noticed: {}", client.state()),
        };
        let noticed = dark.elapsed();
        eprintln!("half-open link found after {noticed:.1?}: {state}");
        assert!(noticed < Duration::from_secs(40), "{noticed:?}");
        let text = state.to_string();
        assert!(
            text.contains("has not answered for too long") || text.contains("host is unreachable"),
            "{text}"
        );

        island.link("up");
        let gap = soon("a gap", notes.next()).await.unwrap().gap().unwrap();
        assert!(gap.since < dark && dark < gap.until, "dark at {dark:?}: {gap:?}");
        create(&writer, "notes", json!({"title": "after"})).await;
        assert_eq!(title(&soon("an event", notes.next()).await.unwrap()), "after");
    });
}

/// A network namespace with two links to ours: one to be cut, and one over which records are written meanwhile.
struct Island {
    name: String,
    number: u32,
}

impl Island {
    fn new() -> Self {
        let number = std::process::id();
        let island = Self { name: format!("tidings-{number}"), number };
        ip(&format!("netns add {}", island.name));
        for link in 0..2 {
            let (near, far) = (island.interface('n', link), island.interface('f', link));
            let network = 4 * link;
            ip(&format!("link add {near} type veth peer name {far} netns {}", island.name));
            ip(&format!("addr add {}/30 dev {near}", island.ip(network + 1)));
            ip(&format!("-n {} addr add {}/30 dev {far}", island.name, island.ip(network + 2)));
            ip(&format!("link set {near} up"));
            ip(&format!("-n {} link set {far} up", island.name));
        }
        ip(&format!("-n {} link set lo up", island.name));
        island
    }

    /// Takes down or up the far end of the first link.
    fn link(&self, state: &str) {
        ip(&format!("-n {} link set {} {state}", self.name, self.interface('f', 0)));
    }

    fn interface(&self, end: char, link: u32) -> String {
        format!("td{}{end}{link}", self.number)
    }

    /// Of the networks that are set aside for tests of network devices (RFC 2544).
    fn ip(&self, host: u32) -> std::net::Ipv4Addr {
        std::net::Ipv4Addr::from(0xC612_0000 | (self.number % 0x1000) << 4 | host)
    }

    fn address(&self, link: u32) -> std::net::SocketAddr {
        (self.ip(4 * link + 2), 8090).into()
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) {
    let needs = "this test needs a network namespace of its own: run it as root, with iproute2 and the right to make one";
    let output = std::process::Command::new("ip").args(arguments.split(' ')).output();
    let output = output.unwrap_or_else(|error| panic!("ip: {error}; {needs}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || std::thread::panicking(), "ip {arguments}: {said}; {needs}");
}
