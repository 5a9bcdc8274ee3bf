//! Every cause on facts made for it: recognised, blamed on the right side, and nothing else claimed.

use super::*;
use crate::diagnose::facts::{Counters, FileFacts, FilePeer, Gone, Ipv6, LinkFacts, Named, Undone, Way};
use crate::netlink::rule::Rule;
use kerntun_config::AllowedIp;

const NOW: u64 = 1_800_000_000;

fn prefix(text: &str) -> AllowedIp {
    let (ip, prefix) = text.split_once('/').unwrap();
    AllowedIp::new(ip.parse().unwrap(), prefix.parse().unwrap()).unwrap()
}

fn counters(pairs: &[(&str, &str)]) -> Counters {
    Counters(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

/// A tunnel that works.
fn healthy() -> Facts {
    Facts {
        interface: "wg0".to_owned(),
        counted: true,
        now: NOW,
        public_key: Some("OWN".to_owned()),
        listen_port: 51820,
        fwmark: 0,
        leading_mark: None,
        link: Some(LinkFacts { up: true, mtu: 1420, has_address: true, ipv6: Ipv6::On }),
        counters: counters(&[("clock.greatest_stamp", "1799999970"), ("up", "yes")]),
        peers: vec![PeerFacts {
            key: "PEER".to_owned(),
            endpoint: Some("203.0.113.9:51820".parse().unwrap()),
            last_handshake: Some(NOW - 30),
            received: 5_000,
            sent: 148 * 40 + 7,
            allowed_ips: vec![prefix("10.0.0.2/32")],
            way: Some(Way::Through { interface: "eth0".to_owned(), mtu: 1500 }),
            ..PeerFacts::default()
        }],
        file: None,
    }
}

/// A tunnel that has never worked: 14 handshake starts, the last one three seconds ago.
fn silent() -> Facts {
    let mut facts = healthy();
    let peer = &mut facts.peers[0];
    (peer.last_handshake, peer.received, peer.sent) = (None, 0, 148 * 14);
    peer.counters = counters(&[
        ("handshake.retries", "13"),
        ("handshake.pending", "yes"),
        ("deadline.no-response-to-initiation", "2100"),
    ]);
    facts
}

fn causes(facts: &Facts) -> Vec<&'static str> {
    judge(facts).into_iter().filter(Finding::is_problem).map(|finding| finding.cause).collect()
}

fn all(facts: &Facts) -> Vec<&'static str> {
    judge(facts).into_iter().map(|finding| finding.cause).collect()
}

/// The only problem.
fn problem(facts: &Facts, cause: &str) -> Finding {
    let problems: Vec<_> = judge(facts).into_iter().filter(Finding::is_problem).collect();
    assert_eq!(problems.iter().map(|finding| finding.cause).collect::<Vec<_>>(), [cause], "{problems:#?}");
    let finding = problems.into_iter().next().unwrap();
    assert!(!finding.whose.is_empty() && !finding.next.is_empty(), "{finding:?}");
    finding
}

#[test]
fn a_tunnel_that_works() {
    let findings = judge(&healthy());
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert!(findings[0].what.starts_with("nothing wrong: last handshake 30 seconds ago, 4.88 KiB received"));
    assert_eq!(findings[0].peer.as_deref(), Some("PEER"));
}

#[test]
fn idle_silent_from_the_start_and_waiting() {
    let mut facts = healthy();
    facts.peers[0].last_handshake = Some(NOW - 4_000);
    assert!(judge(&facts)[0].what.contains("only idle: last handshake 1 hour, 6 minutes, 40 seconds ago"));
    facts.peers[0].last_handshake = None;
    (facts.peers[0].sent, facts.peers[0].received) = (0, 0);
    assert_eq!(judge(&facts)[0].cause, "nothing-sent");
    facts.peers[0].endpoint = None;
    facts.peers[0].way = None;
    assert_eq!(judge(&facts)[0].cause, "waits-for-call");
    assert_eq!(causes(&facts), [""; 0]);
}

