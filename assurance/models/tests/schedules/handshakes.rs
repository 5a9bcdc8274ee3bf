//! Handshake messages that several threads hold at once, as in the kernel, where each processor has a worker for them: what was
//! true before the computation is looked at again before anything changes.

use super::*;
use kerntun_engine::host::Host;

/// A device that has begun a handshake, and the other one's response.
fn answered() -> (Arc<Device>, Device, Vec<u8>) {
    let (device, other) = acquainted();
    let (mut initiation, mut response) = (Out::default(), Out::default());
    device.send(NOW, device.packet(0), &mut initiation);
    device.expire(NOW, WALL, &mut initiation);
    other.receive(NOW, &initiation.sent[0], &mut response);
    (Arc::new(device), other, response.sent.remove(0))
}

fn become_another(device: &Device) {
    device.change(NOW, Change { private_key: Some(private_key(5)), ..Change::default() });
}

fn change_preshared_key(device: &Device) {
    let change = PeerChange { preshared_key: Some(Secret::new([9; 32])), ..PeerChange::new(other_key()) };
    device.change(NOW, Change { peers: &[change], ..Change::default() });
}

fn has_session(device: &Device) -> bool {
    let peer = device.device.next_peer(None).unwrap();
    device.device.peer_info(peer).unwrap().session_since.is_some()
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
        let change = spawn(&device, become_another);
        let receiver = spawn(&device, receive_and_send(response, 10));
        change.join().unwrap();
        receiver.join().unwrap();
        let mut out = Out::default();
        device.send(NOW, device.packet(20), &mut out);
        assert!(out.sent.is_empty(), "it waits for a session with the new key");
    });
    every_schedule(|| {
        let (device, _, response) = answered();
        let change = spawn(&device, move |device| {
            change_preshared_key(device);
            has_session(device)
        });
        let receiver = spawn(&device, receive_and_send(response, 10));
        let before = change.join().unwrap();
        receiver.join().unwrap();
        assert_eq!(has_session(&device), before, "a session with a preshared key that was changed before");
    });
}

/// A device, another one, and that one's initiation.
fn knocked() -> (Arc<Device>, Device, Vec<u8>) {
    let (device, other) = acquainted();
    let mut out = Out::default();
    other.send(NOW, other.packet(0), &mut out);
    other.expire(NOW, WALL, &mut out);
    (Arc::new(device), other, out.sent.remove(0))
}

/// An initiation is answered while `change` is made; the other one confirms. Gives whether it was answered before the
/// change was over, and the device as it is then.
fn answer_against(change: impl FnOnce(&Device) + Send + 'static) -> (bool, Arc<Device>) {
    let (device, other, initiation) = knocked();
    let change = spawn(&device, move |device| {
        change(device);
        let peer = device.device.next_peer(None).unwrap();
        device.device.peer_info(peer).unwrap().rx_bytes > 0
    });
    let receiver = spawn(&device, move |device| {
        let mut out = Out::default();
        device.receive(NOW, &initiation, &mut out);
        out
    });
    let before = change.join().unwrap();
    exchange(&device, &other, NOW, receiver.join().unwrap());
    (before, device)
}

/// The same where the other side has begun.
#[test]
fn an_initiation_against_a_change_of_keys() {
    every_schedule(|| {
        let (_, device) = answer_against(become_another);
        let mut out = Out::default();
        device.send(NOW, device.packet(20), &mut out);
        assert!(out.sent.is_empty(), "it waits for a session with the new key");
    });
    every_schedule(|| {
        let (before, device) = answer_against(change_preshared_key);
        assert!(before || !has_session(&device), "a session with a preshared key that was changed before");
    });
}

/// What is computed while the interface goes down begins nothing.
#[test]
fn handshakes_against_the_end_of_the_interface() {
    every_schedule(|| {
        let (device, _, initiation) = knocked();
        against_down(&device, receive(vec![initiation]));
    });
    every_schedule(|| {
        let (device, _, response) = answered();
        against_down(&device, receive(vec![response]));
    });
    for dry in [false, true] {
        every_schedule(move || {
            let (device, ..) = knocked();
            device.device.host().entropy().set_dry(dry);
            against_down(&device, |device| {
                device.device.initiate(NOW, WALL, device.device.next_peer(None).unwrap()).is_some()
            });
        });
    }
}

/// Ends the interface beside `work`: there is then no session, no handshake, and nothing to wait for.
fn against_down<R: Send + 'static>(device: &Arc<Device>, work: impl FnOnce(&Device) -> R + Send + 'static) {
    let worker = spawn(device, work);
    let down = spawn(device, |device| device.device.configure(|configuration| configuration.down()));
    worker.join().unwrap();
    down.join().unwrap();
    let info = device.device.peer_info(device.device.next_peer(None).unwrap()).unwrap();
    assert!(info.session_since.is_none() && !info.handshake_pending);
    assert!(info.deadlines.iter().all(|at| *at == Instant::NEVER), "{:?}", info.deadlines);
}

/// What was begun as somebody else is not waited for.
#[test]
fn an_initiation_of_ours_against_a_change_of_our_key() {
    every_schedule(|| {
        let (device, other, _) = knocked();
        let change = spawn(&device, become_another);
        let initiator =
            spawn(&device, |device| device.device.initiate(NOW, WALL, device.device.next_peer(None).unwrap()));
        change.join().unwrap();
        let initiation = initiator.join().unwrap();
        // The other one does not know the new key.
        let mut out = Out::default();
        if let Some(initiation) = initiation {
            other.receive(NOW, initiation.bytes(), &mut out);
        }
        let peer = device.device.next_peer(None).unwrap();
        let pending = device.device.peer_info(peer).unwrap().handshake_pending;
        assert!(out.sent.is_empty() || !pending, "it waits for the answer to a message of the key that is gone");
    });
}
