//! Handshake messages that several threads hold at once, as in the kernel, where each processor has a worker for them: what was
//! true before the computation is looked at again before anything changes.

use super::*;

/// A device that has begun a handshake, and the other one's response.
fn answered() -> (Arc<Device>, Device, Vec<u8>) {
    let (device, other) = (End::new(ScheduledHost::new(1), 1, NOW), End::new(ScheduledHost::new(2), 2, NOW));
    device.meet(NOW, other.device.public_key().unwrap(), None);
    other.meet(NOW, device.device.public_key().unwrap(), None);
    let (mut initiation, mut response) = (Out::default(), Out::default());
    device.send(NOW, device.packet(0), &mut initiation);
    device.expire(NOW, WALL, &mut initiation);
    other.receive(NOW, &initiation.sent[0], &mut response);
    (Arc::new(device), other, response.sent.remove(0))
}

/// Everything that comes of one datagram, and of a packet sent after it.
fn receive_and_send(datagram: Vec<u8>, mark: u32) -> impl FnOnce(&Device) -> Out + Send {
    move |device| {
        let mut out = Out::default();
        device.receive(NOW, &datagram, &mut out);
        device.send(NOW, device.packet(mark), &mut out);
        out
    }
}

/// Paper 5.1: no timestamp is accepted twice.
#[test]
fn one_initiation_in_two_threads_has_one_answer() {
    every_schedule(|| {
        let (device, other, _) = connected(0);
        let mut out = Out::default();
        // Its session is too old to send with.
        let later = NOW.after(185_000_000_000);
        other.send(later, other.packet(50), &mut out);
        other.expire(later, Wall { seconds: WALL.seconds + 185, nanos: 0 }, &mut out);
        let initiation = out.sent.into_iter().find(|datagram| datagram[0] == 1).unwrap();
        let receivers = vec![
            spawn(&device, receive_and_send(initiation.clone(), 10)),
            spawn(&device, receive_and_send(initiation, 20)),
        ];
        let all = join(receivers);
        let answers = all.iter().flat_map(|out| &out.sent).filter(|datagram| datagram[0] == 2).count();
        assert_eq!((answers, device.device.drops(Reason::OldTimestamp)), (1, 1));
        assert_eq!(counters(all.into_iter().map(|out| out.sent).collect()), 2);
    });
}

/// A second session from the same secrets would count from zero again.
#[test]
fn one_response_in_two_threads_makes_one_session() {
    every_schedule(|| {
        let (device, other, response) = answered();
        let receivers = vec![
            spawn(&device, receive_and_send(response.clone(), 10)),
            spawn(&device, receive_and_send(response, 20)),
        ];
        let all = join(receivers);
        assert_eq!(all.iter().map(|out| out.connected).sum::<usize>(), 1);
        let lost = device.device.drops(Reason::HandshakeLost) + device.device.drops(Reason::UnknownIndex);
        assert_eq!(lost, 1);
        let mut arrived = Out::default();
        all.iter().flat_map(|out| &out.sent).for_each(|datagram| other.receive(NOW, datagram, &mut arrived));
        assert_eq!(assert_each_once(vec![arrived.delivered]), 3);
    });
}

/// Whichever comes first, nothing more is sent in a session with the key that is gone, and none begins with a preshared key
/// that is the peer's no more.
#[test]
fn a_response_against_a_change_of_keys() {
    every_schedule(|| {
        let (device, _, response) = answered();
        let change = spawn(&device, |device| {
            device.change(NOW, Change { private_key: Some(private_key(5)), ..Change::default() });
        });
        let receiver = spawn(&device, receive_and_send(response, 10));
        change.join().unwrap();
        receiver.join().unwrap();
        let mut out = Out::default();
        device.send(NOW, device.packet(20), &mut out);
        assert!(out.sent.is_empty(), "it waits for a session with the new key");
    });
    every_schedule(|| {
        let (device, _, response) = answered();
        let has_session = |device: &Device| {
            let peer = device.device.next_peer(None).unwrap();
            device.device.peer_info(peer).unwrap().session_since.is_some()
        };
        let change = spawn(&device, move |device| {
            let change = PeerChange { preshared_key: Some(Secret::new([9; 32])), ..PeerChange::new(other_key()) };
            device.change(NOW, Change { peers: &[change], ..Change::default() });
            has_session(device)
        });
        let receiver = spawn(&device, receive_and_send(response, 10));
        let before = change.join().unwrap();
        receiver.join().unwrap();
        assert_eq!(has_session(&device), before, "a session with a preshared key that was changed before");
    });
}