#[test]
fn no_answer_to_anything() {
    let finding = problem(&silent(), "no-answer");
    assert_eq!(
        finding.what,
        "14 handshake starts sent to 203.0.113.9:51820 in 68 s and nothing came back: a firewall, a wrong address or port, \
         or the other side does not know this key"
    );
    assert!(finding.next.iter().any(|next| next.contains("PEER") && next.contains("OWN")));
    // One that was just sent is no reason to worry.
    let mut facts = silent();
    facts.peers[0].sent = 148;
    facts.peers[0].counters = counters(&[("deadline.no-response-to-initiation", "4900")]);
    assert_eq!(causes(&facts), [""; 0]);
    assert_eq!(all(&facts), ["waits-for-answer"]);
}

/// Whatever the first seconds look like, no two sentences contradict each other.
#[test]
fn nothing_to_be_sent_is_said_only_where_nothing_was_sent() {
    let mut facts = silent();
    let quiet = |sent, received, pairs: &[(&str, &str)]| (sent, received, counters(pairs));
    for (state, expected) in [
        (quiet(0, 0, &[]), "nothing-sent"),
        // One answer, which the other side has not used yet; a cookie reply; packets that were given up.
        (quiet(92, 148, &[]), "no-handshake"),
        (quiet(148, 64, &[]), "no-handshake"),
        (quiet(0, 0, &[("drop.handshake-timeout", "3")]), "no-handshake"),
    ] {
        let peer = &mut facts.peers[0];
        (peer.sent, peer.received, peer.counters) = state;
        assert_eq!(causes(&facts), [""; 0]);
        let about: Vec<_> = all(&facts).into_iter().filter(|cause| *cause != "waited-in-vain").collect();
        assert_eq!(about, [expected]);
    }
    // A session ended long ago, and a start was just sent.
    let peer = &mut facts.peers[0];
    peer.last_handshake = Some(NOW - 4_000);
    peer.counters = counters(&[("deadline.no-response-to-initiation", "4900")]);
    assert_eq!(all(&facts), ["waits-for-answer"]);
    // A session that still works, and is being replaced.
    facts.peers[0].last_handshake = Some(NOW - 125);
    assert_eq!(all(&facts), ["waits-for-answer", "healthy"]);
}

#[test]
fn keys_of_low_order() {
    let mut facts = silent();
    let peer = &mut facts.peers[0];
    // 1, as base64.
    peer.key = format!("AQ{}=", "A".repeat(41));
    (peer.sent, peer.counters) = (0, counters(&[("drop.weak-key", "5"), ("handshake.retries", "4")]));
    let finding = problem(&facts, "weak-key");
    assert!(finding.what.contains("its public key is a point of low order"), "{finding:?}");
    assert_eq!(all(&facts), ["weak-key"]);
    // Not its own, but one in a message.
    let mut facts = healthy();
    facts.peers[0].counters = counters(&[("drop.weak-key", "1")]);
    assert_eq!((causes(&facts).len(), all(&facts)), (0, vec!["weak-key", "healthy"]));
    facts.peers[0].last_handshake = None;
    assert!(problem(&facts, "weak-key").what.starts_with("1 handshake message had"));
}

#[test]
fn no_answer_any_more() {
    let mut facts = silent();
    (facts.peers[0].last_handshake, facts.peers[0].received) = (Some(NOW - 600), 9_999);
    let finding = problem(&facts, "no-answer");
    assert!(finding.what.contains("14 handshake starts") && finding.what.contains("10 minutes ago: it did work"));
}

#[test]
fn no_answer_seen_without_counters() {
    let mut facts = silent();
    (facts.counted, facts.peers[0].counters) = (false, Counters::default());
    assert!(problem(&facts, "no-answer").what.starts_with("14 handshake starts"));
}

#[test]
fn the_other_side_has_a_wrong_key_for_us() {
    let mut facts = healthy();
    facts.peers[0].last_handshake = None;
    (facts.peers[0].sent, facts.peers[0].received) = (0, 0);
    facts.counters = counters(&[("drop.bad-mac1", "3")]);
    let finding = problem(&facts, "other-has-wrong-key");
    assert!(finding.what.starts_with("3 handshake messages came in that were made for another public key"));
    assert!(finding.whose.contains("the other side") && finding.next[0].contains("PublicKey = OWN"));
    // Long over: a note.
    facts.peers[0].last_handshake = Some(NOW - 3);
    assert_eq!(causes(&facts), [""; 0]);
}

