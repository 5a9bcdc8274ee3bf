//! `kerntun diagnose` on tunnels that are really broken: two daemons in two network namespaces, and one thing wrong.

#[path = "diagnose/lab.rs"]
mod lab;

use lab::{Lab, Side, may_run};
use std::time::Duration;

/// What is found at one side; waits until `cause` is there, sending something from time to time.
fn expect(side: &Side, cause: &str) -> serde_json::Value {
    expect_one_of(side, &[cause])
}

fn expect_one_of(side: &Side, causes: &[&str]) -> serde_json::Value {
    let mut last = serde_json::Value::Null;
    for _ in 0..150 {
        last = side.diagnose();
        let findings = last["interfaces"][0]["findings"].as_array().cloned().unwrap_or_default();
        if let Some(finding) =
            findings.into_iter().find(|finding| causes.iter().any(|cause| finding["cause"] == *cause))
        {
            return finding;
        }
        side.knock();
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{causes:?} was not found: {last:#}");
}

fn what(finding: &serde_json::Value) -> &str {
    finding["what"].as_str().unwrap()
}

#[test]
fn nothing_wrong() {
    let Some(lab) = may_run("nothing_wrong").then(|| Lab::new("ok")) else { return };
    lab.connect(|_, _| {});
    for side in [&lab.west, &lab.east] {
        let finding = expect(side, "healthy");
        assert!(what(&finding).starts_with("nothing wrong: last handshake"), "{finding}");
        assert_eq!(side.exit_code(), 0);
    }
}

#[test]
fn a_wrong_key_for_the_other_side() {
    let Some(lab) = may_run("a_wrong_key_for_the_other_side").then(|| Lab::new("key")) else { return };
    // West believes in a key that east does not have.
    lab.connect(|west, _| west.peer_key = lab::public_key(99));
    let finding = expect(&lab.west, "no-answer");
    assert!(what(&finding).contains("and nothing came back: a firewall, a wrong address or port, or"), "{finding}");
    assert_eq!(lab.west.exit_code(), 1);
    let finding = expect(&lab.east, "other-has-wrong-key");
    assert!(finding["whose"].as_str().unwrap().starts_with("the other side"), "{finding}");
    assert_eq!(lab.east.exit_code(), 1);
}

#[test]
fn a_peer_that_is_not_known() {
    let Some(lab) = may_run("a_peer_that_is_not_known").then(|| Lab::new("unk")) else { return };
    // East knows somebody else instead of west.
    lab.connect(|_, east| east.peer_key = lab::public_key(98));
    expect(&lab.west, "waits-for-answer");
    let finding = expect(&lab.east, "unknown-peer");
    assert!(finding["next"].to_string().contains(&lab::base64(&lab::public_key(98))), "{finding}");
}

#[test]
fn a_wrong_port() {
    let Some(lab) = may_run("a_wrong_port").then(|| Lab::new("port")) else { return };
    lab.connect(|west, _| west.endpoint = Some("192.0.2.2:9".parse().unwrap()));
    let finding = expect(&lab.west, "no-answer");
    assert!(what(&finding).contains("192.0.2.2:9"), "{finding}");
    assert_eq!(expect(&lab.east, "waits-for-call")["severity"], "note");
}

#[test]
fn a_firewall_on_the_way() {
    let Some(lab) = may_run("a_firewall_on_the_way").then(|| Lab::new("fw")) else { return };
    // An ARP entry that leads nowhere swallows everything, as a firewall that drops does.
    lab.west.ip(&[
        "neighbour",
        "replace",
        "192.0.2.2",
        "lladdr",
        "02:00:00:00:00:99",
        "dev",
        "wire",
        "nud",
        "permanent",
    ]);
    lab.connect(|_, _| {});
    let finding = expect(&lab.west, "no-answer");
    assert!(what(&finding).contains("a firewall"), "{finding}");
}

#[test]
fn no_route_to_the_endpoint() {
    let Some(lab) = may_run("no_route_to_the_endpoint").then(|| Lab::new("rt")) else { return };
    lab.connect(|west, _| west.endpoint = Some("203.0.113.9:51820".parse().unwrap()));
    let finding = expect(&lab.west, "no-way");
    assert!(what(&finding).contains("no route to the endpoint 203.0.113.9:51820"), "{finding}");
}

#[test]
fn an_endpoint_routed_into_the_tunnel() {
    let Some(lab) = may_run("an_endpoint_routed_into_the_tunnel").then(|| Lab::new("loop")) else { return };
    lab.connect(|west, _| west.endpoint = Some("203.0.113.9:51820".parse().unwrap()));
    lab.west.ip(&["route", "add", "203.0.113.0/24", "dev", &lab.west.name]);
    expect(&lab.west, "endpoint-in-tunnel");
}

#[test]
fn an_mtu_too_small_on_the_way() {
    let Some(lab) = may_run("an_mtu_too_small_on_the_way").then(|| Lab::new("mtu")) else { return };
    lab.west.ip(&["link", "set", "mtu", "1400", "dev", "wire"]);
    lab.connect(|_, _| {});
    let finding = expect(&lab.west, "path-mtu");
    assert!(what(&finding).contains("leaves 1340 in the tunnel, but its MTU is 1420"), "{finding}");
}

#[test]
fn preshared_keys_that_differ() {
    let Some(lab) = may_run("preshared_keys_that_differ").then(|| Lab::new("psk")) else { return };
    lab.connect(|west, _| west.preshared = Some([7; 32]));
    expect(&lab.west, "preshared-key");
    // What east sees depends on whether it begins handshakes of its own.
    expect_one_of(&lab.east, &["answer-unconfirmed", "preshared-key"]);
}

#[test]
fn no_endpoint() {
    let Some(lab) = may_run("no_endpoint").then(|| Lab::new("end")) else { return };
    lab.connect(|west, _| west.endpoint = None);
    expect(&lab.west, "no-endpoint");
}

#[test]
fn no_allowed_ips() {
    let Some(lab) = may_run("no_allowed_ips").then(|| Lab::new("aip")) else { return };
    lab.connect(|west, _| west.allowed.clear());
    let finding = expect(&lab.west, "no-allowed-ips");
    assert_eq!(finding["severity"], "problem");
}

#[test]
fn a_source_that_is_not_allowed() {
    let Some(lab) = may_run("a_source_that_is_not_allowed").then(|| Lab::new("src")) else { return };
    // East expects west to be somebody else inside.
    lab.connect(|_, east| east.allowed = vec!["10.7.0.77".parse().unwrap()]);
    let mut seen = false;
    for _ in 0..100 {
        lab.west.knock();
        std::thread::sleep(Duration::from_millis(100));
        seen = lab.east.diagnose().to_string().contains("\"wrong-source\"");
        if seen {
            break;
        }
    }
    assert!(seen, "{:#}", lab.east.diagnose());
}

#[test]
fn a_network_that_exists_twice() {
    let Some(lab) = may_run("a_network_that_exists_twice").then(|| Lab::new("two")) else { return };
    // The tunnel's peer is to have an address of the outer network.
    lab.connect(|west, _| west.allowed.push("192.0.2.77".parse().unwrap()));
    let finding = expect(&lab.west, "overlapping-route");
    assert!(what(&finding).contains("192.0.2.77/32") && what(&finding).contains("through wire"), "{finding}");
}

#[test]
fn a_clock_that_was_set_back() {
    let Some(lab) = may_run("a_clock_that_was_set_back").then(|| Lab::new("clk")) else { return };
    // The clock of the whole machine is not ours to set. A stamp file from the future is what such a machine has.
    let future = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 50_000;
    lab.west.restart_with_stamp(future);
    lab.connect(|_, _| {});
    let finding = expect(&lab.west, "clock-behind");
    assert!(what(&finding).contains("13 hours"), "{finding}");
    // A west that forgets its stamps again starts in east's past.
    lab.west.restart_without_stamp();
    lab.reconnect_west();
    let finding = expect(&lab.east, "peer-clock-behind");
    assert!(finding["next"].to_string().contains("boringtun"), "{finding}");
}

#[test]
fn names_and_prefixes_in_the_file() {
    let Some(lab) = may_run("names_and_prefixes_in_the_file").then(|| Lab::new("file")) else { return };
    lab.connect(|_, _| {});
    let private = lab::base64(&lab::private_key(1));
    let (east, other) = (lab::base64(&lab::public_key(2)), lab::base64(&lab::public_key(50)));
    lab.west.write_configuration(&format!(
        "[Interface]\nPrivateKey = {private}\n\
         [Peer]\nPublicKey = {east}\nAllowedIPs = 10.7.0.2/32\nEndpoint = no-such-host.invalid:51820\n\
         [Peer]\nPublicKey = {other}\nAllowedIPs = 10.7.0.2/32\n"
    ));
    let finding = expect(&lab.west, "name-does-not-resolve");
    assert!(what(&finding).contains("no-such-host.invalid:51820"), "{finding}");
    let finding = expect(&lab.west, "overlapping-allowed-ips");
    assert!(what(&finding).contains("10.7.0.2/32"), "{finding}");
}

#[test]
fn nobody_to_ask() {
    let output = lab::kerntun(&["diagnose", "ktnothere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no user-space WireGuard serves ktnothere"));
}
