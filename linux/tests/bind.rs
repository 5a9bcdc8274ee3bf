//! Ports, families, workers and marks, each test in a network namespace of its own.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use common::udp::{CONFIG, only, queue_run, receive, route};
use common::{enter_namespace, sysctl};
use kerntun_linux::{BindError, RecvBatch, SendQueue, UdpConfig, UdpSocket, bind};

#[test]
fn both_families_on_one_port() {
    if !enter_namespace() {
        return;
    }
    let first = bind(&CONFIG).unwrap();
    assert!(first.no_ipv6.is_none());
    assert_ne!(first.port, 0);
    let sockets = &first.workers[0];
    assert!(sockets.v6.as_ref().unwrap().is_ipv6() && !sockets.v4.is_ipv6());
    assert!(matches!(bind(&UdpConfig { port: first.port, ..CONFIG }), Err(BindError::PortInUse(p)) if p == first.port));
    // Not even if both would share with their own siblings.
    let shared = bind(&UdpConfig { workers: 3, ..CONFIG }).unwrap();
    assert_eq!(shared.workers.len(), 3);
    let taken = bind(&UdpConfig { port: shared.port, workers: 3, ..CONFIG });
    assert!(matches!(taken, Err(BindError::PortInUse(_))));
    // A port taken for IPv6 alone is in use as well.
    let only_v6 = std::net::UdpSocket::bind("[::1]:4000").unwrap();
    assert!(matches!(bind(&UdpConfig { port: 4000, ..CONFIG }), Err(BindError::PortInUse(4000))));
    drop(only_v6);
    // Another test may have forked just now, and its child has the socket until it becomes another program.
    common::wait_until("the port is free again", || bind(&UdpConfig { port: 4000, ..CONFIG }).is_ok());
}

#[test]
fn a_random_port_is_tried_again() {
    if !enter_namespace() {
        return;
    }
    // Of the four ports there are, three are taken in one family.
    sysctl("ipv4/ip_local_port_range", "5000 5003");
    let taken: Vec<_> = (5000..5003u16).map(|port| std::net::UdpSocket::bind(("::1", port)).unwrap()).collect();
    assert_eq!(bind(&CONFIG).unwrap().port, 5003);
    let mut last = None;
    common::wait_until("the fourth is free again", || {
        last = std::net::UdpSocket::bind("[::1]:5003").ok();
        last.is_some()
    });
    assert!(matches!(bind(&CONFIG), Err(BindError::NoFreePort)));
    drop((taken, last));
}

#[test]
fn ports_and_marks_need_their_rights() {
    if !enter_namespace() {
        return;
    }
    let marked = bind(&UdpConfig { mark: 0x1234, ..CONFIG }).unwrap();
    for socket in [&marked.workers[0].v4, marked.workers[0].v6.as_ref().unwrap()] {
        assert_eq!(mark(socket), 0x1234);
    }
    marked.workers[0].set_mark(0).unwrap();
    assert_eq!(mark(&marked.workers[0].v4), 0);
    let header: [u32; 2] = [0x2008_0522, 0];
    // SAFETY: version 3 of capset takes a header of 8 and data of 24 bytes.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), [0u32; 6].as_ptr()) }, 0);
    assert!(matches!(bind(&UdpConfig { port: 53, ..CONFIG }), Err(BindError::Permission(53))));
    assert!(matches!(bind(&UdpConfig { mark: 1, ..CONFIG }), Err(BindError::MarkPermission(_))));
    assert!(bind(&CONFIG).is_ok());
}

fn mark(socket: &UdpSocket) -> libc::c_int {
    let (mut value, mut length) = (0, 4);
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: pointers to an int and its size.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_MARK, (&raw mut value).cast(), &raw mut length) };
    assert_eq!(result, 0);
    value
}

#[test]
fn workers_share_the_port() {
    if !enter_namespace() {
        return;
    }
    let bound = bind(&UdpConfig { workers: 4, ..CONFIG }).unwrap();
    for address in ["127.0.0.1", "::1"] {
        let mut peers = Vec::new();
        for number in 0..64u8 {
            let peer = std::net::UdpSocket::bind((address, 0)).unwrap();
            for _ in 0..4 {
                peer.send_to(&[number], (address, bound.port)).unwrap();
            }
            peers.push(peer);
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for worker in &bound.workers {
            let socket = if address == "::1" { worker.v6.as_ref().unwrap() } else { &worker.v4 };
            let mut batch = RecvBatch::new(32);
            let mut numbers = Vec::new();
            while batch.recv(socket).unwrap() > 0 {
                batch.messages().for_each(|message| numbers.extend_from_slice(message.data));
            }
            seen.push(numbers);
        }
        assert_eq!(seen.iter().map(Vec::len).sum::<usize>(), 256);
        assert!(seen.iter().filter(|numbers| !numbers.is_empty()).count() > 1, "spread over workers");
        for number in 0..64 {
            let owners = seen.iter().filter(|numbers| numbers.contains(&number)).count();
            assert_eq!(owners, 1, "one source stays with one worker");
        }
    }
}

#[test]
fn works_without_ipv6() {
    if !enter_namespace() {
        return;
    }
    for name in ["all", "default", "lo"] {
        sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1");
    }
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let (_, sender) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    queue_run(&mut queue, b"six", 3, route(SocketAddr::new("::1".parse().unwrap(), port)));
    queue_run(&mut queue, b"four", 4, route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    queue.flush(&sender, 0);
    assert_eq!((queue.stats().unreachable, queue.stats().datagrams), (1, 1));
    let (got, _) = receive(&receiver.v4, &mut RecvBatch::new(2), 1);
    assert_eq!(got[0].data, b"four");
}

#[test]
fn a_system_without_ipv6_is_no_error() {
    if !enter_namespace() {
        return;
    }
    // Any socket of family AF_INET6 (10) or above.
    common::refuse_calls(libc::SYS_socket, 0, 9, libc::EAFNOSUPPORT);
    let bound = bind(&UdpConfig { workers: 2, ..CONFIG }).unwrap();
    assert_eq!(bound.no_ipv6.unwrap().raw_os_error(), Some(libc::EAFNOSUPPORT));
    assert!(bound.workers.iter().all(|sockets| sockets.v6.is_none()));
    let (port, receiver) = only(bind(&CONFIG).unwrap());
    let mut queue = SendQueue::new();
    queue_run(&mut queue, b"four", 4, route(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    queue.flush(&bound.workers[1], 0);
    assert_eq!(receive(&receiver.v4, &mut RecvBatch::new(2), 1).0[0].data, b"four");
}