#[test]
fn we_have_a_wrong_key_for_the_other_side() {
    let mut facts = healthy();
    facts.peers[0].last_handshake = None;
    (facts.peers[0].sent, facts.peers[0].received) = (0, 0);
    facts.counters = counters(&[("drop.unknown-peer", "1")]);
    let finding = problem(&facts, "unknown-peer");
    assert!(finding.what.starts_with("1 handshake start came in"));
    assert!(finding.next.iter().any(|next| next.contains("written wrongly here: PEER")));
}

#[test]
fn our_clock_is_behind() {
    let mut facts = healthy();
    facts.counters = counters(&[("clock.greatest_stamp", &(NOW + 3_600).to_string())]);
    assert!(problem(&facts, "clock-behind").what.contains("set back by 1 hour or more"));
    facts.counters = Counters::default();
    facts.peers[0].last_handshake = Some(NOW + 60);
    assert!(problem(&facts, "clock-behind").what.contains("1 minute or more since the last handshake"));
    let mut facts = healthy();
    (facts.now, facts.peers[0].last_handshake) = (86_400, None);
    (facts.peers[0].sent, facts.counters) = (0, Counters::default());
    assert!(problem(&facts, "clock-behind").what.contains("years behind"));
    // Ten minutes are what the daemon reserves, and jumps over after a crash.
    let mut facts = healthy();
    facts.counters = counters(&[("clock.greatest_stamp", &(NOW + 600).to_string())]);
    assert_eq!(causes(&facts), [""; 0]);
}

#[test]
fn the_other_sides_clock_is_behind() {
    let mut facts = healthy();
    facts.peers[0].last_handshake = Some(NOW - 4_000);
    facts.peers[0].counters = counters(&[("drop.old-timestamp", "7")]);
    let finding = problem(&facts, "peer-clock-behind");
    assert!(finding.what.starts_with("7 handshake starts") && finding.whose == "the other side's clock");
    // TAI is 37 s ahead of UTC today; most implementations count 10 (checklist 13).
    assert!(finding.next.iter().any(|next| next.contains("boringtun") && next.contains("27 s")));
}

#[test]
fn preshared_keys_that_differ() {
    let mut facts = silent();
    facts.peers[0].counters.0.insert("drop.bad-handshake".to_owned(), "13".to_owned());
    facts.peers[0].has_preshared_key = true;
    let finding = problem(&facts, "preshared-key");
    assert!(finding.what.contains("there is one here"));
    // As the one who answers sees it.
    let mut facts = silent();
    (facts.peers[0].sent, facts.peers[0].counters) = (92 * 5, Counters::default());
    assert!(problem(&facts, "answer-unconfirmed").what.contains("preshared keys"));
}

#[test]
fn no_way_to_the_endpoint() {
    let mut facts = silent();
    facts.peers[0].way = Some(Way::None);
    assert!(problem(&facts, "no-way").what.contains("no route to the endpoint 203.0.113.9:51820"));
}

#[test]
fn the_endpoint_within_the_tunnel() {
    let mut facts = silent();
    facts.peers[0].way = Some(Way::Through { interface: "wg0".to_owned(), mtu: 1420 });
    problem(&facts, "endpoint-in-tunnel");
    // With a mark, rules lead around that route.
    facts.fwmark = 51_820;
    assert_eq!(causes(&facts), ["no-answer"]);
}

#[test]
fn an_mtu_that_does_not_fit_the_way() {
    let mut facts = healthy();
    facts.peers[0].way = Some(Way::Through { interface: "ppp0".to_owned(), mtu: 1400 });
    let finding = problem(&facts, "path-mtu");
    assert!(
        finding.what.contains("leaves 1340 in the tunnel") && finding.next[0].contains("MTU = 1340"),
        "{finding:?}"
    );
    facts.peers[0].endpoint = Some("[2001:db8::1]:1".parse().unwrap());
    assert!(problem(&facts, "path-mtu").what.contains("leaves 1320"));
    // 1420 inside 1500 is right for both families; more is refused by the system, though the first hop would take it.
    facts.peers[0].way = Some(Way::Through { interface: "eth0".to_owned(), mtu: 1500 });
    assert_eq!(causes(&facts), [""; 0]);
    facts.counters = counters(&[("send.too_big", "8")]);
    assert!(problem(&facts, "path-mtu").what.starts_with("8 datagrams were too large"));
}

