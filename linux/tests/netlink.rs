//! The netlink parser against messages built here by the book, and against nonsense.

mod common;

use common::Random;
use kerntun_linux::LinkEvent;
use kerntun_linux::netlink_watch::LinkState;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut out = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut out = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend([0; 10]);
    out.extend(body);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn link(kind: u16, index: u32, flags: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend([0; 4]);
    body.extend(attributes.concat());
    message(kind, &body)
}

fn parse(state: &mut LinkState, datagram: &[u8]) -> Vec<LinkEvent> {
    let mut events = Vec::new();
    state.parse(datagram, 7, &mut |event| events.push(event));
    events
}

#[test]
fn messages_become_events() {
    let mut state = LinkState::default();
    let name = attribute(3, b"wg0\0");
    let mtu = |mtu: u32| attribute(4, &mtu.to_ne_bytes());
    let up = link(NEWLINK, 7, 1, &[name.clone(), mtu(1420)]);
    assert_eq!(parse(&mut state, &up), [LinkEvent::Mtu(1420), LinkEvent::Up]);
    assert_eq!(parse(&mut state, &up), [], "only changes");
    assert_eq!(parse(&mut state, &link(NEWLINK, 8, 0, &[mtu(9000)])), [], "another interface");
    let both =
        [link(NEWLINK, 8, 0, &[]), link(NEWLINK, 7, 0, &[mtu(1420)]), message(24, &[0; 12]), message(21, &[0; 8])];
    assert_eq!(parse(&mut state, &both.concat()), [LinkEvent::Down, LinkEvent::RoutesChanged]);
    assert_eq!(parse(&mut state, &link(NEWLINK, 7, 0, &[mtu(1280)])), [LinkEvent::Mtu(1280)]);
    let moved = link(DELLINK, 7, 0, &[name.clone(), attribute(45, &[1, 0, 0, 0])]);
    assert_eq!(parse(&mut state, &moved), [LinkEvent::Moved]);
    assert_eq!(parse(&mut state, &link(DELLINK, 7, 0, &[name])), [LinkEvent::Deleted]);
    let gone = message(2, &(-19i32).to_ne_bytes());
    assert_eq!(parse(&mut state, &gone), [LinkEvent::Deleted]);
}

#[test]
fn other_interfaces_take_their_routes_with_them() {
    const IFF_UP: u32 = 1;
    const IFF_RUNNING: u32 = 0x40;
    let other = |kind, flags, changed: u32| {
        let mut message = link(kind, 8, flags, &[attribute(3, b"d0\0")]);
        message[16 + 12..][..4].copy_from_slice(&changed.to_ne_bytes());
        parse(&mut LinkState::default(), &message)
    };
    assert_eq!(other(NEWLINK, 0, IFF_UP | IFF_RUNNING), [LinkEvent::RoutesChanged], "it went down");
    assert_eq!(other(NEWLINK, IFF_UP, IFF_UP), [LinkEvent::RoutesChanged], "it came up");
    assert_eq!(other(NEWLINK, IFF_UP, IFF_RUNNING), [], "its routes stay");
    assert_eq!(other(DELLINK, 0, 0), [LinkEvent::RoutesChanged], "it is gone");
    assert_eq!(parse(&mut LinkState::default(), &message(NEWLINK, &[0; 12])), [], "cut off");
}

#[test]
fn nonsense_ends_quietly() {
    let mut random = Random(50);
    let good = [
        link(NEWLINK, 7, 1, &[attribute(3, b"wg0\0"), attribute(4, &1420u32.to_ne_bytes())]),
        message(24, &[0; 12]),
        link(DELLINK, 7, 1, &[]),
    ]
    .concat();
    for _ in 0..100_000 {
        let mut datagram = good.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(datagram.len());
            datagram[at] = random.next() as u8;
        }
        datagram.truncate(random.below(datagram.len() + 1));
        let events = parse(&mut LinkState::default(), &datagram);
        assert!(events.len() <= 8, "{events:?}");
    }
    assert_eq!(parse(&mut LinkState::default(), &[0; 64]), [], "a length of zero does not loop");
}