#[test]
fn ipv6_through_a_narrow_tunnel() {
    let mut facts = healthy();
    facts.link.as_mut().unwrap().mtu = 1279;
    assert_eq!(causes(&facts), [""; 0]);
    facts.peers[0].allowed_ips.push(prefix("fd00::/64"));
    problem(&facts, "mtu-below-ipv6");
}

#[test]
fn the_system_does_not_send() {
    let mut facts = healthy();
    facts.peers[0].counters = counters(&[("drop.send-failed", "2")]);
    facts.counters = counters(&[("send.forbidden", "2"), ("send.error", "203.0.113.9:51820: Operation not permitted")]);
    assert!(problem(&facts, "firewall-here").what.contains("own firewall (last: 203.0.113.9:51820: Operation"));
    facts.counters = counters(&[("send.unreachable", "1")]);
    problem(&facts, "unreachable");
}

#[test]
fn prefixes_of_two_networks() {
    let mut facts = healthy();
    facts.peers[0].astray = vec![(prefix("192.168.1.0/24"), Some("eth0".to_owned()))];
    let finding = problem(&facts, "overlapping-route");
    assert!(finding.what.contains("192.168.1.0/24") && finding.what.contains("through eth0"));
    facts.peers[0].astray = vec![(prefix("192.168.1.0/24"), None)];
    assert!(problem(&facts, "route-missing").next[0].contains("ip route add 192.168.1.0/24 dev wg0"));
}

/// A default route of which something is gone.
fn undone(default: &str, gone: Vec<Gone>) -> Vec<Undone> {
    vec![Undone { prefix: prefix(default), gone, certain: true }]
}

/// The only note.
fn note(facts: &Facts, cause: &str) -> Finding {
    assert_eq!(causes(facts), [""; 0]);
    let notes: Vec<_> = judge(facts).into_iter().filter(|finding| finding.cause != "healthy").collect();
    assert_eq!(notes.iter().map(|finding| finding.cause).collect::<Vec<_>>(), [cause], "{notes:#?}");
    notes.into_iter().next().unwrap()
}

#[test]
fn policy_routing_that_somebody_removed() {
    let mut facts = healthy();
    let (route, rule) = (Gone::Route(51_820), Gone::Rule(Rule::Unmarked(51_820)));
    facts.peers[0].undone = undone("0.0.0.0/0", vec![route, rule]);
    let finding = problem(&facts, "policy-routing-gone");
    assert!(finding.what.contains(
        "for IPv4 the route '0.0.0.0/0 dev wg0 table 51820' and the rule 'not fwmark 51820 table 51820' are gone"
    ));
    assert!(finding.what.ends_with("past the tunnel and in clear") && finding.next[0].contains("kerntun up wg0"));
    assert!(finding.whose.contains("networkd") && !finding.whose.contains("wg-quick"), "{finding:?}");
    // Without the exception only, nothing leaks, and some do without it on purpose.
    facts.peers[0].undone = undone("::/0", vec![Gone::Rule(Rule::MainWithoutDefault)]);
    let finding = note(&facts, "policy-routing-gone");
    assert!(finding.what.contains("for IPv6 the rule 'table main suppress_prefixlength 0' is gone"), "{finding:?}");
    assert!(finding.what.ends_with("go into the tunnel too") && finding.whose.contains("wg-quick"), "{finding:?}");
    // A route that may be somebody's own.
    facts.peers[0].undone = vec![Undone { certain: false, ..undone("0.0.0.0/0", vec![rule]).remove(0) }];
    let finding = note(&facts, "policy-routing-gone");
    assert!(finding.what.contains("are led into the tunnel in another way, they leave past it"), "{finding:?}");
}

#[test]
fn routes_that_the_kernel_removed() {
    let mut facts = healthy();
    (facts.fwmark, facts.peers[0].allowed_ips) = (51_820, vec![prefix("::/0")]);
    let (route, rule) = (Gone::Route(51_820), Gone::Rule(Rule::Unmarked(51_820)));
    facts.peers[0].undone = undone("::/0", vec![route]);
    facts.link.as_mut().unwrap().ipv6 = Ipv6::OffHere;
    let finding = problem(&facts, "policy-routing-gone");
    assert!(finding.whose.contains("switched IPv6 off") && finding.next[0].contains("conf.wg0.disable_ipv6"));
    // It removes no rules.
    facts.peers[0].undone = undone("::/0", vec![route, rule]);
    assert!(problem(&facts, "policy-routing-gone").whose.contains("networkd"));
    // Without IPv6 anywhere, none gets past the tunnel.
    facts.link.as_mut().unwrap().ipv6 = Ipv6::Off;
    assert_eq!(causes(&facts), [""; 0]);
    facts.peers[0].undone = undone("0.0.0.0/0", vec![route]);
    problem(&facts, "policy-routing-gone");
    // Nor are routes left, or do they come back, when the interface is switched off.
    facts.link = Some(LinkFacts { up: false, mtu: 1420, has_address: true, ipv6: Ipv6::On });
    let findings = judge(&facts);
    assert_eq!(causes(&facts), ["interface-down", "policy-routing-gone"]);
    assert!(findings[0].next[0].contains("kerntun up wg0"), "{findings:#?}");
    assert!(findings[1].whose.contains("switched the interface off"), "{findings:#?}");
    assert!(!findings[1].next.iter().any(|next| next.contains("networkd")), "{findings:#?}");
    facts.fwmark = 0;
    assert_eq!(judge(&facts)[0].next, ["ip link set up dev wg0"]);
}

fn file(peers: Vec<FilePeer>) -> Option<FileFacts> {
    Some(FileFacts { path: "wg0.conf".to_owned(), public_key: Some("OWN".to_owned()), peers, ..FileFacts::default() })
}

fn file_peer(key: &str) -> FilePeer {
    FilePeer { key: key.to_owned(), allowed_ips: vec![prefix("10.0.0.2/32")], name: None }
}

#[test]
fn prefixes_of_two_peers_in_the_file() {
    let mut facts = healthy();
    facts.file = file(vec![file_peer("PEER")]);
    assert_eq!(causes(&facts), [""; 0]);
    let mut other = facts.peers[0].clone();
    other.key = "OTHER".to_owned();
    facts.peers.push(other);
    facts.file = file(vec![file_peer("PEER"), file_peer("OTHER")]);
    let finding = problem(&facts, "overlapping-allowed-ips");
    assert!(finding.what.ends_with("only the later one has it: OTHER") && finding.next[0].ends_with("PEER"));
}

#[test]
fn our_own_key_as_a_peer_in_the_file() {
    let mut facts = healthy();
    facts.file = file(vec![file_peer("OWN")]);
    problem(&facts, "own-key");
}

#[test]
fn a_file_that_says_something_else() {
    let mut facts = healthy();
    facts.file = file(vec![FilePeer { allowed_ips: Vec::new(), ..file_peer("STRANGER") }]);
    assert!(judge(&facts).iter().any(|finding| finding.what == "wg0.conf has 1 peer that the interface has not"));
    facts.file.as_mut().unwrap().public_key = Some("OLD".to_owned());
    assert!(judge(&facts).iter().any(|finding| finding.what.contains("another private key")));
    assert_eq!(causes(&facts), [""; 0]);
    facts.file.as_mut().unwrap().errors = 2;
    assert!(problem(&facts, "bad-file").what.contains("2 errors"));
}

#[test]
fn names_of_endpoints() {
    let named = |addresses| FilePeer {
        name: Some(Named { endpoint: "vpn.example.org:51820".to_owned(), addresses }),
        ..file_peer("PEER")
    };
    let mut facts = silent();
    facts.file = file(vec![named(Err("Name or service not known".to_owned()))]);
    assert_eq!(causes(&facts), ["name-does-not-resolve", "no-answer"]);
    assert!(judge(&facts)[0].what.contains("'vpn.example.org:51820' has no address: Name or service not known"));
    facts.file = file(vec![named(Ok(vec!["203.0.113.77:51820".parse().unwrap()]))]);
    assert!(judge(&facts).iter().any(|finding| finding.cause == "name-moved"));
    facts.file = file(vec![named(Ok(vec!["203.0.113.9:51820".parse().unwrap()]))]);
    assert!(judge(&facts).iter().all(|finding| finding.cause != "name-moved"));
}

#[test]
fn nowhere_to_send_to() {
    let mut facts = healthy();
    let peer = &mut facts.peers[0];
    (peer.endpoint, peer.way, peer.last_handshake, peer.sent, peer.received) = (None, None, None, 0, 0);
    peer.counters = counters(&[("drop.no-endpoint", "4")]);
    assert!(problem(&facts, "no-endpoint").what.starts_with("4 packets could not be sent"));
}

#[test]
fn no_allowed_ips() {
    let mut facts = healthy();
    facts.peers[0].allowed_ips.clear();
    facts.counters = counters(&[("drop.no-route", "6")]);
    assert!(problem(&facts, "no-allowed-ips").what.contains("6 packets of this machine found no peer"));
}

#[test]
fn sources_that_are_not_allowed() {
    let mut facts = healthy();
    facts.peers[0].counters = counters(&[("drop.wrong-source", "9")]);
    facts.peers[0].allowed_ips = vec![prefix("10.0.0.0/8")];
    assert!(problem(&facts, "wrong-source").what.starts_with("9 packets from it"));
    let other = PeerFacts { key: "OTHER".to_owned(), allowed_ips: vec![prefix("10.9.0.0/16")], ..PeerFacts::default() };
    facts.peers.push(other);
    assert!(
        problem(&facts, "wrong-source").next.iter().any(|next| next.contains("10.9.0.0/16") && next.contains("OTHER"))
    );
}

#[test]
fn load_and_damage_are_noted() {
    let mut facts = healthy();
    facts.counters = counters(&[("drop.cookie-required", "3"), ("drop.rate-limited", "4")]);
    facts.peers[0].counters = counters(&[
        ("drop.bad-tag", "1"),
        ("drop.replayed", "10"),
        ("drop.session-expired", "11"),
        ("drop.staged-overflow", "2"),
    ]);
    let noted: Vec<_> = judge(&facts).into_iter().map(|finding| finding.cause).collect();
    assert_eq!(noted, ["under-load", "damaged", "replayed", "session-expired", "waited-in-vain", "healthy"]);
    assert!(judge(&facts)[0].what.starts_with("7 handshake messages were put off"));
}

#[test]
fn nothing_configured() {
    let mut facts = healthy();
    facts.peers.clear();
    problem(&facts, "no-peers");
    let mut facts = silent();
    facts.public_key = None;
    problem(&facts, "no-private-key");
    let mut facts = silent();
    facts.link.as_mut().unwrap().up = false;
    problem(&facts, "interface-down");
    let mut facts = healthy();
    facts.link.as_mut().unwrap().has_address = false;
    assert!(judge(&facts).iter().any(|finding| finding.cause == "no-address"));
}

#[test]
fn a_mark_that_was_changed() {
    let mut facts = silent();
    facts.leading_mark = Some(51820);
    facts.peers[0].way = Some(Way::Through { interface: "wg0".to_owned(), mtu: 1420 });
    for fwmark in [0, 7] {
        facts.fwmark = fwmark;
        assert_eq!(causes(&facts), ["mark-changed"], "neither the route nor the peer is to blame");
    }
    facts.fwmark = 51820;
    assert_eq!(causes(&facts), ["no-answer"]);
}

#[test]
fn for_people_and_for_programs() {
    let facts = silent();
    let diagnoses = [(facts.clone(), judge(&facts))];
    let text = crate::diagnose::output::text(&diagnoses, Paint::PLAIN);
    assert!(text.starts_with("interface: wg0\n\npeer: PEER\n  problem: 14 handshake starts sent to"), "{text}");
    assert!(
        text.contains("\n    at fault: the way to the other side")
            && text.contains("\n    next: let UDP to port 51820")
    );
    let json: serde_json::Value = serde_json::from_str(&crate::diagnose::output::json(&diagnoses)).unwrap();
    let finding = &json["interfaces"][0]["findings"][0];
    assert_eq!(
        (&json["schema"], &finding["cause"], &finding["severity"]),
        (&1.into(), &"no-answer".into(), &"problem".into())
    );
    assert_eq!(finding["peer"], "PEER");
}
